"""The first batches of whatever `fit` takes, as arrays."""

import itertools
from collections.abc import Iterator, Mapping

import keras
import numpy as np

from recipes.diagnosis.data_checks import Batch
from recipes.errors import DataError


def read_batches(data, batches: int, batch_size: int = 32) -> list[Batch]:
    """Return the first batches as arrays `(images, labels, weights or None)`.

    Args:
        data: As for `preflight`.
        batches: At most so many.
        batch_size: For whole arrays.

    Raises:
        DataError: If it is empty, can be read but once, or holds something else.
    """
    if isinstance(data, tuple) and data and hasattr(data[0], "shape"):
        count = len(data[0])
        data = [
            tuple(part[start : start + batch_size] for part in data)
            for start in range(0, count, batch_size)
        ]
    if isinstance(data, keras.utils.PyDataset):
        data = [data[index] for index in range(min(batches, data.num_batches or batches))]
    if not hasattr(data, "__iter__") or isinstance(data, Iterator):
        raise DataError(
            "data must be a tf.data.Dataset, a list of batches or a tuple of arrays that can be "
            f"read again, received: {type(data).__name__}"
        )
    found = []
    for batch in itertools.islice(data, batches):
        if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
            raise DataError(
                "data must hold (images, labels) or (images, labels, weights), received: "
                f"{type(batch).__name__}"
            )
        if any(isinstance(part, Mapping | tuple | list) for part in batch):
            raise DataError("data must hold one array of images and one of labels a batch")
        arrays = [np.asarray(part) for part in batch]
        found.append((arrays[0], arrays[1], arrays[2] if len(arrays) == 3 else None))
    if not found or not len(found[0][0]):
        raise DataError("data holds no batch")
    return found


def joined(batches: list[Batch]) -> list[Batch]:
    """Return batches as they are; if the first holds one image, those like it as one batch.

    A single image does not tell whether a layer tells images apart, or a unit is always 0.

    Args:
        batches: Of `read_batches`, with labels of one shape an image.

    Example:
        >>> one = (np.zeros((1, 8, 8, 3)), np.zeros(1), None)
        >>> [images.shape for images, _, _ in joined([one, one])]
        [(2, 8, 8, 3)]
    """
    if len(batches[0][0]) > 1:
        return batches
    alike = [batch for batch in batches if batch[0].shape == batches[0][0].shape]
    columns = zip(*alike, strict=True)
    return [tuple(None if one[0] is None else np.concatenate(one) for one in columns)]
