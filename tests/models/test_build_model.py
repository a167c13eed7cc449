"""Models by name, and weights from files."""

import subprocess
import sys

import numpy as np
import pytest

import recipes.models
from recipes.errors import ConfigError
from recipes.models import build_model, build_resnet, list_models

SMALL = {"input_shape": (16, 16, 3), "classes": 4}


CIFAR_DEPTHS = (20, 32, 44, 56, 110, 164)
IMAGENET_DEPTHS = (18, 34, 50, 101, 152)


def test_names():
    names = list_models()
    assert len(set(names)) == len(names)
    depths = (*CIFAR_DEPTHS, *IMAGENET_DEPTHS)
    expected = {
        "resnet9",
        *(f"vgg{depth}{suffix}" for depth in (11, 13, 16, 19) for suffix in ("", "_bn")),
        *(f"resnet{depth}{suffix}" for depth in depths for suffix in ("", "_v2")),
        *(f"resnet{depth}_{version}" for depth in IMAGENET_DEPTHS for version in ("v1", "d")),
        *(f"{kind}_resnet{depth}" for depth in depths for kind in ("se", "eca", "cbam")),
        *(f"plain{depth}" for depth in (18, 20, 32, 34, 44, 56, 110)),
        *(f"wide_resnet{sizes}" for sizes in ("16_4", "28_10", "40_4", "50_2", "101_2")),
    }
    assert expected <= set(names)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("vgg1?", ["vgg11", "vgg13", "vgg16", "vgg19"]),
        ("VGG1[13]_*", ["vgg11_bn", "vgg13_bn"]),
        ("*resnet50*d", ["resnet50_d"]),
        ("19_BN", ["vgg19_bn"]),
        ("vgg13", ["vgg13", "vgg13_bn"]),
    ],
)
def test_filter(wanted, expected):
    assert list_models(wanted) == expected


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("vgg17", "no model fits 'vgg17'; did you mean 'vgg16'"),
        ("zebra*", "no model fits 'zebra\\*'$"),
        (20, "filter must be text such as 'resnet\\*', received: 20"),
    ],
)
def test_filter_that_fits_nothing(wanted, message):
    with pytest.raises(ConfigError, match=message):
        list_models(wanted)


@pytest.mark.parametrize(
    ("name", "arguments", "layer"),
    [
        ("resnet20", SMALL, "stage3_block3_bn2"),
        ("resnet32", SMALL, "stage3_block5_bn2"),
        ("resnet20_v2", SMALL, "head_bn"),
        ("cbam_resnet20", SMALL, "stage1_block1_cbam_spatial_conv"),
        ("se_resnet18", {**SMALL, "input_shape": (32, 32, 3)}, "stage4_block2_se_reduce"),
        ("plain20", SMALL, "stage3_block3_bn2"),
        ("wide_resnet16_4", SMALL, "stage3_block2_bn2"),
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
        ("resnet21", {}, "unknown model 'resnet21'; did you mean 'resnet20'"),
        ("resnet100_v2", {}, "did you mean 'resnet101_v2'"),
        ("vgg16bn", {}, "unknown model 'vgg16bn'; did you mean 'vgg16_bn'"),
        ("zebra", {}, "unknown model 'zebra'$"),
        (20, {}, "unknown model 20"),
        ("resnet20", {"widht": 3}, "resnet20 takes no argument 'widht'"),
        ("resnet9", {"widht": 3}, "takes no argument 'widht'; did you mean 'width'"),
        ("resnet50_v2", {"version": "v1"}, "version is part of the name 'resnet50_v2'"),
        (
            "wide_resnet28_11",
            {},
            "did you mean 'wide_resnet28_10'",
        ),
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
            {"input_shape": (16, 16, 2), "mean": [0.0] * 2, "variance": [1.0] * 2},
            "model.weights.h5",
            r"stem_conv takes the shape \(3, 3, 2, 16\), the file holds \(3, 3, 3, 16\)",
        ),
        ("resnet20", {}, "features.weights.h5", "logits takes 2 arrays, the file holds 0"),
        ("resnet32", {}, "model.weights.h5", "do not fit resnet32: stage1_block4_conv1 takes"),
        ("resnet20", {"shortcut": "B"}, "model.keras", "stage2_block1_shortcut_conv takes"),
        ("resnet20", {}, "broken.weights.h5", "do not fit resnet20: "),
        ("resnet20", {}, "broken.keras", "do not fit resnet20: File is not a zip file"),
        ("resnet20", {}, "truncated.keras", "do not fit resnet20: "),
        ("resnet20", {}, "missing.keras", "weights file not found: .*missing.keras"),
        ("resnet20", {}, "model.npz", "model.npz cannot be read: it is truncated or no .npz file"),
        ("resnet20", {}, "model.h4", "must be 'imagenet' or a .weights.h5, .keras, .npz, .* file"),
    ],
)
def test_files_that_do_not_fit(files, name, arguments, file, message):
    with pytest.raises(ConfigError, match=message) as caught:
        build_model(name, **{**SMALL, **arguments}, weights=files[1] / file)
    assert "\n" not in str(caught.value)
