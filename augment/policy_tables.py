"""What the policies are made of, as data: operations, magnitudes and sub-policies.

Operations have the names of this package; what the papers call Color is `"saturation"` here.
"""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Magnitude:
    """How an operation's argument grows with the magnitude.

    At the share `s` in `[0, 1]` of the largest magnitude the argument is
    `start + s * (end - start)`.

    Attributes:
        start: Argument at magnitude 0.
        end: Argument at the largest magnitude.
        signed: Whether half of the images get the same change the other way:
            `start - s * (end - start)`.
        whole: Rounds the change to a whole number: `"down"` towards 0 or to the `"nearest"`.
        of: Whether `start` and `end` are parts of the image's `"width"` or `"height"`.
    """

    start: float
    end: float
    signed: bool = False
    whole: Literal["", "down", "nearest"] = ""
    of: Literal["", "width", "height"] = ""


@dataclasses.dataclass(frozen=True)
class Step:
    """What an operation of a policy is.

    Attributes:
        kernel: Name of what changes the pixels; all the shifts and turns are one warp.
        neutral: Argument that changes nothing; `None` if the operation has no argument.
        words: How it is printed: the argument stands for the braces.
    """

    kernel: str
    neutral: float | None = None
    words: str = ""


STEPS = {
    "identity": Step("identity"),
    "autocontrast": Step("autocontrast"),
    "equalize": Step("equalize"),
    "invert": Step("invert"),
    "gray": Step("gray"),
    "posterize": Step("posterize", 8.0, "{} bits kept"),
    "solarize": Step("solarize", 256.0, "{} and above inverted"),
    "solarize_add": Step("solarize_add", 0.0, "{} added below 128"),
    "brightness": Step("brightness", 1.0, "times {}"),
    "contrast": Step("contrast", 1.0, "times {}"),
    "saturation": Step("saturation", 1.0, "times {}"),
    "sharpness": Step("sharpness", 1.0, "times {}"),
    "blur": Step("blur"),
    "rotate": Step("warp", 0.0, "{} degrees"),
    "shear_x": Step("warp", 0.0, "{} pixels a row"),
    "shear_y": Step("warp", 0.0, "{} pixels a column"),
    "translate_x": Step("warp", 0.0, "{} pixels"),
    "translate_y": Step("warp", 0.0, "{} pixels"),
}

_ENHANCE = ("brightness", "saturation", "contrast", "sharpness")


def _all(names, magnitude):
    return dict.fromkeys(names, magnitude)


# RandAugment, Cubuk et al. 2019, appendix A.2 (the 14 operations) with the ranges that torchvision
# gives them: there the magnitude is a place in 31 equal steps, from 0 (nothing) to 30. The paper's
# own code divides the magnitude by 10 instead, so its 9 is three times as strong: `TIMM`.
# Solarize starts at 256 as in the papers; in torchvision at 255, where white turns black at 0.
TORCHVISION = {
    "identity": None,
    **_all(("shear_x", "shear_y"), Magnitude(0.0, 0.3, signed=True)),
    "translate_x": Magnitude(0.0, 150 / 331, signed=True, whole="down", of="width"),
    "translate_y": Magnitude(0.0, 150 / 331, signed=True, whole="down", of="height"),
    "rotate": Magnitude(0.0, 30.0, signed=True),
    **_all(_ENHANCE, Magnitude(1.0, 1.9, signed=True)),
    "posterize": Magnitude(8.0, 4.0, whole="nearest"),
    "solarize": Magnitude(256.0, 0.0),
    **_all(("autocontrast", "equalize"), None),
}

# AutoAugment, Cubuk et al. 2018, table 6, in ten equal steps; shares of the image's sides in place
# of pixels, 150 of the 331 of the networks it was searched with.
AUTO_AUGMENT = {**TORCHVISION, "invert": None}
del AUTO_AUGMENT["identity"]

# TrivialAugment, Müller and Hutter 2021, table 1 ("wide").
WIDE = {
    **TORCHVISION,
    **_all(("shear_x", "shear_y"), Magnitude(0.0, 0.99, signed=True)),
    **_all(("translate_x", "translate_y"), Magnitude(0.0, 32.0, signed=True, whole="down")),
    "rotate": Magnitude(0.0, 135.0, signed=True),
    **_all(_ENHANCE, Magnitude(1.0, 1.99, signed=True)),
    "posterize": Magnitude(8.0, 2.0, whole="nearest"),
}

# timm's RandAugment, after the TPU code of the paper's authors: magnitudes from 0 to 10. Some of
# the operations are stronger the lower the magnitude.
TIMM = {
    **_all(("autocontrast", "equalize", "invert"), None),
    "rotate": Magnitude(0.0, 30.0, signed=True),
    "posterize": Magnitude(0.0, 4.0, whole="down"),
    "solarize": Magnitude(0.0, 256.0, whole="down"),
    "solarize_add": Magnitude(0.0, 110.0, whole="down"),
    **_all(_ENHANCE, Magnitude(0.1, 1.9)),
    **_all(("shear_x", "shear_y"), Magnitude(0.0, 0.3, signed=True)),
    "translate_x": Magnitude(0.0, 0.45, signed=True, of="width"),
    "translate_y": Magnitude(0.0, 0.45, signed=True, of="height"),
}

# The same with "inc1": each of them is stronger the higher the magnitude.
TIMM_INCREASING = {
    **TIMM,
    "posterize": Magnitude(4.0, 0.0, whole="down"),
    "solarize": Magnitude(256.0, 0.0, whole="down"),
    **_all(_ENHANCE, Magnitude(1.0, 1.9, signed=True)),
}

# AugMix, Hendrycks et al. 2020, and its published code: levels from 0 to 10.
AUG_MIX = {
    **_all(("autocontrast", "equalize"), None),
    "posterize": Magnitude(4.0, 0.0, whole="down"),
    "rotate": Magnitude(0.0, 30.0, signed=True, whole="down"),
    "solarize": Magnitude(256.0, 0.0, whole="down"),
    **_all(("shear_x", "shear_y"), Magnitude(0.0, 0.3, signed=True)),
    "translate_x": Magnitude(0.0, 1 / 3, signed=True, whole="down", of="width"),
    "translate_y": Magnitude(0.0, 1 / 3, signed=True, whole="down", of="height"),
}

# The further four that the paper leaves out because the test set ImageNet-C has them.
AUG_MIX_ALL = {**AUG_MIX, **_all(_ENHANCE, Magnitude(0.1, 1.9))}

# AutoAugment's sub-policies: two operations, each with its chance and its magnitude from 0 to 9.
# Paper: tables 7 (CIFAR-10), 8 (SVHN) and 9 (ImageNet) of the appendix.
CIFAR10 = (
    (("invert", 0.1, 7), ("contrast", 0.2, 6)),
    (("rotate", 0.7, 2), ("translate_x", 0.3, 9)),
    (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
    (("shear_y", 0.5, 8), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.5, 8), ("equalize", 0.9, 2)),
    (("shear_y", 0.2, 7), ("posterize", 0.3, 7)),
    (("saturation", 0.4, 3), ("brightness", 0.6, 7)),
    (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
    (("equalize", 0.6, 5), ("equalize", 0.5, 1)),
    (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
    (("saturation", 0.7, 7), ("translate_x", 0.5, 8)),
    (("equalize", 0.3, 7), ("autocontrast", 0.4, 8)),
    (("translate_y", 0.4, 3), ("sharpness", 0.2, 6)),
    (("brightness", 0.9, 6), ("saturation", 0.2, 8)),
    (("solarize", 0.5, 2), ("invert", 0.0, 3)),
    (("equalize", 0.2, 0), ("autocontrast", 0.6, 0)),
    (("equalize", 0.2, 8), ("equalize", 0.6, 4)),
    (("saturation", 0.9, 9), ("equalize", 0.6, 6)),
    (("autocontrast", 0.8, 4), ("solarize", 0.2, 8)),
    (("brightness", 0.1, 3), ("saturation", 0.7, 0)),
    (("solarize", 0.4, 5), ("autocontrast", 0.9, 3)),
    (("translate_y", 0.9, 9), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.9, 2), ("solarize", 0.8, 3)),
    (("equalize", 0.8, 8), ("invert", 0.1, 3)),
    (("translate_y", 0.7, 9), ("autocontrast", 0.9, 1)),
)

SVHN = (
    (("shear_x", 0.9, 4), ("invert", 0.2, 3)),
    (("shear_y", 0.9, 8), ("invert", 0.7, 5)),
    (("equalize", 0.6, 5), ("solarize", 0.6, 6)),
    (("invert", 0.9, 3), ("equalize", 0.6, 3)),
    (("equalize", 0.6, 1), ("rotate", 0.9, 3)),
    (("shear_x", 0.9, 4), ("autocontrast", 0.8, 3)),
    (("shear_y", 0.9, 8), ("invert", 0.4, 5)),
    (("shear_y", 0.9, 5), ("solarize", 0.2, 6)),
    (("invert", 0.9, 6), ("autocontrast", 0.8, 1)),
    (("equalize", 0.6, 3), ("rotate", 0.9, 3)),
    (("shear_x", 0.9, 4), ("solarize", 0.3, 3)),
    (("shear_y", 0.8, 8), ("invert", 0.7, 4)),
    (("equalize", 0.9, 5), ("translate_y", 0.6, 6)),
    (("invert", 0.9, 4), ("equalize", 0.6, 7)),
    (("contrast", 0.3, 3), ("rotate", 0.8, 4)),
    (("invert", 0.8, 5), ("translate_y", 0.0, 2)),
    (("shear_y", 0.7, 6), ("solarize", 0.4, 8)),
    (("invert", 0.6, 4), ("rotate", 0.8, 4)),
    (("shear_y", 0.3, 7), ("translate_x", 0.9, 3)),
    (("shear_x", 0.1, 6), ("invert", 0.6, 5)),
    (("solarize", 0.7, 2), ("translate_y", 0.6, 7)),
    (("shear_y", 0.8, 4), ("invert", 0.8, 8)),
    (("shear_x", 0.7, 9), ("translate_y", 0.8, 3)),
    (("shear_y", 0.8, 5), ("autocontrast", 0.7, 3)),
    (("shear_x", 0.7, 2), ("invert", 0.1, 5)),
)

IMAGENET = (
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 5)),
    (("equalize", 0.8, 8), ("equalize", 0.6, 3)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, 7), ("solarize", 0.2, 4)),
    (("equalize", 0.4, 4), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, 7)),
    (("posterize", 0.8, 5), ("equalize", 1.0, 2)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, 8), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("saturation", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, 2)),
    (("equalize", 0.0, 7), ("equalize", 0.8, 8)),
    (("invert", 0.6, 4), ("equalize", 1.0, 8)),
    (("saturation", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("saturation", 1.0, 2)),
    (("saturation", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, 8)),
    (("shear_x", 0.6, 5), ("equalize", 1.0, 9)),
    (("saturation", 0.4, 0), ("equalize", 0.6, 3)),
    (("equalize", 0.4, 7), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 5)),
    (("invert", 0.6, 4), ("equalize", 1.0, 8)),
    (("saturation", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, 8), ("equalize", 0.6, 3)),
)

SUB_POLICIES = {"cifar10": CIFAR10, "imagenet": IMAGENET, "svhn": SVHN}
