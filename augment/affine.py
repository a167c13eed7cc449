"""Rotate, move, zoom, shear and tilt images.

Each of these is one matrix for an image. Neighbours in a pipeline become one product and one warp
if they agree on `interpolation`, `fill` and `value`, so pixels are interpolated once.
"""

import functools
import math
import numbers

import tensorflow as tf

from augment import _validation, geometry
from augment._operation import Operation, operation

_FLIPS = {None: (0.0, 0.0), "horizontal": (0.5, 0.0), "vertical": (0.0, 0.5), "both": (0.5, 0.5)}
# From here on the moved corners may form a shape with a dent, which no view of an image has.
_DENTED = 2.0 / 3.0


@operation
def random_rotation(*, degrees=15.0, interpolation="bilinear", fill="constant", value=0):
    """Rotate each image about its centre by an angle of its own.

    Args:
        degrees: Lowest and highest angle, anticlockwise; or one number `d` for `(-d, d)`.
            Uniform. At most 360 either way.
        interpolation: `"bilinear"`, or `"nearest"` for the nearest pixel.
        fill: What lies outside: `"constant"` for `value`, `"nearest"` for the pixel of the edge,
            `"reflect"` for the image mirrored there.
        value: Number in `[0, 255]`, or a tuple of one for each channel, for `"constant"`.

    Example:
        >>> image = tf.constant([[[[1], [2]], [[3], [4]]]], tf.uint8)
        >>> random_rotation(image, [0, 0], degrees=(90, 90))[0, :, :, 0].numpy().tolist()
        [[2, 4], [1, 3]]
    """
    degrees = _validation.check_symmetric("degrees", degrees, 360)
    return _geometric(
        lambda draw: _rotation(draw, degrees), geometry.check_warp(interpolation, fill, value)
    )


@operation
def random_translation(
    *, horizontal=0.1, vertical=0.1, interpolation="bilinear", fill="constant", value=0
):
    """Move each image by a distance of its own, left or right and up or down.

    Args:
        horizontal: Least and greatest move to the right as a share of the width; or one number `s`
            for `(-s, s)`. Uniform. At most 1 either way.
        vertical: The same downwards, as a share of the height.
        interpolation: As for `random_rotation`.
        fill: As for `random_rotation`.
        value: As for `random_rotation`.

    Example:
        >>> image = tf.constant([[[[1], [2]], [[3], [4]]]], tf.uint8)
        >>> moved = random_translation(image, [0, 0], horizontal=(0.5, 0.5), vertical=0)
        >>> moved[0, :, :, 0].numpy().tolist()
        [[0, 1], [0, 3]]
    """
    horizontal = _validation.check_symmetric("horizontal", horizontal, 1)
    vertical = _validation.check_symmetric("vertical", vertical, 1)
    return _geometric(
        lambda draw: _translation(draw, horizontal, vertical),
        geometry.check_warp(interpolation, fill, value),
    )


@operation
def random_zoom(
    *,
    factor=0.2,
    anisotropic=False,
    distribution="log",
    interpolation="bilinear",
    fill="constant",
    value=0,
):
    """Enlarge or shrink the content of each image about its centre by a factor of its own.

    Args:
        factor: Least and greatest factor, above 0; 2 shows everything twice as large. Or one number
            `f` below 1 for `(1 - f, 1 + f)`.
        anisotropic: Whether width and height get a factor each.
        distribution: `"log"`: the logarithm of the factor is uniform, so that 2 and 1/2 are as
            likely. `"uniform"`: the factor itself is.
        interpolation: As for `random_rotation`.
        fill: As for `random_rotation`.
        value: As for `random_rotation`.

    Example:
        >>> image = tf.constant([[[[1], [2], [3], [4]]]], tf.uint8)
        >>> random_zoom(image, [0, 0], factor=(3, 3), interpolation="nearest").numpy().ravel()
        array([2, 2, 3, 3], dtype=uint8)
    """
    factor = _check_zoom("factor", factor)
    _validation.check_choice("anisotropic", anisotropic, (True, False))
    _validation.check_choice("distribution", distribution, ("log", "uniform"))
    return _geometric(
        lambda draw: _zoom(draw, factor, anisotropic, distribution),
        geometry.check_warp(interpolation, fill, value),
    )


@operation
def random_shear(
    *, horizontal=10.0, vertical=0.0, interpolation="bilinear", fill="constant", value=0
):
    """Shear each image about its centre by angles of its own.

    Args:
        horizontal: Least and greatest angle in degrees by which upright lines lean to the right;
            or one number `d` for `(-d, d)`. Uniform. At most 85 either way.
        vertical: The same for level lines, which fall to the left.
        interpolation: As for `random_rotation`.
        fill: As for `random_rotation`.
        value: As for `random_rotation`.

    Example:
        >>> image = tf.constant([[[[0], [9], [0]]] * 3], tf.uint8)
        >>> random_shear(image, [0, 0], horizontal=(45, 45))[0, :, :, 0].numpy().tolist()
        [[0, 0, 9], [0, 9, 0], [9, 0, 0]]
    """
    horizontal = _validation.check_symmetric("horizontal", horizontal, 85)
    vertical = _validation.check_symmetric("vertical", vertical, 85)
    return _geometric(
        lambda draw: _shear(draw, horizontal, vertical),
        geometry.check_warp(interpolation, fill, value),
    )


@operation
def random_perspective(*, distortion_scale=0.5, interpolation="bilinear", fill="constant", value=0):
    """Show each image as if tilted: its corners move inwards, each by a distance of its own.

    Args:
        distortion_scale: Greatest move of a corner as a share of half the width and half the
            height; uniform from 0, for each corner and axis. In `[0, 2/3)`; from there on the
            corners could form a shape with a dent.
        interpolation: As for `random_rotation`.
        fill: As for `random_rotation`.
        value: As for `random_rotation`.

    Example:
        >>> images = tf.fill((2, 8, 8, 3), tf.constant(9, tf.uint8))
        >>> bool(tf.reduce_any(random_perspective(images, [0, 0], distortion_scale=0.6) != 9))
        True

    Source:
        torchvision's `RandomPerspective`, which moves corners by whole pixels.
    """
    distortion_scale = _check_distortion("distortion_scale", distortion_scale)
    return _geometric(
        lambda draw: _perspective(draw, distortion_scale),
        geometry.check_warp(interpolation, fill, value),
        perspective=True,
    )


@operation
def random_affine(
    *,
    rotation=10.0,
    translation=0.1,
    zoom=0.1,
    shear=0.0,
    perspective=0.0,
    flip=None,
    anisotropic=False,
    distribution="log",
    interpolation="bilinear",
    fill="constant",
    value=0,
):
    """Mirror, zoom, shear, rotate, tilt and move each image, in this order, by one warp.

    Args:
        rotation: Angle in degrees, as `degrees` of `random_rotation`.
        translation: Greatest move either way as a share of width and height, in `[0, 1]`; or two
            numbers, to the sides and up and down.
        zoom: As `factor` of `random_zoom`.
        shear: Greatest angle of upright lines in degrees, in `[0, 85]`; or two numbers, of upright
            and of level lines.
        perspective: As `distortion_scale` of `random_perspective`; 0 makes the warp faster.
        flip: `None`, or what half of the images are mirrored: `"horizontal"` (left to right),
            `"vertical"` or `"both"`, each on its own. Not shrunk by the strength of a curriculum.
        anisotropic: As for `random_zoom`.
        distribution: As for `random_zoom`.
        interpolation: As for `random_rotation`.
        fill: As for `random_rotation`.
        value: As for `random_rotation`.

    Example:
        >>> images = tf.fill((2, 8, 8, 3), tf.constant(9, tf.uint8))
        >>> random_affine(images, [0, 0], rotation=30, shear=5, flip="horizontal").shape
        TensorShape([2, 8, 8, 3])
    """
    rotation = _validation.check_symmetric("rotation", rotation, 360)
    moves = _check_pair("translation", translation, 1, both=True)
    zoom = _check_zoom("zoom", zoom)
    angles = _check_pair("shear", shear, 85, both=False)
    perspective = _check_distortion("perspective", perspective)
    _validation.check_choice("flip", flip, tuple(_FLIPS))
    _validation.check_choice("anisotropic", anisotropic, (True, False))
    _validation.check_choice("distribution", distribution, ("log", "uniform"))

    # What changes nothing is left out, since each draw takes time to compile.
    parts = [
        part
        for wanted, part in (
            (flip, lambda draw: _flip(draw, _FLIPS[flip])),
            (zoom != (1.0, 1.0), lambda draw: _zoom(draw, zoom, anisotropic, distribution)),
            (any(angles[0] + angles[1]), lambda draw: _shear(draw, *angles)),
            (any(rotation), lambda draw: _rotation(draw, rotation)),
            (perspective, lambda draw: _perspective(draw, perspective)),
            (any(moves[0] + moves[1]), lambda draw: _translation(draw, *moves)),
        )
        if wanted
    ]

    def product(draw):
        unchanged = tf.eye(3, batch_shape=[draw.batch], dtype=tf.float64)
        return functools.reduce(tf.matmul, [part(draw) for part in parts], unchanged)

    return _geometric(
        product, geometry.check_warp(interpolation, fill, value), perspective=perspective > 0
    )


def _geometric(matrices, warp, perspective=False):
    """Return the operation that draws one matrix for each image and warps by it.

    Args:
        matrices: Function of a `Draw` that returns float64 `(batch, 3, 3)`.
        warp: Keyword arguments of `geometry.warp` as a tuple of pairs.
        perspective: Whether last rows may be other than `(0, 0, 1)`.
    """
    if perspective:
        warp = (*warp, ("perspective", True))

    def apply(image, matrix):
        return geometry.warp(image, matrix, **dict(warp))

    return Operation(
        sample=lambda draw: {"matrix": matrices(draw)},
        apply=apply,
        kind="geometry",
        matrix=lambda drawn, draw: drawn["matrix"],
        warp=warp,
    )


def _flip(draw, chances):
    signs = [
        tf.where(draw.chance(f"flip_{axis}", chance), tf.constant(-1.0, tf.float64), 1.0)
        for axis, chance in zip("xy", chances, strict=True)
    ]
    # Mirroring is to enlarge by -1.
    return geometry.zoom_matrix(*signs, draw.height, draw.width)


def _rotation(draw, degrees):
    angle = draw.uniform("degrees", *degrees, neutral=0.0)
    return geometry.rotation_matrix(angle, draw.height, draw.width)


def _translation(draw, horizontal, vertical):
    right = draw.uniform("right", *horizontal, neutral=0.0) * tf.cast(draw.width, tf.float64)
    down = draw.uniform("down", *vertical, neutral=0.0) * tf.cast(draw.height, tf.float64)
    return geometry.translation_matrix(right, down)


def _zoom(draw, factor, anisotropic, distribution):
    if distribution == "log":
        low, high = (math.log(edge) for edge in factor)
        drawn = tf.exp(draw.uniform("zoom", low, high, neutral=0.0, shape=(2,)))
    else:
        drawn = draw.uniform("zoom", *factor, neutral=1.0, shape=(2,))
    return geometry.zoom_matrix(
        drawn[:, 0], drawn[:, 1 if anisotropic else 0], draw.height, draw.width
    )


def _shear(draw, horizontal, vertical):
    tangents = [
        tf.tan(draw.uniform(f"shear_{axis}", *angles, neutral=0.0) * (math.pi / 180))
        for axis, angles in (("x", horizontal), ("y", vertical))
    ]
    return geometry.shear_matrix(*tangents, draw.height, draw.width)


def _perspective(draw, distortion_scale):
    moves = draw.uniform("corners", 0.0, 0.5 * distortion_scale, neutral=0.0, shape=(4, 2))
    start = tf.constant([[0, 0], [1, 0], [1, 1], [0, 1]], tf.float64)
    return geometry.perspective_matrix(start + (1.0 - 2.0 * start) * moves, draw.height, draw.width)


def _check_zoom(name, value):
    """Return a range of factors above 0: `f` means `(1 - f, 1 + f)`; else two numbers."""
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        value = _validation.check_number(name, value, 0, 1)
        value = 1.0 - value, 1.0 + value
    return _validation.check_range(name, value, 0, math.inf)


def _check_pair(name, value, high, *, both):
    """Return two ranges around 0: from two numbers, or one for `both` or for the first alone."""
    if isinstance(value, numbers.Real):
        value = value, value if both else 0.0
    try:
        first, second = value
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number or two numbers, received: {value!r}") from None
    edges = [_validation.check_number(name, entry, 0, high) for entry in (first, second)]
    return [(-edge, edge) for edge in edges]


def _check_distortion(name, value):
    value = _validation.check_number(name, value, 0, _DENTED)
    if value == _DENTED:
        raise ValueError(f"{name} must be below 2/3, received: {value!r}")
    return value
