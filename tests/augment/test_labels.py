import numpy as np
import pytest
import tensorflow as tf

from augment import label_targets


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
@pytest.mark.parametrize("shape", [(4,), (4, 1)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_whole_numbers(dtype, shape, smoothing):
    labels = np.array([2, 0, 1, 2], dtype)
    targets = label_targets(labels.reshape(shape), classes=3, label_smoothing=smoothing)
    expected = np.full((4, 3), smoothing / 3)
    for row, label in enumerate(labels):
        expected[row, label] += 1 - smoothing
    assert targets.dtype == tf.float32
    np.testing.assert_allclose(targets, expected, atol=1e-7)
    np.testing.assert_allclose(targets.numpy().sum(1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "classes"),
    [("uint8", 256), ("uint8", 300), ("int8", 128), ("int16", 3), ("uint16", 3), ("uint32", 3)],
)
def test_any_integer_dtype(dtype, classes):
    labels = np.array([0, min(classes - 1, np.iinfo(dtype).max), 1], dtype)
    compiled = tf.function(lambda y: label_targets(y, classes=classes), jit_compile=True)
    for targets in (label_targets(labels, classes=classes), compiled(labels)):
        np.testing.assert_array_equal(targets, np.eye(classes)[labels])


@pytest.mark.parametrize("dtype", ["int32", "float16", "float32", "float64"])
def test_rows(dtype):
    rows = np.eye(3)[[2, 0]].astype(dtype)
    np.testing.assert_array_equal(label_targets(rows), np.eye(3)[[2, 0]])
    smoothed = label_targets(rows, classes=3, label_smoothing=0.3)
    np.testing.assert_allclose(smoothed, [[0.1, 0.1, 0.8], [0.8, 0.1, 0.1]], atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "arguments", "message"),
    [
        ([1, 0], {}, "classes must be given"),
        ([1.0, 0.0], {"classes": 2}, r"received: float32 of shape \(2,\)"),
        ([[1.0], [0.0]], {"classes": 2}, r"a column for each class, 2, received: shape \(2, 1\)"),
        ([[1.0], [0.0]], {}, "a column for each class, at least 2"),
        ([[1.0, 0.0]], {"classes": 3}, r"a column for each class, 3, received: shape \(1, 2\)"),
        ([[[1, 0]]], {"classes": 2}, "labels must be whole numbers"),
        (["cat"], {"classes": 2}, "received: string"),
        ([True], {"classes": 2}, "received: bool"),
        ([1], {"classes": 1}, "classes must be an integer of at least 2, received: 1"),
        ([1], {"classes": 2, "label_smoothing": 1.0}, "label_smoothing must be below 1"),
        ([1], {"classes": 2, "label_smoothing": -0.1}, "label_smoothing must be a number"),
    ],
)
def test_bad_labels(labels, arguments, message):
    with pytest.raises(ValueError, match=message):
        label_targets(labels, **arguments)


@pytest.mark.parametrize("label", [-1, 3])
def test_numbers_out_of_range_are_found(label):
    with pytest.raises(tf.errors.InvalidArgumentError, match="labels must"):
        label_targets([0, label], classes=3)
    dataset = tf.data.Dataset.from_tensors([0, label]).map(lambda y: label_targets(y, classes=3))
    with pytest.raises(tf.errors.InvalidArgumentError, match="labels must"):
        list(dataset)
