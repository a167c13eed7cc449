"""Which models are what their graph says."""

import functools

import keras


@functools.cache
def functional_class():
    """Return the class of functional models, for which Keras has no public name."""
    inputs = keras.Input((1,))
    # Keras 3.12 wants a layer in between.
    return type(keras.Model(inputs, keras.layers.Identity()(inputs)))


def has_graph(model):
    """Return whether `model` is functional or sequential, be it by a subclass."""
    return isinstance(model, (keras.Sequential, functional_class()))


def is_replayable(layer):
    """Return whether `layer` is a functional or sequential model whose graph says what it does."""
    if type(layer) in (keras.Sequential, functional_class()):
        return True
    # A subclass that adds names and settings only, as the backbones of keras-hub.
    return has_graph(layer) and not overridden_methods(layer)


def overridden_methods(model):
    """Return the names of the methods in which a model's class departs from its graph."""
    base = keras.Sequential if isinstance(model, keras.Sequential) else functional_class()
    names = ("call", "__call__", "train_step", "test_step", "predict_step", "compute_loss")
    return [name for name in names if getattr(type(model), name) is not getattr(base, name)]
