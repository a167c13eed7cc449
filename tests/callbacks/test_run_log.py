"""RunLog: what the lines hold, how they add up, and that no kill can spoil them."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from callbacks import RunLog, Validation


class _Sleep(keras.callbacks.Callback):
    """Take a known time at the end of each epoch."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def on_epoch_end(self, epoch, logs=None):
        time.sleep(self.seconds)


class _SleepInTest(keras.callbacks.Callback):
    def on_test_batch_end(self, batch, logs=None):
        time.sleep(0.1)


def _lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def _rows(path):
    return list(csv.DictReader(path.with_suffix(".csv").read_text().splitlines()))


def test_lines_hold_the_logs_under_their_names(line_model, tmp_path):
    model, x, y = line_model
    path = tmp_path / "log.jsonl"
    history = model.fit(
        np.repeat(x, 6, 0),
        np.repeat(y, 6, 0),
        batch_size=2,
        validation_data=(x, y),
        epochs=3,
        verbose=0,
        callbacks=[RunLog(path)],
    ).history
    lines = _lines(path)
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    for name, values in history.items():
        assert [line[name] for line in lines] == values
    for line in lines:
        assert line["learning_rate"] == 0.25
        # 6 images an epoch; both numbers are rounded
        assert line["images_per_second"] == pytest.approx(6 / line["train_seconds"], rel=0.1)
        assert 50 < line["peak_memory_mib"] < 100_000
    rows = _rows(tmp_path / "log.jsonl")
    assert list(rows[0]) == list(lines[0])
    assert [[float(value) for value in row.values()] for row in rows] == [
        [float(value) for value in line.values()] for line in lines
    ]


def test_seconds_by_phase_add_up(line_model, tmp_path):
    model, x, y = line_model
    early, late = _Sleep(0.2), _Sleep(0.3)
    log = RunLog(tmp_path / "log.jsonl", timed={"validation": early, "checkpoint": late})
    model.fit(
        x,
        y,
        validation_data=(x, y),
        epochs=2,
        verbose=0,
        callbacks=[early, log, _Sleep(0.15), late, _SleepInTest()],
    )
    for line in _lines(tmp_path / "log.jsonl"):
        # No upper bounds, since a busy machine sleeps longer; but each second counts once.
        assert line["validation_seconds"] >= 0.3  # 0.1 in the test batch, 0.2 after it
        assert line["checkpoint_seconds"] >= 0.3
        assert line["callback_seconds"] >= 0.15
        parts = ("train", "validation", "callback", "checkpoint")
        total = sum(line[f"{name}_seconds"] for name in parts)
        assert line["seconds"] == pytest.approx(total, abs=0.003)
    assert "on_epoch_end" not in vars(early)


@pytest.mark.parametrize("weighted", [False, True])
def test_images_are_counted_whatever_validates(line_model, tmp_path, weighted):
    model, x, y = line_model
    data = tf.data.Dataset.from_tensor_slices((np.repeat(x, 5, 0), np.repeat(y, 5, 0))).batch(2)
    log = RunLog(tmp_path / "log.jsonl")
    images = []
    count = log._count_images
    log._count_images = lambda: images.append(count()) or images[-1]
    if weighted:
        data = data.map(lambda x, y: (x, y, tf.fill([tf.shape(x)[0]], 0.25)))
    model.fit(data, epochs=2, verbose=0, shuffle=False, validation_data=(x, y), callbacks=[log])
    assert images == [5, 5]


def test_a_resumed_run_goes_on_without_doubled_lines(line_model, tmp_path):
    model, x, y = line_model
    path = tmp_path / "log.jsonl"
    model.fit(x, y, epochs=3, verbose=0, callbacks=[RunLog(path)])
    first = _lines(path)
    # Killed after the line of epoch 3, before its checkpoint: epoch 3 runs again.
    again = RunLog(path)
    model.fit(x, y, initial_epoch=2, epochs=4, verbose=0, callbacks=[again])
    lines = _lines(path)
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert lines[:2] == first[:2]
    assert lines[2]["loss"] != first[2]["loss"]
    assert len(path.with_suffix(".csv").read_text().splitlines()) == 5
    model.fit(x, y, epochs=1, verbose=0, callbacks=[RunLog(path)])
    assert [line["epoch"] for line in _lines(path)] == [1]


def test_what_is_not_finite_and_columns_that_come_late(line_model, tmp_path, script):
    model, x, y = line_model

    class Late(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch:
                logs["late"] = 7.0

    path = tmp_path / "log.jsonl"
    scripted = script("val_loss", [float("nan"), float("-inf")])
    model.fit(x, y, epochs=2, verbose=0, callbacks=[scripted, Late(), RunLog(path)])
    assert [line["val_loss"] for line in _lines(path)] == [None, None]
    rows = _rows(path)
    assert [(row["val_loss"], row["late"]) for row in rows] == [("", ""), ("", "7.0")]


def test_our_validation_can_be_timed(tmp_path):
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2)])
    model.compile(loss="mse")
    validation = Validation(tf.data.Dataset.from_tensors(np.eye(2, dtype="float32")), [0, 1])
    log = RunLog(tmp_path / "log.jsonl", timed={"validation": validation})
    model.fit(np.eye(2), np.eye(2), verbose=0, callbacks=[validation, log])
    assert log.lines[0]["validation_seconds"] > 0
    assert log.lines[0]["val_accuracy"] in (0, 0.5, 1)


def test_a_hook_of_the_callback_itself_is_called_and_kept(line_model, tmp_path):
    model, x, y = line_model
    seen = []

    def hook(epoch, logs):
        seen.append(epoch)
        if len(seen) == 1:
            raise KeyboardInterrupt

    timed = keras.callbacks.LambdaCallback(on_epoch_end=hook)
    log = RunLog(tmp_path / "log.jsonl", timed={"hook": timed})
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, verbose=0, callbacks=[timed, log])
    model.fit(x, y, epochs=2, verbose=0, callbacks=[timed, log])
    assert seen == [0, 0, 1]
    assert log.lines[-1]["hook_seconds"] >= 0
    assert timed.on_epoch_end is hook


def test_a_write_that_fails_leaves_the_lines_before_it(line_model, tmp_path, monkeypatch):
    model, x, y = line_model
    path = tmp_path / "log.jsonl"
    model.fit(x, y, epochs=1, verbose=0, callbacks=[RunLog(path)])
    before = path.read_bytes()

    def fail(handle):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        model.fit(x, y, initial_epoch=1, epochs=2, verbose=0, callbacks=[RunLog(path)])
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["log.csv", "log.jsonl"]


def test_wrong_arguments(line_model, tmp_path):
    with pytest.raises(ValueError, match="path must end in .jsonl"):
        RunLog(tmp_path / "log.csv")
    with pytest.raises(ValueError, match="folder of path must exist"):
        RunLog(tmp_path / "none" / "log.jsonl")
    model, x, y = line_model
    (tmp_path / "other.jsonl").write_text("hello\n")
    with pytest.raises(ValueError, match="is no run log"):
        model.fit(x, y, verbose=0, callbacks=[RunLog(tmp_path / "other.jsonl")])


_PROGRAM = """
import sys
import keras, numpy as np
from callbacks import RunLog
model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
x, log, first = np.ones((1, 1)), RunLog(sys.argv[1]), int(sys.argv[2])
model.fit(x, x, initial_epoch=first, epochs=first + 100000, verbose=0, callbacks=[log])
"""


@pytest.mark.slow
def test_readable_after_kills(tmp_path):
    path, done = tmp_path / "log.jsonl", 0
    for wait in (0.0, 0.013, 0.029):
        process = subprocess.Popen([sys.executable, "-c", _PROGRAM, str(path), str(done)])
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            time.sleep(0.01)
            if path.exists() and len(_lines(path)) >= done + 5:
                break
        time.sleep(wait)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        lines = _lines(path)
        assert [line["epoch"] for line in lines] == list(range(1, len(lines) + 1))
        assert len(lines) >= done + 5
        rows = _rows(path)
        assert len(lines) - 1 <= len(rows) <= len(lines)  # the one file follows the other
        done = len(lines)
