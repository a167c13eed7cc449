"""A search over a model of the user's own, with plain `fit`."""

import json

import numpy as np
import pytest

from recipes import ConfigError, RunError

pytest.importorskip("keras_tuner")

import keras
import tensorflow as tf

from tuning import search

SPACE = {"optimizer.learning_rate": "log 1e-3..1", "model.width": [4, 8, 16]}


def build_model(hp):
    keras.utils.set_random_seed(0)
    units = hp.Choice("units", [2, 8])
    rate = hp.Float("rate", 1e-3, 1.0, sampling="log")
    if hp.Boolean("fails", default=False):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")
    if hp.get("units") == 8 and hp.Boolean("explodes", parent_name="units", parent_values=[8]):
        rate = float("inf")
    inputs = keras.Input((2,))
    x = keras.layers.Dense(units, "tanh")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.SGD(rate)
    # Eagerly: so little is trained that tracing would take most of the time.
    model.compile(optimizer, loss, metrics=["accuracy"], run_eagerly=True)
    return model


@pytest.fixture(scope="module")
def points():
    random = np.random.default_rng(0)
    x = random.normal(size=(96, 2)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(np.int64)
    return (x[:64], y[:64]), (x[64:], y[64:])


def test_a_model_of_your_own(points, tmp_path):
    arguments = {"trials": 8, "epochs_per_trial": 2, "seed": 2, "say": lambda line: None}
    found = search(build_model, points, out=tmp_path / "a", **arguments)
    states = {trial.state for trial in found.trials}
    assert states >= {"completed", "out of memory", "diverged"}
    for one in found.trials:
        if one.values["fails"]:
            assert one.state == "out of memory"
            assert one.reason.startswith("ResourceExhaustedError")
        elif one.values.get("explodes"):
            assert one.state == "diverged"
        else:
            assert one.state in ("completed", "pruned")
            assert one.value == max(one.curve)
    best = json.loads((tmp_path / "a" / "best.json").read_text())
    assert best == {"values": found.best.values}
    assert "none" not in str(found).splitlines()[0]
    assert found.best.name in str(found)
    # As it is on the disk: read, not run.
    again = search(build_model, points, out=tmp_path / "a", **arguments)
    assert again.trials == found.trials


def test_a_builder_that_always_fails_is_given_up(points, tmp_path):
    def broken(hp):
        hp.Float("rate", 0.1, 1.0)
        if hp.get("rate") > 0.1:
            raise TypeError("no such layer\nand more lines")
        return build_model(hp)

    with pytest.raises(RunError, match="3 trials in a row failed, the last: TypeError: no such"):
        search(broken, points, trials=5, epochs_per_trial=1, out=tmp_path / "a", say=print)
    with pytest.raises(ConfigError, match="space must be None"):
        search(build_model, points, SPACE, trials=2, epochs_per_trial=1, out=tmp_path / "b")
    with pytest.raises(ConfigError, match="epochs_per_trial is needed"):
        search(build_model, points, trials=2, out=tmp_path / "b")
    with pytest.raises(ConfigError, match="objective: cannot tell"):
        search(build_model, points, trials=2, epochs_per_trial=1, objective="x", out=tmp_path / "b")
