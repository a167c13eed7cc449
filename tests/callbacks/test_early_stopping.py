"""EarlyStopping on scripted measures, and the traps of the stock callback."""

import keras
import pytest

from callbacks import EarlyStopping, WeightAverage
from callbacks.early_stopping import better_direction

NAN = float("nan")

# monitor, values, patience, min_delta -> best epoch, stopped after epoch
_SCRIPTS = [
    ("val_loss", [3, 2, 1, 2, 3], None, 0, 3, None),
    ("val_loss", [3, 2, 1, 2, 3, 0], 2, 0, 3, 5),
    ("val_loss", [3, 3, 3, 3], 2, 0, 1, 3),
    ("val_loss", [3, 2.9, 2.7, 2.6], 2, 0.25, 3, None),
    ("val_loss", [3, 2.9, 2.8, 2.79], 3, 0.25, 1, 4),
    ("val_accuracy", [0.1, 0.5, 0.4, 0.3], 2, 0, 2, 4),
    ("val_loss", [NAN, 2, 1, 3, 3], 2, 0, 3, 5),
    ("val_loss", [2, NAN, 1], 2, 0, 3, None),
    ("val_loss", [float("-inf"), 2, 1], 5, 0, 3, None),
    ("val_loss", [NAN, NAN, NAN], 2, 0, None, 2),
]


def _fit(line_model, callbacks, epochs):
    model, x, y = line_model
    model.fit(x, y, epochs=epochs, verbose=0, callbacks=callbacks)
    return float(model.get_weights()[0][0, 0])


@pytest.mark.parametrize(("monitor", "values", "patience", "delta", "best", "stopped"), _SCRIPTS)
def test_scripts(line_model, script, monitor, values, patience, delta, best, stopped):
    stopping = EarlyStopping(monitor, patience=patience, min_delta=delta)
    weight = _fit(line_model, [script(monitor, values), stopping], len(values))
    assert (stopping.best_epoch, stopping.stopped_epoch) == (best, stopped)
    kept = best or stopped  # without a finite value the last weights stay
    assert weight == pytest.approx(1 - 0.5**kept)
    assert monitor in stopping.reason


def test_the_stock_callback_keeps_the_diverged_epoch(line_model, script):
    """The trap that the third script above avoids; if this fails, Keras has mended it."""
    stock = keras.callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True)
    weight = _fit(line_model, [script("val_loss", [NAN, 2, 1, 3, 3]), stock], 5)
    assert weight == pytest.approx(0.5)


def test_unknown_monitor_raises_with_the_nearest(line_model):
    with pytest.raises(ValueError, match=r"'val_los'.*reports loss, mae.*did you mean 'loss'"):
        _fit(line_model, [EarlyStopping("val_los")], 1)


def test_restores_the_averaged_weights_that_were_measured(line_model, script):
    average = WeightAverage(0.5)
    stopping = EarlyStopping("val_loss", average=average)
    weight = _fit(line_model, [average, script("val_loss", [3, 1, 2]), stopping], 3)
    # The decay is held to (1 + t) / (10 + t): 0.1 and 2/11 in the first two steps.
    first = 0.1 * 0.0 + 0.9 * 0.5
    second = 2 / 11 * first + 9 / 11 * 0.75
    assert weight == pytest.approx(second, rel=1e-5)


def test_state_goes_on_where_it_was(line_model, script):
    values = [3, 2, 2.5, 2.6]
    first = EarlyStopping("val_loss", patience=2)
    _fit(line_model, [script("val_loss", values), first], 3)
    second = EarlyStopping("val_loss", patience=2)
    second.restore(*first.state())
    model, x, y = line_model
    model.fit(
        x,
        y,
        initial_epoch=3,
        epochs=9,
        verbose=0,
        callbacks=[script("val_loss", values), second],
    )
    assert (second.best, second.best_epoch, second.stopped_epoch) == (2, 2, 4)
    assert model.get_weights()[0][0, 0] == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("name", "mode"),
    [("val_loss", "min"), ("val_accuracy", "max"), ("val_ece", "min"), ("auc", "max")],
)
def test_direction(name, mode):
    assert better_direction(name) == mode


@pytest.mark.parametrize(
    "arguments", [{"patience": 0}, {"min_delta": -1}, {"min_delta": NAN}, {"mode": "up"}]
)
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        EarlyStopping(**arguments)


def test_patience_counts_from_the_epochs_that_always_run(line_model, script):
    stopping = EarlyStopping("val_loss", patience=2, min_epochs=4)
    weight = _fit(line_model, [script("val_loss", [1, 2, 2, 2, 2, 2, 2]), stopping], 7)
    assert (stopping.best_epoch, stopping.stopped_epoch) == (1, 6)
    assert weight == pytest.approx(0.5), "the best epoch is one before them"
    with pytest.raises(ValueError, match="min_epochs must be 0 or more, received: -1"):
        EarlyStopping(min_epochs=-1)
