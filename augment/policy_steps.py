"""Draw the operations of a policy for each image, and apply them in one loop.

All images of a batch run the same loop; which operation each step of it is, a switch decides for
each image. Every operation is compiled once, however many steps there are.
"""

import dataclasses
import functools

import tensorflow as tf

from augment import _validation, color, filters, geometry, tone
from augment.policy_tables import STEPS

# Long enough for the widest blur that is drawn here, of 2 pixels: three deviations.
BLUR_RADIUS = 6


@dataclasses.dataclass(frozen=True)
class StepTable:
    """The operations of a policy and how their arguments grow with the magnitude.

    Attributes:
        magnitudes: For each operation's name its `Magnitude`, or `None` if it has no argument.
        warp: Keyword arguments of `geometry.warp`.
    """

    magnitudes: dict
    warp: dict

    @property
    def names(self):
        """Names of the operations, in the order of the numbers that are drawn."""
        return tuple(self.magnitudes)

    @functools.cached_property
    def kernels(self):
        """Names of the kernels, in the order of the branches; the first changes nothing."""
        needed = [STEPS[name].kernel for name in self.names]
        return tuple(dict.fromkeys(["identity", *needed]))

    def draw(self, draw, numbers, shares, chances=1.0):
        """Draw all that the loop needs for steps whose operations and magnitudes are known.

        Args:
            draw: `Draw` of the operation.
            numbers: int32, shape `(batch, ...)`; places in `names`.
            shares: float64 of the same shape, or a number: magnitudes as a share of the largest.
            chances: Likewise: chance that the step changes anything.

        Returns:
            Dictionary of `branch` (int32), `argument` (float64), both of the shape of `numbers`,
            and `matrix` (float64), the same and `(3, 3)`.
        """
        shape = numbers.shape[1:]
        argument = self._arguments(draw, numbers, shares)
        # An operation that has no strength of its own is done less often in place of less strongly.
        has_argument = self._pick(numbers, lambda _, magnitude: magnitude is not None)
        chances = chances * (draw.strength + (1.0 - draw.strength) * has_argument)
        done = draw.chance("done", chances, shape=shape)
        branches = [self.kernels.index(STEPS[name].kernel) for name in self.names]
        return {
            "branch": tf.where(done, tf.gather(branches, numbers), 0),
            "argument": argument,
            "matrix": self._matrices(draw, numbers, argument),
        }

    def _pick(self, numbers, function):
        """Return `function(name, magnitude)` of the operations numbered, float64."""
        values = [float(function(name, entry)) for name, entry in self.magnitudes.items()]
        return tf.gather(tf.constant(values, tf.float64), numbers)

    def _pick_field(self, numbers, field, value=None):
        """Return a field of the magnitudes, or whether it is `value`; 0 where there is none."""

        def of(_, magnitude):
            found = getattr(magnitude, field, 0.0)
            return found if value is None else found == value

        return self._pick(numbers, of)

    def _arguments(self, draw, numbers, shares):
        """Return the arguments, float64 of the shape of `numbers`: rounded, signed, shrunk."""
        field = functools.partial(self._pick_field, numbers)
        start, end = field("start"), field("end")
        change = shares * tf.abs(end - start)
        for name, size in (("width", draw.width), ("height", draw.height)):
            change *= tf.where(field("of", name) > 0, tf.cast(size, tf.float64), 1.0)
        for whole, rounded in (("down", tf.floor), ("nearest", tf.round)):
            # A product such as 0.3 * 10 may lie a last bit below the whole number that it is.
            change = tf.where(field("whole", whole) > 0, rounded(change + 1e-9), change)
        turned = draw.chance("sign", 0.5 * field("signed"), shape=numbers.shape[1:])
        change = tf.where(turned, -change, change) * tf.sign(end - start)
        neutral = self._pick(numbers, lambda name, _: STEPS[name].neutral or 0.0)
        argument = neutral + draw.strength * (start + change - neutral)
        is_bits = self._pick(numbers, lambda name, _: name == "posterize") > 0
        return tf.where(is_bits, tf.round(argument), argument)

    def _matrices(self, draw, numbers, argument):
        """Return the matrix of each step; the identity for what is no shift or turn."""

        def of(name):
            if name not in self.names:
                return tf.zeros_like(argument)
            return tf.where(numbers == self.names.index(name), argument, 0.0)

        shear_x, shear_y, zero = of("shear_x"), of("shear_y"), tf.zeros_like(argument)
        # At most one of them is not zero, so the sum is that one. Shears leave the upper left
        # corner of the image where it is, half a pixel from the centre of the first pixel.
        rows = [
            [zero, shear_x, of("translate_x") + 0.5 * shear_x],
            [shear_y, zero, of("translate_y") + 0.5 * shear_y],
            [zero, zero, zero],
        ]
        moved = tf.stack([tf.stack(row, axis=-1) for row in rows], axis=-2)
        return geometry.rotation_matrix(of("rotate"), draw.height, draw.width) + moved

    def apply(self, image, branch, argument, matrix):
        """Apply one step to one image.

        Args:
            image: uint8, or float32 in `[0, 255]`, shape `(height, width, channels)`.
            branch: int32 scalar.
            argument: float32 scalar.
            matrix: float32, shape `(3, 3)`.

        Returns:
            Image of the same shape and dtype.
        """
        branches = [
            functools.partial(_run_kernel, name, image, argument, matrix, self.warp)
            for name in self.kernels
        ]
        return branches[-1]() if len(branches) == 1 else tf.switch_case(branch, branches)

    def apply_all(self, image, branch, argument, matrix, count=None):
        """Apply the first `count` steps (or all), one after the other, to one image.

        Args:
            image: As for `apply`.
            branch: int32, shape `(steps,)`.
            argument: float32, same shape.
            matrix: float32, shape `(steps, 3, 3)`.
            count: int32 scalar or `None`.
        """
        steps = branch.shape[0]
        if steps == 1 and count is None:
            return self.apply(image, branch[0], argument[0], matrix[0])

        def step(place, image):
            changed = self.apply(image, branch[place], argument[place], matrix[place])
            return place + 1, tf.ensure_shape(changed, image.shape)

        limit = steps if count is None else count
        _, image = tf.while_loop(lambda place, _: place < limit, step, (tf.constant(0), image))
        return image


def _run_kernel(name, image, argument, matrix, warp):
    """Return the image changed by the kernel of this name; same dtype."""
    if name in _COLOR_KERNELS:
        changed = tf.clip_by_value(_COLOR_KERNELS[name](_as_float(image), argument), 0.0, 255.0)
        return tf.cast(changed + 0.5, tf.uint8) if image.dtype == tf.uint8 else changed
    if name == "warp":
        return geometry.warp(image, matrix, **warp)
    return _OTHER_KERNELS[name](image, argument)


def _as_float(image):
    return tf.cast(image, tf.float32)


_COLOR_KERNELS = {
    "brightness": color.adjust_brightness,
    "contrast": color.adjust_contrast,
    "saturation": color.adjust_saturation,
    "gray": lambda image, _: color.to_gray(image),
}

_OTHER_KERNELS = {
    "identity": lambda image, _: tf.identity(image),
    "autocontrast": lambda image, _: tone.autocontrast(image),
    "equalize": lambda image, _: tone.equalize(image),
    "invert": lambda image, _: tone.invert(image),
    "posterize": lambda image, bits: tone.posterize(image, tf.cast(bits, tf.int32)),
    "solarize": tone.solarize,
    "solarize_add": tone.solarize_add,
    "sharpness": filters.adjust_sharpness,
    "blur": lambda image, sigma: filters.gaussian_blur(image, sigma, BLUR_RADIUS),
}


def check_operations(operations, table):
    """Return the part of a table of magnitudes that `operations` names, or raise `ValueError`.

    Args:
        operations: Names, at least one and each once; `None` for all of the table.
        table: Dictionary of names and magnitudes.
    """
    if operations is None:
        return dict(table)
    if isinstance(operations, str) or not len(operations):
        raise ValueError(
            f"operations must be names out of {', '.join(table)}, received: {operations!r}"
        )
    for name in operations:
        _validation.check_choice("operations", name, tuple(table))
    if len(set(operations)) < len(operations):
        raise ValueError(f"operations must be named once each, received: {operations!r}")
    return {name: table[name] for name in operations}
