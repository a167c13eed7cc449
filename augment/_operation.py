"""What every image operation has in common: how it is declared and becomes a public function.

An operation is declared by a function of its own arguments that checks them and returns an
`Operation`: what is drawn for each image, and what is then done to one image. `operation` makes the
public function on batches of it, which `_chain` runs.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal

import tensorflow as tf

from augment import _random, _validation
from augment._chain import chain_of, with_pixel_axes
from augment._compiled import compiled
from augment._docstrings import whole_docstring
from augment._draw import Draw


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
        values = {name: _validation.plain(value) for name, value in bound.arguments.items()}
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
        run = _compiled_run(public, tuple(made.arguments.items()), value_range, images.shape[3])
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
        return apply(images, **{name: with_pixel_axes(value) for name, value in drawn.items()})

    return over_batch
