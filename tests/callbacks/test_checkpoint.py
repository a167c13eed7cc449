"""Checkpoint: everything comes back, bit for bit; a spoilt file falls back to the one before."""

import json

import keras
import numpy as np
import pytest

from callbacks import Checkpoint, EarlyStopping, WeightAverage


def _model():
    keras.utils.set_random_seed(7)
    model = keras.Sequential(
        [
            keras.layers.Input((3,)),
            keras.layers.Dense(5),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(2),
        ]
    )
    model.compile(optimizer=keras.optimizers.AdamW(0.01), loss="mse")
    model.optimizer.build(model.trainable_variables)
    return model


def _callbacks(folder):
    average = WeightAverage(0.9)
    stopping = EarlyStopping("loss", average=average)
    return [average, stopping, Checkpoint(folder, {"average": average, "stopping": stopping})]


X = np.random.default_rng(0).standard_normal((32, 3)).astype("float32")
Y = X[:, :2]


def _fit(model, callbacks, **arguments):
    model.fit(X, Y, shuffle=False, batch_size=8, verbose=0, callbacks=callbacks, **arguments)


def test_a_resumed_fit_ends_on_the_same_bits(tmp_path):
    whole = _model()
    (tmp_path / "whole").mkdir()
    _fit(whole, _callbacks(tmp_path / "whole"), epochs=5)

    (tmp_path / "parts").mkdir()
    _fit(_model(), _callbacks(tmp_path / "parts"), epochs=3)
    resumed, callbacks = _model(), _callbacks(tmp_path / "parts")
    assert callbacks[-1].restore_newest(resumed) == 3
    _fit(resumed, callbacks, initial_epoch=3, epochs=5)

    for expected, found in zip(whole.variables, resumed.variables, strict=True):
        np.testing.assert_array_equal(found.numpy(), expected.numpy(), err_msg=expected.path)


def test_keeps_the_newest_and_falls_back_from_a_spoilt_one(tmp_path):
    model, callbacks = _model(), _callbacks(tmp_path)
    _fit(model, callbacks, epochs=4)
    checkpoint = callbacks[-1]
    assert [path.name for path in checkpoint.files()] == ["epoch-0003.npz", "epoch-0004.npz"]
    newest = checkpoint.files()[-1]
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    with pytest.warns(UserWarning, match="epoch-0004.npz cannot be read .*the one before"):
        assert checkpoint.restore_newest(_model()) == 3
    newest.write_bytes(b"")
    said = []
    checkpoint.say = said.append
    assert checkpoint.restore_newest(_model()) == 3
    assert len(said) == 1


def test_another_model_is_refused_and_nothing_is_zero(tmp_path):
    assert Checkpoint(tmp_path).restore_newest(_model()) == 0
    _fit(_model(), [Checkpoint(tmp_path)], epochs=1)
    other = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])
    other.compile(optimizer="sgd", loss="mse")
    other.optimizer.build(other.trainable_variables)
    with pytest.raises(ValueError, match="another model"):
        Checkpoint(tmp_path).restore_newest(other)


def test_the_file_is_plain_arrays_and_json(tmp_path):
    _fit(_model(), [Checkpoint(tmp_path)], epochs=1)
    with np.load(tmp_path / "epoch-0001.npz", allow_pickle=False) as archive:
        values = json.loads(str(archive["values"]))
        assert (values["epochs"], values["steps"], values["callbacks"]) == (1, 0, {})
        assert values["history"]["epoch"] == [0]
    assert not list(tmp_path.glob(".*"))


def test_the_model_can_be_prepared_for_the_checkpoint_that_is_found(tmp_path):
    model, seen = _model(), []
    _fit(model, [Checkpoint(tmp_path)], epochs=2)
    other = _model()
    other.optimizer = keras.optimizers.SGD()

    def prepare(model, epochs_done):
        seen.append(epochs_done)
        model.optimizer = keras.optimizers.AdamW(0.01)
        model.optimizer.build(model.trainable_variables)

    with pytest.raises(ValueError, match="holds another optimizer"):
        Checkpoint(tmp_path).restore_newest(other)
    (tmp_path / "epoch-0002.npz").write_bytes(b"spoilt")
    assert Checkpoint(tmp_path, say=str).restore_newest(other, prepare) == 1
    assert seen == [1], "not for the one that cannot be read"
    assert int(other.optimizer.iterations.numpy()) == len(X) // 8
