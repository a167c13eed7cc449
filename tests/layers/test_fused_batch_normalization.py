"""The fused layer against the stock layer of Keras, which is its reference."""

import inspect
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from recipes.layers import FusedBatchNormalization

SHAPE = (6, 5, 7, 4)
VARIANTS = {
    "default": {},
    "no scale": {"scale": False},
    "no center": {"center": False},
    "neither": {"scale": False, "center": False},
    "small epsilon": {"epsilon": 1e-6},
    "large epsilon": {"epsilon": 0.3},
    "momentum 0": {"momentum": 0.0},
    "momentum 0.9": {"momentum": 0.9},
    "axis 3": {"axis": 3},
}
FALLBACKS = {
    "axis 1": (SHAPE, {"axis": 1}),
    "rank 2": ((30, 4), {}),
    "rank 3": ((6, 9, 4), {}),
    "rank 5": ((3, 2, 4, 5, 4), {}),
    "float64": (SHAPE, {"dtype": "float64"}),
    "synchronized": (SHAPE, {"synchronized": True}),
}
if "renorm" in inspect.signature(keras.layers.BatchNormalization).parameters:  # since Keras 3.14
    FALLBACKS["renorm"] = (SHAPE, {"renorm": True})


def make_pair(shape=SHAPE, *, seed=0, **arguments):
    """Return a fused and a stock layer of the same random weights."""
    random = np.random.default_rng(seed)
    pair = (FusedBatchNormalization(**arguments), keras.layers.BatchNormalization(**arguments))
    for layer in pair:
        layer.build(shape)
    weights = [random.uniform(0.5, 2.0, weight.shape) for weight in pair[0].weights]
    for layer in pair:
        layer.set_weights(weights)
    return pair


def make_images(shape=SHAPE, *, seed=1):
    """Images whose channels differ in mean and spread, and a gradient of the outputs."""
    random = np.random.default_rng(seed)
    channels = shape[-1]
    images = random.normal(size=shape) * np.arange(1, channels + 1) + np.arange(channels)
    return images.astype("float32"), random.normal(size=shape).astype("float32")


def step(layer, images, upstream, *, training, **tape_arguments):
    """Return the outputs and the gradients of images, gamma and beta."""
    images = tf.constant(images)
    with tf.GradientTape(**tape_arguments) as tape:
        tape.watch(images)
        outputs = layer(images, training=training)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) * upstream)
    parameters = [weight.value for weight in layer.trainable_weights]
    return outputs, *tape.gradient(loss, [images, *parameters])


def kernels(layer, images, *, training):
    """Return the types of the operations in the graph of a call."""
    function = tf.function(lambda inputs: layer(inputs, training=training))
    graph = function.get_concrete_function(tf.constant(images)).graph
    return {operation.type for operation in graph.get_operations()}


def assert_close(ours, stock, tolerance=1e-5):
    for one, other in zip(ours, stock, strict=True):
        one, other = (np.asarray(value) for value in (one, other))
        assert one.dtype == other.dtype
        scale = max(1.0, np.abs(other.astype("float32")).max())
        np.testing.assert_allclose(one / scale, other / scale, rtol=0, atol=tolerance)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("arguments", VARIANTS.values(), ids=VARIANTS.keys())
def test_outputs_gradients_and_statistics_are_those_of_the_stock_layer(arguments, training):
    fused, stock = make_pair(**arguments)
    for seed in range(4):
        images, upstream = make_images(seed=seed)
        ours = step(fused, images, upstream, training=training)
        reference = step(stock, images, upstream, training=training)
        assert len(ours) == 2 + fused.scale + fused.center
        assert_close(ours, reference)
        assert_close(fused.get_weights(), stock.get_weights())


def test_training_follows_the_equations():
    images, _ = make_images()
    layer = FusedBatchNormalization(momentum=0.75, epsilon=0.01)
    outputs = layer(images, training=True)
    mean, variance = images.mean((0, 1, 2), dtype="float64"), images.var((0, 1, 2), dtype="float64")
    np.testing.assert_allclose(outputs, (images - mean) / np.sqrt(variance + 0.01), atol=1e-5)
    np.testing.assert_allclose(layer.moving_mean.value, 0.25 * mean, atol=1e-5)
    np.testing.assert_allclose(layer.moving_variance.value, 0.75 + 0.25 * variance, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (2, 1, 1, 3), (1, 2, 2, 3)])
def test_few_values_a_channel(shape):
    images, upstream = make_images(shape)
    fused, stock = make_pair(shape)
    assert_close(
        step(fused, images, upstream, training=True), step(stock, images, upstream, training=True)
    )
    assert_close(fused.get_weights(), stock.get_weights())


def test_open_sizes():
    fused, stock = make_pair((None, None, None, 4))
    function = tf.function(
        lambda inputs: fused(inputs, training=True),
        input_signature=[tf.TensorSpec((None, None, None, 4))],
    )
    images, _ = make_images()
    assert_close([function(images)], [stock(images, training=True)])
    assert_close(fused.get_weights(), stock.get_weights())


@pytest.mark.parametrize("training", [True, False])
def test_the_fused_kernel_is_used(training):
    layer, _ = make_pair()
    images, _ = make_images()
    types = kernels(layer, images, training=training)
    assert "FusedBatchNormV3" in types
    assert not types & {"Rsqrt", "SquaredDifference"}


def test_not_trainable_means_inference():
    fused, stock = make_pair()
    fused.trainable = stock.trainable = False
    before = fused.get_weights()
    images, _ = make_images()
    assert_close([fused(images, training=True)], [stock(images, training=False)])
    assert_close(fused.get_weights(), before, tolerance=0)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("shape", "arguments"), FALLBACKS.values(), ids=FALLBACKS.keys())
def test_what_the_kernel_cannot_do_the_stock_computation_does(shape, arguments, training):
    fused, stock = make_pair(shape, **arguments)
    images, _ = make_images(shape)
    dtype = arguments.get("dtype", "float32")
    images = images.astype(dtype)
    assert "FusedBatchNormV3" not in kernels(fused, images, training=training)
    assert_close([fused(images, training=training)], [stock(images, training=training)], 0)
    assert_close(fused.get_weights(), stock.get_weights(), 0)


def test_a_mask_is_honoured():
    fused, stock = make_pair()
    images, _ = make_images()
    mask = np.arange(6 * 5 * 7).reshape(6, 5, 7) % 3 > 0
    ours = fused(images, training=True, mask=tf.constant(mask))
    assert_close([ours], [stock(images, training=True, mask=tf.constant(mask))], 0)
    assert_close(fused.get_weights(), stock.get_weights(), 0)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("policy", "tolerance"),
    [("mixed_bfloat16", 2**-7), ("mixed_float16", 2**-10), ("bfloat16", 2**-7)],
)
def test_half_precision(policy, tolerance, training):
    fused, stock = make_pair(dtype=policy)
    images, upstream = make_images()
    images = tf.cast(images, fused.compute_dtype)
    ours = step(fused, images, upstream, training=training)
    reference = step(stock, images, upstream, training=training)
    assert ours[0].dtype == fused.compute_dtype
    assert [gradient.dtype for gradient in ours[1:]] == [g.dtype for g in reference[1:]]
    assert_close(ours, reference, tolerance)
    assert_close(fused.get_weights(), stock.get_weights(), 1e-5 if "mixed" in policy else tolerance)


def test_gamma_keeps_its_precision_in_half_precision():
    # 1 + 2^-12 rounds to 1 in bfloat16; a gamma that was cast would lose the difference.
    layer = FusedBatchNormalization(dtype="mixed_bfloat16", epsilon=1e-6)
    layer.build(SHAPE)
    layer.gamma.assign(np.full(4, 1 + 2**-12))
    images = np.full(SHAPE, 2.0**12, "float32")
    layer.moving_variance.assign(np.ones(4))
    layer.beta.assign(np.full(4, -(2.0**12)))
    np.testing.assert_allclose(layer(images), 1.0, atol=0.05)


def test_inside_jit_compile():
    fused, stock = make_pair()
    images, upstream = make_images()
    compiled = tf.function(lambda: step(fused, images, upstream, training=True), jit_compile=True)
    assert_close(compiled(), step(stock, images, upstream, training=True))
    assert_close(fused.get_weights(), stock.get_weights())


def test_configuration_and_weights_are_interchangeable():
    fused, stock = make_pair(momentum=0.8, epsilon=1e-4)
    assert keras.layers.BatchNormalization.from_config(fused.get_config()).epsilon == 1e-4
    assert FusedBatchNormalization.from_config(stock.get_config()).momentum == 0.8
    names = [weight.name for weight in stock.weights]
    assert [weight.name for weight in fused.weights] == names
    for source, target in ((fused, stock), (stock, fused)):
        values = [value + 1 for value in source.get_weights()]
        source.set_weights(values)
        target.set_weights(source.get_weights())
        assert_close(target.get_weights(), values, 0)


def test_regularizer_and_constraint_are_those_of_the_stock_layer():
    arguments = {"gamma_regularizer": keras.regularizers.L2(0.5), "beta_constraint": "non_neg"}
    fused, stock = make_pair(**arguments)
    images, _ = make_images()
    fused(images, training=True)
    assert_close([fused.losses[0]], [np.float32(0.5 * np.sum(np.square(stock.get_weights()[0])))])
    assert type(fused.beta.constraint) is type(stock.beta.constraint)


def test_layer(check_layer):
    images, _ = make_images()
    check_layer(FusedBatchNormalization, {"momentum": 0.9, "epsilon": 1e-5}, images=images)


def test_saved_model(tmp_path):
    fused, stock = make_pair()
    model = keras.Sequential([keras.Input(SHAPE[1:]), fused])
    model.export(tmp_path / "model", verbose=False)
    images, _ = make_images()
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    assert_close([loaded.serve(tf.constant(images))], [stock(images)])


_MIRRORED = """
import keras, numpy as np, tensorflow as tf
from recipes.layers import FusedBatchNormalization
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
images = np.random.default_rng(0).normal(size=(8, 8, 8, 3)).astype("float32")
results = []
for kind in (FusedBatchNormalization, keras.layers.BatchNormalization):
    keras.utils.set_random_seed(0)
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        layers = [keras.layers.Conv2D(4, 3), kind(momentum=0.5), keras.layers.Flatten()]
        model = keras.Sequential([keras.Input((8, 8, 3)), *layers, keras.layers.Dense(2)])
        model.compile("sgd", "mse")
    model.fit(images, np.ones((8, 2)), batch_size=4, shuffle=False, epochs=2, verbose=0)
    results.append([weight.value.numpy() for weight in model.weights])
for ours, stock in zip(*results, strict=True):
    np.testing.assert_allclose(ours, stock, atol=1e-5)
"""


@pytest.mark.slow
def test_mirrored_replicas():
    """In a process of its own, since the number of devices is fixed once TensorFlow starts."""
    answer = subprocess.run(
        [sys.executable, "-c", _MIRRORED], capture_output=True, text=True, timeout=300
    )
    assert answer.returncode == 0, answer.stderr
