"""Activation functions by name, each as the stock layer that converters know best."""

import keras

from recipes.layers import _checks as checks


def _function(name):
    return lambda **keywords: keras.layers.Activation(name, **keywords)


_ACTIVATIONS = {
    "relu": keras.layers.ReLU,
    "relu6": lambda **keywords: keras.layers.ReLU(6.0, **keywords),
    # The slope of Maas et al. and of PyTorch; Keras' default is 0.3.
    "leaky_relu": lambda **keywords: keras.layers.LeakyReLU(0.01, **keywords),
    # Keras' layer cannot be saved once it was given a dtype policy.
    "elu": _function("elu"),
    "gelu": _function("gelu"),
    "silu": _function("silu"),
    "hard_swish": _function("hard_silu"),
    "sigmoid": _function("sigmoid"),
    "hard_sigmoid": _function("hard_sigmoid"),
}

ACTIVATIONS = tuple(_ACTIVATIONS)


def activation_layer(kind, **keywords):
    """Return a new layer that computes an activation function.

    Args:
        kind: One of `ACTIVATIONS`: "relu", max(x, 0); "relu6", min(max(x, 0), 6); "leaky_relu",
            x, or x / 100 below 0; "elu", x, or exp(x) - 1 below 0; "gelu", x times the normal
            distribution function of x; "silu", x sigmoid(x); "hard_swish", x relu6(x + 3) / 6;
            "sigmoid"; "hard_sigmoid", relu6(x + 3) / 6.
        **keywords: Base layer arguments, such as `name` and `dtype`.

    Raises:
        ConfigError: If the name is unknown; the nearest is given.

    Example:
        >>> activation_layer("relu6")(keras.ops.array([-1.0, 3.0, 8.0])).numpy().tolist()
        [0.0, 3.0, 6.0]

    Source:
        Maas et al. 2013 (leaky ReLU), Clevert et al. 2016 (ELU), Hendrycks and Gimpel 2016 (GELU,
        SiLU), Howard et al. 2019 (hard swish, hard sigmoid).
    """
    checks.choice("activation", kind, ACTIVATIONS)
    return _ACTIVATIONS[kind](**keywords)
