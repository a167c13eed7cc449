"""Keras layers over the operations: each a configuration, a counter of seeds, and one call.

A layer draws its seeds from a `keras.random.SeedGenerator`: `[seed, 0]`, `[seed, 1]` and so on, a
new one each call. In `Dataset.map` with parallel calls the order of the calls is not fixed, so
which batch gets which seed is not either, and a run cannot be repeated exactly. Where that matters,
map the functions of `augment`, or `augment.training_transform`, with a seed made from a counter.

The layers subclass `keras.layers.Layer` and not Keras' own preprocessing base class, whose `call`
defaults to training mode and can leave later layers of a model in it.
"""

import keras

from augment import color, crop, erasing, flip, mixing
from augment._layer_base import ImageAugmentation, MixAugmentation, image_layer

# One line an operation, in the order of the modules' names.
RandomBrightness = image_layer(color.random_brightness)
RandomFlip = image_layer(flip.random_flip)


@keras.saving.register_keras_serializable(package="keras_recipes")
class RandomCrop(ImageAugmentation):
    """Shift each image by up to `padding` pixels; `augment.random_crop` as a layer.

    Args:
        padding: Pixels, at least 0.
        fill: `"constant"` or `"reflect"`.
        value: Number in `[0, 255]` for `"constant"`.
        seed: As for `RandomFlip`.
        **kwargs: Base layer arguments, such as `name`.

    Call arguments and returns: as for `RandomFlip`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> RandomCrop(padding=2, seed=1)(tf.zeros((2, 8, 8, 3), tf.uint8), training=True).shape
        TensorShape([2, 8, 8, 3])
    """

    _operation = staticmethod(crop.random_crop)
    _arguments = ("padding", "fill", "value")

    def __init__(self, padding, fill="constant", value=0, seed=None, **kwargs):
        super().__init__(seed=seed, **kwargs)
        self.padding = padding
        self.fill = fill
        self.value = value
        crop.check_random_crop(**self._values())


@keras.saving.register_keras_serializable(package="keras_recipes")
class RandomErasing(ImageAugmentation):
    """Replace a random rectangle inside each image; `augment.random_erasing` as a layer.

    Args:
        probability: Chance in `[0, 1]` that an image is erased at all.
        scale: Lowest and highest area, as a share of the image in `(0, 1]`.
        ratio: Lowest and highest height divided by width.
        fill: Number in `[0, 255]`, `"mean"` or `"noise"`.
        seed: As for `RandomFlip`.
        **kwargs: Base layer arguments, such as `name`.

    Call arguments and returns: as for `RandomFlip`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> RandomErasing(seed=1)(tf.zeros((2, 8, 8, 3), tf.uint8), training=True).shape
        TensorShape([2, 8, 8, 3])
    """

    _operation = staticmethod(erasing.random_erasing)
    _arguments = ("probability", "scale", "ratio", "fill")

    def __init__(
        self,
        probability=0.5,
        scale=erasing.SCALE,
        ratio=erasing.RATIO,
        fill="noise",
        seed=None,
        **kwargs,
    ):
        super().__init__(seed=seed, **kwargs)
        self.probability = probability
        self.scale = scale
        self.ratio = ratio
        self.fill = fill
        erasing.check_random_erasing(**self._values())


@keras.saving.register_keras_serializable(package="keras_recipes")
class Cutout(ImageAugmentation):
    """Replace a square centred on a random pixel of each image; `augment.cutout` as a layer.

    Args:
        size: Side of the square in pixels, at least 0.
        probability: Chance in `[0, 1]` that an image is cut at all.
        fill: Number in `[0, 255]`, `"mean"` or `"noise"`.
        seed: As for `RandomFlip`.
        **kwargs: Base layer arguments, such as `name`.

    Call arguments and returns: as for `RandomFlip`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> Cutout(size=4, seed=1)(tf.zeros((2, 8, 8, 3), tf.uint8), training=True).shape
        TensorShape([2, 8, 8, 3])
    """

    _operation = staticmethod(erasing.cutout)
    _arguments = ("size", "probability", "fill")

    def __init__(self, size, probability=1.0, fill=0, seed=None, **kwargs):
        super().__init__(seed=seed, **kwargs)
        self.size = size
        self.probability = probability
        self.fill = fill
        erasing.check_cutout(**self._values())


@keras.saving.register_keras_serializable(package="keras_recipes")
class MixUp(MixAugmentation):
    """Blend each image, and its label, with another of the batch; `augment.mixup` as a layer.

    Args:
        alpha: Parameter of the Beta distribution of the weights; 0 does not mix.
        classes: Number of classes; may be left out if labels are rows.
        label_smoothing: Share in `[0, 1)` of each target spread evenly over all classes.
        probability: Chance in `[0, 1]` of being mixed.
        mode: `"element"` draws for each image, `"batch"` once for all of them.
        seed: As for `RandomFlip`.
        **kwargs: Base layer arguments, such as `name`.

    Call arguments:
        inputs: `(images, labels)`, or a dictionary with these keys. Labels are whole numbers of
            shape `(batch,)` or rows of shape `(batch, classes)`.
        training: Unless this is true, images stay as they are and labels become rows unsmoothed,
            so that one loss fits both.

    Returns:
        `(images, targets)`, or the dictionary with both replaced; targets are float32 of shape
        `(batch, classes)`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> inputs = (tf.zeros((2, 8, 8, 3), tf.uint8), tf.constant([0, 2]))
        >>> images, targets = MixUp(classes=3, seed=1)(inputs, training=True)
        >>> targets.shape
        TensorShape([2, 3])
    """

    _operation = staticmethod(mixing.mixup)
    _arguments = ("alpha", "classes", "label_smoothing", "probability", "mode")

    def __init__(
        self,
        alpha=0.2,
        classes=None,
        label_smoothing=0.0,
        probability=1.0,
        mode="element",
        seed=None,
        **kwargs,
    ):
        super().__init__(seed=seed, **kwargs)
        self.alpha = alpha
        self.classes = classes
        self.label_smoothing = label_smoothing
        self.probability = probability
        self.mode = mode
        mixing.check_mixing(alpha, 0.0, 0.5, probability, classes, label_smoothing, mode)


@keras.saving.register_keras_serializable(package="keras_recipes")
class CutMix(MixAugmentation):
    """Replace a rectangle of each image by that of another; `augment.cutmix` as a layer.

    Args:
        alpha: Parameter of the Beta distribution of the area that is kept; 0 does not mix.
        classes: As for `MixUp`.
        label_smoothing: As for `MixUp`.
        probability: As for `MixUp`.
        mode: As for `MixUp`.
        seed: As for `RandomFlip`.
        **kwargs: Base layer arguments, such as `name`.

    Call arguments and returns: as for `MixUp`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> inputs = (tf.zeros((2, 8, 8, 3), tf.uint8), tf.constant([0, 2]))
        >>> images, targets = CutMix(classes=3, seed=1)(inputs, training=True)
        >>> targets.shape
        TensorShape([2, 3])
    """

    _operation = staticmethod(mixing.cutmix)
    _arguments = ("alpha", "classes", "label_smoothing", "probability", "mode")

    def __init__(
        self,
        alpha=1.0,
        classes=None,
        label_smoothing=0.0,
        probability=1.0,
        mode="element",
        seed=None,
        **kwargs,
    ):
        super().__init__(seed=seed, **kwargs)
        self.alpha = alpha
        self.classes = classes
        self.label_smoothing = label_smoothing
        self.probability = probability
        self.mode = mode
        mixing.check_mixing(0.0, alpha, 0.5, probability, classes, label_smoothing, mode)


@keras.saving.register_keras_serializable(package="keras_recipes")
class MixUpOrCutMix(MixAugmentation):
    """Mix each image with another by MixUp or by CutMix; `augment.mixup_or_cutmix` as a layer.

    Args:
        mixup_alpha: `alpha` of `MixUp`; 0 leaves CutMix alone.
        cutmix_alpha: `alpha` of `CutMix`; 0 leaves MixUp alone.
        switch_probability: Chance in `[0, 1]` of CutMix instead of MixUp.
        probability: As for `MixUp`.
        classes: As for `MixUp`.
        label_smoothing: As for `MixUp`.
        mode: As for `MixUp`.
        seed: As for `RandomFlip`.
        **kwargs: Base layer arguments, such as `name`.

    Call arguments and returns: as for `MixUp`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> inputs = (tf.zeros((2, 8, 8, 3), tf.uint8), tf.constant([0, 2]))
        >>> images, targets = MixUpOrCutMix(classes=3, seed=1)(inputs, training=True)
        >>> targets.shape
        TensorShape([2, 3])
    """

    _operation = staticmethod(mixing.mixup_or_cutmix)
    _arguments = (
        "mixup_alpha",
        "cutmix_alpha",
        "switch_probability",
        "probability",
        "classes",
        "label_smoothing",
        "mode",
    )

    def __init__(
        self,
        mixup_alpha=0.2,
        cutmix_alpha=1.0,
        switch_probability=0.5,
        probability=1.0,
        classes=None,
        label_smoothing=0.0,
        mode="element",
        seed=None,
        **kwargs,
    ):
        super().__init__(seed=seed, **kwargs)
        self.mixup_alpha = mixup_alpha
        self.cutmix_alpha = cutmix_alpha
        self.switch_probability = switch_probability
        self.probability = probability
        self.classes = classes
        self.label_smoothing = label_smoothing
        self.mode = mode
        mixing.check_mixing(**self._values())
