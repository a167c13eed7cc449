"""Sources that other libraries hold: tf.data, TensorFlow Datasets, keras.datasets."""

import sys
from typing import Any

import numpy as np

from recipes.errors import DataError, nearest

Pair = tuple[Any, Any]

_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_FASHION = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
_CIFAR100 = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus "
    "butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch "
    "crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo "
    "keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse "
    "mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy "
    "porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper "
    "snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television "
    "tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)
_KERAS_NAMES = {
    "mnist": tuple("0123456789"),
    "fashion_mnist": tuple(_FASHION.split(",")),
    "cifar10": tuple(_CIFAR10.split()),
    "cifar100": tuple(_CIFAR100.split()),
}
_TFDS_SPLITS = {"train": "train", "validation": "validation", "valid": "validation", "test": "test"}


def is_dataset(value: Any) -> bool:
    """Whether a value is a `tf.data.Dataset`; loads no TensorFlow to find out."""
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is not None and isinstance(value, tensorflow.data.Dataset)


def bytes_of(images: np.ndarray | list[np.ndarray]) -> int:
    """Return the bytes that images take."""
    return sum(image.nbytes for image in images) if isinstance(images, list) else images.nbytes


def read_dataset(dataset: Any, split: str, memory_limit: int) -> Pair:
    """Read a whole `tf.data.Dataset` into memory, in its order.

    Args:
        dataset: Of `(image, label)`, or of dictionaries with `"image"` and `"label"`; batched or
            not.
        split: Name for messages.
        memory_limit: Bytes that the images may take.

    Returns:
        Images, an array where all have one size and a list of arrays otherwise, and labels.

    Raises:
        DataError: If it is infinite, has other elements, or takes more memory.
    """
    import tensorflow as tf

    if int(dataset.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise DataError(f"the {split} dataset is infinite; end it with .take(n)")
    image_spec, label_spec = _check_elements(dataset.element_spec, split)
    batched = _is_batched(image_spec, label_spec, split)
    images: list[np.ndarray] = []
    labels: list[Any] = []
    size = 0
    for element in dataset.as_numpy_iterator():
        image, label = _image_and_label(element)
        images.append(np.asarray(image))
        labels.append(np.asarray(label) if batched else label)
        size += images[-1].nbytes
        if size > memory_limit:
            raise DataError(
                f"the {split} dataset takes more than the memory limit of {memory_limit} bytes "
                f"(reached after {len(images)} elements): raise memory_limit, resize in the "
                "dataset, or write the images to a folder"
            )
    return _join(images, batched), _join_labels(labels, batched)


def read_tfds(name: str, memory_limit: int) -> tuple[dict[str, Pair], tuple[str, ...] | None]:
    """Read a dataset of TensorFlow Datasets, downloading and preparing it if needed.

    Args:
        name: As `tensorflow_datasets.load` takes it, such as `"beans"` or `"mnist:3.0.1"`.
        memory_limit: Bytes that the images of all splits may take.

    Returns:
        Split to images and labels, and the class names if the dataset has them.

    Raises:
        DataError: If the package is missing, or the dataset is not one of labelled images.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise DataError(
            'tfds: sources need TensorFlow Datasets: pip install "keras-recipes[tfds]"'
        ) from error
    try:
        splits, info = tfds.load(name, as_supervised=True, with_info=True)
    except ModuleNotFoundError as error:  # A dataset may need more packages than TFDS installs.
        raise DataError(
            f"tfds:{name} needs the package {error.name}: pip install {error.name}"
        ) from error
    except Exception as error:  # Its own errors share no class; each is a matter of the name.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"cannot load tfds:{name}: {reason}") from error
    pairs: dict[str, Pair] = {}
    for tfds_split, split in _TFDS_SPLITS.items():
        if tfds_split in splits:
            pairs[split] = read_dataset(splits[tfds_split], split, memory_limit)
            memory_limit -= bytes_of(pairs[split][0])
    if "train" not in pairs:
        raise DataError(f"tfds:{name} has the splits {', '.join(sorted(splits))}, but no train")
    label = info.features[info.supervised_keys[1]]
    return pairs, tuple(label.names) if hasattr(label, "names") else None


def read_keras(name: str, memory_limit: int) -> tuple[dict[str, Pair], tuple[str, ...]]:
    """Read one of the image sets of `keras.datasets`, downloading it if it is not in its cache.

    Args:
        name: `"mnist"`, `"fashion_mnist"`, `"cifar10"` or `"cifar100"` (fine labels).
        memory_limit: Not used: these sets are small.

    Raises:
        DataError: If the name is unknown or the download fails.
    """
    if name not in _KERAS_NAMES:
        raise DataError(
            f"unknown source keras:{name}; expected one of {', '.join(_KERAS_NAMES)}"
            + nearest(name, _KERAS_NAMES)
        )
    import keras

    try:
        train, test = getattr(keras.datasets, name).load_data()
    except Exception as error:  # Keras raises a bare Exception when a download fails.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"cannot load keras:{name}: {reason}") from error
    return {"train": train, "test": test}, _KERAS_NAMES[name]


def _check_elements(spec: Any, split: str) -> tuple[Any, Any]:
    import tensorflow as tf

    if isinstance(spec, dict) and {"image", "label"} <= set(spec):
        spec = (spec["image"], spec["label"])
    if not (
        isinstance(spec, tuple)
        and len(spec) == 2
        and all(isinstance(part, tf.TensorSpec) for part in spec)
    ):
        raise DataError(
            f"the elements of the {split} dataset are {spec!r:.120}; expected (image, label)"
        )
    return spec


def _is_batched(image_spec: Any, label_spec: Any, split: str) -> bool:
    """Tell by the rank of the labels, and of the images, whether elements are batches."""
    rank, label_rank = image_spec.shape.rank, label_spec.shape.rank
    # Without an axis for channels; one row of labels may also be of one image, one-hot.
    grey = label_rank == 2 or (label_rank == 1 and image_spec.shape[-1] not in (1, 3, 4))
    if rank == 4 or (rank == 3 and grey):
        return True
    if rank in (2, 3):
        return False
    raise DataError(
        f"the images of the {split} dataset have {'unknown' if rank is None else rank} dimensions; "
        "expected (height, width, channels), or that with a batch before it"
    )


def _image_and_label(element: Any) -> Pair:
    return (element["image"], element["label"]) if isinstance(element, dict) else element


def _join(images: list[np.ndarray], batched: bool) -> np.ndarray | list[np.ndarray]:
    if not images:
        return np.zeros((0, 1, 1, 1), np.uint8)
    if len({image.shape[1:] if batched else image.shape for image in images}) == 1:
        return np.concatenate(images) if batched else np.stack(images)
    return [image for batch in images for image in batch] if batched else images


def _join_labels(labels: list[Any], batched: bool) -> np.ndarray:
    if not labels:
        return np.zeros(0, np.int64)
    return np.concatenate(labels) if batched else np.asarray(labels)
