"""The learning-rate range test: raise the rate step by step until the loss explodes."""

import math
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from callbacks._arguments import whole
from callbacks._optimizers import configuration
from callbacks.files import atomic_path

# Training stops once the smoothed loss is this many times the lowest.
_DIVERGED = 4.0
# Weight that the smoothed loss gives to its past.
_MEMORY = 0.98


@dataclass(frozen=True)
class LearningRateRange:
    """What a range test measured.

    Attributes:
        rates: Learning rate of each step, rising, float64.
        losses: Loss of each step before its update.
        smoothed: Exponential moving average of the losses, without the pull of its start.
        suggestions: Name to learning rate, see `suggest_rates`.
        diverged: Whether the loss exploded before the highest rate; if not, try a higher one.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    suggestions: dict[str, float]
    diverged: bool

    def __str__(self):
        lines = [f"{name:<12} {rate:.3g}" for name, rate in self.suggestions.items()]
        return "\n".join(lines)

    def plot(self, path) -> Path:
        """Draw the losses over the rate, and the suggestions, into an SVG file; return its path."""
        with atomic_path(path) as temporary:
            temporary.write_text(_drawing(self), encoding="utf-8")
        return Path(path)


def suggest_rates(rates, losses) -> dict[str, float]:
    """Read learning rates off the curve of a range test.

    Args:
        rates: Rising learning rates, shape `(steps,)`, at least 4.
        losses: Smoothed losses, the same shape.

    Returns:
        Four rates:

        - `minimum/10`: a tenth of the rate of the lowest loss;
        - `steepest`: where the loss falls fastest over the logarithm of the rate;
        - `valley`: about half of the way along the longest falling subsequence; the lowest rate
          if the loss never falls;
        - `slide`: going down from the highest rate, before the slope of the loss stops changing:
          the right end of the last valley.

    Raises:
        ValueError: If there are fewer than 4 steps, or shapes differ.

    Example:
        >>> rates = np.geomspace(1e-4, 1, 9)
        >>> found = suggest_rates(rates, [3, 3, 2.9, 2.5, 1.5, 1.0, 0.9, 1.2, 5])
        >>> {name: round(rate, 4) for name, rate in found.items()}
        {'minimum/10': 0.01, 'steepest': 0.01, 'valley': 0.0032, 'slide': 0.0001}

    Source:
        Smith, "Cyclical learning rates for training neural networks", 2015, section 3.3; the four
        rules are those that fastai's `lr_find` offers.
    """
    rates, losses = np.asarray(rates, np.float64), np.asarray(losses, np.float64)
    if rates.ndim != 1 or rates.shape != losses.shape or len(rates) < 4:
        raise ValueError(
            "rates and losses must have one and the same shape (steps,) with at least 4 steps, "
            f"received {rates.shape} and {losses.shape}"
        )
    return {
        "minimum/10": float(rates[losses.argmin()] / 10),
        "steepest": float(rates[np.gradient(losses, np.log(rates)).argmin()]),
        "valley": float(rates[_valley(losses)]),
        "slide": float(rates[_slide(losses)]),
    }


def _valley(losses):
    """Return the place half of the way along the longest falling subsequence, by thirds."""
    lengths = np.ones(len(losses), int)
    for place in range(1, len(losses)):
        before = lengths[:place][losses[:place] > losses[place]]
        lengths[place] = 1 + before.max(initial=0)
    end = int(lengths.argmax())
    third = lengths[end] / 3
    return max(end - lengths[end] + int(third) + int(third / 2), 0)


def _slide(losses, distance=15, threshold=0.005):
    """Return the place from which the slope `distance` steps on no longer differs."""
    slope = np.gradient(losses)
    distance = min(distance, len(losses) - 1)
    place = len(losses) - 1 - distance
    while place > 0 and abs(slope[place + distance] - slope[place]) > threshold:
        place -= 1
    return place


def smooth(losses, memory=_MEMORY) -> np.ndarray:
    """Return the exponential moving average of losses, divided by the weights it has had so far.

    Example:
        >>> smooth([2.0, 2.0, 5.0], memory=0.5).round(3).tolist()
        [2.0, 2.0, 3.714]
    """
    average, found = 0.0, []
    for step, loss in enumerate(losses, start=1):
        average = memory * average + (1 - memory) * loss
        found.append(average / (1 - memory**step))
    return np.array(found)


class _Recorder(keras.callbacks.Callback):
    """Set the rate before each step, record the loss after it, stop when it explodes."""

    def __init__(self, rates):
        super().__init__()
        self.rates = rates
        self.losses = []
        self.diverged = False

    def on_train_batch_begin(self, batch, logs=None):
        self.model.optimizer.learning_rate = self.rates[batch]
        # The loss that is reported is a mean since the last reset.
        self.model.reset_metrics()

    def on_train_batch_end(self, batch, logs=None):
        loss = float(logs["loss"])
        if math.isfinite(loss):
            self.losses.append(loss)
            curve = smooth(self.losses)
            self.diverged = curve[-1] > _DIVERGED * curve.min()
        else:
            self.diverged = True
        if self.diverged:
            # Stopping ends the epoch, not the steps in it; the rest would be trained for nothing.
            raise _Enough


class _Enough(Exception):
    """The range is known; no error."""


def find_learning_rate(
    model: keras.Model, dataset, *, low=1e-7, high=10.0, steps=100
) -> LearningRateRange:
    """Train for a few steps at rates that rise from `low` to `high`; suggest learning rates.

    Afterwards weights, batch statistics, states of random generators, the optimizer with its slots
    and step count are what they were before, to the bit. It trains with a second optimizer of the
    same settings, in mixed precision and under a distribution strategy as `fit` does, one step an
    execution; `dataset` gets an iterator of its own.

    Args:
        model: Compiled; its optimizer's settings are used, whatever its learning rate.
        dataset: `tf.data.Dataset` of training batches, repeated if it is shorter than `steps`.
        low: First rate, positive.
        high: Last rate, above `low`.
        steps: Number of steps, at least 20. The first tenth and the last 5 steps are not looked at.

    Returns:
        A `LearningRateRange`.

    Raises:
        ValueError: If an argument is out of range, the model is not compiled, or its loss is not
            finite in the first steps.
        TypeError: If the learning rate is a schedule without `get_config`.

    Example:
        >>> model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> data = tf.data.Dataset.from_tensors((np.ones((8, 2)), np.ones((8, 1))))
        >>> found = find_learning_rate(model, data, steps=60)
        >>> sorted(found.suggestions)
        ['minimum/10', 'slide', 'steepest', 'valley']

    Source:
        Smith, "Cyclical learning rates for training neural networks", 2015, section 3.3.
    """
    if not 0 < low < high < math.inf:
        raise ValueError(f"low and high must be rising positive numbers, received: {low}, {high}")
    steps = whole("steps", steps, 20)
    if not model.compiled:
        raise ValueError("find_learning_rate needs a compiled model: call model.compile() first")
    rates = np.geomspace(low, high, steps)
    recorder = _Recorder(rates)
    optimizer, weights = model.optimizer, _values(model)
    executions = model.steps_per_execution
    try:
        model.optimizer = _twin(optimizer, low)
        model.steps_per_execution = 1  # each step has a rate and a loss of its own
        model.make_train_function(force=True)
        model.fit(
            dataset.repeat(),
            steps_per_epoch=steps,
            verbose=0,
            shuffle=False,
            callbacks=[recorder],
        )
    except _Enough:
        pass
    finally:
        model.optimizer = optimizer
        model.steps_per_execution = executions
        for variable, value in weights:
            variable.assign(value)
        model.reset_metrics()
        model.make_train_function(force=True)
    return _range(rates, recorder)


def _range(rates, recorder):
    losses = np.array(recorder.losses)
    head, tail = len(rates) // 10, 5
    if len(losses) < head + tail + 4:
        raise ValueError(
            f"the loss exploded or was not finite after {len(losses)} of {len(rates)} steps, at a "
            f"rate of {rates[max(len(losses) - 1, 0)]:.3g}: lower `low`, or check the model first"
        )
    rates, smoothed = rates[: len(losses)], smooth(losses)
    looked_at = slice(head, len(losses) - tail)
    suggestions = suggest_rates(rates[looked_at], smoothed[looked_at])
    return LearningRateRange(rates, losses, smoothed, suggestions, recorder.diverged)


def _values(model):
    return [(variable, variable.numpy()) for variable in model.variables]


def _twin(optimizer, rate):
    """Return a new optimizer with the settings of another but a learning rate that can be set."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        config = optimizer.get_config()
        inner = _twin(optimizer.inner_optimizer, rate)
        scale = {"initial_scale": config["initial_scale"]}
        return keras.optimizers.LossScaleOptimizer(
            inner, dynamic_growth_steps=config["dynamic_growth_steps"], **scale
        )
    return type(optimizer).from_config({**configuration(optimizer), "learning_rate": rate})


def _drawing(found):
    """Return an SVG of the raw and the smoothed losses over the logarithm of the rate."""
    width, height, margin = 640, 360, 48
    x = np.log10(found.rates)
    top = min(found.losses.max(), 1.2 * found.smoothed.max())
    bottom = found.losses.min()

    def across(value):
        share = (value - x[0]) / max(x[-1] - x[0], 1e-9)
        return margin + share * (width - 2 * margin)

    def up(value):
        share = (min(value, top) - bottom) / max(top - bottom, 1e-9)
        return height - margin - share * (height - 2 * margin)

    def line(losses, style):
        points = " ".join(
            f"{across(one):.1f},{up(other):.1f}" for one, other in zip(x, losses, strict=True)
        )
        return f'<polyline points="{points}" fill="none" {style}/>'

    text = 'font-family="sans-serif" font-size="12" fill="#444"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}"><rect width="100%" height="100%" fill="#fff"/>',
        line(found.losses, 'stroke="#bbb"'),
        line(found.smoothed, 'stroke="#1f5fa8" stroke-width="2"'),
        f'<line x1="{margin}" y1="{height - margin}" x2="{width - margin}" '
        f'y2="{height - margin}" stroke="#444"/>',
        f'<text x="{width / 2}" y="{height - 10}" text-anchor="middle" {text}>learning rate</text>',
        f'<text x="14" y="{height / 2}" transform="rotate(-90 14 {height / 2})" '
        f'text-anchor="middle" {text}>loss</text>',
    ]
    for power in range(math.ceil(x[0]), math.floor(x[-1]) + 1):
        parts.append(
            f'<text x="{across(power):.1f}" y="{height - margin + 16}" text-anchor="middle" '
            f"{text}>1e{power}</text>"
        )
    for row, (name, rate) in enumerate(found.suggestions.items()):
        place = across(math.log10(rate))
        parts.append(
            f'<line x1="{place:.1f}" y1="{margin - 8}" x2="{place:.1f}" y2="{height - margin}" '
            f'stroke="#c4501b" stroke-dasharray="4 3"/><text x="{place + 4:.1f}" '
            f'y="{margin - 8 + 14 * row}" {text}>{name} {rate:.2g}</text>'
        )
    return "".join([*parts, "</svg>\n"])
