import collections

import numpy as np
import pytest
import tensorflow as tf

import augment


def numbers(count, size, **keywords):
    return tf.data.Dataset.range(count).batch(size, **keywords)


@pytest.mark.parametrize(
    ("count", "size", "times"), [(24, 6, 3), (24, 6, 1), (35, 6, 3), (20, 4, 2)]
)
def test_each_image_is_in_a_batch_so_often_and_the_epoch_keeps_its_length(count, size, times):
    batches = numbers(count, size, drop_remainder=True)
    repeated = augment.repeated_augmentation(batches, times)
    assert repeated.element_spec == batches.element_spec
    assert int(repeated.cardinality()) == int(batches.cardinality())
    found = np.array(list(repeated.as_numpy_iterator()))
    assert found.shape == (count // size, size)
    for batch in found:
        _, counts = np.unique(batch, return_counts=True)
        assert (counts == times).all()
    # As the reference does: the list with each image repeated in a row, cut off at the length.
    expected = np.repeat(np.arange(count), times)[: found.size]
    np.testing.assert_array_equal(found.ravel(), expected)


def test_sizes_that_are_unknown_or_not_divided():
    repeated = augment.repeated_augmentation(numbers(10, 4), 3)
    assert [batch.tolist() for batch in repeated.as_numpy_iterator()] == [
        [0, 0, 0, 1],
        [1, 1, 2, 2],
        [2, 3, 3, 3],
    ]


def test_an_epoch_of_a_shuffled_dataset_shows_other_images():
    batches = tf.data.Dataset.range(30).shuffle(30, seed=1).batch(6)
    repeated = augment.repeated_augmentation(batches)
    epochs = [{int(image) for batch in repeated for image in batch} for _ in range(12)]
    assert {len(epoch) for epoch in epochs} == {10}
    assert set.union(*epochs) == set(range(30))


def test_infinite_datasets_stay_so():
    repeated = augment.repeated_augmentation(numbers(4, 2).repeat(), 2)
    assert int(repeated.cardinality()) == tf.data.INFINITE_CARDINALITY
    assert [batch.tolist() for batch in repeated.take(5).as_numpy_iterator()] == [
        [0, 0],
        [1, 1],
        [2, 2],
        [3, 3],
        [0, 0],
    ]


def test_the_copies_are_augmented_each_anew(random_images):
    images, labels = random_images(12, 16, 16), np.arange(12) % 3
    data = {"images": images, "labels": labels, "text": ["cat"] * 12}
    batches = tf.data.Dataset.from_tensor_slices(data).batch(12)
    pipeline = augment.Pipeline([augment.RandomCrop(4), augment.RandomErasing()], seed=1)
    (found,) = pipeline.map(augment.repeated_augmentation(batches, 4))
    np.testing.assert_array_equal(found["labels"], np.repeat(labels, 4)[:12])
    for copies in np.split(found["images"].numpy(), 3):
        assert len({copy.tobytes() for copy in copies}) == 4


Pair = collections.namedtuple("Pair", "images labels")


@pytest.mark.parametrize(
    "elements",
    [
        (np.arange(8),),
        (np.arange(8), np.arange(8)),
        Pair(np.arange(8), np.arange(8)),
        {"images": np.arange(8)},
    ],
)
def test_elements_keep_their_form(elements):
    batches = tf.data.Dataset.from_tensor_slices(elements).batch(4)
    repeated = augment.repeated_augmentation(batches, 2)
    assert repeated.element_spec == batches.element_spec
    assert type(repeated.element_spec) is type(elements)
    for tensor in tf.nest.flatten(next(iter(repeated))):
        np.testing.assert_array_equal(tensor, [0, 0, 1, 1])


def test_bad_input():
    with pytest.raises(ValueError, match="times must be an integer of at least 1, received: 0"):
        augment.repeated_augmentation(numbers(4, 2), 0)
    with pytest.raises(TypeError, match="must be a tf.data.Dataset of batches, received: list"):
        augment.repeated_augmentation([1, 2])
    with pytest.raises(ValueError, match="dataset must hold batches of tensors"):
        augment.repeated_augmentation(tf.data.Dataset.range(4))
    with pytest.raises(ValueError, match="dataset must have a known number of batches"):
        augment.repeated_augmentation(numbers(4, 2).filter(lambda batch: True))
