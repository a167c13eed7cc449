"""Test-time augmentation against NumPy and Pillow: the views and their mean."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy import special

from augment import TestTimeAugment, View

CLASSES = 4


@pytest.fixture
def linear_model():
    """Make a classifier whose logits are a matrix times the pixels, and return both."""

    def make(shape=(8, 8, 1), activation="softmax", strength=0.02, head="dense"):
        keras.utils.set_random_seed(1)
        inputs = keras.Input(shape)
        flat = keras.layers.Flatten()(inputs)
        start = keras.initializers.RandomNormal(stddev=strength, seed=1)
        dense = keras.layers.Dense(
            CLASSES,
            kernel_initializer=start,
            bias_initializer="random_normal",
            activation=activation if head == "dense" else None,
        )
        outputs = dense(flat)
        if head == "layer":
            outputs = keras.layers.Softmax()(outputs)
        elif head == "lambda":
            # A softmax that cannot be seen from outside.
            outputs = keras.layers.Activation(lambda x: keras.ops.softmax(x))(outputs)
        matrix, bias = dense.get_weights()
        return keras.Model(inputs, outputs), lambda x: x.reshape(len(x), -1) @ matrix + bias

    return make


def pillow_resize(images, shorter):
    """Resize float images by Pillow, to a length of the shorter side."""
    height, width = images.shape[1:3]
    new_height, new_width = (shorter * side // min(height, width) for side in (height, width))
    resized = [
        [
            np.asarray(
                Image.fromarray(np.float32(image[..., channel])).resize(
                    (new_width, new_height), Image.Resampling.BILINEAR
                )
            )
            for channel in range(images.shape[3])
        ]
        for image in images
    ]
    return np.moveaxis(np.array(resized), 1, 3)


def five_crops(images, side):
    """Return middle and corners, as torchvision's `five_crop` defines them."""
    height, width = images.shape[1:3]
    top, left = round((height - side) / 2), round((width - side) / 2)
    return [
        images[:, top : top + side, left : left + side],
        images[:, :side, :side],
        images[:, :side, width - side :],
        images[:, height - side :, :side],
        images[:, height - side :, width - side :],
    ]


def mirrored(views):
    return [*views, *(view[:, :, ::-1] for view in views)]


def moved_by_one(images):
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")
    up, down = padded[:, 2:, 2:], padded[:, :-2, :-2]
    # The unmoved picture has half of the weight.
    return mirrored([images, images, up, down])


def resnet_views(images):
    views = []
    for scale in (224, 256, 384, 480, 640):
        views += mirrored(five_crops(pillow_resize(images, round(scale * 8 / 224)), 8))
    return views


REFERENCES = {
    "flip": lambda images: mirrored([images]),
    "five_crop": lambda images: five_crops(pillow_resize(images, round(8 * 256 / 224)), 8),
    "ten_crop": lambda images: mirrored(five_crops(pillow_resize(images, 9), 8)),
    "resnet50views": resnet_views,
    "shifts": moved_by_one,
}


def expected_mean(logits, average):
    """Return the mean of probabilities over axis 0 in float64, by the definition."""
    probabilities = special.softmax(np.float64(logits), axis=-1)
    if average == "arithmetic":
        return probabilities.mean(axis=0)
    product = np.prod(probabilities ** (1 / len(probabilities)), axis=0)
    return product / product.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("head", ["dense", "layer", "lambda"])
@pytest.mark.parametrize("average", ["geometric", "arithmetic"])
@pytest.mark.parametrize("views", REFERENCES)
def test_the_mean_over_the_views(random_images, linear_model, views, average, head):
    model, logits_of = linear_model(head=head)
    images = random_images(5, channels=1)
    expected = expected_mean(
        [logits_of(view) for view in REFERENCES[views](images.astype(np.float64))], average
    )
    found = TestTimeAugment(model, views, average=average)(images)
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("views", ["flip", [View()]])
def test_a_model_of_half_precision_gives_float32(views):
    layers = [keras.layers.Flatten(), keras.layers.Dense(3, "softmax", dtype="mixed_bfloat16")]
    model = keras.Sequential([keras.Input((2, 2, 1)), *layers])
    images = np.zeros((1, 2, 2, 1), np.uint8)
    both = TestTimeAugment(model, views)
    assert both(images).dtype == tf.float32
    assert TestTimeAugment(both, "flip")(images).dtype == tf.float32


@pytest.mark.parametrize("average", ["geometric", "arithmetic"])
def test_a_model_of_logits_gives_the_logits_of_the_mean(random_images, linear_model, average):
    model, logits_of = linear_model(activation=None)
    images = random_images(5, channels=1)
    views = REFERENCES["ten_crop"](images.astype(np.float64))
    expected = expected_mean([logits_of(view) for view in views], average)
    found = TestTimeAugment(model, "ten_crop", average=average, logits=True)(images)
    np.testing.assert_allclose(special.softmax(found, axis=1), expected, atol=2e-6)


def test_photographs_of_other_proportions(random_images, linear_model):
    """Crops are taken from larger images as they are; views by size from resized ones."""
    model, logits_of = linear_model((8, 8, 3))
    images = random_images(3, 12, 19)
    expected = expected_mean([logits_of(v) for v in five_crops(images, 8)], "geometric")
    found = TestTimeAugment(model, "five_crop", image_size=(12, 19))(images)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    views = [View(size=9), View(size=10, place=(0, 1), horizontal=True), View(size=30)]
    views.append(View(size=11, place=(1, 0.3), vertical=True))
    crops = [
        five_crops(pillow_resize(images, 9), 8)[0],
        five_crops(pillow_resize(images, 10), 8)[2][:, :, ::-1],
        five_crops(pillow_resize(images, 30), 8)[0],
        # 19 * 11 // 12 = 17 columns: the room of 9 times 0.3 is 2.7.
        pillow_resize(images, 11)[:, 3:, 3:11][:, ::-1],
    ]
    expected = expected_mean([logits_of(crop) for crop in crops], "geometric")
    found = TestTimeAugment(model, views, image_size=(12, 19))(images)
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("shift", [(2, -3), (-1, 0), (0, 3)])
def test_shifts_reflect_at_the_border(random_images, linear_model, shift):
    model, logits_of = linear_model()
    images = random_images(3, channels=1)
    padded = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)), "reflect")
    moved = padded[:, 4 - shift[0] : 12 - shift[0], 4 - shift[1] : 12 - shift[1]]
    found = TestTimeAugment(model, [View(shift=shift)])(images)
    np.testing.assert_allclose(found, special.softmax(logits_of(moved), axis=1), atol=2e-6)
    open_model = open_size_model(1)
    found = TestTimeAugment(open_model, [View(shift=shift)])(images)
    np.testing.assert_allclose(found, open_model(moved.astype(np.float32)), atol=1e-6)


@pytest.mark.parametrize("average", ["geometric", "arithmetic"])
def test_weights(random_images, linear_model, average):
    model, logits_of = linear_model()
    images = random_images(4, channels=1)
    views = [View(weight=3), View(horizontal=True), View(vertical=True, weight=2.0)]
    parts = [images, images[:, :, ::-1], images[:, ::-1]]
    repeated = [logits_of(part) for part, count in zip(parts, (3, 1, 2), strict=True)] * 1
    logits = [repeated[index] for index in (0, 0, 0, 1, 2, 2)]
    found = TestTimeAugment(model, views, average=average)(images)
    np.testing.assert_allclose(found, expected_mean(logits, average), atol=2e-6)


def open_size_model(channels=3):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, None, channels))
    x = keras.layers.Conv2D(6, 3, padding="same", activation="relu")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 50)(x))
    return keras.Model(inputs, keras.layers.Dense(CLASSES, activation="softmax")(x))


def test_training_is_refused_and_evaluation_is_not(random_images, linear_model):
    model, logits_of = linear_model(strength=0.001)
    views = TestTimeAugment(model, "flip")
    images, labels = random_images(6, channels=1), np.arange(6) % CLASSES
    views.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    with pytest.raises(RuntimeError, match="only predicts: train the model that it was made of"):
        views.fit(images, labels, verbose=0)
    parts = expected_mean([logits_of(view) for view in mirrored([images])], "geometric")
    loss = -np.log(parts[np.arange(6), labels]).mean()
    assert views.evaluate(images, labels, verbose=0) == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("chunk", [1, 3, 50])
@pytest.mark.sampled(1)
def test_chunks_change_nothing(random_images, linear_model, chunk):
    model, logits_of = linear_model()
    images = random_images(5, channels=1)
    expected = expected_mean([logits_of(view) for view in resnet_views(images)], "geometric")
    views = TestTimeAugment(model, "resnet50views", chunk=chunk)
    np.testing.assert_allclose(views(images), expected, atol=2e-6)
    np.testing.assert_allclose(views.predict(images, verbose=0), expected, atol=2e-6)


@keras.saving.register_keras_serializable(package="keras_recipes_tests")
class Transpose(keras.layers.Layer):
    """A view that is no `View`."""

    def call(self, images):
        return tf.transpose(images, (0, 2, 1, 3))


def test_layers_of_ones_own_are_views(random_images, linear_model):
    model, logits_of = linear_model()
    images = random_images(4, channels=1)
    views = TestTimeAugment(model, [View(), Transpose(), keras.layers.CenterCrop(8, 8)])
    swapped = images.transpose(0, 2, 1, 3)
    logits = [logits_of(part) for part in (images, swapped, images)]
    np.testing.assert_allclose(views(images), expected_mean(logits, "geometric"), atol=2e-6)


def test_a_model_that_takes_any_size(random_images):
    """Whole images at five scales, each as the plain model sees it."""
    model = open_size_model()
    images = random_images(2, 14, 28)
    with pytest.raises(ValueError, match="give image_size"):
        TestTimeAugment(model, "resnet_scales")
    for name in ("five_crop", "resnet50views"):
        with pytest.raises(ValueError, match="this one takes any; expected 'flip', 'shifts', 'res"):
            TestTimeAugment(model, name, image_size=14)
    views = TestTimeAugment(model, "resnet_scales", average="arithmetic", image_size=(14, 28))
    resized = [pillow_resize(images, round(14 * s / 224)) for s in (224, 256, 384, 480, 640)]
    expected = np.mean([model(view, training=False) for view in mirrored(resized)], axis=0)
    np.testing.assert_allclose(views(images), expected, atol=2e-6)
    flips = TestTimeAugment(model, "flip", average="arithmetic")
    for size in (5, 9):
        images = random_images(2, size, size + 2)
        expected = np.mean([model(view, training=False) for view in mirrored([images])], axis=0)
        np.testing.assert_allclose(flips(images), expected, atol=2e-6)


def test_logits_far_apart_stay_exact(linear_model):
    """Probabilities are 0 in float32 from a distance of 88 on; the mean of logits is not."""
    model, logits_of = linear_model(strength=1.0, head="layer")
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1)).astype(np.float64)
    logits = np.array([logits_of(view) for view in mirrored([images])])
    assert np.ptp(logits, axis=2).min() > 200
    found = TestTimeAugment(model, "flip")(images.astype(np.float32)).numpy()
    np.testing.assert_allclose(found, special.softmax(logits.mean(axis=0), axis=1), atol=1e-3)
    hidden, _ = linear_model(strength=1.0, head="lambda")
    found = TestTimeAugment(hidden, "flip")(images.astype(np.float32)).numpy()
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


def test_sigmoids(random_images, linear_model):
    """The geometric mean of each label and of its absence, normalised by their sum."""
    model, logits_of = linear_model(activation="sigmoid", strength=0.005)
    images = random_images(5, channels=1)
    chances = special.expit([logits_of(view) for view in mirrored([images])])
    expected = chances.mean(axis=0)
    found = TestTimeAugment(model, "flip", average="arithmetic")(images)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    present, absent = np.prod(chances, axis=0) ** 0.5, np.prod(1 - chances, axis=0) ** 0.5
    found = TestTimeAugment(model, "flip")(images)
    np.testing.assert_allclose(found, present / (present + absent), atol=2e-6)
