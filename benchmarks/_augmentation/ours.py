"""The rows made of `augment`, as functions `(images, labels, seed) -> tensors`."""

import augment

CLASSES = 10


def single(name, **arguments):
    """Return a maker of one operation on batches, of its name in `augment`."""

    def make(_size):
        operation = getattr(augment, name)
        return lambda images, _labels, seed: operation(images, seed, **arguments)

    return make


def mixed(name, **arguments):
    """Return a maker of one operation that mixes images and labels."""

    def make(_size):
        operation = getattr(augment, name)
        return lambda images, labels, seed: operation(
            images, labels, seed, classes=CLASSES, **arguments
        )

    return make


def transformed(**arguments):
    """Return a maker of `augment.training_transform`, which the recipes map."""

    def make(_size):
        return augment.training_transform(
            classes=CLASSES, flip="horizontal", crop_padding=4, cutout_size=8, **arguments
        )

    return make


def chained(*steps, mix=None):
    """Return a maker of a pipeline of layers, fused as it fuses them.

    Args:
        *steps: Pairs of a layer's name in `augment` and its arguments, where `size` may stand for
            the size of the images.
        mix: Such a pair for the layer that mixes at the end, or `None`.
    """

    def make(size):
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
        program = augment.Pipeline(layers, seed=0).program()

        def run(images, labels, seed):
            images, labels, _ = program(images, labels, None, seed, 1.0)
            return (images, labels) if mix else images

        return run

    return make


_FLIP = ("RandomFlip", {})
_CROP = ("RandomResizedCrop", {"size": "size"})
_JITTER = (
    "RandomColorJitter",
    {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
)
_RAND_AUGMENT = ("RandAugment", {"n": 2, "m": 9})

ROWS = {
    "flip": single("random_flip"),
    "rotation": single("random_rotation", degrees=30),
    "affine": chained(_FLIP, ("RandomRotation", {"degrees": 30}), ("RandomZoom", {"factor": 0.2})),
    "resized_crop": chained(_CROP, _FLIP),
    "brightness": single("random_brightness", factor=0.2),
    "contrast": single("random_contrast", factor=0.4),
    "saturation": single("random_saturation", factor=0.4),
    "hue": single("random_hue"),
    "jitter": chained(_JITTER),
    "gray": single("random_grayscale", probability=1.0),
    "erasing": single("random_erasing", probability=1.0, fill="noise"),
    "blur": single("random_gaussian_blur", sigma=(0.5, 1.0)),
    "autocontrast": single("random_autocontrast"),
    "equalize": single("random_equalize"),
    "solarize": single("random_solarize", threshold=(128, 128)),
    "posterize": single("random_posterize", bits=(4, 4)),
    "sharpness": single("random_sharpness"),
    "noise": single("random_gaussian_noise"),
    "pca": single("random_lighting"),
    "mixup": mixed("mixup", alpha=1.0),
    "cutmix": mixed("cutmix", alpha=1.0),
    "crop_jitter": chained(_CROP, _FLIP, _JITTER),
    "randaugment": single("rand_augment", n=2, m=9),
    "randaugment_mix": chained(_RAND_AUGMENT, mix=("MixUpOrCutMix", {})),
    "augmix": single("aug_mix"),
    "shift": transformed(),
    "shift_mix": transformed(mixup_alpha=0.2, cutmix_alpha=1.0),
}
