"""Trains a tf_keras twin as `model.fit` of Keras 3 would: optimizer, loss, callbacks, seed."""

import dataclasses
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from recipes.errors import ConfigError, RecipesError, nearest
from tuning._fine_tuning import Objective
from tuning._keras2.guard import load_tf_keras

OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop")
_ADVICE = "try a lower learning_rate"


@dataclasses.dataclass(frozen=True)
class Fitting:
    """How to train.

    Attributes:
        data: `tf.data.Dataset` of batches; begun anew where it ends within the steps.
        epochs: Passes.
        steps: Batches an epoch.
        objective: Loss and accuracy.
        loss: In place of the objective's: name, function, or `keras.losses.Loss`.
        optimizer: Name, or `keras.optimizers.Optimizer`, of which a copy in tf_keras is used.
        learning_rate: First rate of a named optimizer; it falls linearly to 0.
        callbacks: Of Keras 3.
        validation_data: Batches to judge on after each epoch, or `None`.
        scale: What the loss multiplies the results of the model by, positive.

    Raises:
        ConfigError: If the loss is unknown, or a callback not one of Keras 3.
    """

    data: Any
    epochs: int
    steps: int
    objective: Objective
    loss: Any = None
    optimizer: Any = "adam"
    learning_rate: float = 1e-3
    callbacks: Sequence[keras.callbacks.Callback] = ()
    validation_data: Any = None
    scale: float = 1.0

    def __post_init__(self):
        for callback in self.callbacks:
            if not isinstance(callback, keras.callbacks.Callback):
                raise ConfigError(
                    f"callbacks must be keras callbacks, received: {type(callback).__name__}"
                )
        try:
            keras.losses.get(self.loss)
        except ValueError as error:
            raise ConfigError(
                f"loss must be a name, a function or a keras loss, received: {self.loss!r}"
            ) from error


def fit(model, fitting: Fitting, own=(), on_epoch: Callable[[int, dict], None] | None = None):
    """Compile and train a tf_keras model.

    Args:
        model: Trained in place.
        fitting: How.
        own: Callbacks of tf_keras, called first.
        on_epoch: Receives the epoch, from 0, and its measures as plain numbers, after all others.

    Raises:
        RecipesError: If the loss of an epoch or a weight in the end is not finite.
    """
    tf_keras = load_tf_keras()
    total = fitting.epochs * fitting.steps
    model.compile(
        optimizer=_optimizer(tf_keras, fitting, total),
        loss=_loss(tf_keras, fitting),
        metrics=[_accuracy(tf_keras, fitting.objective)],
    )
    validation = fitting.validation_data
    callbacks = list(own)
    if fitting.callbacks:
        callbacks.append(_adapted(tf_keras, fitting.callbacks))
    callbacks.append(_watching(tf_keras, on_epoch))
    model.fit(
        _as_floats(fitting.data.repeat()),
        epochs=fitting.epochs,
        steps_per_epoch=fitting.steps,
        validation_data=None if validation is None else _as_floats(validation),
        callbacks=callbacks,
        verbose=0,
    )
    if not all(np.isfinite(weight).all() for weight in model.get_weights()):
        raise RecipesError(f"training diverged: weights are not finite; {_ADVICE}")


def check_optimizer(optimizer, learning_rate) -> None:
    """Raise `ConfigError` for an optimizer that cannot be had in tf_keras."""
    if isinstance(optimizer, str):
        if optimizer.lower() not in OPTIMIZERS:
            raise ConfigError(
                f"optimizer must be one of {', '.join(OPTIMIZERS)} or a keras optimizer, received: "
                f"{optimizer!r}{nearest(optimizer.lower(), OPTIMIZERS)}"
            )
        number = isinstance(learning_rate, (int, float)) and not isinstance(learning_rate, bool)
        if not number or not 0 < learning_rate < math.inf:
            raise ConfigError(f"learning_rate must be above 0, received: {learning_rate!r}")
        return
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise ConfigError(
            f"optimizer must be a name or a keras optimizer, received: {type(optimizer).__name__}"
        )
    _translated(load_tf_keras(), optimizer)


def keeping_zeros(kernels):
    """Return a tf_keras callback that holds the zeros of some variables where they are.

    Args:
        kernels: Variables of tf_keras, outside of TF-MOT's wrappers.
    """
    masks = [(kernel, (kernel.numpy() != 0).astype(np.float32)) for kernel in kernels]

    class _KeepingZeros(load_tf_keras().callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            for kernel, mask in masks:
                kernel.assign(kernel * mask)

    return _KeepingZeros()


def _as_floats(data):
    """Cast images as a Keras model does with what it is given."""
    import tensorflow as tf

    return data.map(lambda images, *rest: (tf.cast(images, tf.float32), *rest))


def _optimizer(tf_keras, fitting, total):
    if not isinstance(fitting.optimizer, str):
        return _translated(tf_keras, fitting.optimizer)
    falling = tf_keras.optimizers.schedules.PolynomialDecay(fitting.learning_rate, total, 0.0)
    kinds = {
        "adam": tf_keras.optimizers.Adam,
        "adamw": tf_keras.optimizers.AdamW,
        "rmsprop": tf_keras.optimizers.RMSprop,
        "sgd": lambda rate: tf_keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
    }
    return kinds[fitting.optimizer.lower()](falling)


def _translated(tf_keras, optimizer):
    """Return the optimizer of tf_keras that does what one of Keras 3 would."""
    kind = type(optimizer).__name__
    make = getattr(tf_keras.optimizers, kind, None)
    if make is None or type(optimizer).__module__.split(".")[0] != "keras":
        raise ConfigError(
            f"optimizer {kind} is not one that tf_keras has: give a name, one of "
            f"{', '.join(OPTIMIZERS)}, or an optimizer of Keras' own"
        )
    known = inspect.signature(make).parameters
    given = {}
    for key, value in optimizer.get_config().items():
        if key == "learning_rate":
            given[key] = _rate(tf_keras, optimizer)
        elif key in known:
            given[key] = value
        elif value is not None:
            raise ConfigError(f"optimizer {kind}: tf_keras has no {key}, received: {value!r}")
    return make(**given)


def _rate(tf_keras, optimizer):
    """Return the learning rate, a number or a schedule that asks the one of Keras 3."""
    # The optimizer computes its rate from it; the schedule itself is not public.
    rate = optimizer.get_config()["learning_rate"]
    if not isinstance(rate, dict):
        return float(rate)
    schedule = keras.optimizers.schedules.deserialize(rate)

    class _Schedule(tf_keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return keras.ops.cast(schedule(step), "float32")

        def get_config(self):
            return {}

    return _Schedule()


def _loss(tf_keras, fitting):
    loss = _loss_of_logits(tf_keras, fitting)
    if fitting.scale == 1.0:
        return loss
    values = loss.call if isinstance(loss, tf_keras.losses.Loss) else loss
    return lambda labels, outputs: values(labels, outputs * fitting.scale)


def _loss_of_logits(tf_keras, fitting):
    if fitting.loss is not None:
        loss = keras.losses.get(fitting.loss)
        # Its `call` gives a value an image, which tf_keras weighs and averages.
        return loss.call if isinstance(loss, keras.losses.Loss) else loss
    kinds = {
        "sparse": tf_keras.losses.SparseCategoricalCrossentropy,
        "categorical": tf_keras.losses.CategoricalCrossentropy,
        "binary": tf_keras.losses.BinaryCrossentropy,
    }
    return kinds[fitting.objective.kind](from_logits=fitting.objective.from_logits)


def _accuracy(tf_keras, objective):
    metrics = tf_keras.metrics
    if objective.kind == "binary":
        limit = 0.0 if objective.from_logits else 0.5
        return metrics.BinaryAccuracy(name="accuracy", threshold=limit)
    kinds = {
        "sparse": metrics.SparseCategoricalAccuracy,
        "categorical": metrics.CategoricalAccuracy,
    }
    return kinds[objective.kind](name="accuracy")


def _adapted(tf_keras, callbacks):
    """Return a tf_keras callback that calls those of Keras 3."""
    called = keras.callbacks.CallbackList(list(callbacks), add_history=False)

    class _Adapted(tf_keras.callbacks.Callback):
        def set_params(self, params):
            called.set_params(params)

        def set_model(self, model):
            self.model = model
            called.set_model(model)

        def on_train_begin(self, logs=None):
            called.on_train_begin(logs)

        def on_train_end(self, logs=None):
            called.on_train_end(logs)

        def on_epoch_begin(self, epoch, logs=None):
            called.on_epoch_begin(epoch, logs)

        def on_epoch_end(self, epoch, logs=None):
            called.on_epoch_end(epoch, logs)

        def on_train_batch_begin(self, batch, logs=None):
            called.on_train_batch_begin(batch, logs)

        def on_train_batch_end(self, batch, logs=None):
            called.on_train_batch_end(batch, logs)

    return _Adapted()


def _watching(tf_keras, on_epoch):
    class _Watching(tf_keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            measures = {name: float(value) for name, value in (logs or {}).items()}
            if not math.isfinite(measures["loss"]):
                raise RecipesError(
                    f"training diverged in epoch {epoch + 1}: the loss is {measures['loss']}; "
                    f"{_ADVICE}"
                )
            if on_epoch is not None:
                on_epoch(epoch, measures)

    return _Watching()
