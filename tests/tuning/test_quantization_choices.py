"""Quantization-aware training of named layers, with losses of one's own, and what it refuses."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from recipes.errors import ConfigError, DataError
from tuning import quantize_aware
from tuning.quantization import _check_loss, _rounded

pytest.importorskip("tf_keras")
pytest.importorskip("tensorflow_model_optimization")

layers = keras.layers


def network(activation="softmax"):
    """Return a network with a normalisation that belongs to no convolution, half of it zeros."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Rescaling(1 / 255, name="scaling"),
            layers.Conv2D(4, 3, activation="relu", name="a"),
            layers.BatchNormalization(name="n"),
            layers.Conv2D(4, 3, activation="relu", name="b"),
            layers.Flatten(),
            layers.Dense(3, activation=activation, name="d"),
        ]
    )
    generator = np.random.default_rng(0)
    for name in "abd":
        kernel = model.get_layer(name).kernel
        kernel.assign(np.asarray(kernel) * (generator.random(kernel.shape) < 0.5))
    return model


def batches(labels=None):
    generator = np.random.default_rng(1)
    images = generator.integers(0, 256, (16, 8, 8, 1)).astype(np.uint8)
    labels = np.arange(16) % 3 if labels is None else labels
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(8)


def test_what_lies_between_named_layers_goes_with_them_and_zeros_stay_in_all():
    model = network()
    trained = quantize_aware(
        *(model, batches()),
        layers=["a", "b"],
        preserve="sparsity",
        epochs=1,
        optimizer="sgd",
        learning_rate=0.05,
    )
    assert trained.float_operations == {"FULLY_CONNECTED": 1, "SOFTMAX": 1}
    assert trained.float_reasons == {"d": "not among the chosen layers"}
    for name in "abd":
        before, after = (np.asarray(one.get_layer(name).kernel) for one in (model, trained.model))
        assert np.any(after != before)
        assert np.all(after[before == 0] == 0)
        assert not np.signbit(after[before == 0]).any()


def test_what_leads_to_no_named_layer_is_left_float():
    quantized, _ = _rounded(network(), ["b", "d"])
    assert quantized.reasons == {
        "scaling_affine": "not among the chosen layers",
        "a": "not among the chosen layers",
        "n": "takes results of 'a_relu', which is float",
    }
    with pytest.raises(ConfigError, match="none of n, flat.* is a convolution or dense layer"):
        _rounded(network(), ["n", "flat*"])


def test_losses_of_probabilities_are_refused(tmp_path):
    losses = keras.losses
    for loss in (
        *(losses.SparseCategoricalCrossentropy(), losses.categorical_crossentropy, "mse"),
        *(losses.KLDivergence(), losses.kl_divergence),
    ):
        with pytest.raises(ConfigError, match="takes probabilities.*without its softmax"):
            _check_loss(loss)
    for loss in (
        None,
        losses.SparseCategoricalCrossentropy(from_logits=True),
        losses.MeanSquaredError(),
        functools.partial(losses.categorical_crossentropy, from_logits=True),
        lambda labels, logits: logits[:, 0],
    ):
        _check_loss(loss)
    with pytest.raises(ConfigError, match="received: sparse_categorical_crossentropy"):
        quantize_aware(
            *(network(), batches()),
            loss="sparse_categorical_crossentropy",
            run_directory=tmp_path / "run",
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("activation", "labels", "error", "message"),
    [
        (None, None, ConfigError, r"ends in a softmax, '.*' does not.*add keras.layers.Softmax"),
        ("sigmoid", np.eye(3)[np.arange(16) % 3], ConfigError, "ends in a softmax"),
        ("sigmoid", None, DataError, r"expected labels of shape \(n, 3\) of 0 and 1"),
    ],
)
def test_other_endings_are_refused(activation, labels, error, message):
    with pytest.raises(error, match=message):
        quantize_aware(network(activation), batches(labels))
