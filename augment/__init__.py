"""Image and batch augmentation for `tf.data` and Keras 3.

Each operation is a pure function on a batch of images: the same seed gives the same result in eager
code, inside `Dataset.map` at any parallelism, and under XLA. A thin Keras layer of the same name in
capitals wraps it. Names are resolved when first used, so `import augment` loads no TensorFlow.

Example:
    >>> import augment
    >>> transform = augment.training_transform(classes=10, flip="horizontal", crop_padding=4)
"""

import importlib

_HOMES = {
    "affine": (
        "random_affine",
        "random_perspective",
        "random_rotation",
        "random_shear",
        "random_translation",
        "random_zoom",
    ),
    "color": (
        "random_brightness",
        "random_brightness_shift",
        "random_channel_shuffle",
        "random_contrast",
        "random_grayscale",
        "random_hue",
        "random_hue_linear",
        "random_saturation",
    ),
    "jitter": ("random_color_jitter",),
    "lighting": ("fit_lighting", "random_lighting"),
    "elastic": ("random_elastic",),
    "degradation": ("random_jpeg_quality",),
    "filters": ("random_gaussian_blur", "random_sharpness"),
    "noise": ("random_gaussian_noise", "random_salt_and_pepper_noise", "random_shot_noise"),
    "tone": (
        "random_autocontrast",
        "random_equalize",
        "random_invert",
        "random_posterize",
        "random_solarize",
    ),
    "flip": ("random_flip",),
    "crop": ("center_crop", "random_crop", "resize_crop"),
    "resized_crop": ("random_multi_scale_crop", "random_resized_crop"),
    "jpeg_input": ("decode_random_resized_crop",),
    "erasing": ("cutout", "random_erasing", "random_grid_mask"),
    "mixing": ("cutmix", "mixup", "mixup_or_cutmix"),
    "policies": (
        "aug_mix",
        "auto_augment",
        "rand_augment",
        "three_augment",
        "trivial_augment_wide",
    ),
    "layers": (
        "AugMix",
        "AutoAugment",
        "CutMix",
        "Cutout",
        "MixUp",
        "MixUpOrCutMix",
        "RandAugment",
        "RandomAffine",
        "RandomAutocontrast",
        "RandomBrightness",
        "RandomBrightnessShift",
        "RandomChannelShuffle",
        "RandomColorJitter",
        "RandomContrast",
        "RandomCrop",
        "RandomElastic",
        "RandomEqualize",
        "RandomErasing",
        "RandomFlip",
        "RandomGaussianBlur",
        "RandomGaussianNoise",
        "RandomGrayscale",
        "RandomGridMask",
        "RandomHue",
        "RandomHueLinear",
        "RandomInvert",
        "RandomJpegQuality",
        "RandomLighting",
        "RandomMultiScaleCrop",
        "RandomPerspective",
        "RandomPosterize",
        "RandomResizedCrop",
        "RandomRotation",
        "RandomSaltAndPepperNoise",
        "RandomSaturation",
        "RandomSharpness",
        "RandomShear",
        "RandomShotNoise",
        "RandomSolarize",
        "RandomTranslation",
        "RandomZoom",
        "ThreeAugment",
        "TrivialAugmentWide",
    ),
    "pipeline": ("Pipeline",),
    "presets": ("policy", "policy_names"),
    "repeated": ("repeated_augmentation",),
    "training": ("training_transform",),
    "sheet": ("show",),
    "test_time": ("TestTimeAugment", "View"),
    "_labels": ("label_targets",),
    "_random": ("fold_seed",),
}
_MODULE_OF = {name: f"augment.{module}" for module, names in _HOMES.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name):
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'augment' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__():
    return sorted({*globals(), *__all__})
