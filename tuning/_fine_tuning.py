"""What pruning, clustering and sensitivity ask of a model and its data, before anything is done."""

import dataclasses
import datetime
import logging
import math
from pathlib import Path
from typing import Any

import keras
import numpy as np

from recipes.errors import ConfigError, DataError, RunError, nearest
from recipes.files import write_json
from recipes.layers._copies import carry_flags, carry_variables, copy_layer, copy_model
from recipes.layers._graphs import is_replayable
from recipes.models.outputs import ending, gives_probabilities
from recipes.models.replay import trace
from recipes.wording import counted
from tuning.kernels import calls_of

_LOG = logging.getLogger("keras_recipes.fine_tuning")


@dataclasses.dataclass(frozen=True)
class Objective:
    """The loss that a classifier is trained with, and how its accuracy is counted.

    Attributes:
        kind: `"sparse"` (labels are class numbers), `"categorical"` (a probability a class) or
            `"binary"` (each output for itself).
        from_logits: Whether the model gives logits.
    """

    kind: str
    from_logits: bool

    def losses(self, labels, outputs):
        """Return the loss of each image, float32, shape `(batch,)`."""
        outputs = keras.ops.cast(outputs, "float32")
        if self.kind == "sparse":
            labels = keras.ops.cast(keras.ops.reshape(labels, (-1,)), "int32")
            return keras.losses.sparse_categorical_crossentropy(labels, outputs, self.from_logits)
        labels = keras.ops.cast(labels, "float32")
        labels = keras.ops.reshape(labels, keras.ops.shape(outputs))
        if self.kind == "categorical":
            return keras.losses.categorical_crossentropy(labels, outputs, self.from_logits)
        return keras.losses.binary_crossentropy(labels, outputs, self.from_logits)

    def hits(self, labels, outputs):
        """Return whether each image is right, float32 in [0, 1], shape `(batch,)`."""
        ops = keras.ops
        if self.kind == "binary":
            limit = 0.0 if self.from_logits else 0.5
            labels = ops.reshape(labels, ops.shape(outputs))
            same = ops.equal(ops.cast(labels, "float32") > 0.5, outputs > limit)
            return ops.mean(ops.cast(same, "float32"), axis=-1)
        if self.kind == "sparse":
            truth = ops.cast(ops.reshape(labels, (-1,)), "int32")
        else:
            truth = ops.cast(ops.argmax(labels, axis=-1), "int32")
        found = ops.cast(ops.argmax(outputs, axis=-1), "int32")
        return ops.cast(ops.equal(truth, found), "float32")


def plain_copy(model: keras.Model) -> keras.Model:
    """Return a model of the same layers, names and weights with variables of its own.

    Raises:
        ConfigError: If a layer cannot be made from its configuration.
    """
    copies = {}

    def copied(layer):
        if id(layer) not in copies:
            new = copy_model(layer, copied) if is_replayable(layer) else copy_layer(layer)
            copies[id(layer)] = layer, new
        return copies[id(layer)][1]

    copy = copied(model)
    layers = [pair for pair in copies.values() if isinstance(pair[0], keras.layers.Layer)]
    # Setting the flag of a model sets all inside it; it was remembered behind what it holds.
    for layer, new in reversed(layers):
        if is_replayable(layer):
            new.trainable = layer.trainable
            continue
        carry_variables(layer, new)
        carry_flags(layer, new)
    return copy


def check_model(model: keras.Model, purpose: str) -> None:
    """Raise `ConfigError` unless `model` is a functional classifier of images."""
    calls_of(model, purpose)
    shapes = [tuple(tensor.shape) for tensor in model.outputs]
    if len(model.inputs) != 1 or len(shapes) != 1 or len(shapes[0]) != 2:
        raise ConfigError(
            f"{purpose} takes a model of one input and one output of shape (batch, classes); "
            f"{model.name!r} has {len(model.inputs)} inputs and outputs of shape {shapes}"
        )


def check_layers(model: keras.Model, purpose: str, remedy: str = "") -> None:
    """Raise `ConfigError` at a layer that is of neither Keras nor this package: it cannot cross."""
    for call in trace(model).calls:
        kind = type(call.operation)
        if kind.__module__.split(".")[0] not in ("keras", "recipes", "augment"):
            raise ConfigError(
                f"layer {call.name!r} ({kind.__name__}) cannot cross to tf_keras: {purpose} takes "
                f"layers of Keras and of this package{remedy}"
            )


def check_data(data, model: keras.Model, name: str = "data"):
    """Return the first batch; raise `DataError` unless a model can be trained on such batches.

    Args:
        data: `tf.data.Dataset` of `(images, labels)` or `(images, labels, weights)`.
        model: Takes the images; checked.
        name: Of the argument, for messages.
    """
    import tensorflow as tf

    if not isinstance(data, tf.data.Dataset):
        raise DataError(
            f"{name} must be a tf.data.Dataset of batches (images, labels), "
            f"received: {type(data).__name__}"
        )
    if not isinstance(data.element_spec, tuple) or len(data.element_spec) not in (2, 3):
        raise DataError(
            f"{name} must give batches (images, labels), received elements of the form: "
            f"{data.element_spec}"
        )
    batch = next(iter(data.take(1)), None)
    if batch is None or not len(batch[0]):
        raise DataError(f"{name} is empty: expected batches (images, labels)")
    images, labels = (np.asarray(part) for part in batch[:2])
    expected = tuple(model.inputs[0].shape)
    if not _fits(images.shape, expected):
        hint = "; .batch() is missing" if _fits((1, *images.shape), expected) else ""
        raise DataError(
            f"{name} gives images of shape {images.shape}, the model takes {expected}{hint}"
        )
    classes = model.outputs[0].shape[-1]
    if len(labels) != len(images) or labels.shape[1:] not in ((), (1,), (classes,)):
        raise DataError(
            f"{name} gives labels of shape {labels.shape} for {len(images)} images, expected "
            f"({len(images)},) or ({len(images)}, {classes})"
        )
    if labels.shape[1:] != (classes,) and (labels.min() < 0 or labels.max() >= max(classes, 2)):
        raise DataError(
            f"{name} has labels from {labels.min()} to {labels.max()}, the model has the classes "
            f"0 to {max(classes, 2) - 1}"
        )
    return batch


def find_objective(model: keras.Model, batch) -> Objective:
    """Return the loss that goes with the end of a model and the form of its labels.

    Raises:
        DataError: If there is none.
        ConfigError: If the end does not tell, and the outputs look like sigmoids.
    """
    classes = model.outputs[0].shape[-1]
    layer, end = ending(model)
    if end is None and gives_probabilities(model):
        end = "softmax"
    if end is None:
        outputs = np.asarray(model(batch[0], training=False))
        # A sigmoid is never 0; many logits are hardly ever all in there.
        if outputs.min() > 0 and outputs.max() <= 1:
            raise ConfigError(
                f"cannot tell whether model {model.name!r}, which ends in {type(layer).__name__}, "
                "gives logits or a probability for each class: its outputs lie between 0 and 1 and "
                "do not sum to 1, expected a last layer that tells, such as "
                "keras.layers.Activation or keras.layers.Average"
            )
    soft = tuple(batch[1].shape[1:]) == (classes,)
    if end == "sigmoid" and classes > 1 and not soft:
        raise DataError(
            f"the model ends in a sigmoid for each of {classes} classes: expected labels of shape "
            f"(n, {classes}) of 0 and 1, received class numbers"
        )
    if classes == 1 or end == "sigmoid":
        return Objective("binary", end != "sigmoid")
    return Objective("categorical" if soft else "sparse", end != "softmax")


def say_left_out(twin, log: logging.Logger) -> None:
    """Warn of what the tf_keras twin is trained without, such as augmentation and regularizers."""
    for names, one, many in (
        (twin.left_out, "layer that acts in training alone", "layers that act in training alone"),
        (twin.left_out_settings, "regularizer or constraint", "regularizers and constraints"),
    ):
        if names:
            what = counted(len(names), one, many)
            log.warning("trained on without %s, %r the first", what, names[0])


def count_steps(data, steps_per_epoch: int | None) -> int:
    """Return how many batches make an epoch."""
    if steps_per_epoch is not None:
        return whole_number("steps_per_epoch", steps_per_epoch)
    count = int(data.cardinality())
    if count > 0:
        return count
    length = "never ends" if count == -1 else "does not say how many batches it has"
    raise ConfigError(f"steps_per_epoch is needed: the data {length}")


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """Return a checked count."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ConfigError(f"{name} must be a whole number, at least {least}, received: {value!r}")
    return int(value)


def share(name: str, value: Any) -> float:
    """Return a checked sparsity, in [0, 1)."""
    number = isinstance(value, (int, float, np.floating)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0 <= value < 1:
        raise ConfigError(f"{name} must be in [0, 1), received: {value!r}")
    return float(value)


def one_of(name: str, value: Any, known) -> None:
    """Raise `ConfigError` unless `value` is among `known`."""
    if value not in known:
        names = [str(one) for one in known]
        raise ConfigError(
            f"{name} must be one of {', '.join(names)}, received: {value!r}"
            + nearest(str(value), names)
        )


class Record:
    """The history of a training, in memory and, if asked for, in a file that is always whole.

    Args:
        arguments: What to write beside it.
        directory: Folder of the file, or `None`.
        name: Of the file.

    Raises:
        RunError: If the file cannot be written.
    """

    def __init__(self, arguments: dict, directory, name: str):
        self.epochs: list[dict] = []
        self._content = {
            "format_version": 1,
            "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "finished": False,
            **arguments,
        }
        self._path = None if directory is None else Path(directory) / name
        if self._path is not None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise RunError(f"cannot write {directory}: {error.strerror or error}") from error
        self._write()

    def add(self, measures):
        """Note an epoch."""
        self.epochs.append({"epoch": len(self.epochs) + 1, **measures})
        _LOG.info("epoch %d: %s", len(self.epochs), measures)
        self._write()

    def finish(self, reached: dict):
        """Note what each layer has in the end."""
        self._content |= {"finished": True, "reached": reached}
        self._write()

    def history(self, model):
        """Return it as Keras does."""
        history = keras.callbacks.History()
        history.set_model(model)
        history.epoch = [epoch["epoch"] - 1 for epoch in self.epochs]
        for epoch in self.epochs:
            # A callback may report in some epochs only.
            for name, value in epoch.items():
                if name != "epoch":
                    history.history.setdefault(name, []).append(value)
        return history

    def _write(self):
        if self._path is None:
            return
        try:
            write_json(self._path, {**self._content, "epochs_run": _plain(self.epochs)})
        except OSError as error:
            raise RunError(f"cannot write {self._path}: {error.strerror or error}") from error


def _fits(shape, expected):
    return len(shape) == len(expected) and all(
        wanted in (None, size) for size, wanted in zip(shape, expected, strict=True)
    )


def _plain(epochs):
    """JSON has no NaN: a measure without a value is null."""
    return [
        {name: value if np.isfinite(value) else None for name, value in epoch.items()}
        for epoch in epochs
    ]
