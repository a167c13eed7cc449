import keras
import numpy as np
import pytest
import tensorflow as tf

from recipes.layers import StochasticDepth

IMAGES = np.random.default_rng(0).uniform(1, 2, (4, 3, 3, 2)).astype("float32")


def kept(layer, images, **arguments):
    """Return for each image the one factor it was multiplied by."""
    images = tf.cast(images, layer.compute_dtype)
    ratio = np.asarray(tf.cast(layer(images, **arguments) / images, tf.float32))
    ratio = ratio.reshape(len(images), -1)
    assert (ratio == ratio[:, :1]).all(), "an image is dropped whole or not at all"
    return ratio[:, 0]


def test_layer(check_layer):
    check_layer(StochasticDepth, {"rate": 0.25, "seed": 3}, images=IMAGES)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("rate", [0.002, 0.2, 0.5, 0.9])
def test_frequency_and_scale(rate, policy):
    count = 100_000
    factors = kept(StochasticDepth(rate, seed=1, dtype=policy), np.ones((count, 2)), training=True)
    scale = tf.cast(tf.cast(1 / (1 - rate), policy.removeprefix("mixed_")), tf.float32)
    assert set(np.unique(factors)) == {0, scale.numpy()}
    # Five standard deviations of a binomial share.
    assert abs((factors == 0).mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / count)


def test_inference_and_rate_0_do_nothing():
    for layer, arguments in (
        (StochasticDepth(0.5), {}),
        (StochasticDepth(0.5), {"training": False}),
        (StochasticDepth(0.0), {"training": True}),
    ):
        np.testing.assert_array_equal(layer(IMAGES, **arguments), IMAGES)
    assert StochasticDepth(0.0).weights == []


def test_seed():
    images = np.ones((64, 1))
    draws = [kept(StochasticDepth(0.5, seed=seed), images, training=True) for seed in (7, 7, 8)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()
    layer = StochasticDepth(0.5, seed=7)
    first, second = (kept(layer, images, training=True) for _ in range(2))
    assert (first != second).any(), "each call must draw anew"


def test_open_batch_in_a_compiled_graph():
    layer = StochasticDepth(0.5, seed=1)
    function = tf.function(
        lambda inputs: layer(inputs, training=True),
        input_signature=[tf.TensorSpec((None, 3, 3, 2))],
        jit_compile=True,
    )
    ratio = function(tf.constant(IMAGES)) / IMAGES
    assert set(np.unique(ratio)) <= {0, 2}


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, float("nan")])
def test_wrong_rate(rate):
    with pytest.raises(ValueError, match=r"rate must be in \[0, 1\)"):
        StochasticDepth(rate)


def test_gradient_of_a_dropped_branch_is_zero():
    layer = StochasticDepth(0.5, seed=2)
    images = tf.Variable(np.ones((32, 2), "float32"))
    with tf.GradientTape() as tape:
        outputs = layer(images, training=True)
        loss = keras.ops.sum(outputs)
    np.testing.assert_array_equal(tape.gradient(loss, images), outputs)
