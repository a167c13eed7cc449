"""The order of batches: a function of seed, epoch and step, and nothing else."""

import numpy as np
import pytest
import tensorflow as tf

from recipes.data import Split, image_data
from recipes.errors import DataError

COUNT = 50


@pytest.fixture
def split():
    """Fifty images, each filled with its own index; labels 0 to 4, very unequal."""
    images = np.tile(np.arange(COUNT, dtype=np.uint8)[:, None, None, None], (1, 2, 3, 1))
    labels = np.minimum(np.arange(COUNT) // 3, 4)
    return Split("train", labels, (2, 3, 1), images)


def indices_of(dataset):
    """Return the indices in each batch, told by the images."""
    return [images[:, 0, 0, 0].tolist() for images, *_ in dataset.as_numpy_iterator()]


def test_in_order(split):
    dataset = split.pipeline(16)
    assert dataset.element_spec == (
        tf.TensorSpec((None, 2, 3, 1), tf.uint8),
        tf.TensorSpec((None,), tf.int32),
    )
    assert int(dataset.cardinality()) == 4
    everything = list(range(COUNT))
    assert indices_of(dataset) == [everything[start : start + 16] for start in (0, 16, 32, 48)]
    for images, labels in dataset.as_numpy_iterator():
        np.testing.assert_array_equal(labels, split.labels[images[:, 0, 0, 0]])


def test_shuffled_epochs_are_different_permutations(split):
    batches = indices_of(split.pipeline(10, shuffle=True, seed=4, epochs=6))
    epochs = np.array(batches).reshape(6, COUNT).tolist()
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6


@pytest.mark.parametrize(
    "arguments",
    [
        {"shuffle": True},
        {"shuffle": True, "drop_remainder": True},
        {"sampling": "balanced"},
        {"sampling": "balanced", "drop_remainder": True},
        {},
    ],
)
@pytest.mark.sampled(1)
def test_same_batches_in_each_run_and_from_any_epoch(split, arguments):
    def run(**more):
        dataset = split.pipeline(
            16,
            seed=9,
            epochs=4,
            transform=lambda images, labels, seed: (images, labels, seed),
            **arguments,
            **more,
        )
        return [tuple(part.tolist() for part in batch) for batch in dataset.as_numpy_iterator()]

    whole = run()
    steps = 3 if arguments.get("drop_remainder") else 4
    assert [batch[2] for batch in whole] == [[9, step] for step in range(4 * steps)]
    assert whole == run()
    for first in range(5):
        assert whole[first * steps :] == run(first_epoch=first)


def test_parallel_transforms_keep_the_order(split):
    def slow(images, labels, seed):
        # Early steps take longest, so that they would be overtaken.
        def wait(step):
            import time

            time.sleep(0.02 if step % 4 == 0 else 0)
            return np.int32(step)

        return images, labels, tf.numpy_function(wait, [seed[1]], tf.int32)

    dataset = split.pipeline(5, shuffle=True, epochs=2, transform=slow)
    assert [int(step) for _, _, step in dataset.as_numpy_iterator()] == list(range(20))


def test_random_transform_depends_on_seed_and_step_alone(split):
    def noise(images, labels, seed):
        return images, tf.random.stateless_uniform([3], seed)

    def draws(seed, first_epoch=0):
        dataset = split.pipeline(
            10, shuffle=True, seed=seed, epochs=2, first_epoch=first_epoch, transform=noise
        )
        return [tuple(values.tolist()) for _, values in dataset.as_numpy_iterator()]

    assert draws(1) == draws(1)
    assert draws(1)[5:] == draws(1, first_epoch=1)
    assert len(set(draws(1) + draws(2))) == 20


def test_batch_sizes(split):
    assert [len(batch) for batch in indices_of(split.pipeline(16))] == [16, 16, 16, 2]
    dropped = split.pipeline(16, drop_remainder=True, epochs=2)
    assert [len(batch) for batch in indices_of(dropped)] == [16] * 6
    assert dropped.element_spec[0].shape == (16, 2, 3, 1)
    assert split.pipeline(25).element_spec[0].shape == (25, 2, 3, 1)
    assert [len(batch) for batch in indices_of(split.pipeline(16, sampling="balanced"))] == [
        16,
        16,
        16,
        2,
    ]


def test_endless(split):
    dataset = split.pipeline(16, epochs=None, shuffle=True)
    assert int(dataset.cardinality()) == tf.data.INFINITE_CARDINALITY
    finite = indices_of(split.pipeline(16, epochs=3, shuffle=True))
    assert indices_of(dataset.take(12)) == finite


def test_balanced_draws_classes_and_images_evenly(split):
    drawn = np.concatenate(indices_of(split.pipeline(50, sampling="balanced", seed=1, epochs=400)))
    classes = np.bincount(split.labels[drawn], minlength=5)
    # Binomial(20000, 1/5): standard deviation 57; four of these.
    assert abs(classes - 4000).max() < 227
    # Class 4 has 38 images, each drawn 105 times on average; standard deviation 10.2.
    times = np.bincount(drawn, minlength=COUNT)
    assert abs(times[12:] - 4000 / 38).max() < 46
    assert abs(times[:12] - 4000 / 3).max() < 160


def test_balanced_passes_over_absent_classes():
    images = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    split = Split("train", np.array([0, 0, 3, 3]), (1, 1, 1), images)
    drawn = np.concatenate(indices_of(split.pipeline(4, sampling="balanced", epochs=100)))
    assert set(drawn.tolist()) == {0, 1, 2, 3}
    assert 140 < (drawn < 2).sum() < 260


def test_large_arrays_are_gathered_by_numpy(split, monkeypatch):
    expected = indices_of(split.pipeline(16, shuffle=True, epochs=2))
    monkeypatch.setattr(image_data, "_TENSOR_BYTES", 0)
    large = split.pipeline(16, shuffle=True, epochs=2)
    assert indices_of(large) == expected
    assert large.element_spec[0].shape.as_list() == [None, 2, 3, 1]


def test_batches_without_images():
    split = Split("test", np.zeros(0, np.int64), (2, 3, 1), np.zeros((0, 2, 3, 1), np.uint8))
    assert len(split) == 0
    assert indices_of(split.pipeline(8)) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be a positive whole number, received: 0"),
        ({"batch_size": 51, "drop_remainder": True}, "larger than the 50 images"),
        ({"batch_size": 5, "seed": 2**31}, "seed must be from 0"),
        ({"batch_size": 5, "epochs": -1}, "must not be negative"),
        ({"batch_size": 5, "sampling": "even"}, "sampling must be 'natural' or 'balanced'"),
    ],
)
def test_refused(split, arguments, message):
    with pytest.raises(DataError, match=message):
        split.pipeline(**arguments)
