"""The example of quantization-aware training, on a tiny finished run."""

import types

import numpy as np
import pytest

from recipes import Recipe, RecipesError, load_data
from recipes.evaluation.classifier import LiteRTClassifier

pytest.importorskip("tensorflow_model_optimization")


@pytest.mark.slow
def test_it_trains_and_compares(program, tiny_run, tmp_path, capsys):
    arguments = [str(tiny_run.directory), "--steps", "3", "--out", str(tmp_path)]
    assert program.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()[-4:]
    accuracies = [float(line.split("accuracy ")[1].split()[0]) for line in lines[:3]]
    assert accuracies[0] == pytest.approx(tiny_run.metrics["test"]["accuracy"], abs=1e-4)
    assert min(accuracies) > 0.6, "three kinds of clothes, a third by chance"
    assert lines[3].startswith("float operations left: {")
    names = LiteRTClassifier(tmp_path / "aware.tflite").class_names
    assert names == ("Trouser", "Bag", "Ankle boot")


def test_fewer_images_than_a_batch_are_a_batch(program, tmp_path, monkeypatch):
    images = np.zeros((10, 8, 8, 1), np.uint8)
    data = load_data({"train": (images, np.arange(10) % 2), "validation": (images[:2], [0, 1])})
    run = types.SimpleNamespace(
        load_data=lambda: data, path=tmp_path.joinpath, recipe=Recipe("mine")
    )
    assert run.recipe.training.batch_size > 10
    received = {}

    def train(model, batches, **arguments):
        received.update(arguments, batches=batches)
        raise RecipesError("seen")

    monkeypatch.setattr(program, "quantize_aware", train)
    monkeypatch.setattr(program, "load_keras_model", lambda path: None)
    options = types.SimpleNamespace(epochs=1, steps=None, preserve=None)
    with pytest.raises(RecipesError, match="seen"):
        program.work(run, tmp_path, options)
    assert received["steps_per_epoch"] == 1
    assert len(next(iter(received["batches"]))[0]) == 10


def test_mistakes_are_one_line(program, tmp_path, capsys):
    assert program.main([str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("quantize_aware: ")
    assert error.count("\n") == 1
