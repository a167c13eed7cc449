"""The linear probe: the optimum, that of the whole frozen model, from features computed once."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import LogisticRegression

from recipes.errors import ConfigError
from recipes.transfer import cached_features, feature_model, head_model, linear_probe, unfreeze
from recipes.transfer.probe import fit_softmax_regression


def _problem(count, size, classes=3):
    generator = np.random.default_rng(count)
    features = generator.normal(5, 2, (count, size))
    labels = (features[:, :classes] + generator.normal(0, 2, (count, classes))).argmax(axis=1)
    return features, labels


@pytest.mark.parametrize(("count", "size"), [(60, 5), (12, 40)])
@pytest.mark.parametrize("l2", [1.0, 0.01])
def test_it_is_the_optimum_that_scikit_learn_finds(count, size, l2):
    features, labels = _problem(count, size)
    kernel, bias = fit_softmax_regression(features, labels, 3, l2)
    # Its penalty is on the sum of the losses: C = 1 / (l2 * count).
    reference = LogisticRegression(C=1 / (l2 * count), tol=1e-10, max_iter=20_000)
    reference.fit(features, labels)
    np.testing.assert_allclose(kernel, reference.coef_.T, atol=2e-4)
    shift = bias - reference.intercept_
    np.testing.assert_allclose(shift, shift.mean(), atol=2e-3)


def test_the_start_does_not_matter():
    features, labels = _problem(12, 40)
    start = (np.ones((40, 3)), np.array([1.0, -2.0, 3.0]))
    found = fit_softmax_regression(features, labels, 3, 0.1, start)
    expected = fit_softmax_regression(features, labels, 3, 0.1)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5)


@pytest.fixture
def split(images, labels):
    return (images[:16], labels[:16]), (images[16:], labels[16:])


def test_the_whole_frozen_model_has_nothing_left_to_learn(small, split):
    """The slope of its loss by the head, through backbone and all, is 0.

    The loss is convex: this is the one head that training it in the whole model ends at.
    """
    model = small(classifier_activation=None)
    train, validation = split
    result = linear_probe(model, train, validation, strengths=(0.1,), say=None)
    kernel, bias = model.get_layer("logits").kernel, model.get_layer("logits").bias
    with tf.GradientTape() as tape:
        logits = model(train[0], training=True)  # frozen, so by its moving statistics
        losses = keras.losses.sparse_categorical_crossentropy(train[1], logits, from_logits=True)
        loss = tf.reduce_mean(losses) + result.l2 / 2 * tf.reduce_sum(kernel.value**2)
    slopes = tape.gradient(loss, [kernel.value, bias.value])
    assert max(np.abs(slope).max() for slope in slopes) < 1e-4
    assert float(tf.reduce_max(tf.abs(kernel.value))) > 1e-3, "it is not where it began, at 0"


def test_features_are_those_of_the_model_and_each_is_computed_once(small, images):
    model = small(dropout=0.5)
    unfreeze(model, batch_norm="train", say=None)  # features are those of inference all the same
    features = cached_features(model, images, batch_size=5)
    assert features.dtype == np.float32
    pooled = keras.Model(model.input, model.get_layer("head_pool").output)
    np.testing.assert_allclose(features, pooled(images, training=False), rtol=1e-4, atol=1e-4)
    batches = tf.data.Dataset.from_tensor_slices(images).batch(7)
    np.testing.assert_allclose(cached_features(model, batches), features, rtol=1e-4, atol=1e-4)


def test_a_head_model_trains_on_features_as_the_head_does_in_the_model(small, images, labels):
    """The same batches in the same order: the same weights, with and without the backbone."""
    model = small(dense=(6,))
    head = head_model(model)
    features = cached_features(model, images)
    for each, inputs in ((head, features), (model, images)):
        each.compile(keras.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy")
        each.fit(inputs, labels, batch_size=8, epochs=3, shuffle=False, verbose=0)
    for name in ("head_dense1", "logits"):
        ours, theirs = head.get_layer(name).get_weights(), model.get_layer(name).get_weights()
        for found, expected in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-4)


def test_the_penalty_with_the_least_validation_loss_is_kept(small, split):
    model = small()
    train, validation = split
    lines = []
    result = linear_probe(model, train, validation, strengths=(1e-4, 10.0, 0.1), say=lines.append)
    assert [l2 for l2, _ in result.tried] == sorted((l2 for l2, _ in result.tried), reverse=True)
    assert result.validation_nll == min(nll for _, nll in result.tried)
    probabilities = model.predict(validation[0], verbose=0)
    own = probabilities[np.arange(len(validation[1])), validation[1]]
    assert result.validation_nll == pytest.approx(float(-np.log(own).mean()), rel=1e-3)
    accuracy = (probabilities.argmax(axis=1) == validation[1]).mean()
    assert result.validation_accuracy == pytest.approx(accuracy)
    assert lines == [str(result)]


def test_nothing_but_the_head_is_touched(small, split, values, moved):
    model = small()
    before = values(model)
    linear_probe(model, *split, say=None)
    assert moved(model, before) == {"logits/kernel", "logits/bias"}
    assert model.get_layer("logits").output is not None


@pytest.mark.parametrize(
    ("arguments", "change", "message"),
    [
        ({"dense": (4,)}, {}, "needs a linear head: .* Train such a head with head_model"),
        ({}, {"labels": np.full(16, 3)}, "training labels lie between 3 and 3, .* 0 to 2"),
        ({}, {"labels": np.full(16, -1)}, "training labels lie between -1"),
        ({}, {"labels": np.eye(3)[np.zeros(16, int)]}, r"class indices of shape \(images,\)"),
        ({}, {"labels": np.zeros(0, int)}, "there are no training labels"),
        ({}, {"labels": np.zeros(9, int)}, "9 training labels for 16 images"),
        ({}, {"strengths": ()}, "strengths must be positive numbers"),
        ({}, {"strengths": (0.0,)}, "strengths must be positive numbers"),
    ],
)
def test_what_cannot_be_probed_is_one_line(arguments, change, message, small, split):
    train, validation = split
    train = (train[0], change.get("labels", train[1]))
    more = {"strengths": change["strengths"]} if "strengths" in change else {}
    with pytest.raises(ConfigError, match=message) as caught:
        linear_probe(small(**arguments), train, validation, **more)
    assert "\n" not in str(caught.value)


def test_a_sequential_network_has_features_and_a_head(images):
    convolution, dense = keras.layers.Conv2D(4, 1), keras.layers.Dense(2)
    pooling = keras.layers.GlobalAveragePooling2D()
    model = keras.Sequential([keras.Input((16, 16, 3)), convolution, pooling, dense])
    features = cached_features(model, images)
    kernel, bias = convolution.get_weights()
    expected = images.mean(axis=(1, 2)) @ kernel[0, 0] + bias
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-3)
    outputs = np.asarray(head_model(model)(features))
    np.testing.assert_allclose(outputs, model(images), rtol=1e-4, atol=1e-3)


def test_functions_in_the_head_are_seen(split):
    inputs = keras.Input((16, 16, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, keras.ops.softmax(keras.layers.Dense(3)(pooled)))
    result = linear_probe(model, *split, strengths=(0.1,), say=None)
    images, labels = split[1]
    own = np.asarray(model(images))[np.arange(len(labels)), labels]
    assert result.validation_nll == pytest.approx(float(-np.log(own).mean()), rel=1e-4)
    scaled = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(pooled * 10.0))
    with pytest.raises(ConfigError, match="needs a linear head: .* has multiply.*, dense"):
        linear_probe(scaled, *split)


@pytest.mark.parametrize("by_layer", [True, False])
def test_a_head_that_is_no_chain_has_no_copy(by_layer):
    inputs = keras.Input((8, 8, 3))
    pooled = keras.layers.GlobalMaxPooling2D()(keras.layers.Conv2D(2, 3)(inputs))
    inner = keras.layers.Dense(2)(pooled)
    joined = keras.layers.Add()([pooled, inner]) if by_layer else pooled + inner
    with pytest.raises(ConfigError, match="must be a chain of layers"):
        head_model(keras.Model(inputs, keras.layers.Dense(2)(joined)))


def test_a_model_without_pooling_has_no_features():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(2, 3)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    with pytest.raises(ConfigError, match="pooling to one vector an image"):
        feature_model(model)
