"""Keras 3 classifier in, the same classifier trained to be computed with 8-bit integers out."""

import dataclasses
import fnmatch
import inspect
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from callbacks.calibration import softmax
from recipes.errors import ConfigError, RecipesError, nearest
from recipes.evaluation.classifier import KerasClassifier, LiteRTClassifier
from recipes.models.replay import trace
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
from tuning.conversion import convert_rounded
from tuning.flatbuffer import inspect_tflite
from tuning.kernels import WITH_KERNEL, find_kernels, frozen
from tuning.tflite import (
    Comparison,
    check_path,
    collect_facts,
    image_shape,
    in_float32,
    write_checked,
)

_LOG = logging.getLogger("keras_recipes.quantize")
PRESERVE = (None, "sparsity", "clusters", "both")
HISTORY_FILE = "quantization.json"
# How far, in total variation over the images compared, a file may lie from the network that was
# trained with rounding: integer arithmetic rounds at some places more.
_LARGEST_DISTANCE = 0.1
_CHECKED_IMAGES = 32


def quantize_aware(
    model: keras.Model,
    data,
    *,
    layers: str | Sequence[str] | None = None,
    preserve: str | None = None,
    epochs: int = 2,
    steps_per_epoch: int | None = None,
    optimizer: "str | keras.optimizers.Optimizer" = "adam",
    learning_rate: float = 1e-4,
    loss: Any = None,
    freeze_batch_normalization_after: int | None = 1,
    validation_data=None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    run_directory: str | os.PathLike | None = None,
    seed: int = 0,
) -> "QuantizationAware":
    """Go on training a classifier while its weights and results are rounded to 8 bits.

    Weights get one scale an output channel, depthwise ones too, results one a tensor, as the
    kernels of TFLite have them; the ranges begin at those of eight training batches. The softmax at
    the end is taken off for training and put back, with its temperature, for export, as are fixed
    factors of the logits, which the file has in the weights of the last layer. Regularizers and
    constraints of the model's layers are left out; a warning says so. Sets the random seeds of
    Python, NumPy and TensorFlow.

    Args:
        model: Functional or sequential Keras 3 classifier of one input of images in `[0, 255]` and
            one output of shape `(batch, classes)` that ends in a softmax; trained. Left as it was.
        data: `tf.data.Dataset` of batches `(images, labels)` to train on, as for `model.fit`.
        layers: Names, or patterns such as `"stage3_*"`, of the convolutions and dense layers to
            compute with integers; `None`: all. What lies between two of them, or before the first,
            goes with them. A layer that takes the results of one left float is computed in float as
            well, since the converter quantizes by what goes in.
        preserve: `"sparsity"`: weights that are 0 stay 0; `"clusters"`: weights of a kernel that
            are equal stay equal, in kernels of at most 256 values; `"both"`.
        epochs: Passes over the data.
        steps_per_epoch: Batches an epoch; needed for data without a known end.
        optimizer: `"adam"`, `"adamw"`, `"sgd"` (momentum 0.9), `"rmsprop"`, or a
            `keras.optimizers.Optimizer`.
        learning_rate: With which a named optimizer begins; it falls linearly to 0. Small, since
            training has converged already.
        loss: Function or `keras.losses.Loss` of labels and logits; by default cross-entropy.
        freeze_batch_normalization_after: Epochs after which batch normalisation computes with what
            it has, as the file does; 0: from the beginning; `None`: never.
        validation_data: Batches to judge on, with rounding, after each epoch.
        callbacks: Keras callbacks. Their `model` is the tf_keras twin that is trained.
        run_directory: Folder for `quantization.json`: arguments, measures of each epoch, float
            operations left. Written anew after each epoch; made if it is missing.
        seed: Of the random numbers.

    Returns:
        What was trained, to be exported.

    Raises:
        ConfigError: If an argument is out of range, a layer unknown, or one that cannot cross to
            tf_keras, the loss one of probabilities, or the model ends in no softmax.
        DataError: If the data is empty or does not fit the model.
        RecipesError: If training diverges, or the converter cannot take the network.
        RunError: If the run directory cannot be written.

    Example:
        >>> trained = quantize_aware(model, batches, epochs=2)            # doctest: +SKIP
        >>> trained.float_operations                                      # doctest: +SKIP
        {'SOFTMAX': 1}
        >>> trained.export("model.tflite")                                # doctest: +SKIP

    Source:
        Jacob et al., https://arxiv.org/abs/1712.05877; Krishnamoorthi,
        https://arxiv.org/abs/1806.08342. Wrappers and moving ranges are TF-MOT's.
    """
    one_of("preserve", preserve, PRESERVE)
    check_model(model, "quantize_aware")
    epochs = whole_number("epochs", epochs)
    if freeze_batch_normalization_after is not None:
        whole_number("freeze_batch_normalization_after", freeze_batch_normalization_after, least=0)
    check_layers(model, "quantize_aware", "; export_tflite can quantize it instead")
    patterns = _check_patterns(model, layers)

    from tuning._keras2.fitting import Fitting, check_optimizer

    check_optimizer(optimizer, learning_rate)
    batch = check_data(data, model)
    objective = find_objective(model, batch)
    if objective.from_logits or objective.kind == "binary":
        raise ConfigError(
            f"quantize_aware takes a model that ends in a softmax, {model.name!r} does not: its "
            "file is to give probabilities; add keras.layers.Softmax() to one that gives logits"
        )
    if validation_data is not None:
        check_data(validation_data, model, "validation_data")
    steps = count_steps(data, steps_per_epoch)
    image_shape(model)
    arguments = {
        "layers": patterns,
        "preserve": preserve,
        "epochs": epochs,
        "steps_per_epoch": steps,
        "optimizer": optimizer if isinstance(optimizer, str) else type(optimizer).__name__,
        "learning_rate": learning_rate if isinstance(optimizer, str) else None,
        "freeze_batch_normalization_after": freeze_batch_normalization_after,
        "seed": seed,
    }
    keras.utils.set_random_seed(seed)
    trained = plain_copy(model)
    quantized, temperature = _rounded(trained, patterns)

    from tuning._keras2.quantization import set_ranges, train_quantized

    if temperature is not None:
        _check_loss(loss)
        objective = dataclasses.replace(objective, from_logits=True)
    record = Record(arguments, run_directory, HISTORY_FILE)
    fitting = Fitting(
        data,
        epochs,
        steps,
        objective,
        loss,
        optimizer,
        learning_rate,
        callbacks,
        validation_data,
        scale=quantized.scale,
    )
    say_frozen(trained)
    set_ranges(quantized, data)
    train_quantized(
        quantized,
        fitting,
        preserve,
        freeze_batch_normalization_after,
        lambda epoch, measures: record.add(measures),
    )
    quantized.carry_back()
    images = np.rint(np.asarray(batch[0])[:_CHECKED_IMAGES]).clip(0, 255).astype(np.uint8)
    result = QuantizationAware(
        trained, quantized, temperature, record.history(trained), arguments, images
    )
    record.finish(
        {"float_operations": result.float_operations, "float_reasons": result.float_reasons}
    )
    return result


def say_frozen(model: keras.Model) -> None:
    """Warn of layers whose weights are rounded, and cannot be trained to make it good."""
    kernels = find_kernels(model, "quantize", WITH_KERNEL)
    names = frozen(kernels)
    if names:
        _LOG.warning(
            "%d of %d layers with a kernel are frozen, %r the first: rounded, but not trained to "
            "make it good. See recipes.transfer.unfreeze",
            *(len(names), len(kernels), names[0]),
        )


class QuantizationAware:
    """What `quantize_aware` made.

    Attributes:
        model: Keras 3 model with the trained weights, in float; not compiled.
        history: `keras.callbacks.History` of the training.
        float_operations: `{name of an operation: how many}` that compute in float in the exported
            file.
        float_reasons: `{layer: why it stays float}`.
    """

    def __init__(self, model, quantized, temperature, history, arguments, images):
        self.model = model
        self.history = history
        self._quantized, self._temperature = quantized, temperature
        self._arguments, self._images = arguments, images
        function = quantized.exported_function(temperature)
        self._content = convert_rounded(function, quantized.model, model.name)
        self.float_operations = _float_operations(self._content)
        self.float_reasons = dict(quantized.reasons)
        _LOG.info("%s: float operations left: %s", model.name, self.float_operations)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the probabilities of the network that was trained, with rounding.

        Args:
            images: Shape `(n, height, width, channels)`, values in `[0, 255]`.

        Returns:
            float32, shape `(n, classes)`.
        """
        outputs = self._quantized.predict(np.asarray(images))
        if self._temperature is None:
            return outputs
        return softmax(outputs / self._temperature).astype(np.float32)

    def export(
        self,
        path: str | os.PathLike,
        *,
        images: np.ndarray | None = None,
        contract: dict[str, Any] | None = None,
    ) -> Path:
        """Write it as an int8 `.tflite` file, as `export_tflite` does.

        The file takes uint8 images (scale 1, zero point 0) and gives float32 probabilities. It gets
        its name after the interpreter has run it, and its probabilities were compared with those of
        the rounded network and of `model`.

        Args:
            path: Where to write, ending in `.tflite`; an existing file is replaced.
            images: To compare on, values in `[0, 255]`; by default 32 training images.
            contract: As in `export_tflite`: facts to travel in the file.

        Returns:
            `path`.

        Raises:
            ConfigError: If the suffix of `path` is another.
            RecipesError: If the file computes something else than it should.
            RunError: If `path` cannot be written.
        """
        path = check_path(path)
        images = self._images if images is None else np.asarray(images)
        classifier = KerasClassifier(in_float32(self.model))
        comparison = Comparison(classifier, images)
        rounded = self.predict(images)
        contract = dict(contract or {})
        provenance = {"quantization_aware_training": self._arguments}
        contract["provenance"] = {**contract.get("provenance", {}), **provenance}
        facts = collect_facts(classifier, "int8", contract, 0)
        facts["provenance"].pop("calibration_images", None)

        def check(file):
            comparison.check(file, "int8")
            _check_rounded(file, images, rounded)

        return write_checked(path, self._content, facts, check)


def _check_rounded(file, images, expected):
    received = LiteRTClassifier(file).predict(images)
    distance = float(np.abs(expected - received).sum(axis=1).mean() / 2)
    _LOG.info("file against the network trained with rounding: total variation %.3g", distance)
    if not distance <= _LARGEST_DISTANCE:
        raise RecipesError(
            "the int8 TFLite file does not compute what was trained: total variation distance of "
            f"the probabilities {distance:.2f}, more than {_LARGEST_DISTANCE}; not written"
        )


def _float_operations(content):
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.tflite"
        path.write_bytes(content)
        return inspect_tflite(path)["float_operation_names"]


# Of Keras' own, what takes probabilities and has no `from_logits`.
_OF_PROBABILITIES = frozenset(
    (
        *("KLDivergence", "Poisson", "Dice", "Tversky"),
        *("kl_divergence", "poisson", "dice", "tversky"),
    )
)


def _check_loss(loss):
    """Refuse what takes probabilities, where the softmax is taken off for training."""
    if isinstance(loss, keras.losses.Loss):
        of_logits = loss.get_config().get("from_logits", True)
    elif callable(loss):
        given = inspect.signature(loss).parameters.get("from_logits")
        of_logits = given is None or given.default
    else:
        of_logits = not isinstance(loss, str)
    shown = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    if not of_logits or shown in _OF_PROBABILITIES:
        raise ConfigError(
            "loss takes probabilities, the model is trained without its softmax: give a loss of "
            "logits, such as keras.losses.CategoricalCrossentropy(from_logits=True), received: "
            f"{shown}"
        )


def _check_patterns(model, layers):
    """Return the patterns as a list, or `None`; each must fit a layer."""
    if layers is None:
        return None
    patterns = [layers] if isinstance(layers, str) else list(layers)
    names = [call.name for call in trace(model).calls]
    if not patterns:
        raise ConfigError("layers is empty: give names or patterns, or None for all layers")
    for pattern in patterns:
        if not isinstance(pattern, str) or not fnmatch.filter(names, pattern):
            raise ConfigError(f"layers: no layer fits {pattern!r}{nearest(str(pattern), names)}")
    return patterns


def _rounded(trained, patterns):
    """Return the rounding twin of a model without its softmax, and the temperature of that."""
    from tuning._keras2 import to_tf_keras
    from tuning._keras2.quantization import (
        kernel_layers,
        leading_to,
        quantize_twin,
        without_softmax,
    )

    twin = to_tf_keras(trained, quantizable=True)
    say_left_out(twin, _LOG)
    calls = trace(twin.source).calls
    last = calls[-1]
    twin, found, scale = without_softmax(twin, last.name.replace("/", "_"))
    temperature = float(getattr(last.operation, "temperature", 1.0)) if found else None
    chosen = kernel_layers(twin.model)
    if patterns is not None:
        origins = {layer: _origin(layer, calls) for layer in chosen}
        own = {
            layer: call.name
            for layer, call in origins.items()
            if call is not None and type(call.operation).__name__ in WITH_KERNEL
        }
        named = [
            layer
            for layer, name in own.items()
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
        ]
        if not named:
            raise ConfigError(
                f"layers: none of {', '.join(patterns)} is a convolution or dense layer"
            )
        # Others have a kernel in the twin alone, such as what scales or normalises.
        chosen = [*named, *leading_to(twin.model, named, set(origins) - set(own))]
    return quantize_twin(twin, chosen, scale), temperature


def _origin(name, calls):
    """Return the call that a layer of the twin was made for: the longest name it begins with."""
    names = {call.name.replace("/", "_"): call for call in calls}
    fitting = [call for call in names if name == call or name.startswith(f"{call}_")]
    return names[max(fitting, key=len)] if fitting else None
