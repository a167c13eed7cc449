"""A model of one weight whose training can be followed by hand."""

import subprocess
import sys
import textwrap

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


@pytest.fixture
def alone():
    """Run code in a process of its own.

    A strategy of `tf.distribute` fails ("Caching devices is not yet supported") in a process that
    has compiled certain other programs, and leaves Keras in its scope.
    """

    def run(code):
        command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
        found = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert found.returncode == 0, found.stderr[-2000:]
        return found.stdout.strip()

    return run
