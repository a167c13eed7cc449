"""The progress lines."""

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
