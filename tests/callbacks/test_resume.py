"""Exact resume of plain `fit`: a run that was killed anywhere ends as one that never was."""

import importlib.util
import json
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from callbacks import (
    Checkpoint,
)

PROGRAM = Path(__file__).parent / "resume_program.py"
SLOW = pytest.mark.slow  # repeats at another place what a fast test shows


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location(PROGRAM.stem, PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def whole(program, tmp_path_factory):
    """Return a function that gives the result of a run that nobody killed, by its settings."""
    results = {}

    def result(*settings):
        if settings not in results:
            folder = tmp_path_factory.mktemp("whole")
            # Without checkpoints inside epochs: they must change nothing.
            results[settings] = program.train(folder, *settings, every_steps=None)
        return results[settings]

    return result


def assert_same(found, expected):
    """Compare everything but where the run began; lists of floats are compared to the bit."""
    for name in expected.keys() - {"began"}:
        assert found[name] == expected[name], name


class Killed(BaseException):
    """What a test in one process raises in place of a signal."""


@pytest.fixture
def killed(program, monkeypatch):
    """Return a function that trains until it dies, without an end to the process."""

    def die(*_):
        raise Killed

    def train(folder, kind, steps, place):
        with monkeypatch.context() as patch:
            patch.setattr(program.Die, "die", staticmethod(die))
            patch.setattr(np, "savez", np.savez)  # put back what "writing" replaces
            with pytest.raises(Killed):
                program.train(folder, kind, steps, place)

    return train


@pytest.mark.parametrize(
    ("kind", "steps", "place", "began"),
    [
        pytest.param("shuffled", 1, "3.7", (3, 6), id="inside an epoch"),
        pytest.param("shuffled", 4, "2.7", (2, 4), id="between executions of four steps"),
        pytest.param("shuffled", 1, "0.1", (0, 0), id="before the first checkpoint", marks=SLOW),
        pytest.param("shuffled", 1, "2.end", (2, 9), id="in the last of an epoch", marks=SLOW),
        pytest.param("shuffled", 1, "1.saved", (2, 0), id="between epochs", marks=SLOW),
        pytest.param("shuffled", 1, "2.writing", (2, 0), id="while writing", marks=SLOW),
        pytest.param("shuffled", 1, "0.train_end", (7, 0), id="after the early stop"),
        pytest.param(
            "fixed",
            1,
            "0.4",
            (0, 3),
            id="the same data each epoch",
            marks=pytest.mark.exhaustive,
        ),
    ],
)
@pytest.mark.sampled(1)
def test_a_killed_run_ends_as_one_that_never_was(
    kind, steps, place, began, killed, program, whole, tmp_path
):
    killed(tmp_path, kind, steps, place)
    resumed = program.train(tmp_path, kind, steps)
    assert resumed["began"] == began, "this says how much the kill lost"
    assert_same(resumed, whole(kind, steps))
    assert resumed["stopped"][0] is not None
    assert resumed["epochs"] == list(range(resumed["stopped"][0]))
    assert not list(tmp_path.glob(".*"))


@SLOW
def test_a_run_killed_again_and_again(killed, program, whole, tmp_path):
    # Batches of a resumed epoch count from 0: each run dies some batches after it went on.
    for place in ("0.4", "0.5", "1.2", "1.5", "3.0", "3.end"):
        killed(tmp_path, "shuffled", 1, place)
    assert_same(program.train(tmp_path, "shuffled"), whole("shuffled", 1))


@SLOW
def test_a_spoilt_newest_checkpoint_inside_an_epoch(killed, program, whole, tmp_path):
    killed(tmp_path, "shuffled", 1, "3.7")
    newest = tmp_path / "epoch-0003-step-000006.npz"
    written = bytearray(newest.read_bytes())
    written[len(written) // 2] ^= 1  # one bit
    newest.write_bytes(written)
    with pytest.warns(UserWarning, match="step-000006.npz cannot be read .*the one before"):
        resumed = program.train(tmp_path, "shuffled")
    assert resumed["began"] == (3, 3)
    assert_same(resumed, whole("shuffled", 1))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("steps", [pytest.param("1", marks=pytest.mark.exhaustive), "4"])
def test_processes_that_are_killed_with_signal_nine(steps, tmp_path):
    def run(folder, place):
        result = tmp_path / f"{folder}.json"
        command = [sys.executable, PROGRAM, tmp_path / folder, result, "shuffled", steps, place]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if place != "never":
            assert answer.returncode == -signal.SIGKILL, answer.stderr
            assert not result.exists()
            return None
        assert answer.returncode == 0, answer.stderr
        return json.loads(result.read_text())

    expected = run("whole", "never")
    for place in ("1.7", "2.saved", "3.end", "4.writing", "0.train_end"):
        run("killed", place)
    assert_same(run("killed", "never"), expected)


class TestData:
    X = np.arange(40, dtype="float32").reshape(20, 2)

    def test_epochs_are_those_of_the_function_whatever_python_does_in_it(self, tmp_path):
        def of_epoch(epoch):
            order = np.random.default_rng(epoch).permutation(20)  # an epoch is a plain integer
            return tf.data.Dataset.from_tensor_slices(self.X[order]).batch(8)

        checkpoint = Checkpoint(tmp_path)
        dataset = checkpoint.data(of_epoch)
        assert int(dataset.cardinality()) == 3
        for epoch in (0, 1, 5, 1):
            checkpoint._data.epoch = epoch
            iter(dataset)  # Keras makes some that it does not use
            found = np.concatenate([batch.numpy() for batch in dataset])
            order = np.random.default_rng(epoch).permutation(20)
            np.testing.assert_array_equal(found, self.X[order])

    def test_a_dataset_that_reshuffles_is_refused(self, tmp_path):
        dataset = tf.data.Dataset.from_tensor_slices(self.X).shuffle(20, seed=1).batch(5)
        with pytest.raises(ValueError, match="gives other batches each time.*function of the"):
            Checkpoint(tmp_path).data(dataset)

    def test_an_unknown_number_of_batches_is_refused(self, tmp_path):
        dataset = tf.data.Dataset.from_tensor_slices(self.X)
        for unknown, word in (
            (dataset.filter(lambda x: True), "unknown"),
            (dataset.repeat(), "inf"),
        ):
            with pytest.raises(ValueError, match=f"known number of batches.*{word}"):
                Checkpoint(tmp_path).data(unknown)
        with pytest.raises(ValueError, match="1 or more, received: 0"):
            Checkpoint(tmp_path).data(dataset.take(0))

    def test_what_is_no_dataset_is_refused(self, tmp_path):
        with pytest.raises(TypeError, match="Dataset or a function.*ndarray"):
            Checkpoint(tmp_path).data(self.X)
        with pytest.raises(TypeError, match="which returned: ndarray"):
            Checkpoint(tmp_path).data(lambda epoch: self.X)

    def test_epochs_of_other_lengths_are_refused(self, tmp_path):
        checkpoint = Checkpoint(tmp_path)
        dataset = tf.data.Dataset.from_tensor_slices(self.X)
        found = checkpoint.data(lambda epoch: dataset.batch(5 + epoch, drop_remainder=False))
        checkpoint._data.epoch = 2
        with pytest.raises(tf.errors.InvalidArgumentError, match="alike in every epoch"):
            next(iter(found))


class TestRefusals:
    @pytest.fixture
    def folder(self, line_model, tmp_path):
        """Return the folder of a run of two epochs."""
        self.fit(line_model, tmp_path)
        return tmp_path

    DATA = tf.data.Dataset.from_tensor_slices((np.ones((3, 1)), np.ones((3, 1)))).batch(1)

    def fit(self, line_model, folder, *, data=DATA, states=(), restore=False, **arguments):
        model, _, _ = line_model
        checkpoint = Checkpoint(folder, list(states))
        dataset = checkpoint.data(data) if data is not None else self.DATA
        first = checkpoint.restore(model) if restore else 0
        arguments = {"initial_epoch": first, "epochs": 3, "verbose": 0, **arguments}
        model.fit(dataset, shuffle=False, callbacks=[*states, checkpoint], **arguments)

    def test_a_folder_with_checkpoints_that_were_not_asked_for(self, line_model, folder):
        with pytest.raises(ValueError, match="holds checkpoints: resume that run with"):
            self.fit(line_model, folder)

    def test_data_that_do_not_go_through_the_checkpoint(self, line_model, folder):
        with pytest.raises(ValueError, match="exact resume needs the training data"):
            self.fit(line_model, folder, data=None, restore=True, epochs=4)
        with pytest.raises(ValueError, match="3 batches an epoch, .*received: 2 steps"):
            self.fit(line_model, folder, restore=True, epochs=4, steps_per_epoch=2)

    def test_other_data(self, line_model, folder):
        other = self.DATA.map(lambda x, y: (x + 1, y))
        with pytest.raises(ValueError, match="saved with other training data"):
            self.fit(line_model, folder, data=other, restore=True, epochs=4)

    def test_another_first_epoch(self, line_model, folder):
        with pytest.raises(ValueError, match="expected: 3, received: 1"):
            self.fit(line_model, folder, restore=True, epochs=4, initial_epoch=1)

    def test_another_optimizer_of_the_same_shapes(self, line_model, folder):
        # SGD without momentum and this one have the same variables but for the name.
        model, _, _ = line_model
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss="mse", metrics=["mae"])
        folder = folder / "momentum"
        self.fit(line_model, folder)
        model.compile(keras.optimizers.RMSprop(0.1), loss="mse", metrics=["mae"])
        with pytest.raises(ValueError, match="another optimizer: SGD, expected: RMSprop"):
            self.fit(line_model, folder, restore=True)

    def test_another_model(self, line_model, folder):
        other = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
        other.compile("sgd", loss="mse")
        with pytest.raises(ValueError, match="another model: nothing more, expected: bias"):
            Checkpoint(folder).restore(other)
        unbuilt = keras.Sequential([keras.layers.Dense(1)])
        unbuilt.compile("sgd", loss="mse")
        with pytest.raises(ValueError, match="must be built"):
            Checkpoint(folder).restore(unbuilt)

    def test_other_callbacks(self, line_model, folder):
        states = [keras.callbacks.EarlyStopping("loss")]
        with pytest.raises(ValueError, match="other callbacks: nothing more, expected: EarlyStop"):
            self.fit(line_model, folder, restore=True, states=states)

    @pytest.mark.parametrize(
        ("states", "error", "message"),
        [
            ([keras.callbacks.SwapEMAWeights()], TypeError, "received: SwapEMAWeights"),
            ([keras.callbacks.ModelCheckpoint("x.keras", save_freq=5)], TypeError, "'epoch', rec"),
            ([keras.callbacks.ReduceLROnPlateau() for _ in "ab"], ValueError, "two callbacks of"),
        ],
    )
    def test_a_callback_without_a_public_state(self, states, error, message, tmp_path):
        with pytest.raises(error, match=message):
            Checkpoint(tmp_path, states)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"keep": 0}, "keep must be 1"),
            ({"every_steps": 0}, "every_steps must be 1"),
            ({"mode": "best"}, "mode must be"),
            ({"monitor": "spread"}, "say mode="),
        ],
    )
    def test_wrong_arguments(self, arguments, message, tmp_path):
        with pytest.raises(ValueError, match=message):
            Checkpoint(tmp_path, **arguments)

    def test_a_state_that_is_no_json(self, line_model, tmp_path):
        class Odd(keras.callbacks.Callback):
            def state(self):
                return {"odd": {1, 2}}, []

            def restore(self, values, arrays):
                pass

        with pytest.raises(TypeError, match="JSON types and NumPy numbers, received: {1, 2}"):
            self.fit(line_model, tmp_path, states=[Odd()])
        assert not list(tmp_path.iterdir())


class TestBest:
    VALUES = (3.0, float("nan"), 1.0, float("inf"), 2.0, 1.5)

    def fit(self, line_model, script, folder, **arguments):
        model, x, y = line_model
        checkpoint = Checkpoint(folder, monitor="val_loss", keep=1)
        callbacks = [script("val_loss", self.VALUES), checkpoint]
        model.fit(x, y, callbacks=callbacks, verbose=0, **arguments)
        return checkpoint

    def test_the_best_is_kept_and_never_one_that_is_not_finite(self, line_model, script, tmp_path):
        checkpoint = self.fit(line_model, script, tmp_path, epochs=5)
        assert [path.name for path in checkpoint.files()] == ["epoch-0003.npz", "epoch-0005.npz"]
        model = line_model[0]
        assert checkpoint.restore_best(model) == 3
        np.testing.assert_allclose(model.get_weights()[0], 1 - 0.5**3)
        # Another process knows it from the folder, a resumed run too.
        assert Checkpoint(tmp_path).restore_best(model) == 3
        resumed = Checkpoint(tmp_path, monitor="val_loss", keep=1)
        assert resumed.restore_newest(model) == 5
        assert (resumed.best, resumed.best_epoch) == (1.0, 3)
        np.testing.assert_allclose(model.get_weights()[0], 1 - 0.5**5)
        other = Checkpoint(tmp_path, monitor="val_accuracy")
        for restore in (other.restore_best, other.restore_newest):
            with pytest.raises(ValueError, match="by 'val_loss', received: monitor='val_accuracy'"):
                restore(model)

    def test_none_was_finite(self, line_model, tmp_path):
        with pytest.raises(ValueError, match="no epoch .* had a finite 'val_loss'"):
            Checkpoint(tmp_path, monitor="val_loss").restore_best(line_model[0])
        with pytest.raises(ValueError, match="had a finite measure that was monitored"):
            Checkpoint(tmp_path).restore_best(line_model[0])

    def test_an_unknown_measure(self, line_model, tmp_path):
        model, x, y = line_model
        with pytest.raises(ValueError, match=r"monitors 'val_loss'.*\(it reports loss, mae\)"):
            model.fit(x, y, verbose=0, callbacks=[Checkpoint(tmp_path, monitor="val_loss")])


def test_stock_callbacks_go_on_where_they_were(line_model, script, tmp_path):
    """Patience of 3 and of 2 run out at the same epochs, with a resume inside the waiting."""
    values = (1.0, 2.0, 2.0, 2.0, 2.0, 2.0)

    def callbacks(folder):
        stopping = keras.callbacks.EarlyStopping("val_loss", patience=3, restore_best_weights=True)
        plateau = keras.callbacks.ReduceLROnPlateau("val_loss", patience=2, factor=0.5)
        saving = keras.callbacks.ModelCheckpoint(
            tmp_path / "best.keras", "val_loss", save_best_only=True
        )
        states = [stopping, plateau, saving]
        return [script("val_loss", values), *states, Checkpoint(folder, states)]

    def fit(folder, epochs):
        model, x, y = line_model
        model.compile(keras.optimizers.SGD(0.25), loss="mse")
        model.set_weights([np.zeros((1, 1))])
        data = tf.data.Dataset.from_tensors((x, y))
        used = callbacks(folder)
        history = model.fit(
            used[-1].data(data),
            initial_epoch=used[-1].restore(model),
            epochs=epochs,
            shuffle=False,
            verbose=0,
            callbacks=used,
        )
        return history.history, float(model.get_weights()[0][0, 0])

    expected = fit(tmp_path / "whole", 6)
    assert len(expected[0]["loss"]) == 4
    assert expected[1] == 0.5, "the best weights are those of the first epoch"
    (tmp_path / "best.keras").unlink()
    for epochs in (1, 3):
        fit(tmp_path / "parts", epochs)
        (tmp_path / "best.keras").unlink(missing_ok=True)
    assert fit(tmp_path / "parts", 6) == expected
    assert not (tmp_path / "best.keras").exists(), "no later epoch is the best"
