"""What a loss expects, and what it costs to know nothing or everything: pure NumPy."""

from dataclasses import dataclass

import numpy as np

# Name in `keras.losses` to the kind of labels that it takes.
_KINDS = {
    "CategoricalCrossentropy": "categorical",
    "SparseCategoricalCrossentropy": "sparse",
    "BinaryCrossentropy": "binary",
    "categorical_crossentropy": "categorical",
    "sparse_categorical_crossentropy": "sparse",
    "binary_crossentropy": "binary",
}


@dataclass(frozen=True)
class LossFacts:
    """What is known of a compiled loss.

    Attributes:
        kind: `"categorical"` for rows of shares, `"sparse"` for class indices, `"binary"`, or
            `None` for a loss whose scale is not known here, such as a focal one.
        from_logits: Whether it applies the softmax or sigmoid itself; `None` if unknown.
        smoothing: Share of each label that it spreads over all classes.
        summed: Whether it is a sum over the images of a batch rather than a mean.
    """

    kind: str | None
    from_logits: bool | None = None
    smoothing: float = 0.0
    summed: bool = False


def describe_loss(loss) -> LossFacts:
    """Return what is known of the `loss` that a model was compiled with.

    Args:
        loss: A `keras.losses.Loss`, a name or a function.

    Example:
        >>> describe_loss(keras.losses.CategoricalCrossentropy(True, label_smoothing=0.1))
        LossFacts(kind='categorical', from_logits=True, smoothing=0.1, summed=False)
        >>> describe_loss("mse").kind is None
        True
    """
    import keras

    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    if not isinstance(loss, keras.losses.Loss):
        kind = _KINDS.get(getattr(loss, "__name__", ""))
        return LossFacts(kind, False if kind else None)
    kind = _KINDS.get(type(loss).__name__)
    if kind is None:
        return LossFacts(None)
    config = loss.get_config()
    smoothing = float(config.get("label_smoothing") or 0)
    return LossFacts(kind, bool(config["from_logits"]), smoothing, loss.reduction == "sum")


def as_rows(labels: np.ndarray, width: int) -> np.ndarray | None:
    """Return labels as one row of shares an image, float64 `(images, classes)`, or `None`.

    Args:
        labels: Class indices `(images,)` or `(images, 1)`, rows `(images, classes)`, or for a
            model of one output 0 and 1.
        width: Outputs of the model an image.

    Returns:
        `None` if a label is not a class or the shapes do not fit.

    Example:
        >>> as_rows(np.array([2, 0]), 3)
        array([[0., 0., 1.],
               [1., 0., 0.]])
    """
    labels = np.asarray(labels, np.float64)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 1:
        if width == 1:
            return np.stack([1 - labels, labels], axis=1)
        indices = np.nan_to_num(labels, nan=-1).astype(int)
        if (indices != labels).any() or (indices < 0).any() or (indices >= width).any():
            return None
        return np.eye(width)[indices]
    return labels if labels.ndim == 2 and labels.shape[1] == width else None


def entropy(shares: np.ndarray) -> np.ndarray:
    """Return the entropy in nats along the last axis; 0 log 0 is 0.

    Example:
        >>> entropy(np.array([0.5, 0.5])).round(4)
        np.float64(0.6931)
    """
    shares = np.asarray(shares, np.float64)
    return -np.sum(shares * np.log(np.where(shares > 0, shares, 1)), axis=-1)


def loss_floor(rows: np.ndarray, weights: np.ndarray | None, smoothing: float) -> float:
    """Return the lowest cross-entropy that any predictions can reach on labels, in nats.

    It is the mean entropy of the labels after smoothing: 0 for hard labels, 0.5003 for ten classes
    at a smoothing of 0.1. Weights multiply the loss of their image, as in Keras.

    Args:
        rows: Shares `(images, classes)`.
        weights: Of each image, `(images,)`, or `None`.
        smoothing: Share spread over all classes, in [0, 1).

    Example:
        >>> round(loss_floor(np.eye(10), None, 0.1), 4)
        0.5003

    Source:
        Gibbs' inequality: the cross-entropy is the entropy plus a divergence that is at least 0.
    """
    smoothed = rows * (1 - smoothing) + smoothing / rows.shape[1]
    each = entropy(smoothed)
    return float(np.mean(each if weights is None else each * weights))


def chance_loss(rows: np.ndarray, weights: np.ndarray | None) -> tuple[float, float]:
    """Return the loss of a model that says 1/C everywhere, and of one that says the class shares.

    Args:
        rows: Shares `(images, classes)`, each summing to 1.
        weights: Of each image, `(images,)`, or `None`.

    Example:
        >>> uniform, prior = chance_loss(np.eye(2)[[0, 0, 0, 1]], None)
        >>> round(uniform, 4), round(prior, 4)
        (0.6931, 0.5623)
    """
    scale = 1.0 if weights is None else float(np.mean(weights))
    shares = np.average(rows, axis=0, weights=weights)
    return scale * float(np.log(rows.shape[1])), scale * float(entropy(shares / shares.sum()))


def double_softmax_floor(classes: int) -> float:
    """Return where the loss sticks if probabilities are taken for logits: log(1 + (C - 1) / e).

    The best that can be done is a probability of 1, which counts as a logit of 1 against 0.

    Example:
        >>> round(double_softmax_floor(10), 4)
        1.4612
    """
    return float(np.log1p((classes - 1) / np.e))
