"""The range test of a search: what it finds, what it does to a space, and that it is made once."""

import json

import numpy as np
import pytest

from recipes import Recipe, RunError

pytest.importorskip("keras_tuner")

import keras
import tensorflow as tf

from callbacks import find_learning_rate
from recipes import load_data
from tuning import _search_range_test as ranges
from tuning import _search_runners as runners
from tuning import search
from tuning._search_dimensions import Choices, Range
from tuning._search_range_test import RangeTest, ruinous_rate, shortened

RATE = "optimizer.learning_rate"


def test_the_limit_is_where_gradient_descent_on_a_parabola_explodes():
    """Its rate of convergence is known: above 2 over the largest curvature the loss grows."""
    random = np.random.default_rng(0)
    x = (random.normal(size=(64, 4)) * [4, 1, 1, 0.5]).astype(np.float32)
    y = x @ np.array([[1.0], [-1.0], [2.0], [0.5]], np.float32)
    largest = np.linalg.eigvalsh(2 * x.T @ x / len(x)).max()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, use_bias=False)])
    model.layers[0].kernel.assign(np.zeros((4, 1)))
    model.compile(keras.optimizers.SGD(), "mse")
    data = tf.data.Dataset.from_tensors((x, y))
    found = find_learning_rate(model, data, low=1e-5, high=100.0, steps=100)
    limit = ruinous_rate(np.geomspace(1e-5, 100.0, 100), found.losses, 10)
    assert 2 / largest < limit < 8 * 2 / largest


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        # Never worse than at the start.
        ([2.0] * 10 + [1.0] * 30, None),
        # One bad step is none; three quarters of the way it is over.
        ([2.0] * 10 + [1.0] * 9 + [5.0] + [1.0] * 10 + [6.0] * 10, 30),
        # The loss was not finite, or exploded at once, in step 25.
        ([2.0] * 10 + [1.0] * 15, 25),
        # Worse from the first step that was looked at.
        ([2.0] * 10 + [9.0] * 30, 10),
    ],
)
def test_the_limit_is_read_off_the_losses(losses, expected):
    rates = np.geomspace(1e-3, 10, 40)
    found = ruinous_rate(rates, losses, 10)
    assert found == (None if expected is None else pytest.approx(rates[expected], rel=1e-9))


@pytest.mark.parametrize(
    ("values", "limit", "expected"),
    [
        (Range(0.01, 10, log=True), 2.0, Range(0.01, 2.0, log=True)),
        (Range(0.01, 10, log=True), None, None),
        (Range(0.01, 10, log=True), 11.0, None),
        # All of it is too high: the user is told, the range stays.
        (Range(0.01, 10, log=True), 0.01, None),
        (Range(0.0, 1.0, step=0.25), 0.5, None),
        (Choices((0.1, 1.0, 10.0)), 2.0, None),
    ],
)
def test_only_a_range_that_ends_too_high_is_shortened(values, limit, expected):
    assert shortened(values, limit) == (expected or values)


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    images = random.integers(0, 255, (120, 8, 8, 1)).astype(np.uint8)
    return load_data((images, np.arange(120) % 3), validation=0.25)


def complete(recipe, data, directory, *, objective, prune, progress):
    """Stand in for the training of a trial."""
    value = 0.5 + recipe.optimizer.learning_rate / 100
    return runners.Outcome("completed", None, value, (value,))


def test_a_search_makes_it_once_and_says_what_it_did(data, tmp_path, monkeypatch):
    made, said = [], []

    def measure(subject, values, out):
        made.append(str(values))
        facts = {"given": str(values), "searched": str(shortened(values, 0.4))}
        suggestions = {"valley": 0.02, "steepest": 0.05}
        return RangeTest((0.001, 1.0), (2.0, 1.0), (2.0, 1.0), suggestions, 0.4, **facts)

    monkeypatch.setattr(ranges, "_run", measure)
    monkeypatch.setattr(runners, "run_recipe_trial", complete)
    arguments = {"epochs_per_trial": 1, "preflight": False, "say": said.append}
    space = {"learning_rate": "log 0.01..1", "dropout": "0..0.5"}
    found = search(Recipe(name="mine"), data, space, trials=6, out=tmp_path / "a", **arguments)
    assert made == ["log 0.01..1"]
    said = [line for line in said if not line.startswith("warning: ")]  # of the images
    assert said[:3] == [
        "range test",
        "range test: valley 0.02, steepest 0.05; from 0.4 on the network is worse than untrained",
        f"range test: {RATE} is searched over log 0.01..0.4, not all of log 0.01..1",
    ]
    assert max(trial.values[RATE] for trial in found.trials) <= 0.4
    # What was asked for stays in the record; what was searched is beside it.
    plan, stage = (
        json.loads((tmp_path / "a" / name).read_text())
        for name in ("search.json", "coarse/stage.json")
    )
    assert plan["space"][RATE] == "log 0.01..1"
    assert stage["space"] == {RATE: "log 0.01..0.4", "model.dropout": "0..0.5"}
    # Gone on with, nothing is tested again, and the region is the same.
    more = search(Recipe(name="mine"), data, space, trials=8, out=tmp_path / "a", **arguments)
    assert len(made) == 1
    assert more.trials[:6] == found.trials
    # Neither where it is switched off nor where the rate is not varied.
    for number, (varied, on) in enumerate([(space, False), ({"dropout": "0..0.5"}, True)]):
        out = tmp_path / f"b{number}"
        arguments["range_test"] = on
        search(Recipe(name="mine"), data, varied, trials=1, out=out, **arguments)
        assert not (out / "range_test.json").exists()
    assert len(made) == 1
    (tmp_path / "a" / "range_test.json").write_text('{"rates": 3}')
    arguments["range_test"] = True
    with pytest.raises(RunError, match="cannot read .*range_test.json"):
        search(Recipe(name="mine"), data, space, trials=8, out=tmp_path / "a", **arguments)


@pytest.mark.slow
def test_it_is_made_on_the_batches_of_the_recipe(tiny_recipe, tiny_source, tmp_path, monkeypatch):
    """With a real network: too high a rate ruins it, and the search does not go there."""
    monkeypatch.setattr(runners, "run_recipe_trial", complete)
    said = []
    recipe = tiny_recipe.override({"model.width": 4, "optimizer.clip_norm": None})
    space = {"learning_rate": "log 1e-2..1e4"}
    arguments = {"trials": 2, "preflight": False, "say": said.append, "out": tmp_path / "a"}
    search(recipe, load_data(tiny_source), space, **arguments)
    found = RangeTest.read(tmp_path / "a")
    assert found.problem is None
    assert 0.1 < found.limit < 1e4
    assert found.given == "log 0.01..10000"
    assert found.searched == f"log 0.01..{float(f'{found.limit:.6g}'):.6g}"
    # At first the network guesses among three; in between it learned something.
    assert np.mean(found.losses[:5]) == pytest.approx(np.log(3), rel=0.6)
    assert min(found.smoothed) < np.mean(found.losses[:5])
    assert (tmp_path / "a" / "range_test.svg").read_text().startswith("<svg")
    assert sum(line.startswith("range test:") for line in said) == 2
