"""Mix pairs of images and their labels: MixUp and CutMix.

Each image `i` of a batch of `n` is mixed with the image `(i + k) % n`, `k` drawn once a batch from
1 to `n - 1`: every image is the partner of exactly one other and never of itself, and batches that
are ordered by class are mixed across classes. With `mode="pair"` the partner is `n - 1 - i` and
what one of the two loses the other gets; the middle image of an odd batch stays as it is. A batch
of one is returned unmixed.

Weights are multiples of 1/65536 and uint8 images are mixed in whole numbers, so a seed gives the
same pixels in eager code, in `tf.data` and under XLA. The whole batch is mixed in one pass, in
which an image and its partner are read and the result is written once, whichever way it is mixed.
"""

import dataclasses
import functools
import inspect
import math

import tensorflow as tf

from augment import _random, _validation
from augment._labels import check_smoothing
from augment._program import Program

# MixUp's weights are whole numbers of this part of 1: 255 * 2**16 still fits an int32.
_ONE = 2**16

MODES = ("element", "batch", "pair")
_KINDS = _STAYS, _BLENDED, _CUT = range(3)


@dataclasses.dataclass(frozen=True)
class Mix:
    """A batch mix with its arguments filled in; they are those of `mixup_or_cutmix`.

    Called on images `(batch, height, width, channels)`, rows of targets or weights float32
    `(batch, columns)`, two integers and a strength in `[0, 1]`, by which the chance of being mixed
    is multiplied; returns images and rows, mixed. It does no smoothing.
    """

    mixup_alpha: float = 0.2
    cutmix_alpha: float = 1.0
    switch_probability: float = 0.5
    probability: float = 1.0
    classes: int | None = None
    label_smoothing: float = 0.0
    mode: str = "element"
    minmax: tuple[float, float] | None = None

    def __post_init__(self):
        _validation.check_number("mixup_alpha", self.mixup_alpha, 0, math.inf)
        _validation.check_number("cutmix_alpha", self.cutmix_alpha, 0, math.inf)
        _validation.check_number("switch_probability", self.switch_probability, 0, 1)
        _validation.check_number("probability", self.probability, 0, 1)
        if self.classes is not None:
            _validation.check_integer("classes", self.classes, 2)
        check_smoothing(self.label_smoothing)
        _validation.check_choice("mode", self.mode, MODES)
        if self.minmax is not None:
            minmax = _validation.check_range("minmax", self.minmax, 0, 1)
            object.__setattr__(self, "minmax", minmax)

    def __call__(self, images, rows, seed, strength=1.0):
        """Return images and rows, mixed."""
        sizes = _validation.image_sizes(images)
        drawn = self._draw(seed, sizes, strength)
        if not rows.shape[:1].is_compatible_with(images.shape[:1]):
            raise ValueError(
                "images and labels must be equally many, received: "
                f"{images.shape[0]} images, {rows.shape[0]} labels"
            )

        batch, height, width, channels = sizes
        # In a row all channels lie side by side, which the processor works on many at a time.
        mixed = lines = tf.reshape(images, (batch, height, width * channels))
        # Not by slices: XLA would take the seed for a constant, and compile anew for every seed.
        partners = tf.gather(lines, drawn["partner"])
        if self.mixup_alpha:
            share = tf.where(drawn["kind"] == _BLENDED, drawn["share"], 0)
            mixed = _blend(lines, partners, share[:, None, None])
        if self.cutmix_alpha:
            box = tf.where((drawn["kind"] == _CUT)[:, None], drawn["box"], 0)
            mixed = tf.where(_is_inside(box, sizes), partners, mixed)
        return tf.reshape(mixed, sizes), _blend_rows(rows, drawn, sizes)

    def _draw(self, seed, sizes, strength):
        """Return a dictionary of int32 tensors with an entry for each image.

        `kind`; `partner`; `share`, MixUp's share of the partner in 65536 parts; and `box`, the
        first row and column of CutMix's box, and those after its last, inside the image.
        """
        batch, height, width, _ = sizes
        # Columns: mixed at all, which of the two, weight, row and column of the centre.
        uniform = self._rows_of(seed, batch, 5, "mixing")
        chance = self.probability * tf.cast(strength, tf.float64)
        is_cut = uniform[:, 1] < self._cut_chance()
        if self.mode == "pair":
            partner = batch - 1 - tf.range(batch)
        else:
            partner = _shifted(seed, batch)
        is_mixed = (uniform[:, 0] < chance) & (partner != tf.range(batch))
        if not (self.mixup_alpha or self.cutmix_alpha):
            is_mixed = tf.zeros_like(is_mixed)
        kind = tf.where(is_mixed, tf.where(is_cut, _CUT, _BLENDED), _STAYS)
        share = tf.zeros_like(partner)
        if self.mixup_alpha:
            weights = tf.round(_random.uniform_to_beta(uniform[:, 2], self.mixup_alpha) * _ONE)
            share = _ONE - tf.cast(weights, tf.int32)
        if self.minmax is not None:
            box = self._minmax_box(self._rows_of(seed, batch, 4, "mixing/minmax"), height, width)
        elif self.cutmix_alpha:
            sides = tf.sqrt(1.0 - _random.uniform_to_beta(uniform[:, 2], self.cutmix_alpha))
            box = _centred_box(sides, uniform[:, 3:], height, width)
        else:
            box = tf.zeros((batch, 4), tf.int32)
        return {"kind": kind, "partner": partner, "share": share, "box": box}

    def _cut_chance(self):
        if not self.mixup_alpha:
            return 1.0
        return self.switch_probability if self.cutmix_alpha else 0.0

    def _rows_of(self, seed, batch, columns, name):
        """Draw float64 `(batch, columns)` in `[0, 1)`: rows equal within what is treated alike."""
        drawn = 1 if self.mode == "batch" else batch
        uniform = _random.random_uniform(seed, (drawn, columns), name)
        places = tf.range(batch)
        if self.mode == "batch":
            return tf.gather(uniform, tf.zeros_like(places))
        if self.mode == "pair":
            return tf.gather(uniform, tf.minimum(places, batch - 1 - places))
        return uniform

    def _minmax_box(self, uniform, height, width):
        low, high = self.minmax
        edges = []
        for axis, size in enumerate((height, width)):
            size = tf.cast(size, tf.float64)
            shortest, longest = tf.floor(low * size), tf.floor(high * size)
            side = shortest + tf.floor(uniform[:, axis] * (longest - shortest + 1.0))
            first = tf.floor(uniform[:, 2 + axis] * (size - side + 1.0))
            edges.append((first, first + side))
        (top, bottom), (left, right) = edges
        return tf.cast(tf.stack([top, left, bottom, right], axis=1), tf.int32)


_MIX_BEFORE = {
    name: inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    for name in ("images", "labels", "seed")
}
_SHARED_BEFORE = """\
    images: uint8, float16, bfloat16 or float32, shape `(batch, height, width, channels)`; any
        size may be unknown.
    labels: Whole numbers of shape `(batch,)`, or rows of shape `(batch, classes)`, one-hot or
        soft.
    seed: Two integers; the same seed gives the same result."""
_SHARED_AFTER = """\
    classes: Number of classes; may be left out if `labels` are rows.
    label_smoothing: Share in `[0, 1)` of each target that is spread evenly over all classes:
        `(1 - label_smoothing) * target + label_smoothing / classes`.
    probability: Chance in `[0, 1]` of being mixed.
    mode: `"element"` draws for each image; `"batch"` once for all of them; `"pair"` once for the
        images `i` and `n - 1 - i`, which get each other's part: a blend with the same weight, or
        boxes that change places.

Returns:
    `(images, targets)`: images of the same shape and dtype, uint8 rounded to the nearest (half
    up); targets float32 of shape `(batch, classes)`, each row summing to 1 if it did before.

Raises:
    ValueError: If an argument is out of shape or range.
    TypeError: If the dtype of `images` is another."""
_SHARED_NAMES = ("classes", "label_smoothing", "probability", "mode")


def batch_mix(make):
    """Turn a function that returns a `Mix` into the public function on images and labels.

    Args:
        make: Function of keyword-only arguments. Its docstring has a section `Args:` with those of
            its own; what all mixes share is added.

    Returns:
        Function `(images, labels, seed, *, ...)`, with `make` as its attribute `mix`.
    """

    # Nothing here is for autograph, which would convert all of it inside a user's `map`.
    @tf.autograph.experimental.do_not_convert
    @functools.wraps(make)
    def public(images, labels, seed, **named):
        images, targets, _ = _program(make(**named))(images, labels, None, seed, 1.0)
        return images, targets

    public.mix = make
    own = inspect.signature(make).parameters
    public.__signature__ = inspect.Signature([*_MIX_BEFORE.values(), *own.values()])
    head, _, tail = inspect.cleandoc(make.__doc__).partition("\nArgs:\n")
    arguments, _, tail = tail.partition("\n\n")
    sections = (f"{head}\nArgs:\n{_SHARED_BEFORE}\n{arguments}\n{_SHARED_AFTER}", tail)
    public.__doc__ = "\n\n".join(sections)
    return public


@functools.lru_cache(maxsize=128)
def _program(mix):
    """Return the compiled program of a mix; kept, so that it is compiled once."""
    return Program((), (mix,), value_range=None)


@batch_mix
def mixup(*, alpha=0.2, classes=None, label_smoothing=0.0, probability=1.0, mode="element"):
    """Blend each image, and its label, with another of the batch.

    `image = weight * image + (1 - weight) * partner`, the targets likewise with the same weight,
    which is drawn from Beta(alpha, alpha).

    Args:
        alpha: Positive number: 0.2 mixes little, 1 gives any weight equal chance; 0 does not mix.

    Example:
        >>> images = tf.constant([0, 200], tf.uint8, shape=(2, 1, 1, 1))
        >>> mixed, targets = mixup(images, [0, 1], [0, 0], alpha=1.0, classes=2)
        >>> bool(tf.reduce_all(tf.abs(mixed[:, 0, 0, 0] / 200 - targets[:, 1]) < 0.003))
        True

    Source:
        Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2017; there one weight a batch
        and a random permutation.
    """
    _validation.check_number("alpha", alpha, 0, math.inf)
    return Mix(alpha, 0.0, 0.5, probability, classes, label_smoothing, mode)


@batch_mix
def cutmix(
    *, alpha=1.0, classes=None, label_smoothing=0.0, probability=1.0, mode="element", minmax=None
):
    """Replace a rectangle of each image by that of another, and mix labels by the area.

    The rectangle has the sides `sqrt(1 - weight)` times the image's, rounded down, with weight
    drawn from Beta(alpha, alpha), and its centre on a random pixel. What reaches over the border is
    cut off, and the targets are mixed by the pixels that were in fact replaced.

    Args:
        alpha: Positive number; 1 gives any area equal chance (before the cutting off); 0 does not
            mix.
        minmax: Lowest and highest side of the rectangle as a share of the image's, in `(0, 1]`, in
            place of Beta: height and width are each uniform over the whole numbers from
            `floor(low * size)` to `floor(high * size)`, the place over all where the rectangle lies
            inside. `None` for Beta.

    Example:
        >>> images = tf.constant([0, 255], tf.uint8, shape=(2, 1, 1, 1)) * tf.ones((1, 8, 8, 1),
        ...                                                                        tf.uint8)
        >>> mixed, targets = cutmix(images, [0, 1], [0, 0], classes=2)
        >>> share = tf.reduce_mean(tf.cast(mixed == 255, tf.float32), axis=(1, 2, 3))
        >>> bool(tf.reduce_all(share == targets[:, 1]))
        True

    Source:
        Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable
        Features", 2019, equations 1 and 2; there the box is one for the batch. `minmax` is that of
        timm's `Mixup`, which leaves out the upper end and the last place.
    """
    _validation.check_number("alpha", alpha, 0, math.inf)
    if minmax is not None and not alpha:
        raise ValueError(f"minmax is of CutMix: alpha must be above 0 with it, received: {alpha}")
    return Mix(0.0, alpha, 0.5, probability, classes, label_smoothing, mode, minmax)


@batch_mix
def mixup_or_cutmix(
    *,
    mixup_alpha=0.2,
    cutmix_alpha=1.0,
    switch_probability=0.5,
    probability=1.0,
    classes=None,
    label_smoothing=0.0,
    mode="element",
    minmax=None,
):
    """Mix each image with another of the batch, either by `mixup` or by `cutmix`.

    Args:
        mixup_alpha: `alpha` of `mixup`; 0 leaves `cutmix` alone.
        cutmix_alpha: `alpha` of `cutmix`; 0 leaves `mixup` alone.
        switch_probability: Chance in `[0, 1]` of `cutmix` instead of `mixup`, if neither is 0.
        minmax: As for `cutmix`.

    Example:
        >>> images = tf.zeros((4, 8, 8, 3), tf.uint8)
        >>> mixed, targets = mixup_or_cutmix(images, [0, 1, 2, 0], [0, 0], classes=3)
        >>> targets.shape
        TensorShape([4, 3])

    Source:
        Wightman et al., "ResNet strikes back", 2021, section 4, and timm's `Mixup`.
    """
    if minmax is not None and not cutmix_alpha:
        raise ValueError("minmax is of CutMix: cutmix_alpha must be above 0 with it, received: 0")
    return Mix(
        mixup_alpha,
        cutmix_alpha,
        switch_probability,
        probability,
        classes,
        label_smoothing,
        mode,
        minmax,
    )


def _shifted(seed, batch):
    """Return int32 `(batch,)`: the partner of each image, never itself if there is another."""
    uniform = _random.random_uniform(seed, (), "mixing/partners")
    shift = 1 + _random.uniform_to_integer(uniform, batch - 1)
    return (tf.range(batch) + shift) % batch


def _centred_box(sides, centre, height, width):
    """Return int32 `(batch, 4)`: top, left, bottom, right of boxes, cut off at the border.

    Args:
        sides: float64 `(batch,)`; sides of the boxes as a share of the image's.
        centre: float64 `(batch, 2)` in `[0, 1)`; place of the centre, vertical and horizontal.
        height: Rows of the image.
        width: Columns of the image.
    """
    edges = []
    for axis, size in enumerate((height, width)):
        side = _random.uniform_to_integer(sides, size)
        first = _random.uniform_to_integer(centre[:, axis], size) - side // 2
        edges.append((tf.maximum(first, 0), tf.minimum(first + side, size)))
    (top, bottom), (left, right) = edges
    return tf.stack([top, left, bottom, right], axis=1)


def _blend(images, partners, share):
    """Return `images` with `share` of 65536 parts of them replaced by `partners`."""
    if images.dtype == tf.uint8:
        own = tf.cast(images, tf.int32) * (_ONE - share)
        total = own + tf.cast(partners, tf.int32) * share + _ONE // 2
        return tf.cast(tf.bitwise.right_shift(total, 16), tf.uint8)
    share = tf.cast(share, tf.float32) / _ONE
    own = tf.cast(images, tf.float32) * (1.0 - share)
    return tf.cast(own + tf.cast(partners, tf.float32) * share, images.dtype)


def _is_inside(box, sizes):
    """Return bool `(batch, height, width * channels)`: what is inside the box of its image.

    Args:
        box: int32 `(batch, 4)`; top, left, bottom, right.
        sizes: Of the images.
    """
    _, height, width, channels = sizes
    top, left, bottom, right = (edge[:, None, None] for edge in tf.unstack(box, axis=1))
    rows, numbers = tf.range(height)[:, None], tf.range(width * channels)
    inside = (rows >= top) & (rows < bottom)
    return inside & (numbers >= left * channels) & (numbers < right * channels)


def _blend_rows(rows, drawn, sizes):
    """Return rows with the share of each that its image got from its partner."""
    _, height, width, _ = sizes
    top, left, bottom, right = tf.unstack(drawn["box"], axis=1)
    # Divided in float64, since XLA multiplies by the rounded inverse of a constant.
    cut = tf.cast((bottom - top) * (right - left), tf.float64) / tf.cast(height * width, tf.float64)
    blended = tf.cast(drawn["share"], tf.float64) / _ONE
    other = tf.where(drawn["kind"] == _CUT, cut, blended)
    other = tf.where(drawn["kind"] == _STAYS, tf.zeros_like(other), other)
    own, other = tf.cast(1.0 - other, tf.float32), tf.cast(other, tf.float32)
    return own[:, None] * rows + other[:, None] * tf.gather(rows, drawn["partner"])
