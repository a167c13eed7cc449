"""The progress bar, and the lines where there is none."""

import types

import keras
import pytest

from callbacks import Progress


def test_a_line_an_epoch_on_standard_error(line_model, capsys):
    model, x, y = line_model
    model.fit(x, y, epochs=2, verbose=0, callbacks=[Progress(2, 1)])
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert "loss 1.0000" in lines[0]
    assert "mae 0.5000" in lines[1]


def test_the_bar_on_a_terminal(line_model, capsys, monkeypatch):
    model, x, y = line_model
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    progress = Progress(3, 1, first_epoch=1)
    done = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            done.append(progress._bar.tasks[0].completed)

    model.fit(x, y, initial_epoch=1, epochs=3, verbose=0, callbacks=[progress, Look()])
    assert done == [2, 3]
    assert progress._bar is None


def test_an_interrupted_run_takes_the_bar_down(line_model, monkeypatch):
    model, x, y = line_model
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    progress = Progress(1, 1)

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, verbose=0, callbacks=[progress, Stop()])
    progress.close()
    assert progress._bar is None


class _Clock:
    """A clock in place of `time`, which a callback turns on."""

    now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """Return the clock that the progress reads."""
    clock = _Clock()
    monkeypatch.setattr("callbacks.progress.time", clock)
    return clock


class _Turn(keras.callbacks.Callback):
    """Let each batch, and each end of an epoch, take some seconds of the clock."""

    def __init__(self, clock, batches, ends):
        super().__init__()
        self.clock, self.batches, self.ends = clock, iter(batches), iter(ends)

    def on_train_batch_begin(self, batch, logs=None):
        self.clock.now += next(self.batches)

    def on_epoch_end(self, epoch, logs=None):
        self.clock.now += next(self.ends)


def _lines(capsys):
    return [line.split("  ") for line in capsys.readouterr().err.splitlines()]


def test_lines_in_a_log_file_say_the_time_left(line_model, capsys, clock):
    model, x, y = line_model
    # The first epoch traces; what comes after the line of an epoch counts with the next.
    turn = _Turn(clock, [60, 10, 12, 11], [0, 0, 2, 0])
    model.fit(x, y, epochs=4, verbose=0, callbacks=[Progress(4, 1), turn])
    lines = _lines(capsys)
    assert [line[-1] for line in lines] == [
        "60.0 s, left 3 min 00 s",
        "10.0 s, left 20 s",
        "12.0 s, left 11 s",
        "11.0 s",
    ]


def test_a_long_epoch_gets_a_line_now_and_then(line_model, capsys, clock):
    model, x, y = line_model
    x, y = x.repeat(5, axis=0), y.repeat(5, axis=0)
    turn = _Turn(clock, [40, 40, 40, 80, 100], [0])
    model.fit(x, y, batch_size=1, epochs=1, verbose=0, callbacks=[Progress(1, 5), turn])
    lines = _lines(capsys)
    assert [line[1:3] + line[-1:] for line in lines[:2]] == [
        ["step 2/5", "40 %", "80.0 s, left in this epoch 2 min 00 s"],
        ["step 4/5", "80 %", "200.0 s, left in this epoch 50 s"],
    ]
    # The loss is the mean of 1 and 1/4 so far.
    assert "loss 0.6250" in lines[0]
    assert len(lines) == 3
    assert lines[2][-1] == "300.0 s"


def test_lines_within_epochs_can_be_left_out(line_model, capsys, clock):
    model, x, y = line_model
    x, y = x.repeat(3, axis=0), y.repeat(3, axis=0)
    turn = _Turn(clock, [900, 900, 900], [0])
    progress = Progress(1, 3, every=None)
    model.fit(x, y, batch_size=1, verbose=0, callbacks=[progress, turn])
    assert len(_lines(capsys)) == 1
    with pytest.raises(ValueError, match="every must be positive, or None, received: 0"):
        Progress(1, 1, every=0)


def test_the_bar_of_a_fit_that_was_cut_short_is_taken_off():
    stopped, progress = [], Progress(1, 1)
    progress._bar = types.SimpleNamespace(stop=lambda: stopped.append(True))
    progress.on_train_begin()
    assert stopped == [True]
    progress.close()
