"""Large classifier and a small one in, the small one taught by the large one out."""

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from callbacks.schedules import WarmupDecay
from recipes.compiling import whole_executions
from recipes.errors import ConfigError, RecipesError, nearest
from tuning._distillation_loss import DistillationLoss, LabelAccuracy, label_hits
from tuning._distillation_model import check_pair, distillation_model
from tuning._fine_tuning import Record, check_data, count_steps, plain_copy, whole_number

__all__ = ["DistillationLoss", "LabelAccuracy", "distill", "distillation_model"]

_LOG = logging.getLogger("keras_recipes.distill")
HISTORY_FILE = "distillation.json"
_OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": lambda rate: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
}
# Share of the steps over which the learning rate of a named optimizer rises.
_WARMUP = 0.1


def distill(
    student: keras.Model,
    teacher: keras.Model,
    data,
    *,
    temperature: float = 4.0,
    alpha: float = 0.1,
    hints: Mapping[str, str] | None = None,
    hint_weight: float = 1.0,
    teacher_preprocessing: Callable[[Any], Any] | None = None,
    epochs: int = 20,
    steps_per_epoch: int | None = None,
    optimizer: "str | keras.optimizers.Optimizer" = "adam",
    learning_rate: float = 1e-3,
    validation_data=None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    jit_compile: "bool | str" = "auto",
    steps_per_execution: int = 1,
    run_directory: str | os.PathLike | None = None,
    seed: int = 0,
) -> keras.Model:
    """Train a copy of a small classifier to say what a large one says of the same images.

    `distillation_model`, `DistillationLoss` and `LabelAccuracy` with plain `compile` and `fit`; use
    these in a loop of your own. The teacher sees the images that the student gets, after all
    augmentation. It stays as it was, to the bit. Sets the random seeds of Python, NumPy and
    TensorFlow. Augment well and train long: a good teacher is patient (Beyer et al.). A teacher
    that was trained with label smoothing teaches less (Müller et al.,
    https://arxiv.org/abs/1906.02629).

    Args:
        student: Functional or sequential classifier, with random or trained weights; see
            `distillation_model`. Left as it was: a copy is trained, under the same strategy.
        teacher: Trained classifier of the same classes in the same order; see `distillation_model`
            for those that give probabilities, and for other sizes of images.
        data: `tf.data.Dataset` of batches `(images, labels)`, or with the weight of each image a
            third, as for `model.fit`: images as the student takes them, augmented; labels class
            numbers or a share a class, so mixed images too.
        temperature: Softens both sides' probabilities in the teacher's term; positive.
        alpha: Share of the labels against the teacher's `1 - alpha`, in [0, 1].
        hints: Layers of the student and those of the teacher that they imitate, by name.
        hint_weight: Weight of their mean squared errors, 0 or more.
        teacher_preprocessing: Applied to the images before the teacher, which may take another
            range than the student.
        epochs: Passes over the data.
        steps_per_epoch: Batches an epoch; needed for data without a known end. Data
            that ends earlier is begun anew.
        optimizer: `"adam"`, `"adamw"`, `"rmsprop"`, `"sgd"` (Nesterov momentum 0.9), or a
            `keras.optimizers.Optimizer`, of whose settings a new one is made.
        learning_rate: Peak for a named optimizer: risen to over the first tenth of the steps, then
            it falls to 0 along a cosine.
        validation_data: Batches to judge the student on after each epoch, by the labels alone.
        callbacks: Keras callbacks. Their `model` has the student's layers and weights and gives
            logits: `Validation(images, labels)` needs no `from_logits`.
        jit_compile: As for `model.compile`.
        steps_per_execution: As for `model.compile`; with `steps_per_epoch` the most of which whole
            ones fill an epoch. Above 1, Keras 3.15 fails under a `MirroredStrategy`, with and
            without a teacher.
        run_directory: Folder for `distillation.json`: arguments, the measures of each epoch.
            Written anew after each epoch; made if it is missing.
        seed: Of the random numbers.

    Returns:
        A model as the student, not compiled, of the same layers, names and precision. Its `history`
        is a `keras.callbacks.History` of `loss`, `accuracy` (of the student, by the labels) and
        what callbacks report.

    Raises:
        ConfigError: If an argument is out of range, or student and teacher do not fit together.
        DataError: If the data is empty or does not fit the student.
        RecipesError: If training diverges.
        RunError: If the run directory cannot be written.

    Example:
        >>> small = distill(student, teacher, batches, epochs=30)         # doctest: +SKIP
        >>> small.save("student.keras")                                   # doctest: +SKIP

    Source:
        Hinton, Vinyals and Dean, https://arxiv.org/abs/1503.02531; the same view for both: Beyer et
        al., https://arxiv.org/abs/2106.05237.
    """
    loss = DistillationLoss(temperature, alpha, hint_weight)
    epochs = whole_number("epochs", epochs)
    whole_number("steps_per_execution", steps_per_execution)
    make_optimizer = _optimizer_maker(optimizer, learning_rate)
    check_pair(student, teacher, teacher_preprocessing)
    keras.utils.set_random_seed(seed)
    with student.distribute_strategy.scope():
        taught = plain_copy(student)
        model = distillation_model(
            taught, teacher, hints=hints, teacher_preprocessing=teacher_preprocessing
        )
        batch = check_data(data, taught)
        if validation_data is not None:
            check_data(validation_data, taught, "validation_data")
        steps = count_steps(data, steps_per_epoch)
        if steps_per_epoch is not None:
            steps_per_execution = whole_executions(steps_per_execution, steps)
        model.compile(
            make_optimizer(steps * epochs),
            loss=loss,
            metrics=[LabelAccuracy()],
            jit_compile=jit_compile,
            steps_per_execution=steps_per_execution,
        )
    record = Record(
        {
            "student": student.name,
            "teacher": teacher.name,
            "teacher_accuracy_on_first_batch": _teacher_accuracy(model, batch),
            "temperature": temperature,
            "alpha": alpha,
            "hints": dict(hints or {}),
            "hint_weight": hint_weight,
            "epochs": epochs,
            "steps_per_epoch": steps,
            "optimizer": optimizer if isinstance(optimizer, str) else type(optimizer).__name__,
            "learning_rate": learning_rate if isinstance(optimizer, str) else None,
            "seed": seed,
        },
        run_directory,
        HISTORY_FILE,
    )
    model.fit(
        data if steps_per_epoch is None else data.repeat(),
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        validation_data=validation_data,
        # Last, so that it notes what the others report.
        callbacks=[*callbacks, keras.callbacks.LambdaCallback(on_epoch_end=_noting(record))],
        shuffle=False,  # the data does it
        verbose=0,
    )
    if not all(np.isfinite(weight).all() for weight in taught.get_weights()):
        raise RecipesError(
            "training diverged: weights are no longer finite; try a lower learning_rate"
        )
    record.finish({"epochs": len(record.epochs)})
    taught.history = record.history(taught)
    return taught


def _optimizer_maker(optimizer, learning_rate):
    """Return a function from the number of steps to a new optimizer."""
    if isinstance(optimizer, keras.optimizers.Optimizer):
        return lambda steps: type(optimizer).from_config(optimizer.get_config())
    if optimizer not in _OPTIMIZERS:
        raise ConfigError(
            f"optimizer must be one of {', '.join(_OPTIMIZERS)} or a keras optimizer, received: "
            f"{optimizer!r}{nearest(str(optimizer), _OPTIMIZERS)}"
        )
    number = isinstance(learning_rate, (int, float)) and not isinstance(learning_rate, bool)
    if not number or not 0 < learning_rate < math.inf:
        raise ConfigError(f"learning_rate must be above 0, received: {learning_rate!r}")
    return lambda steps: _OPTIMIZERS[optimizer](WarmupDecay(learning_rate, steps, warmup=_WARMUP))


def _teacher_accuracy(model, batch):
    """Return the share of the first batch that the teacher finds; warn if that is chance."""
    images, labels = (keras.ops.convert_to_tensor(part) for part in batch[:2])
    # As the model is given them in training, whatever the data holds.
    images = keras.ops.cast(images, model.inputs[0].dtype)
    logits = model.get_layer("teacher_beside").teach(images)[0]
    accuracy = float(np.mean(label_hits(labels, logits)))
    chance = 1 / logits.shape[-1]
    if accuracy <= chance + 2 * math.sqrt(chance * (1 - chance) / len(images)):
        _LOG.warning(
            "the teacher finds %.0f%% of the labels of the first batch, chance is %.0f%%: does it "
            "take images of the same range, and the classes in the same order?",
            100 * accuracy,
            100 * chance,
        )
    return round(accuracy, 4)


def _noting(record):
    def note(epoch, logs):
        numbers = {name: value for name, value in logs.items() if np.ndim(value) == 0}
        record.add({name: float(value) for name, value in numbers.items()})

    return note
