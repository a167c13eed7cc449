"""Imports tf_keras and TF-MOT without touching what the user's process takes for Keras."""

import functools
import os

from recipes.errors import ConfigError

_SWITCH = "TF_USE_LEGACY_KERAS"


@functools.cache
def load_tf_keras():
    """Return the module `tf_keras`, or say how to install it."""
    _resolve_keras()
    try:
        import tf_keras
    except ImportError as error:
        raise _missing("tf_keras", error) from error
    return tf_keras


@functools.cache
def load_tf_mot():
    """Return the module `tensorflow_model_optimization`, or say how to install it.

    It sets an environment variable with which a later import of TensorFlow, in this process or in
    one that it starts, would take Keras 2 for `tf.keras`. It is set back.
    """
    load_tf_keras()
    before = os.environ.get(_SWITCH)
    try:
        import tensorflow_model_optimization
    except ImportError as error:
        raise _missing("tensorflow_model_optimization", error) from error
    finally:
        if before is None:
            os.environ.pop(_SWITCH, None)
        else:
            os.environ[_SWITCH] = before
    return tensorflow_model_optimization


def _resolve_keras():
    """Let `tf.keras`, which is found when it is first used, be found before anything changes."""
    import tensorflow as tf

    _ = tf.keras.layers


def _missing(module, error):
    return ConfigError(
        f"pruning, clustering and quantization-aware training need {module} ({error}): "
        "pip install 'keras-recipes[compress]'"
    )
