"""Datasets and pipelines that all files here begin with."""

import numpy as np
import pytest
import tensorflow as tf

import augment

CLASSES = 5


@pytest.fixture
def data(random_images):
    """Return images and whole-number labels: 8 of them, of 8 x 8 pixels."""
    return random_images(8), np.arange(8) % CLASSES


@pytest.fixture(scope="session")
def batched():
    """Return a function that makes a dataset of batches of arrays."""

    def make(*parts, size=4, **keywords):
        parts = parts[0] if len(parts) == 1 else parts
        return tf.data.Dataset.from_tensor_slices(parts).batch(size, **keywords)

    return make


@pytest.fixture(scope="session")
def simple():
    """Return a function that makes a pipeline that flips, shifts and cuts, with the seed 7."""

    def make(**keywords):
        steps = [augment.RandomFlip(), augment.RandomCrop(2), augment.Cutout(3)]
        return augment.Pipeline(steps, **{"seed": 7, **keywords})

    return make


@pytest.fixture(scope="session")
def mixing():
    """Return a function that makes a pipeline that flips and mixes, with the seed 7."""

    def make(**keywords):
        return augment.Pipeline([augment.RandomFlip(), augment.MixUp(1.0, **keywords)], seed=7)

    return make


@pytest.fixture(scope="session")
def assert_equal():
    """Return a function that compares two sequences of what may be nested."""

    def check(first, second):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            tf.nest.map_structure(np.testing.assert_array_equal, one, other)

    return check
