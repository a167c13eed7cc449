import numpy as np
import pytest

from recipes.errors import ConfigError
from recipes.models import build_plain, build_resnet
from recipes.models._symbolic import without_values

# As the residual networks with shortcuts that have no parameters (He et al., section 4.2), which
# for depths 18 and 34 are torchvision's less the three projections and their normalisations.
PROJECTIONS = sum(width * width // 2 + 2 * width for width in (128, 256, 512))
COUNTS = {
    20: 269_722,
    32: 464_154,
    44: 658_586,
    56: 853_018,
    110: 1_727_962,
    18: 11_689_512 - PROJECTIONS,
    34: 21_797_672 - PROJECTIONS,
}
SMALL = {"input_shape": (16, 16, 3), "classes": 5, "mean": [120.0] * 3, "variance": [4000.0] * 3}


def symbolic(build, *arguments, **keywords):
    """Build a model whose variables have shapes but no values."""
    return without_values(build, *arguments, **keywords)


@pytest.mark.parametrize(
    "depth",
    [18, 20, *(pytest.param(depth, marks=pytest.mark.slow) for depth in (32, 34, 44, 56, 110))],
)
@pytest.mark.sampled(2, 1)
def test_parameter_counts(depth):
    model = symbolic(build_plain, depth)
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == COUNTS[depth]
    assert model.name == f"plain{depth}"
    assert not any("shortcut" in layer.name or "add" in layer.name for layer in model.layers)


@pytest.mark.slow
def test_checks(check_model):
    check_model(lambda **more: build_plain(20, **more), **SMALL)


def test_outputs_follow_the_paper(reference):
    model = build_plain(20, **{**SMALL, "input_shape": (13, 16, 3)}, classifier_activation=None)
    reference.randomize(model)
    images = reference.make_images(model, 2)
    net = reference.network(model)
    x = net.images(images, SMALL["mean"], SMALL["variance"])
    x = np.maximum(net.normalization(net.convolution(x, "stem_conv"), "stem_bn"), 0)
    for stage in (1, 2, 3):
        for block in (1, 2, 3):
            for layer in (1, 2):
                at = f"stage{stage}_block{block}"
                strides = 2 if stage > 1 and (block, layer) == (1, 1) else 1
                x = net.convolution(x, f"{at}_conv{layer}", strides)
                x = np.maximum(net.normalization(x, f"{at}_bn{layer}"), 0)
    expected = net.dense(x.mean((1, 2)), "logits")
    np.testing.assert_allclose(model(images), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_weights_are_those_of_the_residual_network(tmp_path):
    residual = build_resnet(20, **SMALL)
    residual.save_weights(tmp_path / "residual.weights.h5")
    plain = build_plain(20, **SMALL, weights=tmp_path / "residual.weights.h5")
    for ours, theirs in zip(plain.get_weights(), residual.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_without_top():
    arguments = {"input_shape": (None, None, 1), "include_top": False}
    assert symbolic(build_plain, 20, **arguments).output_shape == (None, None, None, 64)
    assert symbolic(build_plain, 34, **arguments, pooling="max").output_shape == (None, 512)


@pytest.mark.parametrize(
    ("depth", "arguments", "message"),
    [
        (50, {}, "depth must be one of 18, 20, 32, 34, 44, 56, 110, received: 50; the nearest is"),
        (20, {"input_shape": (7, 7, 1)}, "at least 8 pixels a side"),
        (34, {"input_shape": (28, 28, 1)}, "at least 32 pixels a side"),
        (20, {"classes": 0}, "classes must be a positive integer"),
    ],
)
def test_wrong_arguments(depth, arguments, message):
    with pytest.raises(ConfigError, match=message):
        build_plain(depth, **arguments)
