"""The example that builds a network from the layers, on tiny data."""

import keras
import numpy as np
import pytest
from PIL import Image

from recipes import load_data
from recipes.layers import Block, MonteCarloDropout


@pytest.mark.slow
def test_it_learns_and_saves(program, tiny_source, tmp_path, capsys):
    arguments = [tiny_source, "--epochs", "6", "--width", "8", "--samples", "5"]
    assert program.main([*arguments, "--out", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    accuracy = float(output.split("test accuracy ")[1].split()[0])
    assert accuracy > 0.6, "three kinds of clothes, a third by chance"
    data = load_data(tiny_source)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    probabilities = loaded.predict(data.splits["test"].images, verbose=0)
    found = (probabilities.argmax(-1) == data.splits["test"].labels).mean()
    assert abs(found - accuracy) < 0.15, "one draw of the dropout against the mean of several"


@pytest.fixture
def on_disk(tmp_path):
    """Return images of a folder that exceeds the memory limit."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 28, 28), "uint8")
    for number, image in enumerate(pixels):
        path = tmp_path / f"kind{number % 2}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
    return load_data(tmp_path, memory_limit=1000)


def test_flat_and_nested_are_the_same_network(program, on_disk):
    data = on_disk
    assert data.images_on_disk
    nested, flat = (program.build(data, 8, flat=flat) for flat in (False, True))
    assert any(isinstance(layer, Block) for layer in nested.layers)
    assert not any(isinstance(layer, Block) for layer in flat.layers)
    weights = {"/".join(weight.path.split("/")[-2:]): weight for weight in nested.weights}
    assert len(weights) == len(flat.weights)
    for weight in flat.weights:
        weight.assign(weights["/".join(weight.path.split("/")[-2:])])
    for model in (nested, flat):
        for layer in model.layers:
            if isinstance(layer, MonteCarloDropout):
                layer.rate = 0.0
    train = data.splits["train"]
    images = train.load(range(len(train)))
    np.testing.assert_allclose(flat(images[:8]), nested(images[:8]), atol=1e-5)
    normalization = flat.get_layer("normalization")
    np.testing.assert_allclose(normalization.mean, images.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(normalization.variance, images.var(axis=(0, 1, 2)))


def test_report_separates_sure_from_unsure(program, capsys):
    sure, unsure = [0.98, 0.01, 0.01], [0.3, 0.36, 0.34]
    samples = np.array([[sure, sure, unsure, unsure]] * 3)
    program.report(samples, np.array([0, 0, 0, 1]))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "test accuracy 0.750 (of a single draw 0.750)"
    assert lines[1] == "of the surer half 1.000, of the other 0.500"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-folder"], "no-such-folder"),
        (["--epochs", "0"], "--epochs must be at least 1, received: 0"),
        (["--width", "0"], "must be a positive"),
    ],
)
def test_mistakes_are_one_line(program, tiny_source, arguments, message, tmp_path, capsys):
    source = [] if arguments[0] == "no-such-folder" else [tiny_source]
    assert program.main([*source, *arguments, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("custom_network: ")
    assert message in error
    assert error.count("\n") == 1
