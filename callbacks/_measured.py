"""What the callbacks that measure held-out images have in common."""

import bisect

import keras

from callbacks._predictions import check_labels, check_shape


def check_model(model: keras.Model, labels) -> None:
    """Raise unless labels are classes of a model's outputs, as far as their shape is known."""
    shape = getattr(model, "output_shape", None) if model.built else None
    if isinstance(shape, tuple) and isinstance(shape[-1], int):
        shape = (len(labels), *shape[1:])
        check_shape(shape, "the model's outputs")
        check_labels(labels, shape)


def contradicts(who: str, from_logits: bool) -> ValueError:
    """Return the error of a callback whose `from_logits` is not true of the model."""
    given = "probabilities" if from_logits else "logits"
    return ValueError(
        f"{who} has from_logits={from_logits}, but the model gives {given}: "
        f"say from_logits={not from_logits}"
    )


class EpochMeasures(keras.callbacks.Callback):
    """Base of the callbacks that keep an entry for each epoch of what `Validation` predicted.

    Args:
        validation: The `Validation` that predicts.
    """

    def __init__(self, validation):
        super().__init__()
        self.validation = validation
        self.epochs = []
        # Number of the epoch of each entry: a `fit` may begin at any.
        self._numbers = []

    def on_epoch_begin(self, epoch, logs=None):
        """Forget what an earlier `fit` measured at this epoch and later ones."""
        earlier = bisect.bisect_left(self._numbers, epoch)
        del self.epochs[earlier:], self._numbers[earlier:]

    def _note(self, epoch, entry):
        self.epochs.append(entry)
        self._numbers.append(epoch)

    def state(self) -> tuple[dict, list]:
        """Return what a resumed run needs: JSON values, and no arrays."""
        return {"epochs": self.epochs, "numbers": self._numbers}, []

    def restore(self, values: dict, arrays: list) -> None:
        """Take back what `state` gave; call it before `fit`."""
        self.epochs = list(values["epochs"])
        # Old checkpoints do not say the numbers.
        self._numbers = list(values.get("numbers", range(len(self.epochs))))
