"""What is done to a batch, as one compiled function: image operations, then mixes."""

import tensorflow as tf

from augment import _random, _validation
from augment._chain import chain_of
from augment._compiled import compiled
from augment._labels import label_targets, smooth_targets

# uint8 images keep their values, 0 to 255, in all of them.
OUTPUT_DTYPES = ("float32", "float16", "bfloat16")


class Program:
    """Image operations and batch mixes, compiled together, once for every shape of batch.

    Args:
        operations: `Operation`s, done to each image.
        mixes: `mixing.Mix`es, done to the batch after that.
        value_range: Lowest and highest value of float images; `None` if it does not matter.
        jit_compile: Whether XLA compiles it: `True`, `False`, or `"auto"` to try first.
        output_dtype: What images are cast to at the end, a float dtype; `None` for that which they
            came in.
    """

    def __init__(
        self,
        operations,
        mixes=(),
        value_range=(0, 255),
        jit_compile="auto",
        output_dtype=None,
    ):
        self.operations = tuple(operations)
        self.mixes = tuple(mixes)
        self.classes = _common_classes(self.mixes)
        self.value_range = value_range and _validation.check_value_range(value_range)
        _validation.check_choice("jit_compile", jit_compile, (True, False, "auto"))
        _validation.check_choice("output_dtype", output_dtype, (None, *OUTPUT_DTYPES))
        self.output_dtype = output_dtype
        self._jit_compile = jit_compile
        self._compiled = None

    # Nothing here is for autograph, which would convert all of it inside a user's `map`.
    @tf.autograph.experimental.do_not_convert
    def __call__(self, images, labels, weights, seed, strength, window=None):
        """Return images, labels and weights of one batch.

        Args:
            images: uint8 or float, shape `(batch, height, width, channels)`.
            labels: What `label_targets` takes; anything, or `None`, if there are no mixes.
            weights: One number an image, mixed as the labels are; or `None`.
            seed: Two integers.
            strength: Number or scalar tensor in `[0, 1]`.
            window: `(first, total)`, whole numbers, if these are the images from place `first` on
                of a batch of `total`: they get what that batch would. Not with mixes, which take
                other images of the batch.

        Returns:
            Images of the same dtype, or of `output_dtype`; with mixes, targets float32
            `(batch, classes)` and weights float32 of the shape they came in, else labels and
            weights as they are.
        """
        images = _validation.check_images(images, self.value_range)
        seed, strength = _random.check_seed(seed), tf.cast(strength, tf.float64)
        if not self.mixes:
            if self.operations:
                images, _ = self._run(images, None, seed, strength, window)
            return self.as_output(images), labels, weights
        if window is not None:
            raise ValueError("mixes need the whole batch, received a window of it")
        # Outside XLA: it would drop the check that labels are below `classes`, and its fused
        # multiply-add would move smoothed targets by a last bit.
        rows = self.targets(labels)
        classes = tf.shape(rows)[1]
        if weights is not None:
            weights = tf.convert_to_tensor(weights)
            column = tf.cast(tf.reshape(weights, (-1, 1)), tf.float32)
            rows = tf.concat([rows, column], axis=1)
        images, rows = self._run(images, rows, seed, strength)
        if weights is not None:
            weights = tf.reshape(rows[:, classes], tf.shape(weights))
            rows = rows[:, :classes]
        # Smoothing and mixing may change places: both are linear and keep the sum of a row.
        for mix in self.mixes:
            rows = smooth_targets(rows, mix.label_smoothing)
        return images, rows, weights

    def as_output(self, images):
        """Return images cast to `output_dtype`."""
        return images if self.output_dtype is None else tf.cast(images, self.output_dtype)

    def check_size_is_kept(self, images, name):
        """Raise `ValueError` if training would change the height or width of images."""
        sizes = [member.size for member in self.operations if member.size is not None]
        if sizes and tuple(images.shape[1:3]) != tuple(sizes[-1]):
            height, width = sizes[-1]
            raise ValueError(
                f"{name} makes images of {height} x {width} in training, and outside of it changes "
                f"nothing: its inputs must be of that size too, or be augmented in the dataset, "
                f"received: {images.shape}"
            )

    def targets(self, labels):
        """Return labels as the rows that the mixes need, not smoothed."""
        return label_targets(labels, classes=self.classes)

    def tracing_count(self):
        """Return how many times it was traced so far."""
        return 0 if self._compiled is None else self._compiled.experimental_get_tracing_count()

    def compiler_text(self, images, rows, seed, strength):
        """Return what XLA is given to compile, for one batch: a text that begins with its type."""
        inputs = tf.constant(seed, tf.int64), tf.constant(strength, tf.float64)
        # Of these four alone: an argument left to its default would be missed.
        made = compiled(lambda *given: self._body(*given), True)
        return made.experimental_get_compiler_ir(images, rows, *inputs)(stage="hlo")

    def _run(self, images, rows, seed, strength, window=None):
        if self._compiled is None:
            # Not before it is used, since finding out whether XLA works takes a moment.
            self._compiled = compiled(self._body, self._jit_compile)
        return self._compiled(images, rows, seed, strength, window)

    def _body(self, images, rows, seed, strength, window=None):
        if self.operations:
            chain = chain_of(
                self.operations,
                self.value_range,
                cast_follows=self.output_dtype is not None and not self.mixes,
                materialized=bool(self.mixes),
            )
            images = chain(images, seed, strength, window)
        for count, mix in enumerate(self.mixes):
            own = _random.fold_seed(seed, count) if count else seed
            images, rows = mix(images, rows, own, strength)
        # Here, where XLA makes it part of the last pass.
        return self.as_output(images), rows


def _common_classes(mixes):
    """Return the number of classes that mixes name, `None` if none does; raise if they differ."""
    said = list(dict.fromkeys(mix.classes for mix in mixes if mix.classes is not None))
    if len(said) > 1:
        raise ValueError(
            f"classes must be the same in all mixes, received: {' and '.join(map(str, said))}"
        )
    return said[0] if said else None
