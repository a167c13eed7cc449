"""Lighting noise: components against scikit-learn, shifts against their law."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from sklearn.decomposition import PCA

import augment
from augment import lighting

IMAGENET_VALUES = np.array([0.2175, 0.0188, 0.0045])
IMAGENET_VECTORS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)


@pytest.fixture
def correlated():
    """uint8 images whose channels go together, as in photographs."""
    generator = np.random.default_rng(2)
    bright = generator.normal(120, 40, (12, 9, 8, 1))
    own = generator.normal(0, [10, 15, 6], (12, 9, 8, 3))
    return np.clip(bright * [1, 0.8, 0.5] + own, 0, 255).astype(np.uint8)


def assert_components(found, images):
    """Assert that components are those of scikit-learn, up to the sign of each vector."""
    expected = PCA().fit(images.reshape(-1, images.shape[-1]) / 255)
    values, vectors = found
    np.testing.assert_allclose(values, expected.explained_variance_, rtol=1e-6)
    np.testing.assert_allclose(np.abs(np.sum(vectors.T * expected.components_, axis=1)), 1)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(len(values)), atol=1e-12)
    assert (vectors.sum(0) >= 0).all()


def test_components_are_those_of_scikit_learn(correlated, monkeypatch):
    assert_components(augment.fit_lighting(correlated), correlated)
    assert_components(augment.fit_lighting(tf.constant(correlated)), correlated)
    floats = correlated.astype(np.float32)
    assert_components(augment.fit_lighting(floats), correlated)
    assert_components(augment.fit_lighting(floats / 127.5 - 1, value_range=(-1, 1)), correlated)
    monkeypatch.setattr(lighting, "_CHUNK", 100)
    assert_components(augment.fit_lighting(correlated), correlated)


@pytest.mark.parametrize("form", ["images", "single", "pairs", "dictionaries"])
def test_components_of_datasets(correlated, form):
    labels = np.arange(12)
    elements = {
        "images": correlated,
        "single": correlated,
        "pairs": (correlated, labels),
        "dictionaries": {"label": labels, "images": correlated},
    }[form]
    dataset = tf.data.Dataset.from_tensor_slices(elements)
    dataset = dataset if form == "single" else dataset.batch(5)
    assert_components(augment.fit_lighting(dataset), correlated)


def test_the_imagenet_components_are_the_published_ones():
    values, vectors = lighting.check_components("imagenet")
    np.testing.assert_array_equal(values, IMAGENET_VALUES)
    np.testing.assert_array_equal(vectors, IMAGENET_VECTORS)
    # Orthonormal as far as four digits go, so columns and rows are not mixed up with scales.
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=2e-3)


@pytest.mark.parametrize("own", [False, True])
def test_shifts_follow_the_law(own):
    values = np.array([0.2, 0.1, 0.05]) if own else IMAGENET_VALUES
    vectors = np.linalg.qr(np.arange(9.0).reshape(3, 3) ** 2 - 7)[0] if own else IMAGENET_VECTORS
    arguments = {"components": (values, vectors), "deviation": 0.2} if own else {}
    images = np.full((4000, 2, 3, 3), 127.0, np.float32)
    shifts = augment.random_lighting(images, [6, 1], **arguments).numpy() - 127
    np.testing.assert_array_equal(shifts, np.broadcast_to(shifts[:, :1, :1], shifts.shape))
    # From the shift back to the amount along each component.
    amounts = np.linalg.solve(vectors, shifts[:, 0, 0].T / 255).T / values
    for column in amounts.T:
        assert stats.kstest(column, stats.norm(0, 0.2 if own else 0.1).cdf).pvalue > 0.001
    assert np.abs(np.corrcoef(amounts.T) - np.eye(3)).max() < 0.06


def test_the_same_images_as_uint8(random_images):
    images = random_images(20)
    rounded = augment.random_lighting(images, [1, 2], deviation=1.0).numpy()
    floats = augment.random_lighting(images.astype(np.float32), [1, 2], deviation=1.0).numpy()
    assert rounded.dtype == np.uint8
    assert np.abs(rounded - floats).max() <= 0.501
    assert floats.min() == 0
    assert floats.max() == 255


def test_no_deviation_and_no_strength_change_nothing(random_images):
    images = random_images(4)
    np.testing.assert_array_equal(augment.random_lighting(images, [1, 2], deviation=0), images)
    made = augment.random_lighting.operation(deviation=0.5)
    none, half, full = (
        made.draw([1, 2], images.shape, strength)[0]["shift"].numpy() for strength in (0, 0.5, 1)
    )
    np.testing.assert_array_equal(none, 0)
    np.testing.assert_allclose(half, full / 2)
    assert np.abs(full).max() > 1


def test_grey_images_get_the_grey_of_the_shift():
    one, three = (np.full((50, 2, 2, count), 127.0, np.float32) for count in (1, 3))
    shifts = augment.random_lighting(three, [3, 2]).numpy() - 127
    grey = augment.random_lighting(one, [3, 2]).numpy() - 127
    expected = shifts[:, 0, 0] @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(grey[:, 0, 0, 0], expected, atol=1e-3)


def test_how_far_the_brightness_moves():
    grey = (
        augment.random_lighting(np.full((4000, 1, 1, 1), 127.0, np.float32), [2, 4]).numpy() - 127
    )
    amounts = np.array([0.299, 0.587, 0.114]) @ IMAGENET_VECTORS * IMAGENET_VALUES
    expected = 0.1 * 255 * np.linalg.norm(amounts)
    assert grey.std() == pytest.approx(expected, rel=0.05)
    assert f"by about {expected:.1f} grey levels" in augment.random_lighting.__doc__


def test_any_number_of_channels_with_components_of_as_many(random_images):
    images = random_images(30, channels=5)
    components = augment.fit_lighting(images)
    changed = augment.random_lighting(images, [1, 1], components=components, deviation=2.0)
    assert changed.shape == images.shape
    assert (changed != images).numpy().any((0, 1, 2)).all()


def test_a_layer_with_fitted_components_survives_saving(random_images, correlated):
    layer = augment.RandomLighting(components=augment.fit_lighting(correlated), seed=3)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    images = random_images(4)
    np.testing.assert_array_equal(again(images, training=True), layer(images, training=True))


@pytest.mark.parametrize(
    ("images", "arguments", "message"),
    [
        (np.zeros((4, 4, 3), np.uint8), {}, "images must have the shape"),
        (np.zeros((1, 1, 1, 3), np.uint8), {}, "at least 2 pixels, received: 1"),
        (np.zeros((0, 4, 4, 3), np.uint8), {}, "at least 2 pixels, received: 0"),
        (np.full((1, 4, 4, 3), 0.5), {}, r"say value_range=\(0, 1\)"),
        (np.zeros((1, 4, 4, 3)), {"value_range": (1, 0)}, "value_range must be"),
    ],
)
def test_bad_images_to_fit(images, arguments, message):
    with pytest.raises(ValueError, match=message):
        augment.fit_lighting(images, **arguments)


def test_datasets_whose_channels_change_are_refused():
    dataset = tf.data.Dataset.from_generator(
        lambda: (np.zeros((4, 4, count), np.uint8) for count in (3, 1)),
        output_signature=tf.TensorSpec((4, 4, None), tf.uint8),
    )
    with pytest.raises(ValueError, match="images must all have 3 channels, received: 1"):
        augment.fit_lighting(dataset)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"deviation": -1}, "deviation must be a number"),
        ({"components": "cifar"}, "components must be 'imagenet'"),
        ({"components": 3}, "components must be 'imagenet' or eigenvalues"),
        ({"components": ((1, 2), ((1, 0),))}, r"shapes \(2,\) and \(1, 2\)"),
        ({"components": ((1, -2), ((1, 0), (0, 1)))}, "eigenvalues at least 0"),
        ({"components": ((1, 2), ((1, 0), (0, 1)))}, "2 channels, received: 3 channels"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        augment.random_lighting(np.zeros((1, 2, 2, 3), np.uint8), [0, 0], **arguments)


def test_images_of_another_number_of_channels_are_refused():
    message = r"1 channel \(grey\) or 3 \(RGB\) for lighting .* received: 4 channels"
    with pytest.raises(ValueError, match=message):
        augment.random_lighting(np.zeros((1, 2, 2, 4), np.uint8), [0, 0])
