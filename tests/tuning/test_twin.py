"""The tf_keras twin of a Keras 3 model: the same results, and the way back."""

import logging
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from recipes.errors import ConfigError
from recipes.layers import (
    CalibratedSoftmax,
    ChannelNormalization,
    FusedBatchNormalization,
    LayerScale,
    MonteCarloDropout,
    StochasticDepth,
)
from recipes.models import build_model

pytest.importorskip("tf_keras")
from tuning._fine_tuning import say_left_out
from tuning._keras2 import load_tf_keras, to_tf_keras

layers = keras.layers
_SHAPE = (8, 8, 4)


def sequence(*steps, shape=_SHAPE):
    """Return a model of layers one after the other, with weights that are no defaults."""
    return randomized(keras.Sequential([keras.Input(shape), *steps], name="steps"))


def randomized(model):
    """Give every weight, the statistics of batch normalisation too, a value of its own."""
    generator = np.random.default_rng(3)
    for weight in model.weights:
        low = 0.5 if "variance" in weight.path else -1.0
        weight.assign(generator.uniform(low, 1.5, weight.shape))
    return model


def residual():
    """A nested model, used twice, in a model of two outputs."""
    inner = keras.Sequential(
        [keras.Input(_SHAPE), layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization()],
        name="inner",
    )
    inputs = keras.Input(_SHAPE)
    x = layers.add([inputs, inner(inputs)])
    x = keras.ops.multiply(keras.ops.subtract(2.0, inner(x)), x) / 3.0
    pooled = layers.GlobalAveragePooling2D()(x)
    outputs = [layers.Dense(3, activation="softmax")(pooled), layers.Dense(2)(pooled)]
    return randomized(keras.Model(inputs, outputs))


_MODELS = {
    "scaling": lambda: sequence(
        layers.Rescaling([0.1, 0.2, 0.3, 0.4], offset=-1.0),
        layers.Normalization(mean=[1, 2, 3, 4], variance=[1, 4, 9, 16]),
        ChannelNormalization([1, 2, 3, 4], [1, 4, 9, 0]),
        LayerScale(),
    ),
    "lone batch normalisation": lambda: sequence(
        layers.BatchNormalization(),
        layers.MaxPooling2D(),
        FusedBatchNormalization(epsilon=0.01),
        layers.GlobalAveragePooling2D(),
        layers.BatchNormalization(scale=False),
    ),
    "activations": lambda: sequence(
        *(
            layers.Conv2D(4, 1, activation=name)
            for name in ("relu", "relu6", "silu", "gelu", "hard_sigmoid", "hard_swish", "mish")
        ),
        *(layers.Conv2D(4, 1, activation=name) for name in ("leaky_relu", "elu", "tanh")),
        *(layers.LeakyReLU(0.1), layers.PReLU(shared_axes=[1, 2]), layers.ReLU(2.0, 0.1, 0.2)),
    ),
    "convolutions": lambda: sequence(
        layers.ZeroPadding2D(((1, 0), (0, 2))),
        layers.Conv2D(6, 3, strides=2, padding="same", groups=2),
        layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),
        layers.SeparableConv2D(4, 3, dilation_rate=2, padding="same", use_bias=False),
        layers.Conv2DTranspose(4, 3, strides=2, padding="same"),
        layers.UpSampling2D(2, interpolation="bilinear"),
        layers.Cropping2D(((1, 0), (0, 2))),
        layers.AveragePooling2D(3, strides=2, padding="same"),
        layers.LayerNormalization(),
        layers.Reshape((-1, 4)),
        layers.Conv1D(3, 3, padding="same", activation="relu"),
        layers.Permute((2, 1)),
        layers.Flatten(),
        CalibratedSoftmax(1.7),
    ),
    "training only": lambda: sequence(
        layers.RandomFlip(name="flip"),
        StochasticDepth(0.5, name="depth"),
        layers.Dropout(0.5),
        layers.Conv2D(2, 3),
    ),
    "nested and shared": residual,
    "attention of channels": lambda: randomized(build_model("se_resnet20", classes=3)),
    "attention of channels and places": lambda: randomized(build_model("cbam_resnet20", classes=3)),
}


def images(model, count=3):
    """Return random images that a model takes."""
    shape = (count, *model.inputs[0].shape[1:])
    return np.random.default_rng(5).uniform(0, 255, shape).astype("float32")


def outputs(model, batch):
    """Return what a model gives, as a list of arrays."""
    found = model(batch, training=False)
    found = found if isinstance(found, (list, tuple)) else [found]
    return [np.asarray(array) for array in found]


def assert_same(one, other, batch):
    for first, second in zip(outputs(one, batch), outputs(other, batch), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-4 * np.abs(first).max())


@pytest.mark.parametrize("quantizable", [False, True])
@pytest.mark.parametrize("name", _MODELS)
@pytest.mark.sampled(3)
def test_the_same_results_and_back(name, quantizable):
    model = _MODELS[name]()
    before, batch = model.get_weights(), images(model)
    twin = to_tf_keras(model, quantizable=quantizable)
    assert_same(model, twin.model, batch)
    # Nothing was trained: nothing changes, to the bit.
    twin.carry_back()
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    # As if it had been trained: the original computes what the twin does.
    for weight in twin.model.trainable_weights:
        weight.assign(weight * 1.25 + 0.125)
    twin.carry_back()
    assert_same(model, twin.model, batch)
    assert any(
        not np.array_equal(one, other)
        for one, other in zip(before, model.get_weights(), strict=True)
    )


def test_what_is_rewritten_can_be_quantized():
    """No kind of layer that TF-MOT refuses is left, and the remarks name what was changed."""
    twin = to_tf_keras(_MODELS["lone batch normalisation"](), quantizable=True)
    kinds = {type(layer).__name__ for layer in twin.model.layers}
    assert not kinds & {"BatchNormalization", "Rescaling", "Normalization"}
    assert len([remark for remark in twin.remarks if "follows no convolution" in remark]) == 3


def test_layers_that_do_nothing_when_predicting_are_left_out(caplog):
    twin = to_tf_keras(_MODELS["training only"]())
    kinds = [type(layer).__name__ for layer in twin.model.layers]
    assert kinds == ["InputLayer", "Dropout", "Conv2D"]
    left_out = [remark.split(" is left out")[0] for remark in twin.remarks]
    assert left_out == ["flip", "depth"]
    say_left_out(twin, logging.getLogger("keras_recipes.prune"))
    assert "without 2 layers that act in training alone, 'flip' the first" in caplog.text


def test_regularizers_are_named_and_noise_keeps_its_shape(caplog):
    noise = layers.Dropout(0.5, noise_shape=(None, 1, 1, 4))
    twin = to_tf_keras(
        sequence(layers.Conv2D(4, 1, kernel_regularizer="l2", name="conv"), noise, shape=(9, 9, 1))
    )
    say_left_out(twin, logging.getLogger("keras_recipes.prune"))
    assert "without 1 regularizer or constraint, 'conv.kernel_reg" in caplog.text
    dropped = np.asarray(twin.model.layers[-1](np.ones((8, 9, 9, 4), "float32"), training=True))
    # Each map is dropped whole or kept whole.
    assert set(np.unique(dropped.mean(axis=(1, 2)))) == {0.0, 2.0}


def test_shared_layers_stay_shared():
    twin = to_tf_keras(residual())
    shared = [layer for layer in twin.model.layers if len(layer.inbound_nodes) > 1]
    assert {type(layer).__name__ for layer in shared} == {"Conv2D", "BatchNormalization"}


def test_frozen_layers_stay_frozen():
    model = _MODELS["convolutions"]()
    model.layers[1].trainable = False
    frozen = [layer.name for layer in to_tf_keras(model).model.layers if not layer.trainable]
    assert model.layers[1].name in frozen


def test_mixed_precision_keeps_what_normalisation_adapted_to():
    normalization = layers.Normalization(dtype="mixed_bfloat16")
    normalization.adapt(np.random.default_rng(0).uniform(100, 200, (9, *_SHAPE)))
    model = keras.Sequential([keras.Input(_SHAPE), normalization, layers.Flatten()])
    batch = images(model)
    statistics = [np.asarray(weight) for weight in normalization.weights[:2]]
    expected = (batch - statistics[0]) / np.sqrt(statistics[1])
    found = outputs(to_tf_keras(model).model, batch)[0]
    np.testing.assert_allclose(found, expected.reshape(len(batch), -1), rtol=1e-4, atol=1e-4)


def test_mixed_precision_is_taken_in_float32():
    model = randomized(
        keras.Sequential(
            [keras.Input(_SHAPE), layers.Conv2D(4, 3, dtype="mixed_bfloat16"), layers.Flatten()]
        )
    )
    twin = to_tf_keras(model)
    assert twin.model.dtype_policy.name == "float32"
    twin.model.layers[1].set_weights([weight * 2 for weight in twin.model.layers[1].get_weights()])
    twin.carry_back()
    np.testing.assert_array_equal(
        model.layers[0].get_weights()[0], twin.model.layers[1].get_weights()[0]
    )


class Doubled(layers.Layer):
    """A layer of a user's own."""

    def call(self, inputs):
        """Return the double."""
        return 2 * inputs


def doubled(inputs):
    """Return the double."""
    return 2 * inputs


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sequence(layers.Conv2D(2, 1), Doubled(name="mine")), r"'mine' \(Doubled\)"),
        (lambda: sequence(MonteCarloDropout(0.5, name="noise")), r"'noise' \(MonteCarloDropout\)"),
        (
            lambda: sequence(layers.Conv2D(2, 1, activation=doubled, name="odd")),
            "'odd' has an activation of its own",
        ),
        (
            lambda: sequence(layers.Conv2D(2, 1, activation="celu", name="odd")),
            "'odd' has the activation 'celu'",
        ),
        (lambda: keras.Sequential([layers.Dense(2)]), "has no shapes yet"),
        (lambda: "model.keras", "takes a Keras model"),
    ],
)
def test_what_cannot_cross_is_named(make, message):
    with pytest.raises(ConfigError, match=message):
        to_tf_keras(make())


def test_a_twin_that_computes_something_else_is_refused(monkeypatch):
    """The first layer that differs is named, not a later one that differs in consequence."""
    from tuning._keras2 import layers as converters

    monkeypatch.setitem(converters._ACTIVATIONS, "tanh", "sigmoid")
    model = sequence(
        layers.Conv2D(2, 1, name="first"),
        layers.Activation("tanh", name="wrong"),
        layers.Conv2D(2, 1, name="last"),
    )
    with pytest.raises(ConfigError, match=r"differs from layer 'wrong' \(Activation\) on"):
        to_tf_keras(model)


def test_importing_leaves_keras_and_the_environment_alone():
    code = (
        "import os, tuning._keras2 as bridge; bridge.load_tf_keras(); bridge.load_tf_mot();"
        "import tensorflow as tf;"
        "print(tf.keras.__version__[0], os.environ.get('TF_USE_LEGACY_KERAS'))"
    )
    environment = {
        name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"
    }
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert found.stdout.split() == ["3", "None"]


_APPLICATIONS = (
    *("ResNet50", "ResNet50V2", "VGG16", "MobileNet", "MobileNetV2", "MobileNetV3Small"),
    *("EfficientNetB0", "EfficientNetV2B0", "DenseNet121", "InceptionV3", "Xception"),
    *("ConvNeXtTiny", "NASNetMobile", "InceptionResNetV2"),
)
# Crossing one takes seconds; these have something of every kind.
_IN_THE_GATE = (
    *("resnet20_v2", "efficientnet_lite0", "convnext_tiny"),
    *("keras:MobileNetV3Small", "keras:EfficientNetB0"),
)
_OURS = (
    *("resnet9", "resnet20", "resnet20_v2", "eca_resnet20", "resnet18", "resnet18_d", "resnet50"),
    *("plain20", "wide_resnet16_4", "vgg11_bn", "alexnet", "googlenet", "mobilenet"),
    *("mobilenet_v2", "efficientnet_lite0", "convnext_tiny"),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        name if name in _IN_THE_GATE else pytest.param(name, marks=pytest.mark.exhaustive)
        for name in (*_OURS, *(f"keras:{name}" for name in _APPLICATIONS))
    ],
)
def test_catalogue(name):
    """Every builder of the catalogue, and the networks of `keras.applications`, cross."""
    load_tf_keras().backend.clear_session()
    keras.backend.clear_session()
    shape = None if name in ("alexnet", "googlenet") or ":" not in name else (96, 96, 3)
    model = build_model(name, classes=10, **({"input_shape": shape} if shape else {}))
    # Every layer is compared where the twin is made. The rewriting form is the harder one.
    twin = to_tf_keras(model, quantizable=True)
    assert twin.model.count_params() > 0
