"""Keras 3 classifier in, the same classifier with most of its weights at exactly 0 out."""

import logging
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from recipes.errors import ConfigError, RecipesError
from tuning._fine_tuning import (
    Record,
    check_data,
    check_layers,
    check_model,
    count_steps,
    find_objective,
    one_of,
    plain_copy,
    say_left_out,
    share,
    whole_number,
)
from tuning.kernels import (
    Kernel,
    choose,
    find_kernels,
    frozen,
    is_two_of_four,
    matching,
    zero_share,
)

_LOG = logging.getLogger("keras_recipes.prune")
SCHEDULES = ("polynomial", "constant")
STRUCTURES = (None, "2:4", "block")
HISTORY_FILE = "pruning.json"
# How far the share of zeros may lie from what was asked.
_TOLERANCE = 1e-3
# Four inputs of one output, which lie side by side in a TFLite file.
_BLOCK = (4, 1)


def prune(
    model: keras.Model,
    data,
    *,
    sparsity: float | None = None,
    schedule: str = "polynomial",
    structure: str | None = None,
    layers: str | Sequence[str] | None = None,
    targets: Mapping[str, float] | None = None,
    epochs: int = 5,
    rounds: int = 1,
    steps_per_epoch: int | None = None,
    optimizer: "str | keras.optimizers.Optimizer" = "adam",
    learning_rate: float = 1e-3,
    loss: Any = None,
    validation_data=None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    run_directory: str | os.PathLike | None = None,
    seed: int = 0,
) -> keras.Model:
    """Train a copy of a classifier on while ever more of its smallest weights are set to 0.

    The zeros shrink the file after compression (gzip, app stores). They make nothing faster on x86,
    where LiteRT computes with dense kernels. What is not pruned here keeps the zeros it has.
    Regularizers and constraints of the model's layers are left out; a warning says so. Sets the
    random seeds of Python, NumPy and TensorFlow.

    Args:
        model: Functional or sequential Keras 3 classifier of one input and one output of shape
            `(batch, classes)`; trained. Left as it was.
        data: `tf.data.Dataset` of batches `(images, labels)` to train on, as for `model.fit`:
            images uint8 or float as the model takes them, labels class numbers or a probability a
            class.
        sparsity: Share of zeros in each chosen kernel, in [0, 1); 0.8 by default. Biases and
            normalisation are not pruned. With `"2:4"` it is 0.5.
        schedule: `"polynomial"`: sparsity rises from 0, fast at first, over the first three
            quarters of the steps (Zhu and Gupta); `"constant"`: at once, and the choice of weights
            is open that long.
        structure: `None`; `"2:4"`: of each four inputs of an output at most two are used, chosen
            once at the first step; layers whose inputs cannot be divided by 4 are left out, or
            refused where they were named; `"block"`: blocks of four inputs of an output together,
            dense layers only.
        layers: Names of layers or patterns such as `"stage3_*"`; by default every convolution and
            dense layer but the first and the last. Depthwise convolutions cannot be pruned.
        targets: Sparsities of single layers, by name or pattern, before `sparsity`; 0 leaves a
            layer alone. `tuning.allocate` makes them.
        epochs: Passes over the data in each round.
        rounds: Times of pruning and fine-tuning, each from what the one before left; the share of
            weights that stay falls by the same factor in each (Han et al.).
        steps_per_epoch: Batches an epoch; needed for data without a known end. Data that ends
            earlier is begun anew.
        optimizer: `"adam"`, `"adamw"`, `"sgd"` (momentum 0.9), `"rmsprop"`, or a
            `keras.optimizers.Optimizer`, of which a new one is made each round, without what was
            set for single variables.
        learning_rate: With which a named optimizer begins each round; it falls linearly to 0.
        loss: Name, function or `keras.losses.Loss`; by default cross-entropy for the labels and for
            the logits or probabilities that the model gives.
        validation_data: Batches to judge on after each epoch.
        callbacks: Keras callbacks. Their `model` is the tf_keras twin that is trained.
        run_directory: Folder for `pruning.json`: arguments, measures and sparsity of each epoch,
            the zeros of each layer. Written anew after each epoch; made if it is missing.
        seed: Of the random numbers.

    Returns:
        A Keras 3 model of the same layers, names and precision, not compiled. Its `history` is a
        `keras.callbacks.History` of `loss`, `accuracy`, `sparsity` (of the chosen layers) and
        `round` by epoch.

    Raises:
        ConfigError: If an argument is out of range, a layer unknown, frozen, not one that can
            cross to tf_keras, or cannot have the structure.
        DataError: If the data is empty or does not fit the model.
        RecipesError: If training diverges, or the sparsity is not reached to one weight in a
            thousand.
        RunError: If the run directory cannot be written.

    Example:
        >>> small = prune(model, batches, sparsity=0.8, epochs=3)         # doctest: +SKIP
        >>> print(describe_weights(small))                                # doctest: +SKIP

    Source:
        Zhu and Gupta, To prune, or not to prune, https://arxiv.org/abs/1710.01878, equation 1, by
        TF-MOT. Rounds: Han et al., https://arxiv.org/abs/1506.02626.
    """
    one_of("schedule", schedule, SCHEDULES)
    one_of("structure", structure, STRUCTURES)
    check_model(model, "prune")
    check_layers(model, "prune")
    epochs, rounds = whole_number("epochs", epochs), whole_number("rounds", rounds)
    aims, left_out = _aims(model, layers, targets or {}, _overall(sparsity, structure), structure)
    if structure == "2:4" and rounds > 1:
        raise ConfigError(f"rounds: a 2:4 structure is chosen once, expected 1, received: {rounds}")

    from tuning._keras2.fitting import Fitting, check_optimizer

    check_optimizer(optimizer, learning_rate)
    batch = check_data(data, model)
    if validation_data is not None:
        check_data(validation_data, model, "validation_data")
    steps = count_steps(data, steps_per_epoch)
    fitting = Fitting(
        data,
        epochs,
        steps,
        find_objective(model, batch),
        loss,
        optimizer,
        learning_rate,
        callbacks,
        validation_data,
    )
    arguments = {
        "sparsity": _overall(sparsity, structure),
        "schedule": schedule,
        "structure": structure,
        "epochs": epochs,
        "rounds": rounds,
        "steps_per_epoch": steps,
        "optimizer": optimizer if isinstance(optimizer, str) else type(optimizer).__name__,
        "learning_rate": learning_rate if isinstance(optimizer, str) else None,
        "seed": seed,
        "targets": aims,
        "left_out": left_out,
    }
    record = Record(arguments, run_directory, HISTORY_FILE)
    if left_out:
        _LOG.warning("left out: %s", "; ".join(left_out))

    keras.utils.set_random_seed(seed)
    pruned = plain_copy(model)
    for number in range(1, rounds + 1):
        _prune_round(pruned, aims, number, rounds, structure, schedule, fitting, record)
    kernels = kernels_by_name(pruned, aims)
    clear_negative_zeros(kernels.values())
    _check(kernels, aims, structure, _zeros(kernels_by_name(model, aims)))
    record.finish(_zeros(kernels))
    pruned.history = record.history(pruned)
    return pruned


def clear_negative_zeros(kernels) -> None:
    """Write each zero as `+0.0`: masks leave `-0.0`, which compresses like any other number."""
    for kernel in kernels:
        kernel.variable.assign(kernel.array + 0.0)


def _overall(sparsity, structure):
    if structure == "2:4":
        if sparsity not in (None, 0.5):
            raise ConfigError(f"sparsity: structure '2:4' means 0.5, received: {sparsity!r}")
        return 0.5
    return share("sparsity", 0.8 if sparsity is None else sparsity)


def _aims(model, layers, targets, sparsity, structure):
    """Return `{layer: sparsity}`, and a sentence for each layer that a structure leaves out."""
    if targets and structure == "2:4":
        raise ConfigError("targets: structure '2:4' means 0.5 in every layer")
    kernels = choose(model, "prune", layers, tuple(targets))
    named = _named(model, layers, targets)
    aims = {kernel.name: sparsity for kernel in kernels}
    for pattern, value in targets.items():
        value = share(f"targets[{pattern!r}]", value)
        aims |= dict.fromkeys(matching(model, kernels, pattern), value)
    left_out = []
    for kernel in kernels:
        reason = _obstacle(kernel, structure)
        if reason and kernel.name in named:
            raise ConfigError(reason)
        if reason:
            left_out.append(reason)
            del aims[kernel.name]
    aims = {name: value for name, value in aims.items() if value > 0}
    if not aims:
        why = f": {left_out[0]}" if left_out else ": every sparsity is 0"
        raise ConfigError(f"prune has no layer to work on{why}")
    _refuse_frozen([kernel for kernel in kernels if kernel.name in aims])
    return aims, left_out


def _refuse_frozen(kernels):
    names = frozen(kernels)
    if names:
        raise ConfigError(
            f"{len(names)} of {len(kernels)} layers to prune are frozen, {names[0]!r} the first: "
            "training could not make good what is cut there. Unfreeze them, with "
            "recipes.transfer.unfreeze(model) or layer.trainable = True, or name other layers"
        )


def _named(model, layers, targets):
    """Return the layers that the user named one by one: for them a problem is an error."""
    given = [layers] if isinstance(layers, str) else list(layers or ())
    names = {kernel.name for kernel in find_kernels(model, "prune")}
    return names.intersection([*given, *targets])


def _obstacle(kernel: Kernel, structure) -> str | None:
    """Return why a kernel cannot have a structure."""
    shape = tuple(kernel.variable.shape)
    if structure == "2:4":
        if kernel.kind in ("Conv1D", "Conv2DTranspose"):
            return f"layer {kernel.name!r}: TF-MOT has no 2:4 sparsity for {kernel.kind}"
        inputs = shape[kernel.input_axis]
        if inputs % 4:
            return (
                f"layer {kernel.name!r} cannot be 2:4: it has {inputs} input channels (a group), "
                "which 4 does not divide"
            )
    if structure == "block":
        if len(shape) != 2:
            return (
                f"layer {kernel.name!r} ({kernel.kind}) cannot be pruned in blocks: TF-MOT has "
                "them for dense layers only"
            )
        if shape[0] % _BLOCK[0]:
            return (
                f"layer {kernel.name!r} cannot be pruned in blocks of {_BLOCK[0]} inputs: it has "
                f"{shape[0]}"
            )
    return None


def _prune_round(pruned, aims, number, rounds, structure, schedule, fitting, record):
    from tuning._keras2 import to_tf_keras
    from tuning._keras2.pruning import Aim, prune_twin

    twin = to_tf_keras(pruned)
    if number == 1:
        say_left_out(twin, _LOG)
    names = twin_names(twin, aims)
    planned = {
        names[name]: Aim(staged(value, number - 1, rounds), staged(value, number, rounds))
        for name, value in aims.items()
    }
    sizes = {names[name]: kernel.size for name, kernel in kernels_by_name(pruned, aims).items()}

    def on_epoch(epoch, measures, zeros):
        overall = sum(zeros[name] * size for name, size in sizes.items()) / sum(sizes.values())
        record.add({"round": number, **measures, "sparsity": overall})

    prune_twin(twin, planned, structure, _BLOCK, schedule, fitting, on_epoch)


def staged(sparsity: float, number: int, rounds: int) -> float:
    """Return the sparsity after round `number` of `rounds`.

    Example:
        >>> [round(staged(0.75, number, 2), 3) for number in range(3)]
        [0.0, 0.5, 0.75]
    """
    return sparsity if number == rounds else 1 - (1 - sparsity) ** (number / rounds)


def twin_names(twin, names):
    """Return the names that layers have in the twin."""
    layers = {id(link.layer): link.name for link in twin.links}
    found = {kernel.name: kernel.layer for kernel in find_kernels(twin.source, "prune")}
    return {name: layers[id(found[name])] for name in names}


def kernels_by_name(model, names) -> dict[str, Kernel]:
    """Return the kernels of layers by the names of these."""
    return {kernel.name: kernel for kernel in find_kernels(model, "prune") if kernel.name in names}


def _zeros(kernels):
    return {name: zero_share(kernel.array) for name, kernel in kernels.items()}


def _check(kernels, aims, structure, before):
    for name, kernel in kernels.items():
        array, asked = kernel.array, aims[name]
        found = zero_share(array)
        # Whole weights only, and whole blocks.
        allowed = max(_TOLERANCE, (math.prod(_BLOCK) if structure == "block" else 1) / array.size)
        if not asked - allowed <= found <= max(asked, before[name]) + allowed:
            raise RecipesError(
                f"layer {name!r} has {found:.4f} zeros, asked were {asked:.4f}: weights of equal "
                "size, or training that a callback stopped early"
            )
        if structure == "2:4" and not is_two_of_four(array, kernel.input_axis):
            raise RecipesError(f"layer {name!r} is not 2:4 after pruning")
