"""What is wrong with a model: rules over what was observed, each threshold named."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from recipes.diagnosis.findings import Finding
from recipes.diagnosis.targets import double_softmax_floor

# Spread of a layer's outputs over the images below which all look the same.
SAME = 1e-4
# Root mean square of a layer's outputs from which it has exploded.
LARGE_ACTIVATION = 1e3
# Share of ReLU units that are 0 for a whole batch.
MANY_DEAD, ALL_DEAD = 0.6, 0.98
# Norm of the gradient of a kernel, relative to the largest of any weight.
VANISHED = 1e-5
# Norm of the whole gradient.
LARGE_GRADIENT = 1e3
# Standard deviation of what arrives at the first kernel.
SMALL_INPUT, LARGE_INPUT = 0.02, 10.0
# Median over kernels of the relative size of the first update.
LARGE_UPDATE, SMALL_UPDATE = 0.5, 1e-8
# Times the first loss that a few steps on one batch may reach.
RISING = 3.0
# Share of the way from the first loss to the floor that one batch should be fitted.
FITTED = 0.7


def check_activations(first: Sequence, later: Sequence) -> Iterator[Finding]:
    """Look at what the layers put out.

    Args:
        first: `LayerStatistics` of the model as it is.
        later: The same after some small steps, when nothing is 0 by design any more.
    """
    broken = [layer.name for layer in first if not layer.finite]
    if broken:
        yield Finding(
            "activations_not_finite",
            "error",
            f"outputs are NaN or infinite from {broken[0]} on ({len(broken)} layers)",
            "check the images, the initial weights and the precision of that layer",
            {"layers": broken},
        )
        return
    large = [layer for layer in first if layer.rms > LARGE_ACTIVATION]
    if large:
        yield Finding(
            "activations_exploded",
            "error",
            f"outputs of {large[0].name} have grown to {large[0].rms:.2g} ({len(large)} layers)",
            "use He initialisation for ReLU, a normalisation, and scaled images",
            {"layers": {layer.name: layer.rms for layer in large}},
        )
    dark = [(a, b) for a, b in zip(first, later, strict=False) if max(a.spread, b.spread) < SAME]
    if dark and dark[-1][0] is not first[-1]:
        # What follows tells images apart: a branch that starts small is no collapse, but one whose
        # outputs are large and all the same is.
        dark = [(a, b) for a, b in dark if a.spread < SAME * a.rms]
    if dark:
        layer = dark[0][0]
        yield Finding(
            "activations_collapsed",
            "error",
            f"outputs of {layer.name} hardly differ from image to image: {layer.spread:.2g} "
            f"({len(dark)} layers)",
            "use He initialisation for ReLU, a normalisation, and images in the expected range",
            {"layers": {a.name: a.spread for a, _ in dark}},
        )
    dead = [
        (a.name, min(a.dead, b.dead))
        for a, b in zip(first, later, strict=False)
        if a.dead is not None and b.dead is not None and min(a.dead, b.dead) > MANY_DEAD
    ]
    if dead:
        name, share = max(dead, key=lambda pair: pair[1])
        yield Finding(
            "dead_relu",
            "error" if share > ALL_DEAD else "warning",
            f"{100 * share:.0f} % of the ReLU units of {name} are 0 for every image "
            f"({len(dead)} layers)",
            "start biases at 0, lower the learning rate, or use a leaky activation",
            {"layers": dict(dead)},
        )


def check_input_scale(layers: Sequence, given_range: bool) -> Iterator[Finding]:
    """Look at what arrives at the first layer with a kernel, whatever scaled it.

    Args:
        layers: `LayerStatistics` in order.
        given_range: Whether the user has said what range is right; then pixels were compared.
    """
    first = next((layer for layer in layers if layer.weighted), None)
    if first is None or given_range or not first.finite:
        return
    spread = first.input_spread
    figures = {"layer": first.name, "input_spread": spread}
    if 0 < spread < SMALL_INPUT:
        yield Finding(
            "inputs_too_small",
            "warning",
            f"what arrives at {first.name} has a standard deviation of {spread:.2g}: are the "
            "images scaled twice?",
            "a model that scales by itself takes [0, 255]; divide by 255 in one place only",
            figures,
        )
    elif spread > LARGE_INPUT:
        yield Finding(
            "inputs_too_large",
            "warning",
            f"what arrives at {first.name} has a standard deviation of {spread:.3g}: are the "
            "images not scaled?",
            "put Rescaling(1/255) first; right only for weights that were trained so",
            figures,
        )


def check_gradients(first: Sequence, later: Sequence, images: float = 1) -> Iterator[Finding]:
    """Look at the gradients that reach the weights.

    Args:
        first: `GradientStatistics` of the model as it is.
        later: The same after some small steps.
        images: That the losses are sums over; 1 for means.
    """
    absent = [gradient.name for gradient in first if gradient.norm is None]
    if absent:
        yield Finding(
            "no_gradient",
            "error" if len(absent) == len(first) else "warning",
            f"the loss does not depend on {len(absent)} of {len(first)} trainable weights: "
            f"{_some(absent)}",
            "connect the layer, make it differentiable, or freeze it",
            {"weights": absent},
        )
    broken = [gradient.name for gradient in first if not gradient.finite]
    if broken:
        yield Finding(
            "gradients_not_finite",
            "error",
            f"gradients of {len(broken)} weights are NaN or infinite: {_some(broken)}",
            "look for a log, division or root of 0, or too low a precision",
            {"weights": broken},
        )
        return
    whole = math.sqrt(sum(gradient.norm**2 for gradient in first if gradient.norm is not None))
    if whole > images * LARGE_GRADIENT:
        worst = max((g for g in first if g.norm is not None), key=lambda gradient: gradient.norm)
        yield Finding(
            "gradients_exploding",
            "warning",
            f"the gradient has a norm of {whole:.3g}, most of it in {worst.name}",
            "clip it (global_clipnorm=1.0), lower the learning rate, or start with warm-up",
            {"norm": whole, "weight": worst.name},
        )
    yield from _check_vanishing(first, later)


def _check_vanishing(first, later):
    shares = {}
    for gradients in (first, later):
        kernels = [g for g in gradients if g.kernel and g.norm is not None and g.finite]
        # The last bias gets its gradient even where no signal reaches any kernel.
        top = max((g.norm for g in gradients if g.norm is not None and g.finite), default=0)
        for gradient in kernels:
            share = gradient.norm / top if top else 0.0
            shares[gradient.name] = max(shares.get(gradient.name, 0.0), share)
    small = {name: share for name, share in shares.items() if share < VANISHED}
    if small:
        name = min(small, key=small.get)
        yield Finding(
            "gradients_vanishing",
            "error" if len(small) > len(shares) / 2 else "warning",
            f"{len(small)} of {len(shares)} kernels get almost no gradient; {name} gets "
            f"{small[name]:.1g} of the largest",
            "use He initialisation, normalisation or shortcuts, or freeze what is not to learn",
            {"weights": small},
        )


def check_frozen(frozen: Sequence[str], trainable: int) -> Iterator[Finding]:
    """Name what cannot learn.

    Args:
        frozen: Layers that have weights and learn none of them.
        trainable: Number of trainable weights of the model.
    """
    if not trainable:
        yield Finding(
            "nothing_trainable",
            "error",
            "no weight of the model is trainable",
            "set trainable=True on the layers to train, then compile again",
            {"layers": list(frozen)},
        )
    elif frozen:
        yield Finding(
            "frozen_layers",
            "note",
            f"{len(frozen)} layers are frozen: {_some(frozen)}",
            "right for a pretrained backbone; else set trainable=True and compile again",
            {"layers": list(frozen)},
        )


def check_updates(probe, without_gradient: Sequence[str], peak: float | None) -> Iterator[Finding]:
    """Look at what some steps of the model's own optimizer do.

    Args:
        probe: From `probe_optimizer`.
        without_gradient: Paths of weights that get none, and so may stand still.
        peak: Highest rate of a schedule, or `None` for a constant rate.
    """
    rate, losses = max(probe.rates), probe.losses
    figures = {"learning_rate": rate, "losses": list(losses)}
    if not np.isfinite(losses).all() or losses[-1] > RISING * max(losses[0], math.log(2)):
        yield Finding(
            "learning_rate_high",
            "error",
            f"at a learning rate of {rate:.3g} the loss on one batch goes from {losses[0]:.3g} to "
            f"{losses[-1]:.3g} in {len(losses) - 1} steps",
            "lower it, or run callbacks.find_learning_rate; warm-up and clipping help",
            figures,
        )
        return
    if rate == 0 and peak:
        # Warm-up from 0: the next steps will move.
        return
    still = [path for path, far in probe.moved.items() if far == 0 and path not in without_gradient]
    if still:
        yield Finding(
            "weights_do_not_change",
            "error" if len(still) > len(probe.moved) / 2 else "warning",
            f"{len(still)} of {len(probe.moved)} trainable weights stay the same over "
            f"{len(losses)} steps at a learning rate of {rate:.3g}: {_some(still)}",
            "check the learning rate, its schedule, and the precision of the weights",
            {**figures, "weights": still},
        )
        return
    # A kernel behind one that starts at 0 does not move in the first step.
    moving = [change for change in probe.first.values() if change > 0]
    if not moving:
        return
    update = float(np.median(moving))
    figures["relative_update"] = update
    if update > LARGE_UPDATE:
        yield Finding(
            "learning_rate_high",
            "warning",
            f"the first step changes kernels by {update:.2g} of their size, at a learning rate of "
            f"{rate:.3g}",
            "about 0.001 is usual, 0.1 much: lower it, or run callbacks.find_learning_rate",
            figures,
        )
    elif update < SMALL_UPDATE and rate == max(peak or 0, rate):
        yield Finding(
            "learning_rate_low",
            "warning",
            f"the first step changes kernels by only {update:.2g} of their size, at a learning "
            f"rate of {rate:.3g}",
            "raise it, or run callbacks.find_learning_rate",
            figures,
        )


def check_overfit(found, classes: int, smoothing: float, images: int = 1) -> Iterator[Finding]:
    """Judge whether one batch could be fitted.

    Args:
        found: From `overfit`.
        classes: Outputs of the model an image.
        smoothing: Of the labels, for the message.
        images: That the losses are sums over; 1 for means.
    """
    if found.progress >= FITTED:
        return
    lowest = min((loss for loss in found.losses if math.isfinite(loss)), default=math.nan)
    stuck = double_softmax_floor(classes)
    figures = {
        "first_loss": found.losses[0],
        "lowest_loss": lowest,
        "floor": found.floor,
        "progress": found.progress,
        "steps": len(found.losses),
    }
    floor = f"{found.floor:.4g}" + (f" (label smoothing {smoothing:g})" if smoothing else "")
    is_stuck = abs(lowest / images / stuck - 1) < 0.03
    double = f"; it sticks at log(1 + (C - 1) / e) = {stuck:.4f}: a softmax applied twice"
    yield Finding(
        "does_not_overfit",
        "error",
        f"{len(found.losses)} steps on one batch bring the loss from {found.losses[0]:.3g} to "
        f"{lowest:.3g}, it could be {floor}{double if is_stuck else ''}",
        "check that labels belong to their images, and the loss; less dropout; a larger model",
        figures,
    )


def _some(names, limit=3):
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
