"""The example of quantization-aware training, on a tiny finished run."""

import pytest

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


def test_fewer_images_than_a_batch_are_a_batch(program, trained_on_ten, monkeypatch):
    monkeypatch.setattr(program, "load_keras_model", lambda path: None)
    given = trained_on_ten(program, "quantize_aware", preserve=None)
    assert given["steps_per_epoch"] == 1
    assert len(next(iter(given["batches"]))[0]) == 10


def test_mistakes_are_one_line(program, tmp_path, capsys):
    assert program.main([str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("quantize_aware: ")
    assert error.count("\n") == 1
