"""How operations run one after the other on a batch, as one function.

A batch is worked on image by image, in one loop that XLA compiles. An image stays in the
processor's cache from the first operation to the last, and each operation is a branch that only the
images chosen for it enter: the others cost nothing. Branches also keep XLA from fusing one
operation into the next, which would make it compute the first again for every pixel the second
reads.

An operation on its own that makes each pixel from that pixel alone, and perhaps from a few numbers
about its image, is done to the whole batch in one pass instead: the loop copies each image into and
out of its cache and fills the result with zeros before, which takes longer than what such an
operation computes.
"""

import functools
import itertools

import tensorflow as tf

from augment import _random, _validation
from augment._loop import map_images

# Chance from which an operation is done to the whole batch: images that are not chosen cost as much
# as others there, and only copies in the loop.
_OFTEN = 0.25


def chain_of(operations, value_range=(0, 255), *, cast_follows=False, materialized=False):
    """Chain operations into one function, to be compiled.

    Neighbours of the kind `"geometry"` become one warp and neighbours of the kind `"color"` one
    stage of float arithmetic, rounded at its end; see `stages`. The second operation of the same
    name draws from `fold_seed(seed, 1)`, the third from `fold_seed(seed, 2)`.

    Args:
        operations: `Operation`s, at least one.
        value_range: Lowest and highest value of float images.
        cast_follows: Whether images are cast to a float dtype after, in the same compiled function:
            an operation done to the whole batch then costs no pass of its own, and uint8 images may
            come out of it as float32, with the whole numbers that they would be.
        materialized: Whether the result must be in memory, as what follows reads a value more than
            once: what is done in a pass could be fused into it, and computed as often.

    Returns:
        Function `(images, seed, strength, window=None) -> images`. With a window `(first, total)`
        the images are those from place `first` on of a batch of `total`, and get what that batch
        would.
    """
    names = [member.name for member in operations]
    repeats = [names[:place].count(name) for place, name in enumerate(names)]
    groups = stages(operations)
    last = groups[-1][0]
    ends_over_batch = (
        len(groups[-1]) == 1
        and last.over_batch is not None
        and last.probability >= _OFTEN
        # A loop before it has the image in the cache; a pass of its own would fetch it again.
        and (cast_follows or len(groups) == 1)
        and not materialized
    )

    def chain(images, seed, strength, window=None):
        sizes = _validation.image_sizes(images)
        if window is not None:
            first, total = window
            places = slice(first, first + sizes[0])
            sizes = (total, *sizes[1:])
        drawn, steps, place = [], [], 0
        for group in groups:
            counts = repeats[place : place + len(group)]
            seeds = [_random.fold_seed(seed, count) if count else seed for count in counts]
            place += len(group)
            rows, step, sizes = _stage(group, seeds, sizes, strength)
            if window is not None:
                rows = tf.nest.map_structure(lambda of_all: of_all[places], rows)
            drawn.append(rows)
            steps.append(step)
        dtype = images.dtype
        if not ends_over_batch:
            return _image_by_image(images, drawn, steps, sizes, value_range)
        if len(steps) > 1:
            images = _image_by_image(images, drawn[:-1], steps[:-1], sizes, value_range, True)
        else:
            images = _to_working(images, value_range)
        if cast_follows and dtype == tf.uint8:
            return _pass(last, images, drawn[-1][0], _as_whole)
        images = _pass(last, images, drawn[-1][0], lambda changed: _as_dtype(changed, images.dtype))
        return _from_working(images, dtype, value_range)

    return chain


def _image_by_image(images, drawn, steps, sizes, value_range, goes_on=False):
    """Return images after some steps, one image after the other.

    Args:
        images: The batch.
        drawn: What each step was given, nested tensors of shape `(batch, ...)`.
        steps: Functions `(image, drawn) -> image`.
        sizes: Of the result.
        value_range: Of float images.
        goes_on: Whether float images stay float32 in `[0, 255]`, as more is done to them.
    """

    @tf.autograph.experimental.do_not_convert
    def one(inputs):
        image, *parameters = inputs
        image = _to_working(image, value_range)
        for step, row in zip(steps, parameters, strict=True):
            image = step(image, row)
        return image if goes_on else _from_working(image, images.dtype, value_range)

    shape = [size if isinstance(size, int) else None for size in sizes[1:]]
    dtype = tf.float32 if goes_on and images.dtype != tf.uint8 else images.dtype
    return map_images(one, (images, *drawn), tf.TensorSpec(shape, dtype))


def _pass(member, images, drawn, finish):
    """Return images, uint8 or float32 in `[0, 255]`, changed by one operation where selected.

    Args:
        member: The operation.
        images: The batch.
        drawn: What was drawn for it.
        finish: Function of what the operation gives, uint8 or float32; its dtype is the result's.
    """
    drawn = dict(drawn)
    selected = drawn.pop("selected")
    for name, value in member.neutral.items():
        drawn[name] = tf.where(selected, drawn[name], value)
    changed = finish(member.over_batch(images, **drawn))
    if member.neutral:
        return changed
    return tf.where(with_pixel_axes(selected), changed, tf.cast(images, changed.dtype))


def stages(operations):
    """Group operations that run as one: a list of lists, in order.

    A run of `"geometry"` operations is a group if their `warp` arguments are equal (`None` goes
    with any, and with and without `perspective` go together), and a run of `"color"` ones is.
    """
    groups = []
    for member in operations:
        if groups and _run_as_one([*groups[-1], member]):
            groups[-1].append(member)
        else:
            groups.append([member])
    return groups


def _run_as_one(group):
    kinds = {member.kind for member in group}
    warps = {frozenset(member.warp) - {("perspective", True)} for member in group if member.warp}
    return kinds == {"color"} or (kinds == {"geometry"} and len(warps) <= 1)


def _stage(group, seeds, sizes, strength):
    """Return what is drawn for a group, its function `(image, drawn) -> image`, and new sizes."""
    drawn_of = [
        member.draw(seed, sizes, strength) for member, seed in zip(group, seeds, strict=True)
    ]
    batch, height, width, channels = sizes
    if group[-1].size is not None:
        height, width = group[-1].size
    sizes = batch, height, width, channels
    rows = [_single_precision(drawn) for drawn, _ in drawn_of]
    if group[0].kind == "color":
        return rows, functools.partial(_color_stage, group), sizes
    warps = [member.warp for member in group if member.warp is not None]
    if len(group) == 1 or not warps:
        return rows, functools.partial(_plain_stage, group), sizes
    # They are equal, but some may have `perspective`, which then holds for the product.
    arguments = dict(itertools.chain(*warps))
    return _composed(group, drawn_of), functools.partial(_warp_stage, arguments), sizes


def _composed(group, drawn_of):
    """Return the one matrix of a run of geometric operations, and which images it changes."""
    total, changed = None, None
    for member, (drawn, draw) in zip(group, drawn_of, strict=True):
        selected = drawn.pop("selected")
        matrix = tf.cast(member.matrix(drawn, draw), tf.float64)
        matrix = tf.where(selected[:, None, None], matrix, tf.eye(3, dtype=tf.float64))
        total = matrix if total is None else total @ matrix
        changed = selected if changed is None else changed | selected
    return _single_precision({"matrix": total, "selected": changed})


def _warp_stage(arguments, image, drawn):
    from augment import geometry

    def warped():
        return _as_dtype(geometry.warp(image, drawn["matrix"], **arguments), image.dtype)

    return tf.cond(drawn["selected"], warped, lambda: image)


def _plain_stage(group, image, rows):
    for member, drawn in zip(group, rows, strict=True):
        image = _branch(member, image, drawn)
    return image


def _color_stage(group, image, rows):
    if len(group) == 1:
        member, drawn = group[0], rows[0]
        return _branch(member, image, drawn, tf.float32)
    dtype, image = image.dtype, tf.cast(image, tf.float32)
    for member, drawn in zip(group, rows, strict=True):
        image = _branch(member, image, drawn)
    return _as_dtype(image, dtype)


def _branch(member, image, drawn, working=None):
    """Apply an operation to an image if it is selected."""
    drawn = dict(drawn)
    selected = drawn.pop("selected")

    def changed():
        given = image if working is None else tf.cast(image, working)
        return _as_dtype(member.apply(given, **drawn), image.dtype)

    if member.size is None:
        return tf.cond(selected, changed, lambda: image)
    # It always resizes, and cannot be left out.
    return changed()


def _as_dtype(image, dtype):
    """Return `image`, clipped to `[0, 255]` and rounded if it must become uint8."""
    if image.dtype == tf.uint8:
        return tf.cast(image, dtype)
    image = tf.clip_by_value(image, 0.0, 255.0)
    # Half a level and cutting off rounds to nearest, in fewer steps than `tf.round`.
    return tf.cast(image + 0.5, tf.uint8) if dtype == tf.uint8 else tf.cast(image, dtype)


def _as_whole(image):
    """Return float32 with the whole numbers that `_as_dtype` makes uint8 of.

    Spares the cast to uint8 and the one back.
    """
    if image.dtype == tf.uint8:
        return tf.cast(image, tf.float32)
    return tf.floor(tf.clip_by_value(image, 0.0, 255.0) + 0.5)


def _single_precision(drawn):
    return {
        name: tf.cast(value, tf.float32) if value.dtype == tf.float64 else value
        for name, value in drawn.items()
    }


def _to_working(image, value_range):
    """Return uint8 as it is, floats as float32 in `[0, 255]`."""
    if image.dtype == tf.uint8:
        return image
    image = tf.cast(image, tf.float32)
    low, high = value_range
    return image if value_range == (0.0, 255.0) else (image - low) * (255.0 / (high - low))


def _from_working(image, dtype, value_range):
    if dtype == tf.uint8 or value_range == (0.0, 255.0):
        return tf.cast(image, dtype)
    low, high = value_range
    return tf.cast(low + image * ((high - low) / 255.0), dtype)


def with_pixel_axes(value):
    """Insert axes for height and width, and for channels where there is none, behind the batch."""
    return value[:, None, None, None] if value.shape.rank == 1 else value[:, None, None]
