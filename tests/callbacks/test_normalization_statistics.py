"""Batch statistics against pooled ones in float64, on stock and fused layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from callbacks import reestimate_normalization
from callbacks.normalization_statistics import PooledMoments, normalization_layers
from recipes.layers import FusedBatchNormalization

_LAYERS = [keras.layers.BatchNormalization, FusedBatchNormalization]


@pytest.fixture
def images():
    """Eleven images whose channels have different and drifting means."""
    generator = np.random.default_rng(0)
    drift = np.arange(11)[:, None, None, None]
    return (generator.normal(size=(11, 4, 4, 3)) * [1, 5, 0.1] + drift + [0, 9, -30]).astype("f4")


@pytest.mark.parametrize("kind", _LAYERS)
def test_exact_over_uneven_batches(kind, images):
    layer = kind(momentum=0.9)
    model = keras.Sequential([keras.layers.Input((4, 4, 3)), layer])
    data = tf.data.Dataset.from_tensor_slices((images, np.zeros(11))).batch(4)
    assert reestimate_normalization(model, data) == 1
    values = images.astype("f8").reshape(-1, 3)
    np.testing.assert_allclose(layer.moving_mean.numpy(), values.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.moving_variance.numpy(), values.var(axis=0), rtol=1e-4)
    assert layer.momentum == 0.9


@pytest.mark.parametrize(
    "data",
    [
        [[[0, 300], [2, 0]], [[4, 150], [6, 150]]],
        # Variances above the mark of an unused layer; then none that is a number.
        [[[0, 400], [400, 0]], [[50, 100], [450, 500]]],
        [[[np.nan, np.nan]], [[1, 2]]],
    ],
)
def test_pure_half_precision(data):
    layer = keras.layers.BatchNormalization(dtype="float16")
    model = keras.Sequential([keras.layers.Input((2,), dtype="float16"), layer])
    data = np.array(data, "f2")
    assert reestimate_normalization(model, data) == 1
    values = np.concatenate(data).astype("f8")
    np.testing.assert_allclose(layer.moving_mean.numpy(), values.mean(axis=0), rtol=1e-3)
    np.testing.assert_allclose(layer.moving_variance.numpy(), values.var(axis=0), rtol=1e-3)


def test_each_layer_sees_what_training_gives_it(images):
    """The second layer of two, followed through the first one's batches in NumPy."""
    first, last = keras.layers.BatchNormalization(), keras.layers.BatchNormalization()
    inner = keras.Sequential([keras.layers.Input((4, 4, 3)), first, keras.layers.ReLU()])
    model = keras.Sequential([keras.layers.Input((4, 4, 3)), inner, last])
    assert reestimate_normalization(model, [images[:5], images[5:10], images[10:]], batches=2) == 2
    seen = []
    for batch in (images[:5].astype("f8"), images[5:10].astype("f8")):
        mean, variance = batch.mean(axis=(0, 1, 2)), batch.var(axis=(0, 1, 2))
        seen.append(np.maximum((batch - mean) / np.sqrt(variance + 1e-3), 0))
    seen = np.concatenate(seen).reshape(-1, 3)
    np.testing.assert_allclose(last.moving_mean.numpy(), seen.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(last.moving_variance.numpy(), seen.var(axis=0), rtol=1e-4)
    used = images[:10].astype("f8").reshape(-1, 3)
    np.testing.assert_allclose(first.moving_mean.numpy(), used.mean(axis=0), rtol=1e-4)


def test_pooling_keeps_its_precision_far_from_zero():
    values = np.random.default_rng(1).normal(1e6, 1.0, (6, 50))
    pooled = PooledMoments(1)
    for batch in np.split(values.ravel(), [7, 100, 101]):
        pooled.add(len(batch), np.array([batch.mean()]), np.array([batch.var()]))
    assert pooled.mean[0] == pytest.approx(values.mean(), rel=1e-14)
    assert pooled.variance[0] == pytest.approx(values.var(), rel=1e-8)


def test_nothing_else_changes():
    frozen = keras.layers.BatchNormalization(trainable=False)
    model = keras.Sequential(
        [
            keras.layers.Input((2,)),
            frozen,
            keras.layers.Dense(2),
            keras.layers.Dropout(0.5, seed=1),
            keras.layers.BatchNormalization(),
        ]
    )
    before = {variable.path: variable.numpy() for variable in model.variables}
    assert reestimate_normalization(model, [np.eye(2, dtype="float32")] * 3) == 1
    changed = {
        variable.path.split("/")[-1]
        for variable in model.variables
        if not np.array_equal(variable.numpy(), before[variable.path])
    }
    assert changed == {"moving_mean", "moving_variance"}
    assert np.array_equal(frozen.moving_mean.numpy(), [0, 0])


def test_a_frozen_layer_normalises_by_its_own_statistics(images):
    frozen = keras.layers.BatchNormalization(trainable=False)
    layer = keras.layers.BatchNormalization()
    model = keras.Sequential([keras.layers.Input((4, 4, 3)), frozen, layer])
    frozen.set_weights(np.array([[1, 1, 1], [0, 0, 0], [1, 2, 3], [4, 9, 16]]))
    assert reestimate_normalization(model, [images[:6], images[6:]]) == 1
    seen = ((images.astype("f8") - [1, 2, 3]) / np.sqrt(np.add([4, 9, 16], 1e-3))).reshape(-1, 3)
    np.testing.assert_allclose(layer.moving_mean.numpy(), seen.mean(axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(layer.moving_variance.numpy(), seen.var(axis=0), rtol=1e-4)
    np.testing.assert_array_equal(frozen.get_weights()[3], [4, 9, 16])


def test_training_moves_on_as_usual_afterwards():
    layer = keras.layers.BatchNormalization(momentum=0.5)
    model = keras.Sequential([keras.layers.Input((1,)), layer])
    model.compile("sgd", "mse")
    x = np.array([[0.0], [2.0]], "float32")
    model.fit(x, x, verbose=0)
    reestimate_normalization(model, [x + 4])
    model.fit(x, x, verbose=0)
    assert layer.moving_mean.numpy()[0] == pytest.approx(0.5 * 5 + 0.5 * 1)


def _shared():
    layer = keras.layers.BatchNormalization(name="twice")
    inputs = keras.Input((2,))
    return keras.Model(inputs, layer(layer(inputs)))


def _plain():
    return keras.Sequential([keras.layers.Input((2,)), keras.layers.BatchNormalization()])


_ENDLESS = tf.data.Dataset.from_tensors(np.ones((2, 2), "float32")).repeat()


@pytest.mark.parametrize(
    ("make", "data", "batches", "message"),
    [
        (_plain, [], None, "at least one batch, received none"),
        (_plain, _ENDLESS, None, "no end"),
        (_plain, _ENDLESS, 0, "batches must be 1 or more, or None, received: 0"),
        (_shared, [np.ones((2, 2), "float32")], None, "'twice' is used at 2 places"),
    ],
)
def test_what_cannot_be_done(make, data, batches, message):
    model = make()
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        reestimate_normalization(model, data, batches=batches)
    for now, then in zip(model.get_weights(), before, strict=True):
        assert np.array_equal(now, then)
    assert normalization_layers(model)[0].momentum == 0.99


def test_a_model_without_batch_normalisation(line_model):
    assert reestimate_normalization(line_model[0], [np.ones((1, 1))]) == 0
