"""The diagnosis of hand-made curves: each fault is found, and none in sound ones."""

import json
import types

import keras
import numpy as np
import pytest

from callbacks._measure_names import VALIDATION_NAMES
from recipes.diagnosis.curves import read_curves
from recipes.diagnosis.diagnose import diagnose
from recipes.diagnosis.rules import falling
from recipes.errors import RunError

EPOCHS = np.arange(1, 21)


def decay(start, end, rate=0.3, noise=0.0, seed=0):
    generator = np.random.default_rng(seed)
    curve = end + (start - end) * np.exp(-rate * (EPOCHS - 1))
    return curve * (1 + noise * generator.normal(size=len(EPOCHS)))


COSINE = 0.05 * (1 + np.cos(np.pi * EPOCHS / 20))
# What the demo on bundled images gave, smoothed labels and mixing: 28 epochs, every other one.
DEMO = {
    "loss": [
        1.466,
        1.024,
        0.924,
        0.868,
        0.828,
        0.797,
        0.771,
        0.752,
        0.733,
        0.715,
        0.699,
        0.684,
        0.671,
        0.655,
    ],
    "val_loss": [
        0.681,
        0.478,
        0.43,
        0.404,
        0.381,
        0.365,
        0.353,
        0.341,
        0.332,
        0.327,
        0.322,
        0.319,
        0.3175,
        0.3166,
    ],
    "accuracy": [
        0.585,
        0.776,
        0.816,
        0.841,
        0.858,
        0.871,
        0.884,
        0.895,
        0.904,
        0.914,
        0.921,
        0.93,
        0.94,
        0.954,
    ],
    "val_accuracy": [
        0.775,
        0.838,
        0.858,
        0.862,
        0.872,
        0.88,
        0.883,
        0.89,
        0.895,
        0.898,
        0.903,
        0.905,
        0.908,
        0.903,
    ],
    "val_ece": [
        0.05,
        0.07,
        0.075,
        0.071,
        0.073,
        0.069,
        0.07,
        0.068,
        0.066,
        0.066,
        0.0655,
        0.065,
        0.0666,
        0.0587,
    ],
}
HEALTHY = {
    "smooth": {"loss": decay(2.0, 0.2), "val_loss": decay(2.0, 0.3)},
    "a little noise": {
        "loss": decay(2.0, 0.2, noise=0.03),
        "val_loss": decay(1.9, 0.35, noise=0.06, seed=1),
        "accuracy": 1 - decay(0.7, 0.05),
        "val_accuracy": 1 - decay(0.7, 0.1),
        "learning_rate": COSINE,
    },
    "dropout: validation a little better": {
        "loss": decay(2.1, 0.5),
        "val_loss": decay(1.8, 0.4),
        "accuracy": 1 - decay(0.7, 0.15),
        "val_accuracy": 1 - decay(0.6, 0.1),
    },
    "training is done": {
        "loss": decay(1.0, 0.01, rate=0.6),
        "val_loss": decay(1.0, 0.1, rate=0.6),
        "learning_rate": np.full(20, 0.01),
    },
    "slightly past its best": {
        "loss": decay(2.0, 0.1),
        "val_loss": decay(2.0, 0.3) + 0.002 * np.maximum(EPOCHS - 10, 0),
    },
    "fast first epoch": {"loss": decay(0.4, 0.1, rate=1.5), "val_loss": decay(0.3, 0.13, rate=1.5)},
    "one epoch": {"loss": [1.0], "val_loss": [0.9]},
    "training alone": {"loss": decay(2.3, 0.05)},
    "the demo": DEMO,
}


def names(found):
    return {finding.name for finding in found.findings}


@pytest.mark.parametrize("name", sorted(HEALTHY))
def test_sound_curves_have_no_findings(name):
    found = diagnose(HEALTHY[name], classes=10)
    assert not found.findings, str(found)
    assert "nothing found" in str(found)


def test_noise_alone_gives_few_false_alarms():
    """Sound curves under 5 % noise, as of 600 validation images: at most one in fifty."""
    alarms = 0
    for seed in range(100):
        history = {
            "loss": decay(2.0, 0.25, noise=0.02, seed=seed),
            "val_loss": decay(2.0, 0.35, noise=0.05, seed=seed + 1000),
            "accuracy": 1 - decay(0.8, 0.08, noise=0.02, seed=seed),
            "val_accuracy": 1 - decay(0.8, 0.11, noise=0.1, seed=seed + 1000),
            "learning_rate": COSINE,
        }
        alarms += bool(diagnose(history, classes=10).findings)
    assert alarms <= 2


SPIKES = np.where(EPOCHS % 2, 1.0, 2.0)
FAULTS = {
    "diverged": {"loss": [2.0, 1.5, float("nan"), float("nan")]},
    "overfit": {"loss": decay(2.0, 0.01), "val_loss": decay(2.0, 0.3) + 0.03 * EPOCHS},
    "underfit": {"loss": decay(2.3, 2.0), "val_loss": decay(2.3, 2.05)},
    "not_converged": {"loss": 2.3 - 0.08 * EPOCHS, "val_loss": 2.3 - 0.07 * EPOCHS},
    "noisy": {"loss": decay(2.0, 0.3), "val_loss": decay(2.0, 0.3) * SPIKES},
    "leaking": {
        "loss": decay(2.0, 0.6),
        "val_loss": decay(2.0, 0.05),
        "accuracy": 1 - decay(0.8, 0.3),
        "val_accuracy": 1 - decay(0.8, 0.02),
    },
    "learning_rate_plateau": {
        "loss": decay(2.0, 0.5, rate=1.0),
        "val_loss": decay(2.0, 0.6, rate=1.0),
        "learning_rate": np.full(20, 0.1),
    },
    "calibration_drift": {
        "loss": decay(2.0, 0.05),
        "val_loss": decay(2.0, 0.5) + 0.02 * EPOCHS,
        "val_ece": 0.02 + 0.008 * np.maximum(EPOCHS - 8, 0),
    },
}


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_a_fault_in_curves_is_found_alone(name):
    found = diagnose(FAULTS[name], classes=10)
    assert names(found) == {name}, str(found)
    assert found[name].advice
    assert found[name].figures
    assert "\n" not in found[name].message
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_loss_that_rose_and_stayed_has_diverged():
    found = diagnose({"loss": [2.0, 1.2, 0.9, 2.4, 2.3, 2.3], "val_loss": [2, 1.3, 1, 3, 3, 3.0]})
    assert "diverged" in found
    assert "epoch 3" in found["diverged"].message


def test_figures_of_overfit_by_hand():
    history = {
        "loss": [1.0, 0.7, 0.5, 0.3, 0.2, 0.1],
        "val_loss": [1.0, 0.8, 0.9, 1.0, 1.2, 1.6],
        "accuracy": [0.5, 0.6, 0.7, 0.9, 0.95, 1.0],
        "val_accuracy": [0.5, 0.6, 0.6, 0.6, 0.6, 0.6],
    }
    figures = diagnose(history)["overfit"].figures
    assert figures["best_epoch"] == 2
    assert figures["generalization_loss"] == pytest.approx(100 * (1.2 / 0.8 - 1))
    assert figures["accuracy_gap"] == pytest.approx(0.35)


def test_falling_is_the_drop_of_the_fitted_line():
    values = np.array([9.0, 5, 4, 3.5, 3.2])
    slope, start = np.polynomial.polynomial.polyfit(range(4), values[1:], 1)[::-1]
    assert falling(values) == pytest.approx(-3 * slope / start)


def test_a_short_schedule_that_ended_is_a_note():
    history = {**FAULTS["not_converged"], "learning_rate": COSINE}
    assert diagnose(history)["not_converged"].severity == "note"
    assert diagnose(FAULTS["not_converged"])["not_converged"].severity == "warning"


def write_run(folder, epochs, **recipe):
    folder.mkdir()
    (folder / "recipe.json").write_text(json.dumps(recipe))
    (folder / "environment.json").write_text(json.dumps({"format_version": 1}))
    data = {"class_names": list("abcdefghij"), "counts": {"validation": [60] * 10}}
    (folder / "data.json").write_text(json.dumps(data))
    lines = [json.dumps({"epoch": 1 + index, **epoch}) + "\n" for index, epoch in enumerate(epochs)]
    (folder / "history.jsonl").write_text("".join(lines))
    return folder


def test_a_run_tells_how_it_was_trained(tmp_path):
    epochs = [dict(zip(DEMO, values, strict=True)) for values in zip(*DEMO.values(), strict=True)]
    augmentation = {"label_smoothing": 0.1, "mixup_alpha": 0.2, "flip": "horizontal"}
    folder = write_run(tmp_path / "run", epochs, augmentation=augmentation, training={"ema": 0.99})
    curves = read_curves(folder)
    assert curves.classes == 10
    assert curves.validation_images == 600
    smoothed = np.full(10, 0.01)
    smoothed[0] += 0.9
    assert curves.floor == pytest.approx(-(smoothed * np.log(smoothed)).sum())
    assert curves.val_floor == 0
    assert curves.regularization == {"augmentation", "mixing", "average"}
    found = diagnose(folder)
    assert not found.findings, str(found)
    assert found.figures["epochs"] == 14
    never = augmentation | {"mix_probability": 0.0}
    other = write_run(tmp_path / "other", epochs, augmentation=never, training={"ema": 0.99})
    assert read_curves(other).regularization == {"augmentation", "average"}


def history_of(model, **curves):
    history = keras.callbacks.History()
    history.set_model(model)
    history.history = curves
    return history


def test_validation_measures_without_label_smoothing():
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(10)])
    model.compile(loss=keras.losses.CategoricalCrossentropy(True, label_smoothing=0.1))
    loss = {"loss": [1.5, 1.2, 1, 0.9, 0.8, 0.7, 0.6, 0.55]}
    val_loss = [1, 0.5, 0.3, 0.2, 0.25, 0.3, 0.4, 0.5]
    measured = dict.fromkeys(VALIDATION_NAMES, [0.5] * 8) | {"val_loss": val_loss}
    history = history_of(model, **loss, **measured)
    assert read_curves(history).val_floor == 0
    assert "overfit" in diagnose(history)
    # What Keras itself measures is smoothed.
    row = np.full(10, 0.01)
    row[0] += 0.9
    floor = -(row * np.log(row)).sum()
    assert read_curves(history_of(model, **loss, val_loss=val_loss)).val_floor == pytest.approx(
        floor
    )


def test_each_of_several_labels_is_yes_or_no():
    outputs = keras.layers.Dense(10, "sigmoid")
    model = keras.Sequential([keras.layers.Input((2,)), outputs])
    model.compile(loss="binary_crossentropy")
    assert read_curves(history_of(model, loss=[0.7])).classes == 2


def test_a_hole_in_the_curves_leaves_one_rule():
    curves = {"loss": [1, 0.5, float("nan"), *[1] * 6], "val_loss": [1] * 9}
    found = diagnose(curves, classes=10)
    assert found.checks == ("diverged",)
    assert found.skipped["overfit"] == found.skipped["noisy"] == "the losses are not finite"


def test_a_diverged_run_has_no_numbers(tmp_path):
    folder = write_run(tmp_path / "run", [{"loss": 1.0}, {"loss": None}])
    assert names(diagnose(folder)) == {"diverged"}


def test_copies_between_splits(tiny_source):
    from recipes import load_data
    from recipes.diagnosis.diagnose import copies

    data = load_data(tiny_source)
    assert not copies(data)
    split = data.splits["train"]
    images = split.load(np.arange(len(split)))
    test = np.concatenate([images[:9], data.splits["test"].load(np.arange(51))])
    labels = np.concatenate([split.labels[:9], data.splits["test"].labels[:51]])
    parts = {"train": split, "test": Copied(test, labels)}
    (found,) = copies(types.SimpleNamespace(splits=parts))
    assert found.figures == {"split": "test", "copies": 9, "images": 60}
    assert found.severity == "error"


class Copied:
    """A split in memory."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def load(self, indices):
        return self.images[indices]


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ({}, ValueError, "the history has no 'loss', only: nothing"),
        ({"losss": [1]}, ValueError, "only: losss; did you mean 'losss'"),
        ({"loss": []}, ValueError, "holds no epoch"),
        ({"loss": [1, 2], "val_loss": [1]}, ValueError, "2 epochs of loss, 1 of val_loss"),
        (7, ValueError, "expected a History, a dict of lists or a run directory, received: int"),
        ("no-such-run", RunError, "no run directory at no-such-run"),
    ],
)
def test_mistakes_are_one_line(source, error, message):
    with pytest.raises(error, match=message) as caught:
        diagnose(source)
    assert "\n" not in str(caught.value)
