"""Views of an image for test-time augmentation: resizings, crops, shifts and mirror images."""

import dataclasses
import difflib
import math
import numbers

import keras
import numpy as np
import tensorflow as tf

from augment import _validation

# Crops of 224 pixels are taken from images of 256: Krizhevsky et al. 2012, section 4.1.
_CROP_MARGIN = 256 / 224
# He et al. 2015, section 3.4, for a network of 224 pixels.
_RESNET_SCALES = (224, 256, 384, 480, 640)
_RESNET_CROP = 224
_CENTER = (0.5, 0.5)
_FIVE_PLACES = (_CENTER, (0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))
_SHIFTS = ((-1, -1), (1, 1))


@keras.saving.register_keras_serializable(package="keras_recipes")
@dataclasses.dataclass(frozen=True)
class View:
    """One way to look at an image: resized, then a window of it cut out, then mirrored.

    Attributes:
        size: Pixels that the shorter side is resized to, the proportions kept (the longer side
            rounded down), bilinear with the support widened where the image shrinks, as Pillow
            does; `None` leaves the size.
        place: Where the window of the size that the model takes lies: the share of the room above
            it and left of it, `(0, 0)` for the top left corner, `(0.5, 0.5)` for the middle (a half
            pixel rounds to even). `None` cuts nothing: for models that take any size.
        shift: Whole pixels by which the picture is moved down and right; what comes in is reflected
            at the border.
        horizontal: Whether to mirror left to right.
        vertical: Whether to mirror upside down.
        weight: Positive weight in the mean, relative to that of the other views.

    Raises:
        ValueError: If a value is out of range.

    Example:
        >>> views = [View(weight=2.0), View(horizontal=True), View(shift=(0, 2))]
    """

    size: int | None = None
    place: tuple[float, float] | None = _CENTER
    shift: tuple[int, int] = (0, 0)
    horizontal: bool = False
    vertical: bool = False
    weight: float = 1.0

    def __post_init__(self):
        """Check the values; two numbers may come as a list, from JSON."""
        if self.size is not None:
            _validation.check_integer("size", self.size, 1)
        if self.place is not None:
            object.__setattr__(self, "place", _pair("place", self.place, numbers.Real, 0, 1))
        high = math.inf
        object.__setattr__(self, "shift", _pair("shift", self.shift, numbers.Integral, -high, high))
        _validation.check_choice("horizontal", self.horizontal, (True, False))
        _validation.check_choice("vertical", self.vertical, (True, False))
        _validation.check_number("weight", self.weight, 0, math.inf, open_low=True)

    def get_config(self):
        """Return every field."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config):
        """Return the view of a configuration."""
        return cls(**config)


def _pair(name, value, kind, low, high):
    """Return two numbers of a kind in `[low, high]`, or raise `ValueError`."""
    good = isinstance(value, (tuple, list)) and len(value) == 2
    if not good or not all(isinstance(part, kind) and low <= part <= high for part in value):
        what = "whole numbers" if kind is numbers.Integral else f"numbers in [{low}, {high}]"
        raise ValueError(f"{name} must be two {what}, vertical and horizontal, received: {value!r}")
    return tuple(value)


def _flip(crop, image):
    return [View(), View(horizontal=True)]


def _five_crop(crop, image):
    inside = None not in crop and all(size < side for size, side in zip(crop, image, strict=True))
    size = None if inside else _scaled_crop(crop, _CROP_MARGIN)
    return [View(size=size, place=place) for place in _FIVE_PLACES]


def _ten_crop(crop, image):
    return _mirrored(_five_crop(crop, image))


def _resnet_50_views(crop, image):
    sizes = [_scaled_crop(crop, scale / _RESNET_CROP) for scale in _RESNET_SCALES]
    return _mirrored([View(size=size, place=place) for size in sizes for place in _FIVE_PLACES])


def _resnet_scales(crop, image):
    sizes = [_scaled(image, scale / _RESNET_CROP) for scale in _RESNET_SCALES]
    return _mirrored([View(size=size, place=None) for size in sizes])


def _shifts(crop, image):
    moved = [View(shift=shift, weight=0.5) for shift in _SHIFTS]
    return _mirrored([View(), *moved])


def _mirrored(views):
    return [*views, *(dataclasses.replace(view, horizontal=True) for view in views)]


def _scaled_crop(crop, factor):
    """Return the shorter side of images from which crops are taken; the crops must have a size."""
    if None in crop:
        raise ValueError(
            "crops have the size that the model takes, and this one takes any; expected 'flip', "
            "'shifts', 'resnet_scales', or a list of views with place=None"
        )
    return _scaled(crop, factor)


def _scaled(sizes, factor):
    """Return the shorter of two sides times a factor, rounded; it must be known."""
    if None in sizes:
        raise ValueError(
            "views that are resized need a known size: the model takes images of any, so give "
            "image_size"
        )
    return round(min(sizes) * factor)


VIEWS = {
    "flip": _flip,
    "five_crop": _five_crop,
    "ten_crop": _ten_crop,
    "resnet50views": _resnet_50_views,
    "resnet_scales": _resnet_scales,
    "shifts": _shifts,
}


def resolve_views(views, crop, image):
    """Return a list of `View`s and Keras layers.

    Args:
        views: Name out of `VIEWS`, or a list of `View`s and layers.
        crop: Height and width that the model takes, `None` where it takes any.
        image: Height and width of the images, `None` where they may have any.

    Raises:
        ValueError: If the name is unknown, or the list is empty.
        TypeError: If something in the list is neither.
    """
    if isinstance(views, str):
        if views not in VIEWS:
            close = difflib.get_close_matches(views, VIEWS, n=1, cutoff=0.4)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"views must be a list or one of {', '.join(VIEWS)}, received: {views!r}{hint}"
            )
        return VIEWS[views](crop, image)
    if not isinstance(views, (list, tuple)) or not views:
        raise ValueError(
            f"views must be a name or a list of at least one View, received: {views!r}"
        )
    for view in views:
        if not isinstance(view, (View, keras.layers.Layer)):
            raise TypeError(
                "views must be augment.View or Keras layers that change images (write a function "
                f"of your own as a layer, so that it is saved), received: {view!r}"
            )
    return list(views)


@dataclasses.dataclass(frozen=True)
class Window:
    """What is done to the pixels for a view of images of a known size: plain numbers.

    Attributes:
        resized: Height and width, or `None`.
        padding: Rows above and below, columns left and right, reflected.
        rows: First row and the one after the last, as in a slice.
        columns: Likewise.
        horizontal: Whether the result is mirrored.
        vertical: Likewise.
    """

    resized: tuple[int, int] | None = None
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    rows: tuple[int | None, int | None] = (None, None)
    columns: tuple[int | None, int | None] = (None, None)
    horizontal: bool = False
    vertical: bool = False

    def result_size(self):
        """Return height and width of the view; `None` where they are those of the images."""
        return tuple(
            None if stop is None or stop < 0 else stop - start
            for start, stop in (self.rows, self.columns)
        )


def window_of(view, crop, image):
    """Return the `Window` of a `View`.

    Args:
        view: `View`.
        crop: Height and width that the model takes, `None` where it takes any.
        image: Height and width of the images, likewise.

    Raises:
        ValueError: If the window does not fit into the resized image.
    """
    resized = None
    if view.size is not None:
        if None in image:
            raise ValueError(f"image_size must be given for views that are resized, as in {view}")
        # In whole numbers: a longer side of 2.9999999 would lose a pixel.
        resized = tuple(view.size * side // min(image) for side in image)
        resized = None if resized == tuple(image) else resized
    sizes = resized or tuple(image)
    top, bottom, *rows = _cut(view, 0, sizes[0], crop[0])
    left, right, *columns = _cut(view, 1, sizes[1], crop[1])
    return Window(
        resized=resized,
        padding=(top, bottom, left, right),
        rows=tuple(rows),
        columns=tuple(columns),
        horizontal=view.horizontal,
        vertical=view.vertical,
    )


def _cut(view, axis, size, length):
    """Return padding before and after, first index and the one after the last, along an axis."""
    room = 0
    if length not in (None, size):
        if size is None or size < length or view.place is None:
            have = "any number" if size is None else f"{size}"
            raise ValueError(
                f"the model takes images of {length} pixels along axis {axis}, this view has "
                f"{have}: {view}"
            )
        room = size - length
    first = (round(view.place[axis] * room) if room else 0) - view.shift[axis]
    before = max(0, -first)
    after = max(0, first - room)
    if size is not None and max(before, after) >= size:
        raise ValueError(f"shift must be smaller than the image, {size} pixels, received: {view}")
    if size is not None:
        start = first + before
        return before, after, start, start + (size - room)
    # Of an unknown size as much is cut off at one end as was added at the other.
    return before, after, after or None, -before or None


@keras.saving.register_keras_serializable(package="keras_recipes")
class Windows(keras.layers.Layer):
    """Views of images, one batch after the other.

    Args:
        windows: `Window`s, or dictionaries of their fields; all results have one size.
        **kwargs: Base layer arguments.

    Call arguments:
        inputs: Float images of the size that the windows were made for, shape `(batch, height,
            width, channels)`; or a list of these and of a tensor that is computed before.

    Returns:
        Shape `(windows * batch, crop height, crop width, channels)`, all images in the first
        window first.
    """

    def __init__(self, windows, **kwargs):
        super().__init__(**kwargs)
        self.windows = [_as_window(window) for window in windows]

    def call(self, inputs):
        """Return the views."""
        if isinstance(inputs, (list, tuple)):
            images, before = inputs
            # Or TensorFlow might hold the views of all chunks in memory at the same time.
            with tf.control_dependencies([before]):
                inputs = tf.identity(images)
        resized, views = {}, []
        for window in self.windows:
            if window.resized not in resized:
                resized[window.resized] = _resize(inputs, window.resized)
            views.append(_look(resized[window.resized], window))
        views = views[0] if len(views) == 1 else tf.concat(views, axis=0)
        return _kept_apart(views)

    def get_config(self):
        """Return every argument."""
        windows = [dataclasses.asdict(window) for window in self.windows]
        return {**super().get_config(), "windows": windows}


def _as_window(window):
    if isinstance(window, Window):
        return window
    fields = {
        name: tuple(value) if isinstance(value, (list, tuple)) else value
        for name, value in window.items()
    }
    return Window(**fields)


def _kept_apart(images):
    """Return the images as they are, through an operation that has a range of its own in int8.

    TFLite's calibration reads the inputs of an operation once more after it ran, when one that
    works in place has written its result there. If a model begins by subtracting a mean, these
    values would widen the range of the views, and with it that of the images that go in: they would
    no longer be the bytes of the file. A convolution with ones is exact, and passes no range on.
    """
    ones = tf.ones((1, 1, images.shape[-1], 1), images.dtype)
    return tf.nn.depthwise_conv2d(images, ones, (1, 1, 1, 1), "VALID")


def _look(images, window):
    top, bottom, left, right = window.padding
    if any(window.padding):
        images = tf.pad(images, [[0, 0], [top, bottom], [left, right], [0, 0]], "REFLECT")
    images = images[:, slice(*window.rows), slice(*window.columns)]
    if window.horizontal:
        images = tf.reverse(images, [2])
    return tf.reverse(images, [1]) if window.vertical else images


def _resize(images, sizes):
    """Resize float images as Pillow's bilinear filter does, with what TFLite can compute."""
    if sizes is None:
        return images
    height, width = images.shape[1:3]
    if sizes[0] >= height and sizes[1] >= width:
        return tf.image.resize(images, sizes, "bilinear")
    # TFLite knows no resizing with a wider support. Rows, then columns, as products of matrices.
    rows = tf.constant(_resize_matrix(height, sizes[0]), images.dtype)
    columns = tf.constant(_resize_matrix(width, sizes[1]), images.dtype)
    channels = images.shape[3]
    images = tf.matmul(rows, tf.reshape(images, (-1, height, width * channels)))
    images = tf.reshape(images, (-1, sizes[0], width, channels))
    images = tf.transpose(images, (0, 1, 3, 2))
    images = tf.matmul(images, columns, transpose_b=True)
    return tf.transpose(images, (0, 1, 3, 2))


def _resize_matrix(size, target):
    """Return the weights `(target, size)` of a triangle filter, widened where it reduces."""
    scale = size / target
    support = max(scale, 1.0)
    centers = (np.arange(target) + 0.5) * scale
    distances = np.abs(np.arange(size)[None, :] + 0.5 - centers[:, None]) / support
    weights = np.maximum(0.0, 1.0 - distances)
    return weights / weights.sum(axis=1, keepdims=True)
