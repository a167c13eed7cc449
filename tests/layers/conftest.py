"""The checks that every layer must pass."""

import inspect
import json

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
            images: Float32 batch to call it on.
            output_dtype: What it returns under every policy; `None` for the compute dtype.
        """
        layer = layer_class(**arguments)
        assert "Example:" in layer_class.__doc__
        outputs = layer(images)
        assert tuple(outputs.shape) == tuple(layer.compute_output_shape(images.shape))
        assert tuple(outputs.shape) == layer_class(**arguments).compute_output_shape(images.shape)
        _check_configuration(layer, arguments)
        _check_saving(layer_class(**arguments), images, tmp_path / "layer.keras")
        for policy in ("float32", "mixed_bfloat16", "mixed_float16"):
            _check_policy(layer_class, arguments, images, policy, output_dtype)
        _check_training(layer_class(**arguments), images)
        if issubclass(layer_class, Block):
            _check_inline(layer_class, arguments, images)

    return check


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
    model = keras.Sequential([keras.Input(images.shape[1:]), layer])
    model.save(path)
    loaded = keras.models.load_model(path)
    assert type(loaded.layers[-1]) is type(layer)
    np.testing.assert_array_equal(
        loaded.predict(images, verbose=0), model.predict(images, verbose=0)
    )


def _check_policy(layer_class, arguments, images, policy, output_dtype):
    layer = layer_class(**arguments, dtype=policy)
    for training in (False, True):
        takes_training = "training" in inspect.signature(layer.call).parameters
        outputs = layer(images, **({"training": training} if takes_training else {}))
        assert outputs.dtype == (output_dtype or layer.compute_dtype)
        assert np.isfinite(np.asarray(outputs, "float32")).all()
    assert all(weight.dtype in ("float32", "uint32", "int64") for weight in layer.weights)


def _check_training(layer, images):
    inputs = keras.Input(images.shape[1:])
    x = keras.layers.Dense(images.shape[-1])(inputs)
    x = keras.layers.Flatten()(layer(x))
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    model.compile(keras.optimizers.SGD(0.01), "mse")
    before = [weight.value.numpy() for weight in model.trainable_weights]
    loss = model.train_on_batch(images, np.ones((len(images), 1)))
    assert np.isfinite(loss)
    for weight, old in zip(model.trainable_weights, before, strict=True):
        value = weight.value.numpy()
        assert np.isfinite(value).all()
        # A bias before a normalisation has no gradient but rounding.
        assert (value != old).any() or weight.name == "bias"


def _check_inline(layer_class, arguments, images):
    """The parts in a flat graph must compute what the block does, training included."""
    inputs = keras.Input(images.shape[1:])
    opaque = keras.Model(inputs, layer_class(**arguments, name="block")(inputs))
    flat = keras.Model(inputs, layer_class(**arguments, name="block").inline(inputs))
    assert not any(isinstance(layer, Block) for layer in flat.layers)
    assert all(layer.name.startswith("block_") for layer in flat.layers[1:])
    copy_weights(opaque, flat)
    assert opaque.count_params() == flat.count_params()
    for training in (False, True):
        keras.utils.set_random_seed(0)
        expected = opaque(images, training=training)
        keras.utils.set_random_seed(0)
        np.testing.assert_allclose(flat(images, training=training), expected, atol=1e-5)


def copy_weights(source, target):
    """Copy weights between models whose layers have the same names, in whatever order."""
    by_name = {_name(weight): weight for weight in source.weights}
    assert sorted(by_name) == sorted(_name(weight) for weight in target.weights)
    for weight in target.weights:
        weight.assign(by_name[_name(weight)])


def _name(weight):
    return "/".join(weight.path.split("/")[-2:])
