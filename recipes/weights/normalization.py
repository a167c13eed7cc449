"""What images weights were trained on: the mean and variance that a model must subtract first."""

from typing import NamedTuple

import keras
import numpy as np

from recipes.layers.channel_normalization import ChannelNormalization


class Normalization(NamedTuple):
    """Mean and variance of each channel, in units of 0..255."""

    mean: tuple[float, ...]
    variance: tuple[float, ...]

    @property
    def deviation(self) -> tuple[float, ...]:
        """The square root of the variance."""
        return tuple(np.sqrt(self.variance).tolist())


# Of ImageNet's training images, red, green and blue.
IMAGENET = Normalization(
    (123.675, 116.28, 103.53),
    (58.395**2, 57.12**2, 57.375**2),
)


def of_model(model) -> Normalization | None:
    """Return the normalisation that is the first layer of `model`, or `None`."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            return of_model(layer)
        if isinstance(layer, ChannelNormalization):
            return Normalization(tuple(layer.mean), tuple(layer.variance))
        if layer.weights:
            return None
    return None


def mismatch(model, expected: Normalization | None, *, who: str = "the weights") -> str | None:
    """Return what to say if `model` does not normalise as its weights expect, or `None`.

    A model of another number of channels than the weights is compared by the average channel.
    """
    if expected is None:
        return None
    own = of_model(model)
    wanted = f"mean {_text(expected.mean)} and deviation {_text(expected.deviation)}"
    if own is None:
        return f"the model does not normalise; {who} expect images normalised by {wanted}"
    if _same(own.mean, expected.mean) and _same(own.deviation, expected.deviation):
        return None
    return (
        f"the model normalises by mean {_text(own.mean)} and deviation {_text(own.deviation)}, "
        f"{who} expect {wanted}"
    )


def _same(own, expected):
    if len(own) != len(expected):
        own, expected = [np.mean(own)], [np.mean(expected)]
    # A tenth of a grey level: far below anything that changes an output.
    return np.allclose(own, expected, rtol=1e-3, atol=0.1)


def _text(numbers):
    short = [f"{number:.4g}" for number in numbers]
    return short[0] if len(set(short)) == 1 else f"({', '.join(short)})"
