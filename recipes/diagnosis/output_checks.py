"""What is wrong with the outputs of a model before it has learned: softmax mistakes, first loss."""

from collections.abc import Iterator

import numpy as np

from recipes.diagnosis.findings import Finding
from recipes.diagnosis.targets import LossFacts, double_softmax_floor

# Nats above chance, beside half of it, from which the first loss is high: logits of a standard
# deviation s cost about s^2 / 2, so s = 1.4 is the least that is found.
HIGH_LOSS = 1.0
# Times chance from which it is an error.
EXPLODED_LOSS = 3.0
# Spread of logits over the images below which all look the same.
SAME = 1e-4
# Rows of probabilities sum to 1 within this, in bfloat16 too.
_SUM = 2e-2


def are_probabilities(outputs: np.ndarray) -> bool:
    """Return whether outputs `(images, classes)` are shares that sum to 1.

    Example:
        >>> are_probabilities(np.array([[0.25, 0.75]])), are_probabilities(np.array([[2.0, -1.0]]))
        (True, False)
    """
    if outputs.shape[1] == 1:
        return bool(((outputs >= 0) & (outputs <= 1)).all())
    inside = (outputs >= -1e-6).all() and (outputs <= 1 + _SUM).all()
    return bool(inside and (np.abs(outputs.sum(axis=1) - 1) < _SUM).all())


def sums_are_equal(outputs: np.ndarray) -> bool:
    """Return whether all rows have one sum other than 0: an affine map of probabilities.

    Example:
        >>> probabilities = np.array([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]])
        >>> sums_are_equal(2 * probabilities + 1), sums_are_equal(np.log(probabilities))
        (True, False)
    """
    if outputs.shape[1] < 2 or len(outputs) < 3:
        return False
    sums, spread = outputs.sum(axis=1), outputs.std(axis=0).mean()
    even = spread > 1e-6 and sums.std() < max(1e-3 * spread, 1e-6 * abs(sums).mean())
    # Centred logits sum to 0.
    return bool(even and abs(sums.mean()) > 0.1 * spread)


def check_outputs(
    outputs: np.ndarray, facts: LossFacts, *, repaired: bool, sigmoid: bool = False
) -> Iterator[Finding]:
    """Look for a softmax that is applied twice or not at all.

    Args:
        outputs: Of the model, `(images, classes)`, finite.
        facts: Of its loss.
        repaired: Whether Keras says that it takes the softmax back.
        sigmoid: For a model of one output: whether its last layer is a sigmoid.
    """
    if facts.from_logits is None:
        return
    if outputs.shape[1] == 1 and facts.from_logits:
        # A single logit may well be between 0 and 1: only the layer can tell.
        squashed, words = sigmoid and are_probabilities(outputs), "the sigmoid"
    else:
        squashed, words = are_probabilities(outputs), "the softmax"
    row_sum = float(outputs.sum(axis=1).mean())
    figures = {"lowest": float(outputs.min()), "highest": float(outputs.max()), "row_sum": row_sum}
    if facts.from_logits and repaired:
        yield Finding(
            "softmax_and_from_logits",
            "warning",
            "the model ends in a softmax or sigmoid, yet its loss has from_logits=True; Keras "
            "takes it back, other code will not",
            "remove the activation, or say from_logits=False",
            figures,
        )
    elif facts.from_logits and (squashed or sums_are_equal(outputs)):
        classes = max(outputs.shape[1], 2)
        stuck = f"; its loss cannot fall below {double_softmax_floor(classes):.4f}"
        scaled = "" if squashed else f", changed so that each row sums to {row_sum:.3g}"
        yield Finding(
            "softmax_and_from_logits",
            "error",
            f"the model gives probabilities{scaled}, the loss takes them for logits (from_logits"
            f"=True){stuck if squashed and outputs.shape[1] > 1 else ''}",
            f"remove {words} from the end of the model, or say from_logits=False",
            {**figures, "floor": double_softmax_floor(classes)},
        )
    elif not facts.from_logits and not squashed and (facts.kind != "binary" or _outside(outputs)):
        yield Finding(
            "logits_as_probabilities",
            "error",
            f"the loss takes outputs for probabilities, but they are from {outputs.min():.3g} to "
            f"{outputs.max():.3g} and sum to {row_sum:.3g}",
            f"say from_logits=True in the loss, or end the model in {words.replace('the', 'a')}",
            figures,
        )


def _outside(outputs):
    return bool((outputs < -1e-6).any() or (outputs > 1 + _SUM).any())


def check_initial_loss(
    loss: float, uniform: float, prior: float, logit_spread: float, images: float = 1
) -> Iterator[Finding]:
    """Compare the first loss, in training mode, with that of knowing nothing.

    Args:
        loss: Mean over batches, of the data alone.
        uniform: Loss of 1/C for each class: log C.
        prior: Loss of the class shares: their entropy.
        logit_spread: Standard deviation over the images, mean over the outputs.
        images: That the losses are sums over; 1 for means.
    """
    figures = {
        "loss": loss,
        "log_classes": uniform,
        "prior_entropy": prior,
        "logit_spread": logit_spread,
    }
    # Weighted batches weigh the threshold too, but a nat of mistakes is a nat.
    if loss > uniform + max(images * HIGH_LOSS, 0.5 * uniform):
        yield Finding(
            "initial_loss_high",
            "error" if loss > EXPLODED_LOSS * uniform else "warning",
            f"the first loss in training mode is {loss:.3g}, chance is {uniform:.3g}: the model is "
            "confident before it has learned",
            "start the last layer smaller, normalise, and check the range of the images",
            figures,
        )
    elif 0 < logit_spread < SAME:
        yield Finding(
            "outputs_equal",
            "warning",
            f"outputs hardly differ from image to image: standard deviation {logit_spread:.2g}",
            "see the activations by layer for where the signal is lost",
            figures,
        )
