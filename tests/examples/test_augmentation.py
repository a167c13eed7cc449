"""The example that augments images for `model.fit`, on tiny data."""

import functools

import numpy as np
import pytest
from PIL import Image

import augment
from recipes import load_data


@pytest.mark.slow
def test_it_learns_and_draws(program, tiny_source, tmp_path, capsys):
    assert program.main([tiny_source, "--epochs", "6", "--out", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    accuracy = float(output.split("test accuracy ")[1].split()[0])
    assert accuracy > 0.7, "three kinds of clothes, a third by chance"
    with Image.open(tmp_path / "augmentation.png") as sheet:
        assert min(sheet.size) > 200


@pytest.mark.slow
def test_few_photographs_that_are_read_from_their_files(program, tmp_path, monkeypatch, capsys):
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(5):
            pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    # As a folder that is too large for the memory; and only one step, which is compiled soon.
    monkeypatch.setattr(program, "load_data", functools.partial(load_data, memory_limit=1))
    monkeypatch.setattr(
        program, "augmentation", lambda classes, seed: augment.Pipeline([augment.MixUp(1, classes)])
    )
    arguments = [str(tmp_path / "photos"), "--epochs", "2", "--out", str(tmp_path)]
    assert program.main(arguments) == 0
    assert "test accuracy" in capsys.readouterr().out
    assert (tmp_path / "augmentation.png").exists()


def test_it_says_what_it_fuses(program):
    text = str(program.augmentation(classes=3, seed=0))
    warp = text.index("one warp")
    stage = text.index("one colour stage")
    order = [
        warp,
        text.index("RandomFlip"),
        text.index("RandomRotation"),
        text.index("RandomZoom"),
        stage,
        text.index("RandomBrightness"),
        text.index("RandomContrast"),
        text.index("RandAugment"),
        text.index("MixUp"),
    ]
    assert order == sorted(order)


def test_strength_grows(program):
    pipeline = program.augmentation(classes=3, seed=0)
    callback, found = program.stronger(pipeline, epochs=10), []
    for epoch in range(10):
        callback.on_epoch_begin(epoch)
        found.append(pipeline.strength)
    np.testing.assert_allclose(found, [0.5, 0.6, 0.7, 0.8, 0.9, 1, 1, 1, 1, 1])


def test_labels_become_rows(program, tiny_source):
    data = load_data(tiny_source)
    images, targets = next(iter(program.rows(data, "test")))
    labels = data.splits["test"].labels[: len(images)]
    np.testing.assert_array_equal(targets, np.eye(3)[labels])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-folder"], "no-such-folder"),
        (["--epochs", "0"], "--epochs must be at least 1, received: 0"),
    ],
)
def test_mistakes_are_one_line(program, arguments, message, capsys):
    assert program.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("augmentation: ")
    assert message in error
    assert error.count("\n") == 1
