"""Training data whose place in the run can be found again."""

import hashlib
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

# So many batches of an epoch are looked at to tell two pipelines apart.
_COMPARED = 3


class EpochData:
    """Batches that are known by epoch, checked to be the same whenever they are asked for.

    Args:
        source: `tf.data.Dataset` of the batches of one epoch, the same in each; or a function
            from the epoch, an integer counted from 0, to such a dataset.

    Attributes:
        epoch: The epoch whose batches the next iterator gives, if `source` is a function.
        dataset: What to give to `fit`.
        batches: How many an epoch has.
        digest: Of the first batches of the first epoch, hexadecimal.

    Raises:
        TypeError: If `source` is neither.
        ValueError: If the number of batches is unknown, or the batches are not always the same.
    """

    def __init__(self, source: tf.data.Dataset | Callable[[int], tf.data.Dataset]):
        self.epoch = 0
        self._opened = None  # kept while its iterator is at work
        self.dataset = source if isinstance(source, tf.data.Dataset) else self._by_epoch(source)
        self.batches = _batches(self.dataset)
        self.digest = self._digest()
        if self._digest() != self.digest:
            raise ValueError(
                "data gives other batches each time, which a resumed run could not find again: "
                "give a function of the epoch, such as lambda epoch: images.shuffle(1000, "
                "seed=epoch, reshuffle_each_iteration=False).batch(32), with seeds for all else"
            )

    def _by_epoch(self, source):
        if not callable(source):
            raise TypeError(
                "data must be a tf.data.Dataset or a function from the epoch to one, received: "
                f"{type(source).__name__}"
            )
        first = self._of_epoch(source)
        batches, spec = _batches(first), first.element_spec

        # Called when the first batch of an epoch is asked for; the batches do not pass through it.
        def opened(_):
            opening = tf.py_function(lambda: self._open(source, spec, batches), [], tf.variant)
            return tf.data.experimental.from_variant(opening, spec)

        epochs = tf.data.Dataset.range(1).flat_map(opened)
        return epochs.apply(tf.data.experimental.assert_cardinality(batches))

    def _open(self, source, spec, batches):
        self._opened = self._of_epoch(source)
        if self._opened.element_spec != spec or _batches(self._opened) != batches:
            raise ValueError(
                f"data must be alike in every epoch, expected: {batches} batches of {spec}, "
                f"received in epoch {self.epoch}: {_batches(self._opened)} of "
                f"{self._opened.element_spec}"
            )
        return tf.data.experimental.to_variant(self._opened)

    def _of_epoch(self, source):
        found = source(self.epoch)
        if not isinstance(found, tf.data.Dataset):
            raise TypeError(
                "data must be a function from the epoch to a tf.data.Dataset, which returned: "
                f"{type(found).__name__}"
            )
        return found

    def describe(self) -> dict:
        """Return what tells these data from others, as JSON types."""
        return {"batches": self.batches, "digest": self.digest}

    def _digest(self):
        found = hashlib.sha256()
        for element in self.dataset.take(_COMPARED):
            for tensor in tf.nest.flatten(element, expand_composites=True):
                array = tensor.numpy()
                found.update(f"{array.dtype} {array.shape} ".encode())
                # An array of strings holds pointers to them.
                text = array.dtype == object
                found.update(repr(array.tolist()).encode() if text else _bytes(array))
        return found.hexdigest()[:16]


def _bytes(array):
    return np.ascontiguousarray(array).tobytes()


def _batches(dataset):
    found = int(dataset.cardinality())
    if found < 1:
        raise ValueError(
            "data must have a known number of batches, 1 or more, received: "
            f"{ {-1: 'infinite', -2: 'unknown'}.get(found, found) }; "
            ".apply(tf.data.experimental.assert_cardinality(n)) says it, .take(n) ends it"
        )
    return found


def skip_first(model, batches: int) -> None:
    """Have the next training step of a model pass over so many batches of its iterator."""
    step = model.train_function

    def skip(iterator: Iterator):
        model.train_function = step
        try:
            for _ in range(batches):
                next(iterator)
        except (StopIteration, tf.errors.OutOfRangeError):
            raise ValueError(f"data ended before batch {batches}, where the run was") from None
        return step(iterator)

    model.train_function = skip
