"""What every image operation has in common: how it is declared, compiled and run.

An operation is declared by a function of its own arguments that checks them and returns an
`Operation`: what is drawn for each image, and what is then done to one image. `operation` makes the
public function on batches of it.

A batch is worked on image by image, in one loop that XLA compiles. An image stays in the
processor's cache from the first operation to the last, and each operation is a branch that only the
images chosen for it enter: the others cost nothing. Branches also keep XLA from fusing one
operation into the next, which would make it compute the first again for every pixel the second
reads.

An operation on its own that makes each pixel from that pixel alone is done to the whole batch in
one pass instead: the loop copies each image into and out of its cache and fills the result with
zeros before, which takes longer than what such an operation computes.
"""

import dataclasses
import functools
import inspect
import itertools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import tensorflow as tf

from augment import _random, _validation
from augment._docstrings import whole_docstring
from augment._draw import Draw
from augment._loop import map_images


@dataclasses.dataclass(frozen=True)
class Operation:
    """An image operation with its arguments filled in.

    Attributes:
        sample: Function of a `Draw`; returns a dictionary of what was drawn, tensors of the shape
            `(batch, ...)`. A bool entry `selected` says which images are changed; without one
            `probability` does.
        apply: Function `apply(image, **drawn)` for one image `(height, width, channels)` and the
            entries that `sample` drew for it, less `selected`, float64 ones as float32. With
            `kind="color"` the image is float32 in `[0, 255]`, and so is what it returns. Otherwise
            it is uint8 or float32 in `[0, 255]` and `apply` returns either; a float result in place
            of uint8 is rounded. Values outside `[0, 255]` are clipped.
        over_batch: Function like `apply` for a batch `(batch, height, width, channels)` at once,
            uint8 or float32 whatever the kind, with a batch axis in all that was drawn;
            `each_pixel` makes it of an `apply` that takes both. `None` where going image by image
            is as quick.
        neutral: Entries of what was drawn, by name, with which `over_batch` changes nothing at all:
            it is given these for images that are not selected, where choosing between two results
            would keep XLA from computing several values at a time.
        kind: `"geometry"`: neighbours are composed into one warp, see `matrix`. `"color"`: maps
            colours smoothly, so that between neighbours nothing is rounded. `"other"`: neither.
        matrix: For `"geometry"`, a function of what was drawn (with the batch axis, less
            `selected`) and a `Draw` for the sizes: float64 matrices `(batch, 3, 3)` that map places
            `(x, y, 1)` in the result to places in the image, in pixels.
        warp: For `"geometry"`, the keyword arguments of `geometry.warp` as a tuple of pairs; `None`
            goes with any (mirroring, which needs no pixels from between or outside).
        size: Height and width of the result where they are not those of the image.
        scales: What `Draw.strength` shrinks: the `"magnitude"` (in `sample`) or the
            `"probability"` (here; no effect on a `selected` of the operation's own).
        probability: Chance in `[0, 1]` that an image is changed.
        notes: Lines that say in words what is done, printed below the arguments.
        name: Name of the public function; set by `operation`.
        arguments: The arguments it was made with, defaults included; set by `operation`.
    """

    sample: Callable[[Draw], dict[str, tf.Tensor]]
    apply: Callable[..., tf.Tensor]
    over_batch: Callable[..., tf.Tensor] | None = None
    kind: Literal["geometry", "color", "other"] = "other"
    matrix: Callable[[dict[str, tf.Tensor], Draw], tf.Tensor] | None = None
    warp: tuple[tuple[str, Any], ...] | None = None
    size: tuple[int, int] | None = None
    scales: Literal["magnitude", "probability"] = "magnitude"
    probability: float = 1.0
    notes: tuple[str, ...] = ()
    neutral: Mapping[str, float] = dataclasses.field(default_factory=dict)
    name: str = ""
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def draw(self, seed, sizes, strength):
        """Return what is drawn for a batch: `sample`'s dictionary, with `selected`, and its `Draw`.

        Args:
            seed: Two integers.
            sizes: Batch, height, width, channels.
            strength: Number or scalar tensor in `[0, 1]`.
        """
        draw = Draw(self.name, seed, sizes, strength)
        drawn = dict(self.sample(draw))
        if "selected" not in drawn:
            chance = self.probability
            if self.scales == "probability":
                chance = chance * draw.strength
            # Drawn even if the chance is 1: a branch that XLA cannot see through is wanted.
            drawn["selected"] = draw.chance("probability", chance)
        return drawn, draw


# Chance from which an operation is done to the whole batch: images that are not chosen cost as much
# as others there, and only copies in the loop.
_OFTEN = 0.25

_SHARED_PARAMETERS = {
    "images": inspect.Parameter("images", inspect.Parameter.POSITIONAL_OR_KEYWORD),
    "seed": inspect.Parameter("seed", inspect.Parameter.POSITIONAL_OR_KEYWORD),
    "probability": inspect.Parameter("probability", inspect.Parameter.KEYWORD_ONLY, default=1.0),
    "value_range": inspect.Parameter(
        "value_range", inspect.Parameter.KEYWORD_ONLY, default=(0, 255)
    ),
}


def operation(make):
    """Turn a function that returns an `Operation` into the public function on batches.

    Args:
        make: Function of keyword-only arguments that checks them and returns an `Operation`. Its
            docstring has a line `Args:`, below which are its own arguments only, and none of the
            sections `Returns:` and `Raises:`; what all operations share is added. `probability` is
            added too, unless it is one of its own arguments.

    Returns:
        Function `(images, seed, *, ..., probability, value_range)` with an attribute `operation`:
        a function of the same arguments without images, seed and value range, which returns the
        `Operation`.
    """
    own = inspect.signature(make).parameters
    adds_probability = "probability" not in own
    keywords = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own.values()
    ]
    if adds_probability:
        keywords.append(_SHARED_PARAMETERS["probability"])
    made_signature = inspect.Signature(keywords)

    def configured(*arguments, **named):
        bound = made_signature.bind(*arguments, **named)
        bound.apply_defaults()
        values = dict(bound.arguments)
        given = dict(values)
        # Operations are kept: a constant made with one must not belong to the graph traced now.
        with tf.init_scope():
            if adds_probability:
                chance = _validation.check_number("probability", given.pop("probability"), 0, 1)
                made = dataclasses.replace(make(**given), probability=chance)
            else:
                made = make(**given)
        return dataclasses.replace(made, name=make.__name__, arguments=values)

    # Nothing here is for autograph, which would convert all of it inside a user's `map`.
    @tf.autograph.experimental.do_not_convert
    @functools.wraps(make)
    def public(images, seed, *, value_range=(0, 255), **named):
        made = configured(**named)
        value_range = _validation.check_value_range(value_range)
        images = _validation.check_images(images, value_range)
        run = _compiled_run(public, _frozen(made.arguments), value_range, images.shape[3])
        return run(images, _random.check_seed(seed))

    public.operation = configured
    public.__signature__ = inspect.Signature(
        [
            _SHARED_PARAMETERS["images"],
            _SHARED_PARAMETERS["seed"],
            *keywords,
            _SHARED_PARAMETERS["value_range"],
        ]
    )
    configured.__signature__ = made_signature
    configured.__doc__ = f"Return the `Operation` of `{make.__name__}` with these arguments."
    public.__doc__ = whole_docstring(make, adds_probability)
    return public


@functools.lru_cache(maxsize=512)
def _compiled_run(public, arguments, value_range, channels):
    """Return the compiled function of images and seed; kept, so that it is compiled once.

    One for each number of `channels`: a graph once traced for an unknown number would serve all
    others too, and what it does about colours depends on it.
    """
    chain = chain_of([public.operation(**dict(arguments))], value_range)
    return compiled(lambda images, seed: chain(images, seed, 1.0))


def each_pixel(apply, dtype=None):
    """Return the `over_batch` of an operation that makes each pixel from that pixel alone.

    Args:
        apply: `apply` of the operation, for images of any rank and entries that are broadcast
            against them.
        dtype: What images are cast to before, or `None`.
    """

    def over_batch(images, **drawn):
        images = images if dtype is None else tf.cast(images, dtype)
        return apply(images, **{name: _broadcast(value) for name, value in drawn.items()})

    return over_batch


def _broadcast(value):
    """Insert axes for height and width, and for channels where there is none, behind the batch."""
    return value[:, None, None, None] if value.shape.rank == 1 else value[:, None, None]


def chain_of(operations, value_range=(0, 255), *, pass_follows=False, materialized=False):
    """Chain operations into one function, to be compiled.

    Neighbours of the kind `"geometry"` become one warp and neighbours of the kind `"color"` one
    stage of float arithmetic, rounded at its end; see `stages`. The second operation of the same
    name draws from `fold_seed(seed, 1)`, the third from `fold_seed(seed, 2)`.

    Args:
        operations: `Operation`s, at least one.
        value_range: Lowest and highest value of float images.
        pass_follows: Whether another pass over the batch comes after in the same compiled function,
            such as a cast: an operation done to the whole batch then costs no pass of its own.
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
        and (pass_follows or len(groups) == 1)
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
        return _from_working(_pass(last, images, drawn[-1][0]), dtype, value_range)

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


def _pass(member, images, drawn):
    """Return images, uint8 or float32 in `[0, 255]`, changed by one operation where selected."""
    drawn = dict(drawn)
    selected = drawn.pop("selected")
    for name, value in member.neutral.items():
        drawn[name] = tf.where(selected, drawn[name], value)
    changed = _as_dtype(member.over_batch(images, **drawn), images.dtype)
    return changed if member.neutral else tf.where(_broadcast(selected), changed, images)


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


def compiled(function, jit_compile="auto"):
    """Return `function` as a graph, compiled by XLA if `jit_compile` says so.

    Args:
        function: Of tensors.
        jit_compile: `True`, `False`, or `"auto"` for what `xla_works` finds.
    """
    if jit_compile == "auto":
        jit_compile = xla_works()
    return tf.function(function, jit_compile=jit_compile, autograph=False)


@functools.cache
def xla_works():
    """Return whether this build of TensorFlow compiles with XLA here; tried once."""
    with tf.init_scope():
        try:
            tf.function(lambda value: value + 1, jit_compile=True, autograph=False)(tf.constant(1))
        except tf.errors.OpError:
            return False
    return True


def _frozen(value):
    """Return arguments in a form that can be a key."""
    if isinstance(value, Mapping):
        return tuple((name, _frozen(entry)) for name, entry in value.items())
    if hasattr(value, "tolist"):
        value = value.tolist()
    return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value
