"""The example of pruning runs on a small finished run, and its zeros are in the files."""

import re
from unittest import mock

import keras
import numpy as np
import pytest

from recipes.data.image_data import Split

pytest.importorskip("tensorflow_model_optimization")


@pytest.mark.slow
def test_pruning_a_run(program, tiny_run, tmp_path, capsys):
    out = tmp_path / "small"
    arguments = [str(tiny_run.directory), "--epochs", "1", "--steps", "4", "--out", str(out)]
    assert program.main([*arguments, "--overall", "0.7", "--clusters", "16"]) == 0
    lines = capsys.readouterr().out.splitlines()
    sizes = [re.search(r"int8 ([\d,]+) bytes, ([\d,]+) after gzip", line) for line in lines[-2:]]
    before, after = (int(size[2].replace(",", "")) for size in sizes)
    assert after < 0.7 * before
    saved = keras.saving.load_model(out / "model.keras")
    kernels = [
        np.array(layer.kernel) for layer in saved.layers if isinstance(layer, keras.layers.Conv2D)
    ][1:]
    zeros = sum(int((kernel == 0).sum()) for kernel in kernels)
    assert zeros / sum(kernel.size for kernel in kernels) == pytest.approx(0.7, abs=2e-3)
    assert all(len(np.unique(kernel)) <= 16 for kernel in kernels if (kernel == 0).any())
    names = {path.name for path in out.iterdir()}
    assert names >= {"sensitivity.svg", "pruning.json", "clustering.json", "pruned.tflite"}


def test_layers_are_measured_on_images_of_all_classes(program):
    labels = np.repeat(np.arange(10), 30)
    images = np.zeros((300, 4, 4, 1), np.uint8)
    split = Split("validation", labels, (4, 4, 1), images=images)
    found = np.concatenate([batch.numpy() for _, batch in program.labelled(split, 20)])
    assert len(found) == 20
    assert set(found) == set(range(10))
    whole = np.concatenate([batch.numpy() for _, batch in program.labelled(split, 1000)])
    np.testing.assert_array_equal(whole, labels)


def test_fewer_images_than_a_batch_are_a_batch(program, trained_on_ten, monkeypatch):
    for name in ("keras", "sensitivity", "allocate"):
        monkeypatch.setattr(program, name, mock.MagicMock())
    given = trained_on_ten(program, "prune", overall=0.8)
    assert given["steps_per_epoch"] == 1
    assert len(next(iter(given["batches"]))[0]) == 10


def test_mistakes_are_one_line(program, tmp_path, capsys):
    assert program.main([str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("prune: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
