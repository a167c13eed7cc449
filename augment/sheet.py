"""Contact sheets: images beside what an augmentation makes of them, as one picture."""

import contextlib
import dataclasses
import inspect
import os
import re
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from augment import _validation
from augment._drawing import Tile, draw_sheet
from augment._labels import label_targets
from augment._layer_base import Augmentation
from augment._operation import Operation
from augment._program import Program

# A class with less weight in a label than this is not named below the image.
_LEAST_WEIGHT = 0.02
_MOST_NAMES = 3
# Below a step of a pipeline: what it draws from. Not the steps that are joined, `Name(arguments)`.
_DETAIL = re.compile(r" {4,}(?!\w+\()")


def show(
    augmentation,
    images,
    labels=None,
    *,
    columns=4,
    seed=0,
    class_names=None,
    value_range=None,
    title=None,
    scale=None,
    path=None,
):
    """Draw images beside what an augmentation makes of them: one row an image, one column a seed.

    The sheet is made by the very calls that training makes, on all the images as one batch, so
    mixes are mixes of the images shown. Column `j` is what the seed `[seed, j]` gives; nothing
    about `augmentation` changes. Pixels are enlarged without being smoothed, large images reduced.

    Args:
        augmentation: A layer of `augment`, `augment.Pipeline` included, or a list of layers; an
            operation such as `augment.random_flip`, perhaps in a `functools.partial`; any function
            `(images, seed)` or `(images, labels, seed)` that gives images or a tuple that begins
            with images and labels; or any Keras layer (called in training mode on a copy, which
            draws by seeds of its own).
        images: uint8, float16, bfloat16 or float32 in `value_range`, shape `(batch, height, width,
            channels)`, with 1, 3 or 4 channels (the fourth is how opaque a pixel is); or a list of
            such images or of Pillow images, all of one size.
        labels: Whole numbers of shape `(batch,)` or rows of shape `(batch, classes)`; needed by
            augmentations that mix. They are written below the images, for mixes with their shares.
        columns: How many results to show of each image.
        seed: First number of the seeds.
        class_names: One name a class; by default the number of the class is written.
        value_range: Lowest and highest value of float images; by default that of the augmentation,
            or else `(0, 255)`. It is handed to functions that have an argument of this name.
        title: Text above the sheet; by default what the augmentation says of itself.
        scale: Factor of the size; by default small images are enlarged by a whole number to about
            128 pixels, and large ones reduced to 256.
        path: File to write the picture to, whole or not at all; its suffix says the format.

    Returns:
        `PIL.Image.Image` of mode RGB, which a notebook displays.

    Raises:
        ValueError: If images, labels or an argument are of the wrong shape or range, labels are
            missing for a mix, or the suffix of `path` is no known format of pictures.
        TypeError: If `augmentation` cannot be called, or images are of another dtype.
        OSError: If `path` cannot be written.

    Example:
        >>> import functools
        >>> from augment import random_flip
        >>> images = tf.zeros((2, 32, 32, 3), tf.uint8)
        >>> show(functools.partial(random_flip, vertical=True), images, columns=3).mode
        'RGB'
    """
    if scale is not None:
        _validation.check_number("scale", scale, 0, 100, open_low=True)
    check_path(path)
    rows, titles, own_title = sheet_rows(
        augmentation,
        images,
        labels,
        columns=columns,
        seed=seed,
        class_names=class_names,
        value_range=value_range,
    )
    sheet = draw_sheet(rows, titles, own_title if title is None else title, scale)
    if path is not None:
        _write(sheet, path)
    return sheet


def sheet_rows(
    augmentation,
    images,
    labels=None,
    *,
    columns=4,
    seed=0,
    class_names=None,
    value_range=None,
):
    """Return what `show` draws, for sheets of several augmentations or kinds of images.

    Args:
        augmentation: As for `show`, and so are the others.
        images: Likewise.
        labels: Likewise.
        columns: Likewise.
        seed: Likewise.
        class_names: Likewise.
        value_range: Likewise.

    Returns:
        Rows of `Tile`s, the titles of the columns, and what the augmentation says of itself.

    Raises:
        ValueError: As `show` does.
        TypeError: Likewise.
    """
    _validation.check_integer("columns", columns, 1)
    _validation.check_integer("seed", seed, 0)
    runner = _runner(augmentation, value_range)
    images = _validation.check_images(_as_batch(images), runner.value_range)
    if not len(images):
        raise ValueError("images must be at least one, received: none")
    if images.shape[3] not in (1, 3, 4):
        raise ValueError(f"images must have 1, 3 or 4 channels, received: {images.shape}")
    labels, names = _check_labels(labels, class_names, len(images))
    if labels is None and runner.needs_labels:
        raise ValueError(f"labels must be given: {runner.title} mixes them too")
    given = _rows(labels, names, runner.classes) if runner.needs_rows else labels

    rows = [[tile] for tile in _tiles(images, labels, names, runner.value_range)]
    for column in range(columns):
        changed, targets = runner.run(images, given, [seed, column])
        # Labels that are no mixes are below the images they came with.
        targets = targets if np.ndim(targets) == 2 else None
        tiles = _tiles(changed, targets, names, runner.value_range)
        for row, tile in zip(rows, tiles, strict=True):
            row.append(tile)
    titles = ["before", *(runner.column_title.format(seed, column) for column in range(columns))]
    return rows, titles, runner.title


def check_path(path):
    """Raise if a picture cannot be written to `path`: another suffix, no such folder."""
    from PIL import Image

    if path is None:
        return
    path = Path(path)
    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.SAVE}
    if path.suffix.lower() not in known:
        raise ValueError(f"path must end in .png, .jpg or .webp, received: {path}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} to")


@dataclasses.dataclass(frozen=True)
class _Runner:
    """How to call an augmentation.

    Attributes:
        run: Function of images, labels and a seed; returns images and labels (or `None`).
        title: What it is.
        value_range: Of float images.
        needs_labels: Whether it cannot do without labels.
        needs_rows: Whether labels must be rows, since it does not know the number of classes.
        classes: The number of classes, if it is known.
        column_title: With places for the two numbers of the seed.
    """

    run: object
    title: str
    value_range: tuple[float, float]
    needs_labels: bool = False
    needs_rows: bool = False
    classes: int | None = None
    column_title: str = "seed {}, {}"


def _runner(augmentation, value_range):
    if isinstance(augmentation, (list, tuple)):
        from augment.pipeline import Pipeline

        augmentation = Pipeline(augmentation, value_range=value_range or (0, 255))
    if isinstance(augmentation, Augmentation):
        return _layer_runner(augmentation, value_range)
    value_range = _validation.check_value_range(value_range or (0, 255))
    if isinstance(augmentation, Operation):
        program = Program((augmentation,), value_range=value_range)
        return _program_runner(program, _call_text(augmentation.name, augmentation.arguments))
    if isinstance(augmentation, keras.layers.Layer):
        return _stock_runner(augmentation, value_range)
    if not callable(augmentation):
        raise TypeError(
            "augmentation must be a layer, an operation or a function of (images, seed), received: "
            f"{augmentation!r}"
        )
    return _function_runner(augmentation, value_range)


def _layer_runner(layer, value_range):
    """Return the runner of a layer of this package, which is called with seeds from outside."""
    program = layer.program()
    if value_range is not None and program.value_range is not None:
        stated = _validation.check_value_range(value_range)
        if stated != program.value_range:
            raise ValueError(
                f"value_range must be that of the augmentation, {program.value_range}, or left "
                f"out, received: {value_range!r}"
            )
    title = "\n".join(line for line in str(layer).splitlines() if not _DETAIL.match(line))
    return _program_runner(program, title, layer._current_strength(), value_range)


def _program_runner(program, title, strength=1.0, value_range=None):
    def run(images, labels, seed):
        changed, targets, _ = program(images, labels, None, seed, strength)
        # With an `output_dtype` they stay whole numbers from 0 to 255, whatever the `value_range`.
        changed = tf.cast(changed, tf.uint8) if images.dtype == tf.uint8 else changed
        return changed, targets

    return _Runner(
        run,
        title,
        _validation.check_value_range(program.value_range or value_range or (0, 255)),
        needs_labels=bool(program.mixes),
        needs_rows=bool(program.mixes) and program.classes is None,
        classes=program.classes,
    )


def _stock_runner(layer, value_range):
    # A copy, so that the layer's own generator of seeds stays where it is.
    copy = type(layer).from_config(layer.get_config())

    def run(images, labels, seed):
        return copy(images, training=True), None

    return _Runner(run, type(layer).__name__, value_range, column_title="draw {1}")


def _function_runner(function, value_range):
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        parameters = {}
    takes_labels = "labels" in parameters
    named = {}
    if "value_range" in parameters and value_range != (0.0, 255.0):
        named["value_range"] = value_range

    def run(images, labels, seed):
        if not takes_labels:
            return function(images, seed, **named), None
        found = function(images, labels, seed, **named)
        return found[:2] if isinstance(found, (tuple, list)) else (found, None)

    classes = parameters["classes"].default if "classes" in parameters else None
    inner = getattr(function, "func", function)
    name = getattr(inner, "__name__", type(inner).__name__)
    return _Runner(
        run,
        _call_text(name, getattr(function, "keywords", {})),
        value_range,
        needs_labels=takes_labels,
        needs_rows="classes" in parameters and classes is None,
        classes=classes if isinstance(classes, int) else None,
    )


def _call_text(name, arguments):
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"


def _as_batch(images):
    """Return images as one array or tensor; a list of them is stacked."""
    if not isinstance(images, (list, tuple)):
        return images
    arrays = [np.asarray(image) for image in images]
    # Pillow's grey images have no axis of channels.
    arrays = [array[..., None] if array.ndim == 2 else array for array in arrays]
    shapes = sorted({array.shape for array in arrays})
    if len(shapes) != 1:
        raise ValueError(f"images must be of one size, received: {shapes or 'none'}")
    return np.stack(arrays)


def _check_labels(labels, class_names, count):
    """Return labels as an array or `None`, and a function from class to name."""
    if class_names is not None:
        class_names = [str(name) for name in class_names]
    if labels is None:
        return None, str
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    whole = labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer)
    if not whole and labels.ndim != 2:
        raise ValueError(
            "labels must be whole numbers of shape (batch,) or rows of shape (batch, classes), "
            f"received: {labels.dtype} of shape {labels.shape}"
        )
    if len(labels) != count:
        raise ValueError(f"labels must be {count}, one an image, received: {len(labels)}")
    classes = labels.shape[1] if labels.ndim == 2 else labels.max(initial=-1) + 1
    if class_names is not None and len(class_names) < classes:
        raise ValueError(
            f"class_names must be at least {classes} for these labels, received: {len(class_names)}"
        )
    return labels, str if class_names is None else _Names(class_names)


class _Names(list):
    """A list that is called with an index."""

    def __call__(self, index):
        return self[index] if index < len(self) else str(index)


def _rows(labels, names, classes):
    """Return labels as rows, of as many classes as are known of."""
    if labels.ndim == 2:
        return labels
    known = len(names) if isinstance(names, _Names) else int(labels.max()) + 1
    return label_targets(labels, classes=classes or max(known, 2))


def _tiles(images, labels, names, value_range):
    captions = [""] * len(images) if labels is None else _captions(np.asarray(labels), names)
    pictures = _as_bytes(images, value_range)
    return [Tile(picture, text) for picture, text in zip(pictures, captions, strict=True)]


def _as_bytes(images, value_range):
    """Return images as a uint8 array."""
    images = tf.convert_to_tensor(images)
    if images.dtype == tf.uint8:
        return images.numpy()
    low, high = value_range
    values = (tf.cast(images, tf.float32).numpy() - low) * (255 / (high - low))
    return np.clip(np.rint(np.nan_to_num(values)), 0, 255).astype(np.uint8)


def _captions(labels, names):
    """Return what to write below images: the class, or the classes of a mix with their shares."""
    if labels.ndim == 1:
        return [names(int(label)) for label in labels]
    return [_mix_caption(row, names) for row in labels.astype(np.float64)]


def _mix_caption(row, names):
    order = np.argsort(-row, kind="stable")[:_MOST_NAMES]
    parts = [(names(int(index)), row[index]) for index in order if row[index] >= _LEAST_WEIGHT]
    if len(parts) == 1 and parts[0][1] > 1 - _LEAST_WEIGHT:
        return parts[0][0]
    return "\n".join(f"{weight:.2f} {name}" for name, weight in parts)


def _write(sheet, path):
    """Write a picture under a temporary name beside `path`, then rename it."""
    path = Path(path)
    handle, name = tempfile.mkstemp(
        prefix=f".{path.stem}.", suffix=f".partial{path.suffix}", dir=path.parent
    )
    os.close(handle)
    try:
        sheet.save(name, quality=90)
        # mkstemp makes files that only the owner may read; give them the usual permissions.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
