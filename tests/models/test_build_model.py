"""Models by name, and weights from files."""

import subprocess
import sys

import numpy as np
import pytest

import recipes.models
from recipes.errors import ConfigError
from recipes.models import build_model, build_resnet, list_models

SMALL = {"input_shape": (16, 16, 3), "classes": 4}


def test_names():
    resnets = [20, 32, 44, 56, 110, 18, 34, 50, 101, 152]
    vggs = [11, 13, 16, 19]
    assert sorted(list_models()) == sorted(
        ["resnet9"]
        + [f"resnet{depth}" for depth in resnets]
        + [f"vgg{depth}{suffix}" for depth in vggs for suffix in ("", "_bn")]
    )


@pytest.mark.parametrize(
    ("name", "arguments", "layer"),
    [
        ("resnet20", SMALL, "stage3_block3_bn2"),
        ("resnet32", SMALL, "stage3_block5_bn2"),
        ("resnet9", {**SMALL, "width": 8}, "stage2_block1_bn2"),
        (
            "vgg11_bn",
            {"input_shape": (32, 32, 1), "classes": 4, "dense_units": 8},
            "stage5_bn2",
        ),
    ],
)
def test_the_name_chooses_the_architecture(name, arguments, layer):
    model = build_model(name, **arguments)
    assert model.name == name
    assert model.get_layer(layer)
    assert model.output_shape == (None, 4)


def test_a_model_may_be_renamed():
    assert build_model("resnet20", **SMALL, name="mine").name == "mine"


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("resnet21", {}, "unknown model 'resnet21'; did you mean 'resnet"),
        ("vgg16bn", {}, "unknown model 'vgg16bn'; did you mean 'vgg16_bn'"),
        ("zebra", {}, "unknown model 'zebra'$"),
        (20, {}, "unknown model 20"),
        ("resnet20", {"widht": 3}, "resnet20 takes no argument 'widht'"),
        ("resnet9", {"widht": 3}, "takes no argument 'widht'; did you mean 'width'"),
        ("resnet20", {"depth": 32}, "depth is part of the name 'resnet20'"),
        ("vgg16", {"batch_norm": True}, "batch_norm is part of the name 'vgg16'"),
    ],
)
def test_wrong_names(name, arguments, message):
    with pytest.raises(ConfigError, match=message):
        build_model(name, **arguments)


def test_importing_and_listing_loads_no_tensorflow():
    program = (
        "import sys, recipes.models; recipes.models.list_models(); dir(recipes.models); "
        "assert not {'keras', 'tensorflow'} & set(sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr


def test_names_of_the_module():
    assert set(recipes.models.__all__) <= set(dir(recipes.models))
    with pytest.raises(AttributeError, match="build_nothing"):
        _ = recipes.models.build_nothing


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a model and a folder with its weights in both kinds of file."""
    folder = tmp_path_factory.mktemp("weights")
    model = build_resnet(20, **SMALL)
    model.save(folder / "model.keras")
    model.save_weights(folder / "model.weights.h5")
    build_resnet(20, **SMALL, include_top=False).save_weights(folder / "features.weights.h5")
    (folder / "broken.weights.h5").write_bytes(b"no HDF5")
    (folder / "broken.keras").write_bytes(b"no zip")
    whole = (folder / "model.keras").read_bytes()
    (folder / "truncated.keras").write_bytes(whole[: len(whole) // 2])
    (folder / "model.npz").write_bytes(b"")
    return model, folder


@pytest.mark.parametrize("file", ["model.keras", "model.weights.h5"])
def test_weights_from_a_file(files, file):
    model, folder = files
    for path in (folder / file, str(folder / file)):
        loaded = build_model("resnet20", **SMALL, weights=path)
        for ours, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_features_from_the_file_of_a_classifier(files):
    model, folder = files
    arguments = {"include_top": False, "weights": folder / "model.keras"}
    features = build_model("resnet20", **SMALL, **arguments)
    for ours, theirs in zip(features.get_weights(), model.get_weights(), strict=False):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("name", "arguments", "file", "message"),
    [
        (
            "resnet20",
            {"classes": 7},
            "model.keras",
            r"model.keras do not fit resnet20: logits takes the shape \(64, 7\), "
            r"the file holds \(64, 4\)",
        ),
        (
            "resnet20",
            {"input_shape": (16, 16, 1)},
            "model.weights.h5",
            r"stem_conv takes the shape \(3, 3, 1, 16\), the file holds \(3, 3, 3, 16\)",
        ),
        ("resnet20", {}, "features.weights.h5", "logits takes 2 arrays, the file holds 0"),
        ("resnet32", {}, "model.weights.h5", "do not fit resnet32: stage1_block4_conv1 takes"),
        ("resnet20", {"shortcut": "B"}, "model.keras", "stage2_block1_shortcut_conv takes"),
        ("resnet20", {}, "broken.weights.h5", "do not fit resnet20: "),
        ("resnet20", {}, "broken.keras", "do not fit resnet20: File is not a zip file"),
        ("resnet20", {}, "truncated.keras", "do not fit resnet20: "),
        ("resnet20", {}, "missing.keras", "weights file not found: .*missing.keras"),
        ("resnet20", {}, "model.npz", "must be a .weights.h5 or .keras file, received"),
    ],
)
def test_files_that_do_not_fit(files, name, arguments, file, message):
    with pytest.raises(ConfigError, match=message) as caught:
        build_model(name, **{**SMALL, **arguments}, weights=files[1] / file)
    assert "\n" not in str(caught.value)
