"""The benchmark of searches: its two sides train the same network and try the same points."""

import dataclasses
import statistics

import keras
import numpy as np
import pytest

pytest.importorskip("keras_tuner")

import keras_tuner

from benchmarks import over_seeds
from benchmarks._search import accuracy, plain, speed
from recipes import Recipe, Run, RunError, get_recipe, load_data
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


def test_a_run_of_something_else_is_refused(tmp_path):
    """By both benchmarks that read what is in their folder."""
    images = np.random.default_rng(0).integers(0, 255, (60, 8, 8, 1)).astype(np.uint8)
    data = load_data((images, np.arange(60) % 3), validation=0.25)
    other = load_data((images[::-1], np.arange(60) % 3), validation=0.25)
    # The same images to train on, others to judge by.
    judged = dataclasses.replace(data, splits={**data.splits, "test": data.splits["validation"]})
    recipe = Recipe(name="mine")
    directory = tmp_path / "seed0"
    run = Run.create(directory, recipe, data.to_dict(), {"format_version": 1})
    run.path("metrics.json").write_text("{}")
    run.path("export.json").write_text('{"files": []}')
    run.path("model.keras").touch()
    assert accuracy.final(recipe, data, tmp_path, 0).directory == directory
    assert over_seeds._run(recipe, data, directory).directory == directory
    longer = recipe.override({"training.epochs": 99})
    for given, what in (((longer, data), "another recipe"), ((recipe, other), "other images")):
        with pytest.raises(RunError, match=f"seed0 is a run of {what}"):
            over_seeds._run(*given, directory)
        with pytest.raises(RunError, match=f"seed0 is a run of {what}"):
            accuracy.final(*given, tmp_path, 0)
    with pytest.raises(RunError, match="other images"):
        accuracy.final(recipe, judged, tmp_path, 0)


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
