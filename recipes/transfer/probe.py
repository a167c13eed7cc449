"""A linear head trained on features that the frozen backbone computes once."""

import dataclasses
import itertools
import time
from collections.abc import Callable

import keras
import numpy as np
from scipy import optimize, special

from recipes.errors import ConfigError
from recipes.layers._copies import carry_variables, copy_layer
from recipes.models.replay import trace
from recipes.transfer.flat import _single
from recipes.transfer.freezing import _Units

# From a head that hardly dares to one that hardly is held; see `linear_probe`.
STRENGTHS = tuple(10.0**power for power in range(1, -8, -1))
_PATIENCE = 2


@dataclasses.dataclass(frozen=True)
class LinearProbe:
    """A fitted linear head.

    Attributes:
        l2: The chosen penalty: the loss has `l2 / 2 * sum(kernel ** 2)` added.
        validation_nll: Negative log-likelihood on the validation images, nats an image.
        validation_accuracy: Accuracy on them.
        tried: `(l2, validation_nll)` of each penalty tried, strongest first.
        seconds: Time for features and fits.
    """

    l2: float
    validation_nll: float
    validation_accuracy: float
    tried: tuple[tuple[float, float], ...]
    seconds: float

    def __str__(self):
        return (
            f"linear probe: validation accuracy {self.validation_accuracy:.4f}, loss "
            f"{self.validation_nll:.4f}, L2 {self.l2:.3g} of {len(self.tried)} tried, "
            f"{self.seconds:.1f} s"
        )


def feature_model(model: keras.Model) -> keras.Model:
    """Return the model from images to the features that the head of `model` takes.

    It shares the layers of `model`. The features are what the pooling gives, before dropout.

    Raises:
        ConfigError: If the head does not begin with one vector an image.

    Example:
        >>> from recipes.transfer import transfer_model
        >>> feature_model(transfer_model("resnet20", 3, weights=None)).output_shape
        (None, 64)
    """
    pooling, _ = _parts(model)
    return keras.Model(_single(model.inputs), pooling.output, name=f"{model.name}_features")


def head_model(model: keras.Model) -> keras.Model:
    """Return a copy of the head of `model`: from features to outputs, with the same weights.

    Train it on `cached_features` with a plain `fit`, then put it back with
    `model.get_layer(layer.name).set_weights(layer.get_weights())` for each of its layers.

    Raises:
        ConfigError: If the head is not a chain of layers on one vector an image.

    Example:
        >>> from recipes.transfer import transfer_model
        >>> head = head_model(transfer_model("resnet20", 3, weights=None, dense=(8,)))
        >>> [layer.name for layer in head.layers[1:]]
        ['head_dense1', 'logits', 'predictions']
    """
    pooling, rest = _chain(model)
    if not all(isinstance(operation, keras.layers.Layer) for operation in rest):
        raise _not_a_chain(model, rest)
    inputs = keras.Input(pooling.output.shape[1:], name="features")
    outputs = inputs
    for layer in rest:
        copy = copy_layer(layer)
        outputs = copy(outputs)
        carry_variables(layer, copy)
    return keras.Model(inputs, outputs, name=f"{model.name}_head")


def cached_features(model: keras.Model, images, batch_size: int = 64) -> np.ndarray:
    """Return the features of images, each computed once, in inference mode.

    Args:
        model: A transfer model; its backbone computes.
        images: Array of images, or a `tf.data.Dataset` of batches of images alone in fixed order.
        batch_size: Images at a time, of an array.

    Returns:
        float32 array of shape `(images, features)`.
    """
    size = {"batch_size": batch_size} if isinstance(images, np.ndarray) else {}
    features = feature_model(model).predict(images, verbose=0, **size)
    return np.asarray(features, np.float32)


def linear_probe(
    model: keras.Model,
    train: tuple,
    validation: tuple,
    *,
    strengths: tuple[float, ...] = STRENGTHS,
    say: Callable[[str], None] | None = print,
) -> LinearProbe:
    """Fit the linear head of a model to images by logistic regression; set its weights.

    The backbone computes each image's features once, as in inference. On them the head is fitted
    to the optimum (L-BFGS, float64), once for each penalty, from strong to weak; the penalty with
    the least loss on the validation images is kept. The loss is convex, so this is the head that
    training it in the whole frozen model on the same images, without augmentation or dropout,
    converges to with the same penalty; that takes as many passes through the backbone as epochs.

    Args:
        model: A transfer model whose head is linear: pooling, perhaps dropout, one dense layer.
        train: `(images, labels)`: images as for `cached_features`, labels as class indices.
        validation: Likewise, images to choose the penalty by.
        strengths: Penalties to try, positive, relative to the size of the features: a strength `s`
            is the L2 penalty `s * m`, with `m` the mean over the images of the squared length of
            the centred features. Weaker ones are skipped once the validation loss has risen twice.
        say: Receives the result in words; `None` for silence.

    Returns:
        What was chosen.

    Raises:
        ConfigError: If the head is not linear, or labels and classes do not match.

    Source:
        Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform
        Out-of-Distribution", 2022: such a head before fine-tuning (LP-FT).
    """
    started = time.perf_counter()
    dense = _linear_head(model)
    if not strengths or not all(0 < strength < np.inf for strength in strengths):
        raise ConfigError(f"strengths must be positive numbers, received: {strengths!r}")
    splits = []
    for name, (images, labels) in (("training", train), ("validation", validation)):
        labels = _checked_labels(labels, dense.units, name)
        features = cached_features(model, images)
        if len(features) != len(labels):
            raise ConfigError(f"{len(labels)} {name} labels for {len(features)} images")
        splits.append((features, labels))
    (features, labels), held_out = splits
    best, tried = _best_fit(features, labels, held_out, dense.units, strengths)
    l2, nll, kernel, bias = best
    dense.set_weights([kernel, bias])
    accuracy = np.mean((held_out[0] @ kernel + bias).argmax(axis=1) == held_out[1])
    result = LinearProbe(l2, nll, float(accuracy), tried, time.perf_counter() - started)
    if say is not None:
        say(str(result))
    return result


def fit_softmax_regression(features, labels, classes, l2, start=None):
    """Return kernel and bias that minimise `mean(nll) + l2 / 2 * sum(kernel ** 2)`.

    Args:
        features: Numbers, shape `(images, features)`.
        labels: Class indices, shape `(images,)`.
        classes: Number of classes.
        l2: Penalty, positive; the bias bears none.
        start: Kernel and bias to begin at; default zeros. The optimum does not depend on it.

    Returns:
        float64 arrays of shape `(features, classes)` and `(classes,)`.

    Example:
        >>> kernel, bias = fit_softmax_regression([[-1.0], [1.0]], [0, 1], 2, 0.1)
        >>> kernel.round(2).tolist()  # by symmetry k and -k, with sigmoid(-2k) = 0.1 k
        [[-1.06, 1.06]]
    """
    features = np.asarray(features, np.float64)
    # The bias takes up any shift of the features; centred, the problem is better conditioned.
    centre = features.mean(axis=0)
    features = features - centre
    # With fewer images than features, the kernel lies in the span of the images: there, it is
    # the same problem with as many unknowns as images.
    basis = None
    if len(features) < features.shape[1]:
        basis, _ = np.linalg.qr(features.T)
        features = features @ basis
    scale = np.sqrt(np.mean(np.sum(features**2, axis=1))) or 1.0
    features = features / scale
    targets = np.eye(classes)[np.asarray(labels)]
    size, penalty = features.shape[1], l2 / scale**2

    def loss(unknowns):
        kernel, bias = unknowns[:-classes].reshape(size, classes), unknowns[-classes:]
        logits = features @ kernel + bias
        normalizer = special.logsumexp(logits, axis=1)
        nll = np.mean(normalizer - np.sum(logits * targets, axis=1))
        error = (np.exp(logits - normalizer[:, np.newaxis]) - targets) / len(targets)
        slope = features.T @ error + penalty * kernel
        return (
            nll + penalty / 2 * np.sum(kernel**2),
            np.concatenate([slope.ravel(), error.sum(axis=0)]),
        )

    unknowns = np.zeros((size + 1) * classes)
    if start is not None:
        kernel, bias = np.asarray(start[0]) * scale, start[1] + centre @ np.asarray(start[0])
        kernel = kernel if basis is None else basis.T @ kernel
        unknowns = np.concatenate([kernel.ravel(), bias])
    found = optimize.minimize(
        loss,
        unknowns,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 2000, "maxfun": 4000, "ftol": 1e-13, "gtol": 1e-8, "maxcor": 20},
    ).x
    kernel, bias = found[:-classes].reshape(size, classes) / scale, found[-classes:]
    kernel = kernel if basis is None else basis @ kernel
    return kernel, bias - centre @ kernel


def _best_fit(features, labels, held_out, classes, strengths):
    spread = features - features.mean(axis=0)
    scale = float(np.mean(np.sum(spread.astype(np.float64) ** 2, axis=1))) or 1.0
    best, tried, start, worse = None, [], None, 0
    for strength in sorted(strengths, reverse=True):
        l2 = strength * scale
        start = fit_softmax_regression(features, labels, classes, l2, start)
        kernel, bias = start
        logits = held_out[0].astype(np.float64) @ kernel + bias
        own = logits[np.arange(len(logits)), held_out[1]]
        nll = float(np.mean(special.logsumexp(logits, axis=1) - own))
        tried.append((l2, nll))
        if best is None or nll < best[1]:
            best, worse = (l2, nll, kernel, bias), 0
        else:
            worse += 1
        if worse == _PATIENCE:
            break
    return best, tuple(tried)


def _parts(model):
    """Return the layer that gives the features, and those of the head after it."""
    head = _Units(model).head
    count = 0
    while count < len(head) and not head[count].weights and not _is_random(head[count]):
        count += 1
    if not count or count == len(head) or len(head[count - 1].output.shape) != 2:
        names = ", ".join(layer.name for layer in head)
        raise ConfigError(
            f"the head of {model.name} must be pooling to one vector an image, then dense layers; "
            f"found: {names or 'nothing'}"
        )
    return head[count - 1], head[count:]


def _chain(model):
    """Return the layer that gives the features, and what follows it, functions included.

    Raises:
        ConfigError: If not each works on the outputs of the one before.
    """
    pooling, rest = _parts(model)
    view = keras.Model(model.inputs, model.outputs, name=model.name)
    calls = trace(view, open_composites=False).calls
    operations = [call.operation for call in calls]
    if pooling not in operations:
        raise _not_a_chain(model, rest)
    place = operations.index(pooling)
    pairs = itertools.pairwise(calls[place:])
    if any(later.inputs != earlier.outputs for earlier, later in pairs):
        raise _not_a_chain(model, operations[place + 1 :])
    return pooling, operations[place + 1 :]


def _not_a_chain(model, operations):
    names = ", ".join(operation.name for operation in operations)
    return ConfigError(
        f"the head of {model.name} must be a chain of layers, each on the outputs of the one "
        f"before; it ends in {names}"
    )


def _is_random(layer):
    return isinstance(layer, (keras.layers.Dropout, keras.layers.GaussianNoise))


def _linear_head(model):
    _, rest = _chain(model)
    dense = [layer for layer in rest if getattr(layer, "weights", None)]
    others = [layer for layer in rest if layer not in dense and not _is_random(layer)]
    linear = (
        len(dense) == 1
        and isinstance(dense[0], keras.layers.Dense)
        and dense[0].use_bias
        and all(_keeps_order(layer) for layer in others)
    )
    if not linear or keras.activations.serialize(dense[0].activation) not in ("linear", "softmax"):
        names = ", ".join(layer.name for layer in rest)
        raise ConfigError(
            "a linear probe needs a linear head: one dense layer with a bias, then softmax or "
            f"nothing; {model.name} has {names}. Train such a head with head_model"
        )
    return dense[0]


def _keeps_order(layer):
    # By name, since that of `keras.ops` is an operation of a private class.
    is_softmax = type(layer).__name__ == "Softmax"
    if isinstance(layer, keras.layers.Activation):
        is_softmax = keras.activations.serialize(layer.activation) == "softmax"
    return is_softmax


def _checked_labels(labels, classes, name):
    labels = np.asarray(labels)
    if not len(labels):
        raise ConfigError(f"there are no {name} labels")
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ConfigError(
            f"{name} labels must be class indices of shape (images,), received {labels.dtype} of "
            f"shape {labels.shape}"
        )
    if not 0 <= labels.min() <= labels.max() < classes:
        raise ConfigError(
            f"{name} labels lie between {labels.min()} and {labels.max()}, the head has {classes} "
            f"classes: expected 0 to {classes - 1}"
        )
    return labels
