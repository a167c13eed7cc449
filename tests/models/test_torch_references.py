"""Outputs against those of torchvision and efficientnet_lite_pytorch with the same weights.

`scripts/make_torch_references.py` ran the networks and stored their answers.
"""

import functools
import importlib.util
from pathlib import Path

import numpy as np
import pytest

import recipes.models.alexnet
import recipes.models.convnext
import recipes.models.efficientnet_lite
import recipes.models.googlenet
import recipes.models.mobilenet
from recipes.models import build_model
from recipes.models._symbolic import without_values
from recipes.weights import assign_torch

MODULES = {
    "alexnet": recipes.models.alexnet,
    "googlenet": recipes.models.googlenet,
    "mobilenet_v2": recipes.models.mobilenet,
    "convnext_tiny": recipes.models.convnext,
    **{f"efficientnet_lite{variant}": recipes.models.efficientnet_lite for variant in range(5)},
}


@functools.cache
def script():
    path = Path(__file__).parents[2] / "scripts" / "make_torch_references.py"
    spec = importlib.util.spec_from_file_location("make_torch_references", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def references():
    with np.load(Path(__file__).with_name("torch_references.npz")) as stored:
        return dict(stored)


def state_dict(references, name):
    shapes = ([int(size) for size in row if size] for row in references[f"{name}/shapes"])
    return {
        str(key): script().seeded_array(str(key), tuple(shape))
        for key, shape in zip(references[f"{name}/names"], shapes, strict=True)
    }


@pytest.mark.parametrize(
    ("name", "size", "arguments"),
    [
        ("alexnet", 224, {"dense_units": 64}),
        # The auxiliary classifiers pool as torchvision's where 4 divides the sides of their map.
        ("googlenet", 64, {"auxiliary": True}),
        pytest.param("googlenet", 97, {}, marks=pytest.mark.slow),
        pytest.param("mobilenet_v2", 64, {}, marks=pytest.mark.slow),
        ("mobilenet_v2", 97, {}),
        ("convnext_tiny", 64, {}),
        pytest.param("convnext_tiny", 97, {}, marks=pytest.mark.slow),
        ("efficientnet_lite0", 64, {}),
        pytest.param("efficientnet_lite1", 97, {}, marks=pytest.mark.slow),
        pytest.param("efficientnet_lite2", 64, {}, marks=pytest.mark.slow),
        ("efficientnet_lite4", 75, {}),
    ],
)
@pytest.mark.sampled(1, 3)
def test_outputs_with_the_same_weights(references, name, size, arguments):
    expected = references[f"{name}/{size}"]
    model = build_model(
        name,
        input_shape=(size, size, 3),
        classes=expected.shape[-1],
        classifier_activation=None,
        **arguments,
    )
    arrays = state_dict(references, name)
    report = assign_torch(model, arrays, MODULES[name].torch_layers(model))
    without_auxiliary = name == "googlenet" and "auxiliary" not in arguments
    assert set(report.unused) == {
        key for key in arrays if without_auxiliary and key.startswith("aux")
    }
    outputs = model(script().seeded_images(size))
    outputs = outputs if isinstance(outputs, list) else [outputs]
    for ours, theirs in zip(outputs, expected, strict=not without_auxiliary):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())


def test_every_layer_with_weights_has_a_name_in_torch():
    for name in ("googlenet", "mobilenet_v2", "convnext_tiny", "efficientnet_lite3"):
        model = without_values(build_model, name, input_shape=(32, 32, 3), include_top=False)
        layers = {layer.name for layer in model.layers if layer.weights}
        assert set(MODULES[name].torch_layers(model)) == layers
