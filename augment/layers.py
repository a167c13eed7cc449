"""Keras layers over the operations: each a configuration, a counter of seeds, and one call.

A layer that is called draws its seeds from a `keras.random.SeedGenerator`: `[seed, 0]`, `[seed, 1]`
and so on, a new one each call. In `Dataset.map` with parallel calls the order of the calls is not
fixed, so which batch gets which seed is not either, and a run cannot be repeated exactly. To map a
dataset, put layers into an `augment.Pipeline`, whose `map` makes seeds from the number of a batch.

The layers subclass `keras.layers.Layer` and not Keras' own preprocessing base class, whose `call`
defaults to training mode and can leave later layers of a model in it.
"""

from augment import (
    affine,
    color,
    crop,
    degradation,
    elastic,
    erasing,
    filters,
    flip,
    jitter,
    lighting,
    mixing,
    noise,
    policies,
    resized_crop,
    tone,
)
from augment._layer_base import image_layer, mix_layer

# One line an operation, in the order of the modules' names.
RandomAffine = image_layer(affine.random_affine)
RandomPerspective = image_layer(affine.random_perspective)
RandomRotation = image_layer(affine.random_rotation)
RandomShear = image_layer(affine.random_shear)
RandomTranslation = image_layer(affine.random_translation)
RandomZoom = image_layer(affine.random_zoom)
RandomBrightness = image_layer(color.random_brightness)
RandomBrightnessShift = image_layer(color.random_brightness_shift)
RandomChannelShuffle = image_layer(color.random_channel_shuffle)
RandomContrast = image_layer(color.random_contrast)
RandomGrayscale = image_layer(color.random_grayscale)
RandomHue = image_layer(color.random_hue)
RandomHueLinear = image_layer(color.random_hue_linear)
RandomSaturation = image_layer(color.random_saturation)
RandomCrop = image_layer(crop.random_crop)
RandomJpegQuality = image_layer(degradation.random_jpeg_quality)
RandomElastic = image_layer(elastic.random_elastic)
Cutout = image_layer(erasing.cutout)
RandomErasing = image_layer(erasing.random_erasing)
RandomGridMask = image_layer(erasing.random_grid_mask)
RandomGaussianBlur = image_layer(filters.random_gaussian_blur)
RandomSharpness = image_layer(filters.random_sharpness)
RandomFlip = image_layer(flip.random_flip)
RandomColorJitter = image_layer(jitter.random_color_jitter)
RandomLighting = image_layer(lighting.random_lighting)
RandomGaussianNoise = image_layer(noise.random_gaussian_noise)
RandomSaltAndPepperNoise = image_layer(noise.random_salt_and_pepper_noise)
RandomShotNoise = image_layer(noise.random_shot_noise)
AugMix = image_layer(policies.aug_mix)
AutoAugment = image_layer(policies.auto_augment)
RandAugment = image_layer(policies.rand_augment)
ThreeAugment = image_layer(policies.three_augment)
TrivialAugmentWide = image_layer(policies.trivial_augment_wide)
RandomMultiScaleCrop = image_layer(resized_crop.random_multi_scale_crop)
RandomResizedCrop = image_layer(resized_crop.random_resized_crop)
RandomAutocontrast = image_layer(tone.random_autocontrast)
RandomEqualize = image_layer(tone.random_equalize)
RandomInvert = image_layer(tone.random_invert)
RandomPosterize = image_layer(tone.random_posterize)
RandomSolarize = image_layer(tone.random_solarize)

CutMix = mix_layer("CutMix", mixing.cutmix)
MixUp = mix_layer("MixUp", mixing.mixup)
MixUpOrCutMix = mix_layer("MixUpOrCutMix", mixing.mixup_or_cutmix)
