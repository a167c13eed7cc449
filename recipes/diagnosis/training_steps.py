"""A few training steps on the side, and everything put back to the bit."""

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from callbacks._layers import numbered
from callbacks._optimizers import inner_optimizer, settings
from recipes.diagnosis.activations import losses

# Rates that a fresh Adam tries on one batch until one fits it.
_RATES = (3e-3, 3e-4, 3e-2)
# Share of the way from the first loss down to the floor after which a batch counts as fitted.
_ENOUGH = 0.95


@contextlib.contextmanager
def restored(model: keras.Model) -> Iterator[None]:
    """Give a model back as it was: every bit of every variable, and the seeds of Python and NumPy.

    Weights, batch statistics, states of seed generators, metrics, the optimizer's slots and step
    count are assigned back. Training and prediction functions are not touched, nor is what is
    trainable. Random numbers drawn from a global generator of TensorFlow cannot be put back.

    Args:
        model: Built.
    """
    variables = {id(v): v for v in [*model.variables, *model.metrics_variables]}
    if model.optimizer is not None:
        variables |= {id(v): v for v in model.optimizer.variables}
    values = [(variable, variable.numpy().copy()) for variable in variables.values()]
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        for variable, value in values:
            variable.assign(value)
        random.setstate(python)
        np.random.set_state(numpy)


@dataclass(frozen=True)
class Probe:
    """What a few steps of the model's own optimizer did.

    Attributes:
        rates: Learning rate of each step.
        losses: Of the data before each step.
        moved: Path of each trainable weight, `numbered`, to the norm of its change over all steps.
        sizes: Path of each trainable weight to its norm before.
        first: The same as `moved`, relative to `sizes`, of kernels in the first step alone.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    moved: dict[str, float]
    sizes: dict[str, float]
    first: dict[str, float]


def probe_optimizer(model, batch, steps: int) -> Probe:
    """Take steps with a twin of the model's optimizer, on one batch.

    The twin has the same settings and step count, empty slots, and accumulates no gradients. Run
    it inside `restored`.
    """
    optimizer = _twin(model.optimizer)
    step = _stepper(model, optimizer)
    variables = model.trainable_variables
    paths = numbered(variable.path for variable in variables)
    before = [np.asarray(v, np.float64) for v in variables]
    sizes = [float(np.linalg.norm(value)) for value in before]
    rates, found, first = [], [], {}
    for index in range(steps):
        rates.append(float(optimizer.learning_rate))
        found.append(float(step(*batch)))
        if index == 0:
            moved = _distances(variables, before)
            first = {
                path: far / size
                for path, v, far, size in zip(paths, variables, moved, sizes, strict=True)
                if size > 0 and len(v.shape) >= 2
            }
        if not np.isfinite(found[-1]):
            break
    moved = dict(zip(paths, _distances(variables, before), strict=True))
    return Probe(tuple(rates), tuple(found), moved, dict(zip(paths, sizes, strict=True)), first)


def _distances(variables, before):
    return [
        float(np.linalg.norm(np.asarray(v, np.float64) - b))
        for v, b in zip(variables, before, strict=True)
    ]


@dataclass(frozen=True)
class Overfit:
    """How far one batch could be fitted.

    Attributes:
        losses: Of the data before each step, of the rate that came furthest.
        floor: What no predictions can get below.
        rate: Learning rate that came furthest.
        progress: Share of the way from the first loss to the floor; 1 is all of it.
    """

    losses: tuple[float, ...]
    floor: float
    rate: float
    progress: float


def overfit(model, batch, floor: float, steps: int) -> Overfit:
    """Fit one batch with Adam, at up to three learning rates; say how far it came.

    Args:
        model: Compiled and built; run it inside `restored`: each rate begins with its weights.
        batch: Images, labels, and weights or `None`.
        floor: Lowest loss that there can be, see `loss_floor`.
        steps: At most, for each rate.
    """
    optimizer = keras.optimizers.Adam(_RATES[0], clipnorm=1.0)
    step, best = _stepper(model, optimizer), None
    begin = [(v, v.numpy().copy()) for v in (*model.variables, *optimizer.variables)]
    for rate in _RATES:
        for variable, value in begin:
            variable.assign(value)
        optimizer.learning_rate = rate
        found = _fit(step, batch, floor, steps)
        way = max(found[0] - floor, 1e-9)
        progress = (found[0] - min(_averaged(found))) / way if np.isfinite(found).all() else -1.0
        if best is None or progress > best.progress:
            best = Overfit(tuple(found), floor, rate, progress)
        if progress >= _ENOUGH:
            break
    return best


def _fit(step, batch, floor, steps):
    found = []
    for _ in range(steps):
        found.append(float(step(*batch)))
        averaged = _averaged(found)[-1]
        if not np.isfinite(found[-1]) or found[0] - averaged >= _ENOUGH * (found[0] - floor):
            break
    return found


def _averaged(found, length=5):
    """Return means of up to the newest five: dropout makes single losses jump."""
    return [float(np.mean(found[max(0, i - length + 1) : i + 1])) for i in range(len(found))]


def _stepper(model, optimizer):
    """Return a compiled step from a batch to its loss before the update."""
    variables = model.trainable_variables
    optimizer.build(variables)

    def step(images, labels, weights):
        with tf.GradientTape() as tape:
            outputs = model(images, training=True)
            loss, penalty = losses(model, images, labels, outputs, weights)
            total = loss + penalty
        gradients = tape.gradient(total, [variable.value for variable in variables])
        gradients = [
            tf.zeros(v.shape, v.dtype) if g is None else tf.convert_to_tensor(g)
            for g, v in zip(gradients, variables, strict=True)
        ]
        optimizer.apply(gradients, variables)
        return loss

    return tf.function(step, autograph=False, reduce_retracing=True)


def _twin(optimizer):
    """Return a new optimizer of the same settings and step count, that scales no losses."""
    optimizer = inner_optimizer(optimizer)
    twin = type(optimizer).from_config({**settings(optimizer), "gradient_accumulation_steps": None})
    twin.iterations.assign(optimizer.iterations)
    return twin
