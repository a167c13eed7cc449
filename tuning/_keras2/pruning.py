"""Pruning of a tf_keras twin by TF-MOT: wrap, train, strip."""

import dataclasses

import numpy as np

from tuning._keras2.fitting import Fitting, fit, keeping_zeros
from tuning._keras2.guard import load_tf_keras, load_tf_mot

# The share of the steps over which masks are chosen; in the rest the weights that are left settle.
RAMP = 0.75
# How often masks are chosen anew, at most: each time all weights are sorted.
_UPDATES = 100


@dataclasses.dataclass(frozen=True)
class Aim:
    """What one layer is to become in one round.

    Attributes:
        begin: Sparsity to begin with.
        end: Sparsity to reach.
    """

    begin: float
    end: float


def prune_twin(twin, aims, structure, block, schedule, fitting: Fitting, on_epoch):
    """Train a twin while TF-MOT sets ever more of its weights to 0; carry the weights back.

    Args:
        twin: From `to_tf_keras`.
        aims: `{name of a layer of the twin: Aim}`.
        structure: `None`, `"2:4"` or `"block"`.
        block: Shape of a block.
        schedule: `"polynomial"` or `"constant"`.
        fitting: How to train.
        on_epoch: Receives the epoch, its measures, and the sparsity of each of these layers.
    """
    tf_keras, sparsity = load_tf_keras(), load_tf_mot().sparsity.keras
    steps = fitting.epochs * fitting.steps
    extra = {"2:4": {"sparsity_m_by_n": (2, 4)}, "block": {"block_size": block}}.get(structure, {})
    kernels = {name: kernel_of(twin.model.get_layer(name)) for name in aims}

    def wrapped(layer):
        if layer.name not in aims:
            return layer
        planned = _schedule(sparsity, schedule, aims[layer.name], steps)
        return sparsity.prune_low_magnitude(layer, pruning_schedule=planned, **extra)

    model = tf_keras.models.clone_model(twin.model, clone_function=wrapped)
    own = [sparsity.UpdatePruningStep(), keeping_zeros(sparse_kernels(twin, aims))]

    def measured(epoch, measures):
        on_epoch(epoch, measures, {name: _zeros(kernel) for name, kernel in kernels.items()})

    fit(model, fitting, own, measured)
    twin.carry_back(sparsity.strip_pruning(model))


def sparse_kernels(twin, but=()):
    """Return the kernels of a twin's other layers that have zeros to keep.

    A kernel that is all zeros has none: it has not been trained yet.
    """
    layers = [twin.model.get_layer(link.name) for link in twin.links if link.name not in but]
    kernels = [kernel for kernel in map(kernel_of, layers) if kernel is not None]
    return [kernel for kernel in kernels if 0.01 <= _zeros(kernel) < 1]


def kernel_of(layer):
    """Return the variable that TF-MOT prunes and clusters, or `None`."""
    for name in ("pointwise_kernel", "kernel"):
        if hasattr(layer, name):
            return getattr(layer, name)
    return None


def ramp(steps: int) -> tuple[int, int]:
    """Return the last step that may choose masks, and how many steps lie between two choices.

    The last lies a whole number of intervals after the first step, without which TF-MOT would not
    reach the final sparsity.

    Example:
        >>> ramp(1000)
        (750, 7)
    """
    length = max(int(steps * RAMP) - 1, min(steps - 1, 1))
    every = max(1, length // _UPDATES)
    return 1 + length // every * every, every


def _schedule(sparsity, schedule, aim, steps):
    end, every = ramp(steps)
    # From step 1 on: TF-MOT counts a step before it looks whether to choose.
    if schedule == "constant" or end == 1 or aim.begin == aim.end:
        return sparsity.ConstantSparsity(aim.end, 1, end, every)
    return sparsity.PolynomialDecay(aim.begin, aim.end, 1, end, power=3, frequency=every)


def _zeros(kernel):
    return float(np.mean(kernel.numpy() == 0))
