"""Labelled images, checked and split: what training, evaluation and export work on."""

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from recipes.data.images import decode_file
from recipes.data.pipeline import Transform, make_fit_pipeline, make_pipeline
from recipes.data.problems import Problem
from recipes.errors import DataError

if TYPE_CHECKING:
    import tensorflow as tf

# Arrays up to this size are copied into a tensor once, and batches gathered from it at no cost
# that can be measured; larger ones are gathered by NumPy, for want of room for two copies.
_TENSOR_BYTES = 2**29
# Statistics of a sample of this many values a channel are exact to far more than is needed.
_STATISTICS_VALUES = 2**27
_LISTED_PATHS = 20


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """One split: images and their labels.

    Attributes:
        name: `"train"`, `"validation"` or `"test"`.
        labels: int64 `(n,)`, indices into the class names.
        image_shape: `(height, width, channels)` of each image.
        images: uint8 `(n, height, width, channels)`, read-only; None where files are decoded as
            they are needed.
        paths: The files, or None for images that came in memory.
        fit: How files of another aspect ratio are met.
    """

    name: str
    labels: np.ndarray
    image_shape: tuple[int, int, int]
    images: np.ndarray | None = None
    paths: tuple[str, ...] | None = None
    fit: str = "crop"

    def __len__(self):
        return len(self.labels)

    def load(self, indices) -> np.ndarray:
        """Return the images at some indices, uint8 `(len(indices), height, width, channels)`."""
        indices = np.asarray(indices, np.int64)
        if self.images is not None:
            return self.images[indices]
        images = np.empty((len(indices), *self.image_shape), np.uint8)
        for position, index in enumerate(indices):
            images[position] = decode_file(self.paths[index], self.image_shape, self.fit)
        return images

    def pipeline(
        self,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        epochs: int | None = 1,
        first_epoch: int = 0,
        drop_remainder: bool = False,
        sampling: str = "natural",
        transform: Transform | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> "tf.data.Dataset":
        """Return batches of images and labels as a `tf.data.Dataset`.

        Each batch is determined by `seed`, epoch and step: two runs give the same batches whatever
        the parallelism, and `first_epoch=k` gives what a whole run gives from its epoch k on.

        Args:
            batch_size: Images a batch.
            shuffle: Whether each epoch goes through the images in another random order.
            seed: From 0 to 2**31 - 1.
            epochs: The epoch to stop before, as in `model.fit`; None: never stop.
            first_epoch: The epoch to begin with, as `initial_epoch` in `model.fit`.
            drop_remainder: Leave out the last batch of an epoch if it is smaller; the batch size
                is then static.
            sampling: `"natural"`: each image once an epoch; `"balanced"`: each image drawn anew,
                first a class, each equally likely, then an image of it, so `shuffle` does not
                matter; an epoch has as many batches either way.
            transform: Called with images uint8 `(b, height, width, channels)`, labels int32
                `(b,)` and a seed int32 `(2,)` = `[seed, step]`, steps counted over all epochs from
                0; what it returns is the element. None: `(images, labels)`.
            part: `(number, parts)`: give of each batch only that one of so many equal parts, from
                0; together they are the batch to the bit. It needs `drop_remainder`. Only the
                images of the part are read, and augmented, if the transform takes a `window` as
                that of `augment.training_transform` does and mixes no images.

        Raises:
            DataError: If an argument is out of range.

        Example:
            >>> split.pipeline(64, shuffle=True, seed=1, epochs=10)  # doctest: +SKIP
        """
        return make_pipeline(
            self._gather(),
            self.labels,
            batch_size,
            shuffle=shuffle,
            seed=seed,
            epochs=epochs,
            first_epoch=first_epoch,
            drop_remainder=drop_remainder,
            sampling=sampling,
            transform=transform,
            part=part,
        )

    @functools.cached_property
    def lost(self) -> list[DataError]:
        """What pipelines could not read any more."""
        return []

    @functools.cached_property
    def _tensor(self) -> "tf.Tensor":
        import tensorflow as tf

        # Not on an accelerator: batches are gathered, and augmented, on the processor.
        with tf.device("CPU:0"):
            return tf.constant(self.images)

    def _gather(self):
        """Return a function from indices to images, of TensorFlow."""
        import tensorflow as tf

        if self.images is not None and self.images.nbytes <= _TENSOR_BYTES:
            tensor = self._tensor
            return lambda indices: tf.gather(tensor, indices)

        def load(indices):
            try:
                return self.load(indices)
            except DataError as error:
                # TensorFlow raises an error of its own.
                self.lost.append(error)
                raise

        def gather(indices):
            images = tf.numpy_function(load, [indices], tf.uint8, stateful=False)
            images.set_shape([indices.shape[0], *self.image_shape])
            return images

        return gather


@dataclasses.dataclass(frozen=True, eq=False)
class ImageData:
    """Labelled images, checked and split.

    Attributes:
        source: Where they came from.
        class_names: In the order of the labels.
        image_shape: `(height, width, channels)`.
        color: `"rgb"` or `"grayscale"`.
        fit: How images of another aspect ratio are met: `"crop"`, `"stretch"` or `"pad"`.
        splits: `"train"`, `"validation"` and `"test"`; the latter two may have no images.
        problems: Warnings about the data.
        fingerprint: SHA-256 in hexadecimal over images as stored, labels, class names and splits.
            It does not depend on where files lie or when they were written.
        settings: Further facts for `to_dict`: seed, fractions, and how to load again.
        batch_size: Of `train`, `validation` and `test`.
        seed: Of the splits and of the order of `train`.
    """

    source: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    color: str
    fit: str
    splits: dict[str, Split]
    problems: tuple[Problem, ...]
    fingerprint: str
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    batch_size: int = 32
    seed: int = 0

    @property
    def train(self) -> "tf.data.Dataset":
        """Training batches for `model.fit`: uint8 images, int32 labels.

        The order differs each time that the dataset is gone through, and is the same in each run.
        """
        split = self.splits["train"]
        return make_fit_pipeline(split._gather(), split.labels, self.batch_size, self.seed)

    @property
    def validation(self) -> "tf.data.Dataset":
        """Validation batches in order: uint8 images, int32 labels."""
        return self.splits["validation"].pipeline(self.batch_size)

    @property
    def test(self) -> "tf.data.Dataset":
        """Test batches in order: uint8 images, int32 labels."""
        return self.splits["test"].pipeline(self.batch_size)

    @property
    def lost(self) -> DataError | None:
        """The first file that a pipeline could not read any more, or `None`."""
        return next((error for split in self.splits.values() for error in split.lost), None)

    @property
    def counts(self) -> dict[str, list[int]]:
        """Images a class, for each split."""
        classes = len(self.class_names)
        return {
            name: np.bincount(split.labels, minlength=classes).tolist()
            for name, split in self.splits.items()
        }

    def statistics(self) -> tuple[list[float], list[float]]:
        """Return mean and variance a channel of the training images, in units of 0..255.

        Exact, from histograms; where there are very many pixels, of images evenly spaced among
        all.
        """
        split = self.splits["train"]
        height, width, channels = self.image_shape
        room = max(1, _STATISTICS_VALUES // (height * width))
        if self.images_on_disk:
            room = min(room, 2000)
        chosen = np.unique(np.linspace(0, len(split) - 1, min(room, len(split))).astype(np.int64))
        histogram = np.zeros((channels, 256), np.int64)
        for start in range(0, len(chosen), 256):
            images = split.load(chosen[start : start + 256])
            for channel in range(channels):
                values = images[..., channel].ravel()
                histogram[channel] += np.bincount(values, minlength=256)
        levels = np.arange(256.0)
        share = histogram / histogram.sum(axis=1, keepdims=True)
        mean = share @ levels
        variance = (share * (levels - mean[:, np.newaxis]) ** 2).sum(axis=1)
        return mean.tolist(), variance.tolist()

    @property
    def images_on_disk(self) -> bool:
        """Whether images are decoded as they are needed, since they do not fit the memory limit."""
        return self.splits["train"].images is None

    def class_weights(self) -> np.ndarray:
        """Return a weight a class, float64: inverse frequency, mean over training images 1."""
        counts = np.array(self.counts["train"], np.float64)
        present = counts > 0
        weights = np.zeros(len(counts))
        weights[present] = counts.sum() / (present.sum() * counts[present])
        return weights

    def input_contract(self) -> dict[str, Any]:
        """Return what a model trained on this data takes, JSON-ready."""
        return {
            "image_shape": list(self.image_shape),
            "dtype": "uint8",
            "value_range": [0, 255],
            "color": self.color,
            "fit": self.fit,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description, as it is written to data.json.

        `"reload"` holds the arguments with which `load_data` reads the same data again, or null
        for data that came in memory. Of the paths of a problem the first twenty are listed.
        """
        return {
            "source": self.source,
            "class_names": list(self.class_names),
            "image_shape": list(self.image_shape),
            "color": self.color,
            "fit": self.fit,
            "counts": self.counts,
            "fingerprint": self.fingerprint,
            **self.settings,
            "problems": [problem.to_dict(_LISTED_PATHS) for problem in self.problems],
        }


def reload_arguments(description: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of `load_data` from what `ImageData.to_dict` gave.

    Raises:
        DataError: If the data came in memory.
    """
    arguments = description.get("reload")
    if not arguments:
        raise DataError(
            f"the images came from {description.get('source', 'memory')} in memory and cannot be "
            "read again; give them anew"
        )
    return arguments
