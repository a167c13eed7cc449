"""The rows made of `augment`, as functions `(images, labels, seed) -> tensors`.

A row is a maker `(size, output_dtype=None)` of a function that gives images of that dtype.
"""

import tensorflow as tf

import augment

CLASSES = 10


def transformed(**arguments):
    """Return a maker of `augment.training_transform`, which the recipes map."""

    def make(_size, output_dtype=None):
        transform = augment.training_transform(
            classes=CLASSES, flip="horizontal", crop_padding=4, cutout_size=8, **arguments
        )

        def run(images, labels, seed):
            images, targets = transform(images, labels, seed)
            return tf.cast(images, output_dtype or images.dtype), targets

        return run

    return make


def chained(*steps, mix=None):
    """Return a maker of a pipeline of layers, fused as it fuses them.

    Args:
        *steps: Pairs of a layer's name in `augment` and its arguments, where `size` may stand for
            the size of the images.
        mix: Such a pair for the layer that mixes at the end, or `None`.
    """

    def make(size, output_dtype=None):
        given = [*steps, *([(mix[0], {"classes": CLASSES, **mix[1]})] if mix else [])]
        layers = [
            getattr(augment, name)(
                **{
                    key: (size, size) if value == "size" else value
                    for key, value in arguments.items()
                }
            )
            for name, arguments in given
        ]
        # What `Pipeline.map` maps, with a seed of our own in place of its counter.
        program = augment.Pipeline(layers, seed=0, output_dtype=output_dtype).program()

        def run(images, labels, seed):
            images, labels, _ = program(images, labels, None, seed, 1.0)
            return (images, labels) if mix else images

        return run

    return make


def single(name, **arguments):
    """Return a maker of a pipeline of one layer, of its name in `augment`."""
    return chained((name, arguments))


def mixed(name, **arguments):
    """Return a maker of one layer that mixes images and labels."""
    return chained(mix=(name, arguments))


_FLIP = ("RandomFlip", {})
_CROP = ("RandomResizedCrop", {"size": "size"})
_JITTER = (
    "RandomColorJitter",
    {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
)
_RAND_AUGMENT = ("RandAugment", {"n": 2, "m": 9})

ROWS = {
    "flip": single("RandomFlip"),
    "rotation": single("RandomRotation", degrees=30),
    "affine": chained(_FLIP, ("RandomRotation", {"degrees": 30}), ("RandomZoom", {"factor": 0.2})),
    "resized_crop": chained(_CROP, _FLIP),
    "brightness": single("RandomBrightness", factor=0.2),
    "contrast": single("RandomContrast", factor=0.4),
    "saturation": single("RandomSaturation", factor=0.4),
    "hue": single("RandomHue"),
    "jitter": chained(_JITTER),
    "gray": single("RandomGrayscale", probability=1.0),
    "erasing": single("RandomErasing", probability=1.0, fill="noise"),
    "blur": single("RandomGaussianBlur", sigma=(0.5, 1.0)),
    "autocontrast": single("RandomAutocontrast"),
    "equalize": single("RandomEqualize"),
    "solarize": single("RandomSolarize", threshold=(128, 128)),
    "posterize": single("RandomPosterize", bits=(4, 4)),
    "sharpness": single("RandomSharpness"),
    "noise": single("RandomGaussianNoise"),
    "pca": single("RandomLighting"),
    "mixup": mixed("MixUp", alpha=1.0),
    "cutmix": mixed("CutMix", alpha=1.0),
    "crop_jitter": chained(_CROP, _FLIP, _JITTER),
    "randaugment": single("RandAugment", n=2, m=9),
    "randaugment_mix": chained(_RAND_AUGMENT, mix=("MixUpOrCutMix", {})),
    "augmix": single("AugMix"),
    "shift": transformed(),
    "shift_mix": transformed(mixup_alpha=0.2, cutmix_alpha=1.0),
}
