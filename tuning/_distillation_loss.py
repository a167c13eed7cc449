"""Hinton's loss on what a student and its teacher say, and the accuracy of the student alone."""

import keras
from keras import ops

from recipes.errors import ConfigError

# Places of a `distillation_model`'s output in training, along its second axis.
STUDENT, TEACHER, HINTS = 0, 1, 2


def label_losses(labels, logits):
    """Return the cross-entropy of each image, float32, shape `(batch,)`.

    Args:
        labels: Class numbers, shape `(batch,)` or `(batch, 1)`; or a share a class, shape
            `(batch, classes)`: one-hot, smoothed or mixed.
        logits: Shape `(batch, classes)`.

    Raises:
        ConfigError: If labels and logits are of different numbers of classes.
    """
    logits = ops.cast(logits, "float32")
    if len(labels.shape) == 1 or labels.shape[-1] == 1:
        labels = ops.cast(ops.reshape(labels, (-1,)), "int32")
        return keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    if None not in (labels.shape[-1], logits.shape[-1]) and labels.shape[-1] != logits.shape[-1]:
        raise ConfigError(
            f"labels are of {labels.shape[-1]} classes, the student gives {logits.shape[-1]}"
        )
    labels = ops.cast(labels, "float32")
    return keras.losses.categorical_crossentropy(labels, logits, from_logits=True)


def teacher_losses(student, teacher, temperature):
    """Return `T^2 KL(softmax(teacher / T) || softmax(student / T))` of each image.

    The factor keeps the size of the gradient: for large temperatures that with respect to the
    student's logits is `(student - teacher) / classes`, both with their mean taken off.

    Args:
        student: Logits, shape `(batch, classes)`.
        teacher: Likewise.
        temperature: Positive.

    Returns:
        Tensor, float32, shape `(batch,)`, in nats; 0 where both say the same.

    Example:
        >>> student, teacher = np.array([[1.0, 0.0]]), np.array([[2.0, 1.0]])
        >>> float(teacher_losses(student, teacher, 4.0)[0])
        0.0

    Source:
        Hinton, Vinyals and Dean, https://arxiv.org/abs/1503.02531, section 2 and 2.1.
    """
    student = ops.log_softmax(ops.cast(student, "float32") / temperature, axis=-1)
    teacher = ops.log_softmax(ops.cast(teacher, "float32") / temperature, axis=-1)
    return temperature**2 * ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)


@keras.saving.register_keras_serializable(package="keras_recipes")
class DistillationLoss(keras.losses.Loss):
    """The loss of a `distillation_model`.

    `alpha CE(labels, student) + (1 - alpha) T^2 KL(teacher at T || student at T)` for each image,
    and with hints `hint_weight` times their squared errors. In evaluation, where the model gives
    the student's logits alone, it is the cross-entropy of the labels.

    Args:
        temperature: By which both sides' logits are divided in the second term; positive.
        alpha: Share of the labels, in [0, 1]; 0 looks at the teacher alone, 1 at the labels alone.
        hint_weight: Of the hints, 0 or more.
        reduction: As for `keras.losses.Loss`.
        name: Of the loss.
        dtype: As for `keras.losses.Loss`.

    Call arguments:
        y_true: Class numbers, shape `(batch,)` or `(batch, 1)`; or a share a class, shape
            `(batch, classes)`: one-hot, smoothed, or mixed as by MixUp and CutMix.
        y_pred: Logits, shape `(batch, classes)`; or, with a teacher, `(batch, 2, classes)`:
            student, teacher; a third row holds the error of the hints in every column.

    Raises:
        ConfigError: If an argument is out of range.

    Example:
        >>> loss = DistillationLoss(temperature=2.0, alpha=0.5)
        >>> student, teacher = [2.0, 0.0], [2.0, 0.0]
        >>> round(float(loss(np.array([0]), np.array([[student, teacher]]))), 4)
        0.0635

    Source:
        Hinton, Vinyals and Dean, https://arxiv.org/abs/1503.02531, section 2; hints: Romero et al.,
        https://arxiv.org/abs/1412.6550, equation 3, here as a mean and beside the other terms.
    """

    def __init__(
        self,
        temperature=4.0,
        alpha=0.1,
        hint_weight=1.0,
        reduction="sum_over_batch_size",
        name="distillation_loss",
        dtype=None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        _check_number("temperature", temperature, "a positive number", lambda x: x > 0)
        _check_number("alpha", alpha, "in [0, 1]", lambda x: 0 <= x <= 1)
        _check_number("hint_weight", hint_weight, "0 or more", lambda x: x >= 0)
        self.temperature = temperature
        self.alpha = alpha
        self.hint_weight = hint_weight

    def call(self, y_true, y_pred):
        """Return the loss of each image, shape `(batch,)`."""
        if len(y_pred.shape) == 2:
            return label_losses(y_true, y_pred)
        student, teacher = y_pred[:, STUDENT], y_pred[:, TEACHER]
        losses = self.alpha * label_losses(y_true, student)
        losses += (1 - self.alpha) * teacher_losses(student, teacher, self.temperature)
        if y_pred.shape[1] > HINTS:
            losses += self.hint_weight * ops.mean(y_pred[:, HINTS], axis=-1)
        return losses

    def get_config(self):
        """Return every argument."""
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "alpha": self.alpha,
            "hint_weight": self.hint_weight,
        }


def label_hits(labels, outputs):
    """Return 1.0 for each image whose label the student finds, else 0.0; shape `(batch,)`.

    Args:
        labels: As `DistillationLoss` takes them; of a mixed image the larger share counts.
        outputs: Likewise.
    """
    student = outputs[:, STUDENT] if len(outputs.shape) == 3 else outputs
    if len(labels.shape) == 1 or labels.shape[-1] == 1:
        truth = ops.cast(ops.reshape(labels, (-1,)), "int32")
    else:
        truth = ops.cast(ops.argmax(labels, axis=-1), "int32")
    return ops.cast(ops.equal(truth, ops.cast(ops.argmax(student, axis=-1), "int32")), "float32")


@keras.saving.register_keras_serializable(package="keras_recipes")
class LabelAccuracy(keras.metrics.MeanMetricWrapper):
    """Accuracy of the student of a `distillation_model` by the labels, whatever the teacher says.

    Args:
        name: Of the metric; `"accuracy"` so that callbacks find `val_accuracy`.
        dtype: As for `keras.metrics.Metric`.

    Example:
        >>> accuracy = LabelAccuracy()
        >>> accuracy.update_state(np.array([0, 1]), np.array([[2.0, 1.0], [2.0, 1.0]]))
        >>> float(accuracy.result())
        0.5
    """

    def __init__(self, name="accuracy", dtype=None):
        super().__init__(label_hits, name=name, dtype=dtype)

    def get_config(self):
        """Return every argument."""
        return {"name": self.name, "dtype": self.dtype}


def _check_number(name, value, expected, holds):
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # Not NaN nor infinite, of which differences are no numbers.
    if not number or value - value != 0 or not holds(value):
        raise ConfigError(f"{name} must be {expected}, received: {value!r}")
