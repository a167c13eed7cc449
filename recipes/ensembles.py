"""Several classifiers as one, which gives the mean of their probabilities."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from recipes.errors import ConfigError

if TYPE_CHECKING:
    import keras


def ensemble(
    models: Sequence["keras.Model"], *, from_logits: bool | None = None, name: str = "ensemble"
) -> "keras.Model":
    """Return one functional model that averages the class probabilities of several.

    A Keras model like any other: it can be evaluated, saved as `.keras` and converted to TFLite.
    It holds copies, so that training a member on changes nothing. Probabilities are computed and
    averaged in float32. Class names and contract of finished classifiers stay readable in it.

    Args:
        models: One or more built Functional or Sequential models with one input and one output of
            shape `(batch, classes)`, the same for all.
        from_logits: Whether the models give logits rather than probabilities; default: seen from
            the last layer of each, so that both kinds can meet.
        name: Of the model.

    Returns:
        Model that gives probabilities, float32, shape `(batch, classes)`.

    Raises:
        ConfigError: If there are no models, they do not fit each other or know other classes, or
            what one gives cannot be seen.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(3)])
        >>> both = ensemble([model, model])
        >>> logits = keras.ops.convert_to_numpy(model(np.eye(2)))
        >>> one = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        >>> bool(np.allclose(both(np.eye(2)), one, atol=1e-6))
        True

    Source:
        Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation using Deep
        Ensembles", 2017, section 2.4: a uniformly weighted mixture.
    """
    import keras

    from recipes.models.outputs import gives_logits

    models = list(models)
    _check(models)
    first = models[0].inputs[0]
    inputs = keras.Input(first.shape[1:], dtype=first.dtype, name="images")
    probabilities = []
    for index, model in enumerate(models, 1):
        outputs = _copy(model, f"member_{index}")(inputs)
        logits = gives_logits(model) if from_logits is None else from_logits
        if logits:
            softmax = keras.layers.Softmax(dtype="float32", name=f"probabilities_{index}")
            outputs = softmax(outputs)
        probabilities.append(outputs)
    if len(models) > 1:
        mean = keras.layers.Average(dtype="float32", name="mean_probabilities")(probabilities)
    else:
        mean = keras.layers.Identity(dtype="float32", name="mean_probabilities")(probabilities[0])
    return keras.Model(inputs, mean, name=name)


def _check(models):
    if not models:
        raise ConfigError("models must be one or more Keras models, received none")
    shapes = []
    for index, model in enumerate(models):
        inputs, outputs = (getattr(model, name, None) or [] for name in ("inputs", "outputs"))
        if len(inputs) != 1 or len(outputs) != 1 or len(outputs[0].shape) != 2:
            raise ConfigError(
                f"models[{index}] must be a built Keras model with one input and one row of "
                f"classes an example, received: {getattr(model, 'name', model)!r}"
            )
        shapes.append((tuple(inputs[0].shape[1:]), outputs[0].shape[1]))
    for index, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise ConfigError(
                f"models must agree: models[0] maps {shapes[0][0]} to {shapes[0][1]} classes, "
                f"models[{index}] {shape[0]} to {shape[1]}"
            )
    _check_classes(models)


def _check_classes(models):
    from recipes.evaluation.classifier import calibrated_head

    heads = [calibrated_head(model) for model in models]
    known = [(index, head.class_names) for index, head in enumerate(heads) if head]
    known = [(index, names) for index, names in known if names]
    for index, names in known[1:]:
        first, expected = known[0]
        if names != expected:
            raise ConfigError(
                "models must know the same classes in the same order: "
                f"models[{first}] knows {', '.join(expected[:4])}, ..., models[{index}] "
                f"{', '.join(names[:4])}, ..."
            )


def _copy(model, name):
    copy = type(model).from_config({**model.get_config(), "name": name})
    copy.set_weights(model.get_weights())
    return copy
