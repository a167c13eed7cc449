"""The benchmark of searches: its two sides train the same network and try the same points."""

import statistics

import keras
import pytest

pytest.importorskip("keras_tuner")

import keras_tuner

from benchmarks._search import accuracy, plain, speed
from recipes import get_recipe
from recipes.models import build_model
from tuning.spaces import Space


def test_both_sides_train_the_same_network():
    ours = build_model("resnet9", input_shape=(28, 28, 1), classes=10, width=16)
    theirs = plain.build_network((28, 28, 1), 10, 72.0, 8000.0, 16)

    def trained(model):
        return sorted(tuple(weight.shape) for weight in model.trainable_variables)

    assert trained(ours) == trained(theirs)


def test_both_sides_try_the_same_points():
    """Each draw of ours has what the other side asks for, which gets them in their order."""
    space = Space(speed.SPACE)
    start = space.start(get_recipe("fashion-mini"))
    draws = [
        {name.partition(".")[2]: value for name, value in {**start, **changed}.items()}
        for changed in ({}, {"optimizer.learning_rate": 0.07})
    ]
    oracle = plain.Draws(
        draws, objective=keras_tuner.Objective("val_accuracy", "max"), max_trials=2
    )
    build = plain.model_builder((28, 28, 1), 10, 72.0, 8000.0, 4, steps=100)
    rates = []
    for number in range(2):
        hyperparameters = keras_tuner.HyperParameters()
        hyperparameters.values = oracle.populate_space(str(number))["values"]
        rates.append(float(build(hyperparameters).optimizer._learning_rate(20)))
    # After a fifth of the steps of the schedule it is warmed up: at its peak.
    assert rates == pytest.approx([0.3, 0.07], rel=1e-3)
    keras.utils.clear_session()


def test_figures_are_those_of_the_rows():
    row = {"trials_an_hour": 720, "best": 0.9, "epochs": 5, "processor_seconds": 7.0}
    ratios = {"ratio": 2.0, "processor_ratio": 3.5}
    result = {"settings": {"trials": 2}, "rows": {"search": {"seconds": 10.0, **row, **ratios}}}
    assert "2.00" in (printed := "\n".join(speed.lines(result)))
    assert "3.50" in printed
    assert "90.0%" in printed
    values = [0.91, 0.92, 0.96]
    found = accuracy.spread(values)
    assert found["mean"] == pytest.approx(statistics.mean(values))
    assert found["deviation"] == pytest.approx(statistics.stdev(values))
    assert accuracy.spread([0.5])["deviation"] is None
