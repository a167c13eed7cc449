"""A model of one weight whose training can be followed by hand."""

import keras
import numpy as np
import pytest


@pytest.fixture
def line_model():
    """Return a compiled model `y = w x`, w = 0, and data whose gradient is known.

    On x = 1, y = 1, with loss (w x - y)^2 and learning rate 0.25, each step moves w half of its
    way to 1: 0.5, 0.75, 0.875 ...
    """
    model = keras.Sequential(
        [
            keras.layers.Input((1,)),
            keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros"),
        ]
    )
    model.compile(optimizer=keras.optimizers.SGD(0.25), loss="mse", metrics=["mae"])
    return model, np.ones((1, 1), "float32"), np.ones((1, 1), "float32")


class Script(keras.callbacks.Callback):
    """Put scripted values into the logs, as a validation would."""

    def __init__(self, name, values):
        super().__init__()
        self.name, self.values = name, values

    def on_epoch_end(self, epoch, logs=None):
        logs[self.name] = self.values[epoch]


@pytest.fixture
def script():
    """Return the class of the callback that scripts a measure."""
    return Script
