import keras
import numpy as np
import pytest

from recipes.errors import ConfigError
from recipes.models import build_googlenet
from recipes.models._symbolic import without_values

SMALL = {
    "input_shape": (64, 64, 3),
    "classes": 5,
    "mean": [120.0] * 3,
    "variance": [4000.0] * 3,
}


def symbolic(**keywords):
    """Build a model whose variables have shapes but no values."""
    return without_values(build_googlenet, **keywords)


def count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


@pytest.mark.parametrize(
    ("auxiliary", "trainable"),
    [(False, 6_624_904), (True, 13_004_888)],  # torchvision's metadata; its module with both heads
)
def test_parameter_counts(auxiliary, trainable):
    assert count(symbolic(auxiliary=auxiliary).trainable_weights) == trainable


def test_parameters_of_the_paper_s_form():
    model = symbolic(large_kernel=5)
    for layer in model.layers:
        if "branch3_conv" in layer.name:
            assert layer.kernel_size == (5, 5)
    # Caffe's GoogLeNet without its auxiliary heads has 6,998,552 parameters: a bias where here
    # are a scale and a shift.
    channels = sum(
        layer.gamma.shape[0] for layer in model.layers if hasattr(layer, "moving_variance")
    )
    assert count(model.trainable_weights) - channels == 6_998_552


@pytest.mark.slow
def test_checks(check_model):
    check_model(build_googlenet, **SMALL, dropout=0.0)


@pytest.mark.parametrize("size", [224, 225, 240])
def test_maps_are_halved_upwards(size):
    # What the pools of torchvision leave in `ceil_mode`: odd maps lose nothing.
    expected = [-(-size // 2)]
    for kernel in (3, 3, 3, 2):
        expected.append(-(-(expected[-1] - kernel) // 2) + 1)
    model = symbolic(input_shape=(size, size, 3), include_top=False)
    names = ("stem_relu1", "stem_relu3", "stage3_block2_concat", "stage4_block5_concat")
    sides = [model.get_layer(name).output.shape[1] for name in (*names, "stage5_block2_concat")]
    assert sides == expected


def test_auxiliary_classifiers_pool_as_in_the_paper():
    model = symbolic(auxiliary=True)
    for number, channels in ((1, 512), (2, 528)):
        pool = model.get_layer(f"head_auxiliary{number}_pool")
        assert pool.input.shape == (None, 14, 14, channels)
        assert (pool.pool_size, pool.strides) == ((5, 5), (3, 3))
        assert pool.output.shape == (None, 4, 4, channels)


@pytest.mark.slow
def test_auxiliary_classifiers_are_trained():
    model = build_googlenet(**SMALL, auxiliary=True)
    assert [output.name for output in model.outputs] == [output.name for output in model.output]
    model.compile("sgd", ["sparse_categorical_crossentropy"] * 3, loss_weights=[1.0, 0.3, 0.3])
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), "uint8")
    labels = np.array([0, 1, 2, 3])
    before = [model.get_layer(f"head_auxiliary{n}_logits").get_weights()[0] for n in (1, 2)]
    model.fit(images, [labels] * 3, verbose=0)
    after = [model.get_layer(f"head_auxiliary{n}_logits").get_weights()[0] for n in (1, 2)]
    for old, new in zip(before, after, strict=True):
        assert np.abs(new - old).max() > 0
    for output in model.predict(images, verbose=0):
        np.testing.assert_allclose(output.sum(-1), 1, atol=1e-5)


def test_heads_are_float32_in_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    for output in symbolic(**SMALL, auxiliary=True, classifier_activation=None).outputs:
        assert output.dtype == "float32"


@pytest.mark.parametrize(
    ("pooling", "shape"), [(None, (None, None, None, 1024)), ("avg", (None, 1024))]
)
def test_without_top(pooling, shape):
    model = symbolic(input_shape=(None, None, 3), include_top=False, pooling=pooling)
    assert model.output_shape == shape


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"large_kernel": 7}, "large_kernel must be one of 3, 5, received: 7"),
        ({"auxiliary": True, "include_top": False}, "auxiliary classifiers need include_top=True"),
        ({"auxiliary": True, "input_shape": (None, None, 3)}, "need images of a known size"),
        ({"auxiliary_dropout": 1}, r"auxiliary_dropout must be in \[0, 1\)"),
        ({"input_shape": (31, 31, 3)}, "at least 32 pixels a side"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        build_googlenet(**arguments)
