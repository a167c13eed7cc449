"""Our networks against their twins in torchvision and timm, whose logits were stored once.

The weights are drawn again from the names of the parameters, as the script that stored the logits
did, so that they need no file. See scripts/make_torchvision_references.py.
"""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest

from recipes.models import build_model, build_resnet, build_vgg
from recipes.models import resnet as resnet_module
from recipes.models import vgg as vgg_module
from recipes.models._symbolic import without_values
from recipes.weights import assign_torch

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_torchvision_references.py"
STORED = Path(__file__).parent / "torchvision_references.npz"

# ours: the twin's name
TWINS = {
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "resnet101": "resnet101",
    "resnet152": "resnet152",
    "wide_resnet50_2": "wide_resnet50_2",
    "resnet18_d": "resnet18d",
    "resnet50_d": "resnet50d",
    "se_resnet50": "seresnet50",
    "resnet50_v2": "resnetv2_50",
    **{f"vgg{depth}{bn}": f"vgg{depth}{bn}" for depth in (11, 13, 16, 19) for bn in ("", "_bn")},
}
# One of each kind; the others repeat it more often.
FAST = {"resnet18", "resnet50", "resnet50_d", "se_resnet50", "resnet50_v2", "vgg11_bn", "vgg13"}


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def stored():
    with np.load(STORED) as file:
        return dict(file)


def twin_arrays(script, stored, twin):
    shapes = json.loads(str(stored[f"{twin}/shapes"]))
    return script.make_weights(shapes, residual="vgg" not in twin)


def preactivated_layers(model):
    """Where timm's resnetv2 has each layer: its stem pools first, then normalises in block 1."""
    found = {
        "stem_conv": "stem.conv",
        "stem_bn": "stages.0.blocks.0.norm1",
        "head_bn": "norm",
        "logits": "head.fc",
    }
    for layer in model.layers:
        place = re.fullmatch(r"stage(\d)_block(\d+)_(shortcut_|bn|conv)(\w+)", layer.name)
        if place:
            part = {"shortcut_": "downsample.", "bn": "norm"}.get(place[3], place[3]) + place[4]
            found[layer.name] = f"stages.{int(place[1]) - 1}.blocks.{int(place[2]) - 1}.{part}"
    return found


def table(model):
    if model.name.endswith("v2"):
        return preactivated_layers(model)
    return (vgg_module if "vgg" in model.name else resnet_module).torch_layers(model)


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in TWINS]
)
@pytest.mark.sampled(2, 4)
def test_outputs_equal_the_twins(script, stored, name):
    twin = TWINS[name]
    size, logits = tuple(stored[f"{twin}/size"].tolist()), stored[f"{twin}/logits"]
    arguments = {"dense_units": script.HIDDEN} if "vgg" in name else {}
    model = build_model(
        name,
        input_shape=(*size, 3),
        classes=script.CLASSES,
        classifier_activation=None,
        **arguments,
    )
    report = assign_torch(model, twin_arrays(script, stored, twin), table(model))
    assert not report.unused
    assert len(report.assigned) == sum(bool(layer.weights) for layer in model.layers)
    outputs = model(script.make_images(size))
    largest = np.abs(logits).max()
    np.testing.assert_allclose(outputs, logits, rtol=0, atol=1e-5 * largest)
    # A wrong stride makes 6 %. The two images must differ by far more than the tolerance, or the
    # test would see only biases.
    assert np.abs(logits[0] - logits[1]).max() > 0.01 * largest


@pytest.mark.parametrize(
    ("build", "module", "arguments"),
    [
        (build_resnet, resnet_module, {"depth": 18}),
        (build_resnet, resnet_module, {"depth": 50, "version": "d", "attention": "se"}),
        (build_resnet, resnet_module, {"depth": 20, "shortcut": "B"}),
        (build_vgg, vgg_module, {"depth": 11, "batch_norm": True, "input_shape": (64, 64, 3)}),
        (build_vgg, vgg_module, {"depth": 16}),
    ],
)
def test_tables_name_every_layer_with_weights(build, module, arguments):
    for include_top in (True, False):
        model = without_values(build, **arguments, include_top=include_top)
        table = module.torch_layers(model)
        assert list(table) == [layer.name for layer in model.layers if layer.weights]
        assert len(set(map(str, table.values()))) == len(table)


def test_networks_without_a_twin_have_an_empty_table():
    assert resnet_module.torch_layers(without_values(build_resnet, 20, version="v2")) == {}
