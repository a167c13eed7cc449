"""Optimizers whose learning rate differs from layer to layer."""

import keras
from keras import ops

from recipes.errors import ConfigError
from recipes.transfer.freezing import layer_groups


class _Layerwise:
    """Scales each variable's whole update, whatever the optimizer made of its gradient.

    Scaling gradients would do nothing under Adam, which divides the scale out again. So the
    update itself is scaled: a variable ends at `before + factor * (after - before)`, where `after`
    is where the optimizer put it, weight decay included. That is what a learning rate
    `factor * rate` for this variable gives.
    """

    def __init__(self, *arguments, factors=None, decay_vectors=True, **keywords):
        super().__init__(*arguments, **keywords)
        if self.use_ema:
            raise ValueError(
                "use_ema averages unscaled updates here; use callbacks.WeightAverage instead"
            )
        self.factors = _checked(factors or {})
        self.decay_vectors = decay_vectors

    def factor(self, path: str) -> float:
        """Return the factor of the variable at `path`: that of the layer that it is in, or 1."""
        name = self._named(path)
        return 1.0 if name is None else self.factors[name]

    def _named(self, path):
        """Return the longest, then innermost name in `factors` that `path` leads through."""
        parts = path.split("/")[:-1]
        for length in range(len(parts), 0, -1):
            for start in range(len(parts) - length, -1, -1):
                name = "/".join(parts[start : start + length])
                if name in self.factors:
                    return name
        return None

    def build(self, variables):
        """Make the optimizer's variables for these; check that the factors name some of them."""
        variables = list(variables)
        if not self.decay_vectors and not self.built:
            self.exclude_from_weight_decay([v for v in variables if len(v.shape) <= 1])
        super().build(variables)
        factors = [self.factor(variable.path) for variable in variables]
        named = [variable for variable in variables if self._named(variable.path) is not None]
        if self.factors and variables and not named:
            raise ValueError(
                f"none of the layers in factors ({', '.join(list(self.factors)[:3])}, ...) holds a "
                f"variable to train (such as {variables[0].path})"
            )
        self._factor_of = {id(v): f for v, f in zip(variables, factors, strict=True)}
        # In a function, since a list of variables would count among the optimizer's own.
        self._built_for = lambda: variables

    def apply(self, grads, trainable_variables=None):
        """Update the variables, each by its factor's share of the update."""
        if trainable_variables is not None:
            trainable_variables = list(trainable_variables)
            if not self.built:
                self.build(trainable_variables)
        variables = trainable_variables or self._built_for()
        scaled = [(v, self._factor_of.get(id(v), 1.0)) for v in variables]
        before = [
            (variable, factor, ops.copy(variable.value))
            for variable, factor in scaled
            if factor != 1.0
        ]
        super().apply(grads, trainable_variables)
        for variable, factor, old in before:
            if factor == 0.0:
                variable.assign(old)
            else:
                step = ops.subtract(variable.value, old)
                variable.assign(ops.add(old, ops.multiply(ops.cast(factor, step.dtype), step)))

    def get_config(self):
        """Return every argument."""
        own = {"factors": dict(self.factors), "decay_vectors": self.decay_vectors}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="keras_recipes")
class LayerwiseAdamW(_Layerwise, keras.optimizers.AdamW):
    """AdamW with a factor of the learning rate for each layer.

    It is saved with a compiled model; import it before loading.

    Args:
        *arguments: Those of `keras.optimizers.AdamW`.
        factors: Layer name to factor, 0 or more; layers that are not named have 1. The name of a
            composite layer, or a path such as `"block/conv"`, stands for all inside it.
        decay_vectors: Whether weight decay holds for vectors, too: biases and normalisation, which
            it pulls to 0 to no good. Unlike `exclude_from_weight_decay`, this is saved.
        **keywords: Those of `keras.optimizers.AdamW`, except `use_ema`.

    Raises:
        ValueError: For a factor that is not a number of 0 or more; or, when it is built, if no
            layer in `factors` has a variable to train.

    Example:
        >>> model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2, name="first"),
        ...                           keras.layers.Dense(1, name="last")])
        >>> model.compile(LayerwiseAdamW(1e-3, factors={"first": 0.1}), loss="mse")
        >>> model.optimizer.factor("first/kernel"), model.optimizer.factor("last/kernel")
        (0.1, 1.0)

    Source:
        Howard and Ruder, "Universal Language Model Fine-tuning for Text Classification", 2018,
        section 3.2 (discriminative fine-tuning).
    """


@keras.saving.register_keras_serializable(package="keras_recipes")
class LayerwiseSGD(_Layerwise, keras.optimizers.SGD):
    """SGD with a factor of the learning rate for each layer; see `LayerwiseAdamW`.

    Args:
        *arguments: Those of `keras.optimizers.SGD`.
        factors: Layer name to factor, 0 or more; layers that are not named have 1.
        decay_vectors: Whether weight decay holds for vectors, too.
        **keywords: Those of `keras.optimizers.SGD`, except `use_ema`.
    """


def rate_factors(model: keras.Model, decay: float) -> dict[str, float]:
    """Return a learning-rate factor for each layer with weights, smaller from stage to stage.

    The head has 1, the last stage `decay`, the one before it `decay ** 2`, and so on to the stem.

    Args:
        model: Functional or sequential; see `layer_groups` for its stages.
        decay: Above 0 and at most 1; 1 gives every layer the same rate. Howard and Ruder use
            1 / 2.6 from layer to layer.

    Returns:
        Layer name to factor, for `LayerwiseAdamW` and `LayerwiseSGD`.

    Raises:
        ConfigError: If `decay` is out of its range, or the model has no stages.

    Example:
        >>> from recipes.transfer import transfer_model
        >>> factors = rate_factors(transfer_model("resnet20", 3, weights=None), 0.5)
        >>> factors["logits"], factors["stage3_block1_conv1"], factors["stem_conv"]
        (1.0, 0.5, 0.0625)
    """
    is_number = isinstance(decay, int | float) and not isinstance(decay, bool)
    if not is_number or not 0 < decay <= 1:
        raise ConfigError(f"decay must be above 0 and at most 1, received: {decay!r}")
    groups = layer_groups(model)
    depths = range(len(groups) - 1, -1, -1)
    factors = {}
    for depth, layers in zip(depths, groups.values(), strict=True):
        for layer in layers:
            factor = float(decay**depth)
            if factors.setdefault(layer.name, factor) != factor:
                raise ConfigError(
                    f"{model.name} has layers called {layer.name!r} at several depths; "
                    "recipes.transfer.flatten_model gives each a name of its own"
                )
    return factors


def _checked(factors):
    for name, factor in factors.items():
        is_number = isinstance(factor, int | float) and not isinstance(factor, bool)
        if not is_number or not 0 <= factor < float("inf"):
            raise ValueError(f"the factor of {name!r} must be 0 or more, received: {factor!r}")
    return {name: float(factor) for name, factor in factors.items()}
