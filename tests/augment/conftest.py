import gc
import sys

import numpy as np
import pytest
import tensorflow as tf


@pytest.fixture(autouse=True, scope="module")
def compiled_programs():
    """Let go of the programs that a file of tests had compiled: gigabytes in all."""
    yield
    for name, module in list(sys.modules.items()):
        if name.startswith("augment."):
            for member in vars(module).values():
                if hasattr(member, "cache_clear"):
                    member.cache_clear()
    gc.collect()


@pytest.fixture
def random_images():
    """Make distinct random images: uint8 (count, height, width, channels), none of them 0."""

    def make(count, height=8, width=8, channels=3, seed=0):
        generator = np.random.default_rng(seed)
        return generator.integers(1, 256, (count, height, width, channels), dtype=np.uint8)

    return make


@pytest.fixture
def sources():
    """Make images that show where each pixel came from: channel `i` of image `i` is 255."""

    def make(count, height=8, width=8):
        images = np.zeros((count, height, width, count), np.float32)
        for image in range(count):
            images[image, :, :, image] = 255
        return images

    return make


@pytest.fixture
def map_seeds():
    """Run `function(seed)` for the seeds [seed, 0], [seed, 1]... in a parallel tf.data map."""

    def run(function, steps, seed=7, parallel=tf.data.AUTOTUNE):
        steps = tf.data.Dataset.range(steps)
        results = steps.map(
            lambda step: function(tf.stack([tf.constant(seed), tf.cast(step, tf.int32)])),
            num_parallel_calls=parallel,
        )
        return list(results.as_numpy_iterator())

    return run
