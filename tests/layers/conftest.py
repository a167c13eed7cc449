"""The checks that every layer must pass, and the arithmetic they are checked against."""

import inspect
import json
import types

import keras
import numpy as np
import pytest

from recipes.layers import Block


@pytest.fixture
def check_layer(tmp_path):
    """Return a function that checks one layer; see `_Check`."""

    def check(layer_class, arguments, *, images, output_dtype=None):
        """Check a layer.

        Args:
            layer_class: Class of the layer.
            arguments: Its keyword arguments, all JSON-like.
            images: Float32 batch to call it on, or a list of them.
            output_dtype: What it returns under every policy; `None` for the compute dtype.
        """
        keras.utils.set_random_seed(0)
        layer = layer_class(**arguments)
        for word in ("Call arguments:", "Returns:", "Example:"):
            assert word in layer_class.__doc__
        outputs = layer(images)
        assert outputs.dtype == (output_dtype or "float32")
        shape = tuple(outputs.shape)
        assert shape == tuple(layer.compute_output_shape(_shapes(images)))
        assert shape == tuple(layer_class(**arguments).compute_output_shape(_shapes(images)))
        _check_configuration(layer, arguments)
        _check_saving(layer_class(**arguments), images, tmp_path / "layer.keras")
        for policy in ("mixed_bfloat16", "mixed_float16"):
            _check_policy(layer_class, arguments, images, policy, output_dtype)
        _check_training(layer_class(**arguments), images)
        if issubclass(layer_class, Block):
            _check_inline(layer_class, arguments, images, tmp_path / "flat.keras")

    return check


def _shapes(images):
    return [one.shape for one in images] if isinstance(images, list) else images.shape


def _inputs(images):
    """Return symbolic tensors for the images."""
    return keras.tree.map_structure(lambda one: keras.Input(one.shape[1:]), images)


def _check_configuration(layer, arguments):
    config = json.loads(json.dumps(layer.get_config()))
    parameters = inspect.signature(type(layer).__init__).parameters.values()
    names = {p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD} - {"self"}
    assert names <= set(config), "each argument of the layer must be in its configuration"
    for name, value in arguments.items():
        assert config[name] == value
    assert type(layer).from_config(config).get_config() == layer.get_config()
    assert keras.saving.get_registered_name(type(layer)) == f"keras_recipes>{type(layer).__name__}"


def _check_saving(layer, images, path):
    inputs = _inputs(images)
    model = keras.Model(inputs, layer(inputs))
    model.save(path)
    loaded = keras.models.load_model(path)
    assert type(loaded.layers[-1]) is type(layer)
    # One in a graph, one without; random layers have the same seed.
    np.testing.assert_allclose(loaded.predict_on_batch(images), model(images), atol=1e-5)


def _check_policy(layer_class, arguments, images, policy, output_dtype):
    layer = layer_class(**arguments, dtype=policy)
    for training in (False, True):
        takes_training = "training" in inspect.signature(layer.call).parameters
        outputs = layer(images, **({"training": training} if takes_training else {}))
        assert outputs.dtype == (output_dtype or layer.compute_dtype)
        assert np.isfinite(np.asarray(outputs, "float32")).all()
    assert all(weight.dtype in ("float32", "uint32", "int64") for weight in layer.weights)


def _check_training(layer, images):
    inputs = _inputs(images)
    x = keras.tree.map_structure(lambda one: keras.layers.Dense(one.shape[-1])(one), inputs)
    x = keras.layers.Flatten()(layer(x))
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    model.compile(keras.optimizers.SGD(0.01), "mse", run_eagerly=True)
    before = [weight.value.numpy() for weight in model.trainable_weights]
    loss = model.train_on_batch(images, np.ones((len(keras.tree.flatten(images)[0]), 1)))
    assert np.isfinite(loss)
    for weight, old in zip(model.trainable_weights, before, strict=True):
        value = weight.value.numpy()
        assert np.isfinite(value).all()
        # A bias before a normalisation has no gradient but rounding.
        assert (value != old).any() or weight.name == "bias"


def _check_inline(layer_class, arguments, images, path):
    """The parts in a flat graph must compute what the block does, training and saving included."""
    inputs = _inputs(images)
    keras.utils.set_random_seed(0)  # of which the seeds of random layers are made
    opaque = keras.Model(inputs, layer_class(**arguments, name="block")(inputs))
    keras.utils.set_random_seed(0)
    flat = keras.Model(inputs, layer_class(**arguments, name="block").inline(inputs))
    assert not any(isinstance(layer, Block) for layer in flat.layers)
    parts = [layer for layer in flat.layers if not isinstance(layer, keras.layers.InputLayer)]
    assert all(layer.name.startswith("block_") for layer in parts)
    copy_weights(opaque, flat)
    assert opaque.count_params() == flat.count_params()
    for training in (False, True):
        expected = opaque(images, training=training)
        np.testing.assert_allclose(flat(images, training=training), expected, atol=1e-5)
    flat.save(path)
    loaded = keras.models.load_model(path)
    for ours, theirs in zip(loaded.get_weights(), flat.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert [layer.get_config() for layer in loaded.layers] == [
        layer.get_config() for layer in flat.layers
    ]


def copy_weights(source, target):
    """Copy weights between models whose layers have the same names, in whatever order."""
    by_name = {_name(weight): weight for weight in source.weights}
    assert sorted(by_name) == sorted(_name(weight) for weight in target.weights)
    for weight in target.weights:
        weight.assign(by_name[_name(weight)])


def _name(weight):
    return "/".join(weight.path.split("/")[-2:])


@pytest.fixture
def arithmetic():
    """Return the arithmetic of blocks in NumPy, float64."""
    return types.SimpleNamespace(
        randomized=randomized,
        parts=parts,
        convolution=convolution,
        depthwise=depthwise,
        max_pool=max_pool,
        batch_norm=batch_norm,
        group_norm=group_norm,
        assert_half_precision_agrees=assert_half_precision_agrees,
    )


def randomized(layer, shape, *, seed=1):
    """Return the layer, built for a shape, with random weights."""
    layer.build(shape)
    random = np.random.default_rng(seed)
    for weight in layer.weights:
        low, high = (0.5, 1.5) if weight.name in ("gamma", "moving_variance") else (-0.5, 0.5)
        weight.assign(random.uniform(low, high, weight.shape))
    return layer


def assert_half_precision_agrees(layer_class, arguments, policy, images):
    """Check a layer of random weights under a policy against itself in single precision."""
    full = randomized(layer_class(**arguments), images.shape)
    half = layer_class(**arguments, dtype=policy)
    half.build(images.shape)
    half.set_weights(full.get_weights())
    expected = np.asarray(full(images))
    difference = np.abs(np.asarray(half(images), "float32") - expected).max()
    assert difference < 0.05 * np.abs(expected).max(), (layer_class, difference)


def parts(layer):
    """Return the weights of a block: end of the name of the part, then name of the weight."""
    values = {}
    for weight in layer.weights:
        *_, owner, name = weight.path.split("/")
        part = values.setdefault(owner.removeprefix(f"{layer.name}_"), {})
        part[name] = weight.numpy().astype("float64")
    return values


def convolution(x, weights, strides=1):
    """Cross-correlation, padded with (size - 1) / 2 zeros on each side."""
    kernel = weights["kernel"]
    windows = _windows(x, kernel.shape[0], strides, 0.0)
    return np.einsum("nhwcij,ijcd->nhwd", windows, kernel) + weights.get("bias", 0)


def depthwise(x, weights, strides=1):
    """Cross-correlation of each channel with its own kernel."""
    kernel = weights["kernel"][..., 0]
    windows = _windows(x, kernel.shape[0], strides, 0.0)
    return np.einsum("nhwcij,ijc->nhwc", windows, kernel) + weights.get("bias", 0)


def max_pool(x, size, strides, *, margin=0):
    """Largest value of each window."""
    return _windows(x, size, strides, -np.inf, margin).max((-2, -1))


def _windows(x, size, strides, value, margin=None):
    margin = size // 2 if margin is None else margin
    x = np.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)), constant_values=value)
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    return windows[:, ::strides, ::strides]


def batch_norm(x, weights, epsilon=1e-5):
    """Normalisation by the moving statistics."""
    scale = weights["gamma"] / np.sqrt(weights["moving_variance"] + epsilon)
    return (x - weights["moving_mean"]) * scale + weights["beta"]


def group_norm(x, weights, groups, epsilon=1e-5):
    """Normalisation over the pixels and a group of channels of each image, one by one."""
    outputs = np.empty(x.shape, "float64")
    size = x.shape[-1] // groups
    for image in range(len(x)):
        for start in range(0, x.shape[-1], size):
            part = x[image, ..., start : start + size].astype("float64")
            normal = (part - part.mean()) / np.sqrt(part.var() + epsilon)
            outputs[image, ..., start : start + size] = normal
    return outputs * weights["gamma"] + weights["beta"]
