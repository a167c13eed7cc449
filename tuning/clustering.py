"""Keras 3 classifier in, the same classifier with few distinct values in each kernel out."""

import logging
import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

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
    whole_number,
)
from tuning.kernels import choose, find_kernels
from tuning.pruning import clear_negative_zeros, kernels_by_name, twin_names

_LOG = logging.getLogger("keras_recipes.cluster")
INITIALIZATIONS = ("kmeans++", "linear", "density", "random")
HISTORY_FILE = "clustering.json"


def cluster(
    model: keras.Model,
    data,
    *,
    clusters: int = 16,
    initialization: str = "kmeans++",
    layers: str | Sequence[str] | None = None,
    preserve_sparsity: bool = False,
    epochs: int = 2,
    steps_per_epoch: int | None = None,
    optimizer: "str | keras.optimizers.Optimizer" = "adam",
    learning_rate: float = 1e-4,
    loss: Any = None,
    validation_data=None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    run_directory: str | os.PathLike | None = None,
    seed: int = 0,
) -> keras.Model:
    """Train a copy of a classifier on with few distinct values in each kernel.

    Such a file is smaller after compression (gzip, app stores). A layer whose kernel has that few
    values already is not trained. Regularizers and constraints of the model's layers are left out;
    a warning says so. Sets the random seeds of Python, NumPy and TensorFlow.

    Args:
        model: Functional or sequential Keras 3 classifier of one input and one output of shape
            `(batch, classes)`; trained. Left as it was.
        data: `tf.data.Dataset` of batches `(images, labels)` to train on, as for `model.fit`.
        clusters: Most distinct values in each chosen kernel, at least 2; with `preserve_sparsity`
            zero is one of them, and there are at least 3.
        initialization: How the values begin: `"kmeans++"`; `"linear"`: evenly between the smallest
            and the largest weight; `"density"`: by the distribution of the weights; `"random"`.
        layers: Names of layers or patterns such as `"stage3_*"`; by default every convolution and
            dense layer but the first and the last. Depthwise convolutions cannot be clustered.
        preserve_sparsity: Keep the zeros of all layers where they are, as after `prune`; depthwise
            convolutions are left out.
        epochs: Passes over the data.
        steps_per_epoch: As for `prune`.
        optimizer: As for `prune`.
        learning_rate: With which a named optimizer begins; it falls linearly to 0. Small: each
            value gets the sum of the gradients of all its weights.
        loss: As for `prune`.
        validation_data: As for `prune`.
        callbacks: As for `prune`.
        run_directory: Folder for `clustering.json`, as for `prune`.
        seed: Of the random numbers.

    Returns:
        A Keras 3 model of the same layers, names and precision, not compiled; with `history`.

    Raises:
        ConfigError: If an argument is out of range, or a layer unknown or not one that can cross to
            tf_keras.
        DataError: If the data is empty or does not fit the model.
        RecipesError: If training diverges, or a kernel ends with more values, or without its zeros.
        RunError: If the run directory cannot be written.

    Example:
        >>> small = cluster(model, batches, clusters=16)                  # doctest: +SKIP
        >>> describe_weights(small)["stage2_conv"]["distinct"]            # doctest: +SKIP
        16

    Source:
        Han et al., Deep Compression, https://arxiv.org/abs/1510.00149, section 3, by TF-MOT.
    """
    one_of("initialization", initialization, INITIALIZATIONS)
    check_model(model, "cluster")
    check_layers(model, "cluster")
    clusters = whole_number("clusters", clusters, 3 if preserve_sparsity else 2)
    epochs = whole_number("epochs", epochs)
    names = [kernel.name for kernel in choose(model, "cluster", layers)]

    from tuning._keras2.fitting import Fitting, check_optimizer

    check_optimizer(optimizer, learning_rate)
    batch = check_data(data, model)
    if validation_data is not None:
        check_data(validation_data, model, "validation_data")
    fitting = Fitting(
        data,
        epochs,
        count_steps(data, steps_per_epoch),
        find_objective(model, batch),
        loss,
        optimizer,
        learning_rate,
        callbacks,
        validation_data,
    )
    arguments = {
        "clusters": clusters,
        "initialization": initialization,
        "preserve_sparsity": preserve_sparsity,
        "layers": names,
        "epochs": epochs,
        "steps_per_epoch": fitting.steps,
        "optimizer": optimizer if isinstance(optimizer, str) else type(optimizer).__name__,
        "learning_rate": learning_rate if isinstance(optimizer, str) else None,
        "seed": seed,
    }
    record = Record(arguments, run_directory, HISTORY_FILE)
    keras.utils.set_random_seed(seed)
    clustered = plain_copy(model)
    _fit(clustered, names, clusters, initialization, preserve_sparsity, fitting, record)
    chosen = kernels_by_name(clustered, names)
    clear_negative_zeros(chosen.values())
    reached = {name: len(np.unique(kernel.array)) for name, kernel in chosen.items()}
    _check(model, clustered, reached, clusters, preserve_sparsity)
    record.finish(reached)
    clustered.history = record.history(clustered)
    return clustered


def _fit(model, names, clusters, initialization, preserve_sparsity, fitting, record):
    from tuning._keras2 import to_tf_keras
    from tuning._keras2.clustering import cluster_twin

    twin = to_tf_keras(model)
    say_left_out(twin, _LOG)
    in_twin = twin_names(twin, names)
    arrays = {in_twin[name]: kernel.array for name, kernel in kernels_by_name(model, names).items()}
    settled = {name for name, array in arrays.items() if len(np.unique(array)) <= clusters}
    sparse = {name for name, array in arrays.items() if preserve_sparsity and not array.all()}
    if len(settled) == len(arrays):
        raise ConfigError(
            f"clusters: every chosen layer has at most {clusters} distinct values already"
        )
    cluster_twin(
        twin,
        set(arrays) - settled,
        settled,
        clusters,
        initialization,
        sparse,
        preserve_sparsity,
        fitting,
        lambda epoch, measures: record.add(measures),
    )


def _check(before, after, reached, clusters, preserve_sparsity):
    for name, count in reached.items():
        if count > clusters:
            raise RecipesError(
                f"layer {name!r} has {count} distinct values after clustering, asked were at most "
                f"{clusters}"
            )
    if not preserve_sparsity:
        return
    pairs = zip(find_kernels(before, "cluster"), find_kernels(after, "cluster"), strict=True)
    for old, new in pairs:
        lost = int(np.sum((old.array == 0) & (new.array != 0)))
        # What is all zeros was never trained, and has no zeros to keep.
        if lost > 0.01 * old.size and old.array.any():
            raise RecipesError(f"layer {old.name!r} lost {lost} zeros in clustering")
