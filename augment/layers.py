"""Keras layers over the operations: each a configuration, a counter of seeds, and one call.

A layer draws its seeds from a `keras.random.SeedGenerator`: `[seed, 0]`, `[seed, 1]` and so on, a
new one each call. In `Dataset.map` with parallel calls the order of the calls is not fixed, so
which batch gets which seed is not either, and a run cannot be repeated exactly. Where that matters,
map the functions of `augment`, or `augment.training_transform`, with a seed made from a counter.

The layers subclass `keras.layers.Layer` and not Keras' own preprocessing base class, whose `call`
defaults to training mode and can leave later layers of a model in it.
"""

import keras

from augment import color, crop, erasing, flip, jitter, lighting, mixing
from augment._layer_base import ImageAugmentation, image_layer, mix_layer

# One line an operation, in the order of the modules' names.
RandomBrightness = image_layer(color.random_brightness)
RandomBrightnessShift = image_layer(color.random_brightness_shift)
RandomChannelShuffle = image_layer(color.random_channel_shuffle)
RandomContrast = image_layer(color.random_contrast)
RandomGrayscale = image_layer(color.random_grayscale)
RandomHue = image_layer(color.random_hue)
RandomHueLinear = image_layer(color.random_hue_linear)
RandomSaturation = image_layer(color.random_saturation)
RandomFlip = image_layer(flip.random_flip)
RandomColorJitter = image_layer(jitter.random_color_jitter)
RandomLighting = image_layer(lighting.random_lighting)

CutMix = mix_layer("CutMix", mixing.cutmix)
MixUp = mix_layer("MixUp", mixing.mixup)
MixUpOrCutMix = mix_layer("MixUpOrCutMix", mixing.mixup_or_cutmix)


class _Plain(ImageAugmentation):
    def call(self, inputs, training=None):
        if not training:
            return inputs
        if isinstance(inputs, dict):
            return {**inputs, "images": self._run(inputs["images"])}
        if isinstance(inputs, (tuple, list)):
            images, *rest = inputs
            return type(inputs)((self._run(images), *rest))
        return self._run(inputs)

    def _run(self, images):
        return self._operation(images, self._seeds.next(), **self._values())


@keras.saving.register_keras_serializable(package="keras_recipes")
class RandomCrop(_Plain):
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
class RandomErasing(_Plain):
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
class Cutout(_Plain):
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
