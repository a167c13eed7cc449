"""Receptive fields and sizes of layer lists, against published tables and brute force."""

import itertools

import numpy as np
import pytest

from recipes.errors import ConfigError
from recipes.models.receptive_field import output_size, receptive_field, same_padding


def vgg16():
    for stage, count in enumerate((2, 2, 3, 3, 3), start=1):
        yield from ((f"conv{stage}_{number}", 3, 1, 1) for number in range(1, count + 1))
        yield (f"pool{stage}", 2, 2)


def resnet50(stride_on):
    """Layers along the main path; `stride_on` is the position of the striding convolution."""
    yield from (("conv1", 7, 2, 3), ("pool1", 3, 2, 1))
    for stage, count in enumerate((3, 4, 6, 3)):
        for block in range(count):
            strides = [1, 1, 1]
            if stage and not block:
                strides[stride_on] = 2
            for number, (kernel, stride) in enumerate(zip((1, 3, 1), strides, strict=True)):
                yield (f"stage{stage}_{block}_{number}", kernel, stride, kernel // 2)


# Araujo, Norris and Sim (2019), table of common networks: field, stride, effective padding.
# AlexNet there has no padding at its first layer; VGG is that with padding "same".
PUBLISHED = {
    "vgg16": (vgg16(), (212, 32, 90)),
    "alexnet": (
        [
            ("conv1", 11, 4, "valid"),
            ("pool1", 3, 2),
            ("conv2", 5, 1, 2),
            ("pool2", 3, 2),
            ("conv3", 3, 1, 1),
            ("conv4", 3, 1, 1),
            ("conv5", 3, 1, 1),
            ("pool5", 3, 2),
        ],
        (195, 32, 64),
    ),
    "resnet50, stride on the first 1x1": (resnet50(0), (483, 32, 241)),
    "resnet50, stride on the 3x3": (resnet50(1), (427, 32, 213)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_fields(name):
    layers, expected = PUBLISHED[name]
    rows, field = receptive_field(layers)
    assert (field.size, field.stride, field.padding) == expected
    assert rows[-1][2:] == expected


def brute_force(layers, size):
    """Return the output size, and the input positions that the outputs see, by pushing sets."""
    seen = [{position} for position in range(size)]
    for _, kernel, stride, padding, dilation in layers:
        extent = (kernel - 1) * dilation + 1
        if padding == "same":
            total = max((-(-len(seen) // stride) - 1) * stride + extent - len(seen), 0)
            padding = (total // 2, total - total // 2)
        before, after = padding if isinstance(padding, tuple) else (padding, padding)
        padded = [set()] * before + seen + [set()] * after
        seen = [
            set().union(*padded[start : start + extent : dilation])
            for start in range(0, len(padded) - extent + 1, stride)
        ]
    return seen


def random_layers(random):
    for number in range(random.integers(1, 5)):
        kernel = int(random.integers(1, 5))
        padding = [0, int(random.integers(0, 3)), (1, 0), "same"][random.integers(4)]
        yield (
            f"layer{number}",
            kernel,
            int(random.integers(1, 4)),
            padding,
            int(random.integers(1, 3)),
        )


@pytest.mark.parametrize("seed", range(20))
def test_random_chains_against_brute_force(seed):
    random = np.random.default_rng(seed)
    layers = list(random_layers(random))
    size = int(random.integers(500, 600))
    seen = brute_force(layers, size)
    rows, field = receptive_field(layers, size)
    assert rows[-1].output_size == output_size(layers, size) == len(seen)
    for index, positions in enumerate(seen):
        first = int(field.start + index * field.stride)
        expected = range(max(first, 0), min(first + int(field.size), size))
        # A dilated window may step over a border pixel, so inside only.
        if first >= 0 and first + field.size <= size:
            assert (min(positions), max(positions)) == (expected[0], expected[-1])


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation"),
    list(itertools.product((7, 8, 32), (1, 2, 3, 5), (1, 2, 3), (1, 2))),
)
def test_same_padding_is_that_of_tensorflow(size, kernel, stride, dilation):
    if stride > 1 and dilation > 1:
        return  # TensorFlow has no such layer.
    import tensorflow as tf

    # A window of ones over the numbers 1, 10, 100 ... tells which of them it has seen.
    before, after = same_padding(size, kernel, stride, dilation)
    inputs = np.arange(1, size + 1, dtype="float32").reshape(1, size, 1)
    weights = np.arange(1, kernel + 1, dtype="float32").reshape(kernel, 1, 1)
    expected = tf.nn.conv1d(inputs, weights, stride, "SAME", dilations=dilation)
    padded = np.pad(inputs, ((0, 0), (before, after), (0, 0)))
    actual = tf.nn.conv1d(padded, weights, stride, "VALID", dilations=dilation)
    np.testing.assert_allclose(actual, expected)


@pytest.mark.parametrize(
    ("layers", "size", "message"),
    [
        ([("conv",)], None, "a layer must be a tuple"),
        (["conv"], None, "a layer must be a tuple"),
        ([("conv", 0)], None, "kernel of 'conv' must be an integer of at least 1"),
        ([("conv", 3, 1.5)], None, "stride of 'conv'"),
        ([("conv", 3, 1, "full")], None, "padding of 'conv'"),
        ([("conv", 3, 1, -1)], None, "padding of 'conv'"),
        ([("conv", 5)], 4, "'conv' has a window of 5 pixels, its padded input only 4"),
        ([("conv", 3)], 0, "input_size must be an integer of at least 1"),
    ],
)
def test_bad_layers(layers, size, message):
    with pytest.raises(ConfigError, match=message):
        receptive_field(layers, size)


def test_no_layers():
    assert output_size([], 7) == 7
    rows, field = receptive_field([])
    assert rows == []
    assert (field.size, field.stride, field.padding) == (1, 1, 0)
