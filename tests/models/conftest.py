"""The checks that every model must pass, and the arithmetic they are checked against."""

import re
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from recipes.layers import FusedBatchNormalization


@pytest.fixture(autouse=True)
def _fresh_policy():
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def check_model(tmp_path):
    """Return a function that checks the models of a builder."""

    def check(build, **arguments):
        """Check `build(**arguments)`; see the functions below for what is checked.

        Args:
            build: A builder that takes `classifier_activation`.
            **arguments: Its arguments; the input and the classes are best small.
        """
        keras.utils.set_random_seed(0)
        model = build(**arguments)
        randomize(model)
        images = make_images(model)
        _check_names(model)
        _check_calls(model, images)
        _check_saving(model, images, tmp_path / "model.keras")
        _check_training_like_stock_layers(build(**arguments, classifier_activation=None), images)
        for policy in ("mixed_bfloat16", "mixed_float16"):
            keras.config.set_dtype_policy(policy)
            _check_half_precision(build(**arguments, classifier_activation=None), images, policy)

    return check


def make_images(model, count=8, *, seed=0):
    """Random uint8 images for a model."""
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, *model.input_shape[1:]), "uint8")


def randomize(model, *, seed=1):
    """Give every weight that starts at 0 or 1 a random value, so that none hides a mistake."""
    random = np.random.default_rng(seed)
    for layer in model.layers:
        values = layer.get_weights()
        if isinstance(layer, FusedBatchNormalization):
            layer.set_weights([random.uniform(0.5, 1.5, value.shape) for value in values])
        elif len(values) == 2 and values[1].ndim == 1:
            layer.set_weights([values[0], random.normal(scale=0.1, size=values[1].shape)])


def _check_names(model):
    names = [layer.name for layer in model.layers]
    assert names[0] == "images"
    for name in names[1:]:
        assert re.match(r"(stem|stage\d+|head)_|normalization|logits|predictions", name), name


def _check_calls(model, images):
    before = model.get_weights()
    outputs = model(images)
    for value, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, old)
    np.testing.assert_allclose(outputs, model(images, training=False), atol=1e-6)
    np.testing.assert_allclose(outputs, model.predict(images, verbose=0), atol=1e-4)
    np.testing.assert_allclose(outputs, model(images.astype("float32")), atol=1e-6)
    np.testing.assert_allclose(np.sum(outputs, -1), 1, atol=1e-5)


def _check_saving(model, images, path):
    model.save(path)
    loaded = keras.models.load_model(path)
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in model.layers]
    np.testing.assert_array_equal(loaded(images), model(images))


# What has an edge, and its smooth stand-in.
_SMOOTH = {
    keras.layers.MaxPooling2D: keras.layers.AveragePooling2D,
    keras.layers.GlobalMaxPooling2D: keras.layers.GlobalAveragePooling2D,
}


def replace_layers(model, kinds, *, activation=None):
    """Return a copy of `model`, weights included, with other kinds of layers in some places."""

    def clone(layer):
        if activation is not None and isinstance(layer, keras.layers.ReLU):
            return keras.layers.Activation(activation, name=layer.name)
        return kinds.get(type(layer), type(layer)).from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=clone)
    copy.set_weights(model.get_weights())
    return copy


def _check_training_like_stock_layers(model, images):
    """The gradient of a training step must reach all weights, as in a twin on stock layers.

    Both are made smooth first: rounding always carries some value over the edge of a ReLU, or to
    another winner of a pool, and from there on the gradients of equally exact twins differ.
    """
    randomize(model)
    model = replace_layers(model, _SMOOTH, activation="silu")
    twin = replace_layers(model, {FusedBatchNormalization: keras.layers.BatchNormalization})
    assert not any(isinstance(layer, FusedBatchNormalization) for layer in twin.layers)
    labels = np.arange(len(images)) % model.output_shape[-1]
    loss_function = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    losses, gradients = [], []
    for one in (model, twin):
        with tf.GradientTape() as tape:
            loss = loss_function(labels, one(images, training=True))
        losses.append(float(loss))
        gradients.append(tape.gradient(loss, [weight.value for weight in one.trainable_weights]))
    np.testing.assert_allclose(*losses, rtol=1e-5)
    # A shift before a batch normalisation has no gradient but rounding.
    rounding = 1e-6 * max(np.abs(stock).max() for stock in gradients[1]) + 1e-8
    for ours, stock, weight in zip(*gradients, model.trainable_weights, strict=True):
        size = np.abs(stock).max()
        assert size > 0 or weight.name in ("bias", "beta"), weight.path
        np.testing.assert_allclose(ours, stock, atol=1e-3 * size + rounding, err_msg=weight.path)
    for ours, stock in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(ours, stock, rtol=1e-4, atol=1e-5)


def _check_half_precision(model, images, policy):
    outputs = model(images)
    assert outputs.dtype == "float32"
    assert all(weight.dtype == "float32" for weight in model.trainable_weights)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert all(f"mixed_{layer.compute_dtype}" == policy for layer in convolutions)
    keras.config.set_dtype_policy("float32")
    full = keras.models.clone_model(
        model,
        clone_function=lambda layer: type(layer).from_config(
            {**layer.get_config(), "dtype": "float32"}
        ),
    )
    full.set_weights(model.get_weights())
    reference = np.asarray(full(images))
    # A loose bound: it finds a lost normalisation or cast, not a rounding.
    assert np.abs(outputs - reference).max() < 0.1 * np.abs(reference).max()


@pytest.fixture
def reference():
    """Return the arithmetic of a network in NumPy, float64, on the weights of a model."""
    return types.SimpleNamespace(network=_Network, randomize=randomize, make_images=make_images)


class _Network:
    """Layers by name, computed from the definition and not by Keras."""

    def __init__(self, model):
        self.model = model

    def weights(self, name):
        return [value.astype("float64") for value in self.model.get_layer(name).get_weights()]

    def convolution(self, x, name, strides=1):
        """Cross-correlation, padded with (size - 1) / 2 zeros on each side, as PyTorch does."""
        kernel, *bias = self.weights(name)
        margin = kernel.shape[0] // 2
        x = np.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(1, 2))
        windows = windows[:, ::strides, ::strides]
        return np.einsum("nhwcij,ijcd->nhwd", windows, kernel, optimize=True) + sum(bias)

    def normalization(self, x, name, epsilon=1e-5):
        gamma, beta, mean, variance = self.weights(name)
        return gamma * (x - mean) / np.sqrt(variance + epsilon) + beta

    def dense(self, x, name):
        kernel, *bias = self.weights(name)
        return x @ kernel + sum(bias)

    def images(self, images, mean, variance):
        return (images - np.array(mean)) / np.sqrt(variance)

    @staticmethod
    def max_pool(x, size, strides, margin=0):
        x = np.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)), constant_values=-np.inf)
        windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
        return windows[:, ::strides, ::strides].max((-2, -1))
