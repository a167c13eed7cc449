"""Chains of augmentations: for datasets, and as a layer of a model."""

import textwrap

import keras
import numpy as np
import tensorflow as tf

from augment import _dataset, _elements, _validation
from augment._chain import stages
from augment._layer_base import Augmentation, ImageAugmentation, MixAugmentation


@keras.saving.register_keras_serializable(package="keras_recipes")
class Pipeline(Augmentation):
    """Augmentations one after the other, compiled as one, over a dataset or inside a model.

    `map` augments a batched `tf.data.Dataset`, which is the fast way: followed by
    `.prefetch(tf.data.AUTOTUNE)` it runs beside the training step. Called as a layer it augments in
    training alone.

    All steps work on one image before the next image is begun. Neighbouring geometric steps become
    one warp, so that pixels are interpolated once, and neighbouring steps that change colours
    smoothly one stage of float arithmetic, rounded once; printing a pipeline shows what was joined.

    XLA compiles it once for every shape of batch, which takes seconds: prefer
    `dataset.batch(..., drop_remainder=True)`, since a shorter last batch is compiled for itself.

    Args:
        steps: Layers of `augment`: any that change images, then any that mix batches (such as
            `MixUp`). Other pipelines may be among them, whose steps are taken in. The steps draw
            from the seed of the pipeline, and float images are in its `value_range`, whatever
            their own say; nor does an `output_dtype` of pipelines among them count.
        seed: Integer, or `None` for a random one. The same seed gives the same draws; steps draw
            independently of each other, and of which other steps there are.
        value_range: Lowest and highest value of float images; uint8 ones are 0 to 255. Arguments
            of the steps (such as what fills a hole) always speak of 0 to 255.
        jit_compile: Whether XLA compiles it: `True`, `False`, or `"auto"` if it works here. Without
            it the result is the same to a grey level, and slower.
        output_dtype: `"float32"`, `"float16"` or `"bfloat16"` to get images of that dtype, with the
            values that a cast afterwards would give them: uint8 ones stay whole numbers from 0 to
            255. It is part of the last step's pass over the images, where a cast of its own takes
            longer than most steps. `None` for the dtype they come in, which is the fastest, as
            uint8 is a quarter of the memory to move.
        strength: Number in `[0, 1]` to begin with; see the attribute.
        **kwargs: Base layer arguments, such as `name`.

    Attributes:
        strength: Number in `[0, 1]` that may be set at any time, between steps of training too: 1
            does all as the steps say, 0 nothing; between them the magnitudes of the steps shrink in
            proportion or, of those without one, how often they are done. Batches that a dataset has
            prefetched keep what they were made with. It is saved with a model.

    Call arguments:
        inputs: Images (uint8, float16, bfloat16 or float32, shape `(batch, height, width,
            channels)`); a tuple `(images, labels)` or `(images, labels, weights)`, perhaps with
            more; or a dictionary with the keys "images", "labels" and "weights" (or
            "sample_weight" or "sample_weights"). A mix needs labels, and mixes weights by the same
            shares. All other entries stay as they are.
        training: Nothing is changed unless this is true, except that labels become rows if there
            is a mix, so that one loss fits both, and images become `output_dtype`.

    Returns:
        What came in, images of the same dtype or `output_dtype`; with a mix, in place of labels
        targets, float32 of shape `(batch, classes)`.

    Raises:
        ValueError: If steps follow a mix that do not mix, or an argument is out of range.
        TypeError: If a step is no layer of `augment`.

    Example:
        >>> from augment import MixUp, RandomBrightness, RandomFlip
        >>> steps = [RandomFlip(), RandomBrightness(factor=0.3), MixUp(classes=10)]
        >>> pipeline = Pipeline(steps, seed=1)
        >>> batches = tf.data.Dataset.from_tensors((tf.zeros((8, 32, 32, 3), tf.uint8), [0] * 8))
        >>> images, targets = next(iter(pipeline.map(batches)))
        >>> images.shape, targets.shape
        (TensorShape([8, 32, 32, 3]), TensorShape([8, 10]))
        >>> print(pipeline)
        Pipeline(seed=1, value_range=(0, 255), strength=1)
          1. RandomFlip(horizontal=True, vertical=False, probability=0.5)
          2. RandomBrightness(factor=0.3, probability=1.0)
          3. MixUp(alpha=0.2, classes=10, label_smoothing=0.0, probability=1.0, mode='element')
    """

    def __init__(
        self,
        steps,
        *,
        seed=None,
        value_range=(0, 255),
        jit_compile="auto",
        output_dtype=None,
        strength=1.0,
        **kwargs,
    ):
        super().__init__(seed=seed, **kwargs)
        self.steps = list(steps)
        self.value_range = value_range
        self.jit_compile = jit_compile
        self.output_dtype = output_dtype
        self._strength = _Strength(_validation.check_number("strength", strength, 0, 1))
        # Checks the arguments.
        self.program()

    @property
    def strength(self):
        """How much of what the steps say is done, a number in `[0, 1]`."""
        return float(self._strength.for_datasets.numpy())

    @strength.setter
    def strength(self, value):
        self._strength.assign(_validation.check_number("strength", value, 0, 1))

    @property
    def members(self):
        """The steps, with those of pipelines among them in place of these."""
        members = []
        for step in self.steps:
            members += step.members if isinstance(step, Pipeline) else [step]
        return members

    def map(self, dataset, *, start=0, num_parallel_calls=tf.data.AUTOTUNE):
        """Augment a batched dataset.

        Batch `i` of the result depends on the batch, on the pipeline's seed and on `start + i`, and
        on nothing else: neither on how many calls run in parallel, nor on when. A second pass over
        the result, such as the next epoch of `fit`, goes on counting where the first ended, as if
        the dataset had been repeated, so no epoch is augmented like another.

        Args:
            dataset: `tf.data.Dataset` of batches in one of the forms that a call takes, of known
                height, width and channels. The number of images in a batch may be unknown.
            start: Number of the first batch, at least 0, to go on with a run: what `map(dataset)`
                gives from batch `k` on is `map(dataset.skip(k), start=k)`.
            num_parallel_calls: As for `tf.data.Dataset.map`.

        Returns:
            `tf.data.Dataset` of as many batches in the same form and order.

        Raises:
            ValueError: If batches are not of the shape or form needed, or labels are missing.
            TypeError: If `dataset` is none, or images are of another dtype.
            tf.errors.InvalidArgumentError: From the dataset, if the first batch holds float images
                that are clearly not in `value_range`, or labels are not below `classes`.
        """
        start = _validation.check_integer("start", start, 0)
        program, seed = self.program(), self._number()
        _dataset.check_spec(_dataset.element_spec(dataset), program, type(self).__name__)

        def augmented(number, batch):
            element = _elements.take_apart(batch)
            images = _dataset.checked_values(element.images, program.value_range, number == 0)
            return element.replaced(
                *program(
                    images,
                    element.labels,
                    element.weights,
                    tf.stack([tf.constant(seed, tf.int64), start + number]),
                    self._strength.for_datasets.read_value(),
                )
            )

        return _dataset.map_numbered(dataset, augmented, num_parallel_calls)

    def summary(self, print_fn=print):
        """Print the steps in order, and which of them run as one."""
        print_fn(str(self))

    def __str__(self):
        text = f"value_range={tuple(self.value_range)}, strength={self.strength:g}"
        lines = [f"{type(self).__name__}(seed={self.seed}, {text})"]
        for number, (joined, members) in enumerate(self._stages(), start=1):
            head = f"  {number}. "
            inner = "\n".join(str(member) for member in members)
            if joined:
                lines.append(head + joined)
                head = " " * len(head) + "  "
                lines.append(textwrap.indent(inner, head))
            else:
                lines.append(head + textwrap.indent(inner, " " * len(head)).lstrip())
        return "\n".join(lines)

    def get_config(self):
        """Return every argument, `strength` as it is now."""
        return {
            **super().get_config(),
            "steps": [keras.saving.serialize_keras_object(step) for step in self.steps],
            "seed": self.seed,
            "value_range": tuple(self.value_range),
            "jit_compile": self.jit_compile,
            "output_dtype": self.output_dtype,
            "strength": self.strength,
        }

    @classmethod
    def from_config(cls, config):
        """Make the pipeline that gave `config`."""
        steps = [keras.saving.deserialize_keras_object(step) for step in config["steps"]]
        return cls(**{**config, "steps": steps})

    def save_own_variables(self, store):
        """Save `strength`; it is no weight, so that the weights fit a model without the layer."""
        store["strength"] = np.float64(self.strength)

    def load_own_variables(self, store):
        """Take `strength` back; weights of a model without the layer leave it as it is."""
        if "strength" in store:
            self.strength = float(np.asarray(store["strength"]))

    def _check_steps(self):
        mixing = None
        for step in self.members:
            if isinstance(step, MixAugmentation):
                mixing = step
            elif not isinstance(step, ImageAugmentation):
                raise TypeError(f"steps must be layers of augment, received: {step!r}")
            elif mixing is not None:
                raise ValueError(
                    f"steps that mix must come last, received: {type(step).__name__} after "
                    f"{type(mixing).__name__}"
                )

    def program(self):
        """Return the `Program` of the steps and arguments as they are now."""
        self._check_steps()
        keys = tuple(step.key() for step in self.members)
        return self._program_of(
            keys,
            _validation.check_value_range(self.value_range),
            self.jit_compile,
            self.output_dtype,
        )

    def _stages(self):
        """Return pairs: how some steps are joined, or "", and these steps."""
        rest = list(self.members)
        found = []
        for group in stages(self.program().operations):
            joined = _joined(group)
            steps, rest = rest[: len(group)], rest[len(group) :]
            found += [(joined, steps)] if joined else [("", [step]) for step in steps]
        return found + [("", [step]) for step in rest]

    def _current_strength(self):
        return self._strength.for_models.read_value()

    def _number(self):
        """Return the seed as it was given or drawn."""
        return int(keras.ops.convert_to_numpy(self._seeds.state)[0])


def _joined(group):
    """Return what a group of operations is run as, or "" if one after the other."""
    if len(group) == 1:
        return ""
    if group[0].kind == "color":
        return "one colour stage, rounded once"
    warps = any(member.warp is not None for member in group)
    return "one warp" if warps else ""


class _Strength:
    """A number in two variables, each on the device where it is read.

    An object of its own, so that Keras does not count them among the weights.
    """

    def __init__(self, value):
        with tf.init_scope():
            self.for_models = tf.Variable(value, dtype=tf.float64, trainable=False)
            with tf.device("CPU:0"):
                self.for_datasets = tf.Variable(value, dtype=tf.float64, trainable=False)

    def assign(self, value):
        self.for_models.assign(value)
        self.for_datasets.assign(value)
