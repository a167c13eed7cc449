import numpy as np
import pytest
import tensorflow as tf

import augment
from augment import _compiled

EVERYTHING = {
    "flip": "both",
    "crop_padding": 2,
    "crop_fill": "reflect",
    "cutout_size": 3,
    "erase_probability": 0.5,
    "mixup_alpha": 0.4,
    "cutmix_alpha": 1.0,
    "mix_probability": 0.8,
    "label_smoothing": 0.1,
}


def by_hand(images, labels, seed):
    """Compute what EVERYTHING asks for, one operation after the other, in eager code."""
    images = augment.random_flip(images, seed, vertical=True)
    images = augment.random_crop(images, seed, padding=2, fill="reflect")
    images = augment.cutout(images, seed, size=3)
    images = augment.random_erasing(images, seed, probability=0.5)
    return augment.mixup_or_cutmix(
        images,
        labels,
        seed,
        mixup_alpha=0.4,
        cutmix_alpha=1.0,
        probability=0.8,
        classes=5,
        label_smoothing=0.1,
    )


@pytest.mark.parametrize("jit_compile", ["auto", False])
@pytest.mark.slow
def test_training_transform_is_the_chain_of_operations(random_images, map_seeds, jit_compile):
    images, labels = random_images(10), np.arange(10) % 5
    transform = augment.training_transform(classes=5, **EVERYTHING, jit_compile=jit_compile)
    results = map_seeds(lambda seed: transform(images, labels, seed), 5)
    for step, (mixed, targets) in enumerate(results):
        expected_images, expected_targets = by_hand(images, labels, [7, step])
        np.testing.assert_array_equal(mixed, expected_images)
        np.testing.assert_array_equal(targets, expected_targets)
    assert mixed.dtype == np.uint8
    assert targets.dtype == np.float32


@pytest.mark.slow
def test_shorter_last_batch_and_unknown_batch_size(random_images):
    images, labels = random_images(10), np.arange(10) % 5
    transform = augment.training_transform(classes=5, flip="both", mixup_alpha=0.4)
    batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(8)
    results = list(
        batches.enumerate().map(
            lambda step, batch: transform(*batch, tf.stack([7, tf.cast(step, tf.int32)])),
            num_parallel_calls=2,
        )
    )
    for step, part in enumerate((np.s_[:8], np.s_[8:])):
        flipped = augment.random_flip(images[part], [7, step], vertical=True)
        expected = augment.mixup(flipped, labels[part], [7, step], alpha=0.4, classes=5)
        for one, other in zip(results[step], expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_everything_off_changes_nothing(random_images):
    images = random_images(4)
    transformed, targets = augment.training_transform(classes=3)(images, [0, 2, 1, 0], [1, 2])
    np.testing.assert_array_equal(transformed, images)
    np.testing.assert_array_equal(targets, np.eye(3)[[0, 2, 1, 0]])


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_class_weights(random_images, smoothing, alpha):
    weights = [0.5, 2.0, 0.0]
    transform = augment.training_transform(
        classes=3,
        mixup_alpha=alpha,
        label_smoothing=smoothing,
        class_weights=weights,
        jit_compile=False,
    )
    _, targets, image_weights = transform(random_images(6), [0, 1, 2, 2, 1, 0], [1, 2])
    assert image_weights.dtype == tf.float32
    assert image_weights.shape == (6,)
    np.testing.assert_allclose(image_weights, targets.numpy() @ np.array(weights), rtol=1e-6)
    if not smoothing and not alpha:
        np.testing.assert_array_equal(image_weights, [0.5, 2, 0, 0, 2, 0.5])


def test_each_image_is_mixed_by_chance(random_images):
    """By the chance asked for, and not the whole batch or none of it."""
    transform = augment.training_transform(
        classes=64, mixup_alpha=1.0, mix_probability=0.5, jit_compile=False
    )
    # Every image is of a class of its own: what was mixed is of two.
    _, targets = transform(random_images(64, 4, 4), np.arange(64), [1, 2])
    assert 0.2 < (targets.numpy().max(axis=1) < 1).mean() < 0.8


def test_leaving_an_operation_out_leaves_the_draws_of_the_others(random_images):
    images, labels = random_images(20), np.arange(20) % 2
    with_flip = augment.training_transform(
        classes=2, flip="horizontal", cutout_size=3, jit_compile=False
    )
    without = augment.training_transform(classes=2, cutout_size=3, jit_compile=False)
    cuts = [
        (transform(images, labels, [1, 2])[0].numpy() == 0) for transform in (with_flip, without)
    ]
    np.testing.assert_array_equal(*cuts)


def test_without_xla_it_falls_back(random_images, monkeypatch):
    def refuse(*arguments, **keywords):
        if keywords.get("jit_compile"):
            raise tf.errors.UnimplementedError(None, None, "no XLA here")
        return function(*arguments, **keywords)

    function = tf.function
    images, labels = random_images(5), np.arange(5)
    _compiled.xla_works.cache_clear()
    monkeypatch.setattr(tf, "function", refuse)
    try:
        assert not _compiled.xla_works()
        transform = augment.training_transform(classes=5, **EVERYTHING)
        found = transform(images, labels, [1, 2])
    finally:
        _compiled.xla_works.cache_clear()
    for one, other in zip(found, by_hand(images, labels, [1, 2]), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("label", [-1, 5])
def test_labels_out_of_range_are_found_despite_xla(random_images, label):
    transform = augment.training_transform(classes=5, mixup_alpha=1.0)
    dataset = tf.data.Dataset.from_tensors((random_images(2), [0, label]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="labels must"):
        list(dataset.map(lambda images, labels: transform(images, labels, [0, 0])))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": 1}, "classes must be an integer of at least 2"),
        ({"flip": "diagonal"}, "flip must be False or 'horizontal' or 'both'"),
        ({"flip": True}, "flip must be False or"),
        ({"crop_padding": -1}, "padding must be an integer"),
        ({"crop_fill": "edge"}, "fill must be"),
        ({"cutout_size": -1}, "size must be an integer"),
        ({"erase_probability": 1.5}, "probability must be a number"),
        ({"mixup_alpha": -0.1}, "mixup_alpha must be a number"),
        ({"cutmix_alpha": -0.1}, "cutmix_alpha must be a number"),
        ({"mix_probability": 7}, "probability must be a number"),
        ({"switch_probability": 7}, "switch_probability must be a number"),
        ({"label_smoothing": 1.0}, "label_smoothing must be below 1"),
        ({"class_weights": [1, 2]}, "class_weights must be 5 non-negative numbers"),
        ({"class_weights": [1, 2, 3, 4, -5]}, "class_weights must be 5 non-negative numbers"),
        ({"jit_compile": "yes"}, "jit_compile must be True or False or 'auto'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        augment.training_transform(**{"classes": 5, **arguments})
