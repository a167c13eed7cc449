"""EarlyStopping on scripted measures, and the traps of the stock callback."""

import json
import re

import keras
import numpy as np
import pytest

from callbacks import Bound, EarlyStopping, GeneralizationLoss, WeightAverage
from callbacks._monitoring import Monitored, better_direction

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
@pytest.mark.sampled(2)
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        # A misspelt name is found after the first batch, when only loss and mae are reported.
        (
            {"monitor": "val_los", "mode": "min"},
            r"'val_los'.*reports loss, mae.*did you mean 'val_loss'",
        ),
        ({"monitor": "mea", "mode": "min"}, r"'mea'.*reports loss, mae\)"),
        ({"monitor": "val_spread", "mode": "min"}, r"'val_spread'.*reports loss, mae.*added="),
        # Known, but the callback that adds it is missing: found after the first epoch.
        ({"monitor": "val_loss"}, r"'val_loss'.*reports loss, mae"),
        ({"monitor": "loss", "guards": [Bound("val_ecf", at_most=1)]}, "'val_ecf'.*'val_ece'"),
    ],
)
def test_unknown_monitor_raises_with_the_nearest(line_model, arguments, message):
    with pytest.raises(ValueError, match=message):
        _fit(line_model, [EarlyStopping(**arguments)], 1)


@pytest.mark.parametrize(
    ("monitor", "remedy"),
    [
        ("val_loss", "give fit validation_data (validation_freq must be 1), or name Validation"),
        ("val_mae", "give fit validation_data (validation_freq must be 1)"),
        ("val_accuracy", "name Validation before this callback"),
        ("val_ece", "name Validation before this callback"),
        ("val_brier", "name CalibrationMonitor before this callback"),
        ("gradient_norm", "name the callback that adds it before this one"),
    ],
)
def test_what_adds_a_measure_is_named(monitor, remedy):
    with pytest.raises(ValueError, match=re.escape(f"(it reports loss, mae); {remedy}")):
        Monitored("EarlyStopping", [monitor]).value(monitor, {"loss": 1.0, "mae": 1.0})


@pytest.mark.parametrize(
    ("monitor", "added"),
    [
        ("val_mce", []),
        ("val_nll", []),
        ("gradient_norm_max", []),
        ("gradient_norm/dense", []),
        ("learning_rate", []),
        ("val_accuracies", ["val_accuracies"]),
    ],
)
def test_names_that_other_callbacks_add(line_model, script, monitor, added):
    """However like the name of a measure that is reported, such as `val_ece`, it is no mistake."""
    stopping = EarlyStopping(monitor, mode="min", added=added)
    weight = _fit(line_model, [script(monitor, [3, 1, 2]), stopping], 3)
    assert (stopping.best_epoch, weight) == (2, 0.75)


def test_the_stock_callback_only_warns_of_an_unknown_monitor(line_model):
    stock = keras.callbacks.EarlyStopping("val_los", patience=1, mode="min")
    with pytest.warns(UserWarning, match="val_los"):
        _fit(line_model, [stock], 3)


class TestGuards:
    VALUES = {"val_loss": [3, 2, 1, 1.5], "val_ece": [0.02, 0.04, 0.3, 0.01]}  # noqa: RUF012

    def fit(self, line_model, script, **arguments):
        scripts = [script(name, values) for name, values in self.VALUES.items()]
        stopping = EarlyStopping("val_loss", **arguments)
        return stopping, _fit(line_model, [*scripts, stopping], 4)

    def test_an_epoch_that_breaks_a_bound_is_never_restored(self, line_model, script):
        stopping, weight = self.fit(line_model, script, guards=[Bound("val_ece", at_most=0.05)])
        assert (stopping.best_epoch, stopping.best) == (4, 1.5)
        assert weight == pytest.approx(1 - 0.5**4)
        assert "the best that kept val_ece <= 0.05" in stopping.reason

    def test_stopping_looks_at_the_monitor_alone(self, line_model, script):
        guards = [Bound("val_ece", at_most=0.03)]
        stopping, weight = self.fit(line_model, script, guards=guards, patience=1)
        # Epochs 2 and 3 improve the loss, though only 1 keeps the bound before the stop.
        assert (stopping.stopped_epoch, stopping.best_epoch) == (4, 4)
        assert weight == pytest.approx(1 - 0.5**4)

    def test_no_epoch_keeps_the_bounds(self, line_model, script):
        guards = [Bound("val_ece", at_most=0.001), Bound("val_loss", at_least=0)]
        stopping, weight = self.fit(line_model, script, guards=guards)
        assert stopping.best_epoch is None
        assert weight == pytest.approx(1 - 0.5**4)
        assert stopping.reason == (
            "no epoch kept val_ece <= 0.001 and 0 <= val_loss; the last weights are kept"
        )


def test_improvement_must_exceed_the_standard_error(line_model, script):
    # 100 images: the standard error of 0.9 is 0.03, that of 0.94 is 0.0237.
    values = [0.9, 0.925, 0.94, 0.96, 0.97]
    stopping = EarlyStopping(
        "val_accuracy", min_delta="standard_error", validation_labels=[0, 1] * 50
    )
    _fit(line_model, [script("val_accuracy", values), stopping], 5)
    assert stopping.best_epoch == 5
    assert stopping.best == 0.97
    losses = EarlyStopping("val_loss", min_delta="standard_error", validation_labels=[0, 1])
    with pytest.raises(ValueError, match=r"for shares in \[0, 1\].*received a value of 3"):
        _fit(line_model, [script("val_loss", [3, 2]), losses], 2)


def test_prechelts_criterion_stops(line_model, script):
    stopping = EarlyStopping("val_loss", criterion=GeneralizationLoss(10))
    weight = _fit(line_model, [script("val_loss", [2, 1, 1.05, 1.2, 0.5]), stopping], 5)
    assert (stopping.stopped_epoch, stopping.best_epoch) == (4, 2)
    assert weight == pytest.approx(0.75)
    assert "stopped after epoch 4: validation loss 20 % above its lowest" in stopping.reason


@pytest.mark.parametrize("first", [3, NAN])
def test_a_criterion_leaves_out_what_is_not_finite(line_model, script, first):
    stopping = EarlyStopping("val_loss", criterion=GeneralizationLoss(5))
    _fit(line_model, [script("val_loss", [first, 1, 2, 2, 2]), stopping], 5)
    assert (stopping.stopped_epoch, stopping.best_epoch) == (3, 2)


def test_another_fit_begins_again(line_model, script):
    stopping = EarlyStopping("val_loss", patience=2)
    _fit(line_model, [script("val_loss", [1, 2, 3]), stopping], 3)
    assert (stopping.stopped_epoch, stopping.best_epoch) == (3, 1)
    line_model[0].set_weights([np.zeros((1, 1))])
    weight = _fit(line_model, [script("val_loss", [9, 8, 7, 6]), stopping], 4)
    assert (stopping.stopped_epoch, stopping.best_epoch) == (None, 4)
    assert stopping.reason == "kept epoch 4 with val_loss 6"
    assert weight == 1 - 0.5**4


def test_criterion_and_guards_survive_a_resume(line_model, script):
    values = {"val_loss": [2, 1, 1.05, 1.2, 0.5], "val_ece": [0, 0.5, 0, 0, 0]}
    arguments = {"criterion": GeneralizationLoss(10), "guards": [Bound("val_ece", at_most=0.1)]}

    def fit(stopping, epochs, initial_epoch=0):
        model, x, y = line_model
        scripts = [script(*item) for item in values.items()]
        callbacks = [*scripts, stopping]
        epoch = {"initial_epoch": initial_epoch, "epochs": epochs}
        model.fit(x, y, **epoch, verbose=0, callbacks=callbacks)
        return float(model.get_weights()[0][0, 0])

    first = EarlyStopping("val_loss", **arguments)
    fit(first, 2)
    line_model[0].set_weights(
        [np.array([[0.75]])]
    )  # raw weights, as a checkpoint would restore them
    second = EarlyStopping("val_loss", **arguments)
    state, arrays = first.state()
    second.restore(json.loads(json.dumps(state)), arrays)
    weight = fit(second, 5, initial_epoch=2)
    assert (second.stopped_epoch, second.best_epoch, second.best) == (4, 3, 1.05)
    assert weight == pytest.approx(1 - 0.5**3)


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
    [
        ("val_loss", "min"),
        ("val_accuracy", "max"),
        ("val_ece", "min"),
        ("auc", "max"),
        ("val_worst_recall", "max"),
        ("sparse_categorical_crossentropy", "min"),
        ("val_top_k_categorical_accuracy", "max"),
        ("mean_absolute_error", "min"),
        ("val_adaptive_ece", "min"),
        ("val_ece15", "min"),
        ("kl_divergence_1", "min"),
        ("head_loss", "min"),
        ("top5acc", "max"),
        ("val_acc1", "max"),
        ("auc_2", "max"),
        ("f1_score", "max"),
        ("r2_score", "max"),
        # Words of measures that get worse are only parts of these: loss and ece.
        ("val_glossy_accuracy", "max"),
        ("val_blossom_recall", "max"),
        ("val_piece_recall", "max"),
        ("val_macroF1", "max"),
        ("val_prAUC", "max"),
        ("val_testAcc", "max"),
        ("val_meanIoU", "max"),
    ],
)
def test_direction(name, mode):
    assert better_direction(name) == mode


def test_a_name_that_does_not_tell_its_direction():
    with pytest.raises(ValueError, match="'val_similarity' grows or shrinks.*say mode="):
        EarlyStopping("val_similarity")
    with pytest.raises(ValueError, match="did you mean 'val_loss'"):
        EarlyStopping("val_los")
    assert EarlyStopping("val_similarity", mode="max").mode == "max"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_delta": "error"}, "a number or 'standard_error', received: 'error'"),
        ({"min_delta": "standard_error"}, "needs validation_labels"),
        ({"min_images_per_class": 3}, "needs validation_labels"),
        (
            {"validation_labels": [0, 0, 0, 1], "min_images_per_class": 2},
            "at least 2 images of each class, class 1 has 1",
        ),
        ({"validation_labels": []}, "validation needs images, received none"),
    ],
)
def test_validation_that_cannot_judge(arguments, message):
    with pytest.raises(ValueError, match=message):
        EarlyStopping(**arguments)


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
