"""Colour jitter: brightness, contrast, saturation and hue, one after the other."""

import itertools

import tensorflow as tf

from augment import _validation, color
from augment._operation import Operation, operation


@operation
def random_color_jitter(*, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, order="random"):
    """Change brightness, contrast, saturation and hue of each image one after the other.

    Exactly what the four operations do in that order: each works on what the one before it gave,
    clipped to the range but not rounded, and contrast on the mean at that point. Every image has
    factors of its own, and an order of its own unless it is fixed. Between the four operations,
    torchvision and albumentations round uint8 images; here they are rounded once, at the end.

    Args:
        brightness: Lowest and highest factor, at least 0; or one number `f` for
            `(max(0, 1 - f), 1 + f)`. 0 leaves the operation out.
        contrast: Likewise.
        saturation: Likewise.
        hue: Lowest and highest turn in `[-0.5, 0.5]`; or one number `t` for `(-t, t)`. 0 leaves it
            out.
        order: `"random"`, all orders equally likely, or `"fixed"`: brightness, contrast,
            saturation, hue.

    Example:
        >>> images = tf.constant([[[[200, 100, 100]]]], tf.uint8)
        >>> jittered = random_color_jitter(images, [0, 0], brightness=(0.5, 0.5), contrast=0, hue=0)
        >>> jittered.shape
        TensorShape([1, 1, 1, 3])

    Source:
        Howard, "Some Improvements on Deep Convolutional Neural Network Based Image Classification",
        2013, section 2; random order as in fb.resnet.torch, 2016. The defaults are those of MoCo v2
        (Chen et al., 2020), which jitters 80 % of the images.
    """
    ranges = {
        "brightness": _validation.check_factor("brightness", brightness),
        "contrast": _validation.check_factor("contrast", contrast),
        "saturation": _validation.check_factor("saturation", saturation),
        "hue": _validation.check_symmetric("hue", hue, 0.5),
    }
    _validation.check_choice("order", order, ("random", "fixed"))
    active = [name for name in _KERNELS if set(ranges[name]) != {_NEUTRAL[name]}]

    def sample(draw):
        drawn = {name: draw.uniform(name, *ranges[name], neutral=_NEUTRAL[name]) for name in active}
        if len(active) > 1:
            drawn["places"] = _draw_places(draw, len(active), order)
        return drawn

    def apply(image, places=None, **factors):
        kernels = [(_KERNELS[name], factors[name]) for name in active]
        return _in_order(image, kernels, places)

    return Operation(sample, apply, kind="color")


# In the order that `order="fixed"` keeps.
_KERNELS = {
    "brightness": color.adjust_brightness,
    "contrast": color.adjust_contrast,
    "saturation": color.adjust_saturation,
    "hue": color.adjust_hue,
}
_NEUTRAL = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}


def _draw_places(draw, count, order):
    """Return int32 `(batch, count)`: which kernel comes first, which second, and so on."""
    orders = tf.constant(list(itertools.permutations(range(count))))
    if order == "fixed":
        return tf.tile(orders[:1], [draw.batch, 1])
    return tf.gather(orders, draw.integer("order", 0, orders.shape[0]))


def _in_order(image, kernels, places):
    """Apply `kernels`, pairs of a function and its factor, in the order that `places` gives.

    One loop with one switch in it, so that each kernel is compiled once and not for every place in
    the order; the fixed order takes the same way, which also keeps XLA from computing one kernel
    again for every value the next one reads.

    Args:
        image: float32 in `[0, 255]`.
        kernels: At most four pairs.
        places: int32 `(len(kernels),)`; may be `None` for one kernel or none.
    """
    if places is None:
        for kernel, factor in kernels:
            image = kernel(image, factor)
        return image
    image = color.check_color("random_color_jitter", image)

    def body(step, current):
        branches = [
            lambda kernel=kernel, factor=factor: kernel(current, factor)
            for kernel, factor in kernels
        ]
        changed = tf.switch_case(places[step], branches)
        return step + 1, tf.ensure_shape(changed, image.shape)

    _, image = tf.while_loop(
        lambda step, _: step < len(kernels), body, (tf.constant(0), image), parallel_iterations=1
    )
    return image
