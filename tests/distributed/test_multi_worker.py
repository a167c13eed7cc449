"""What `fit` of this Keras does under `MultiWorkerMirroredStrategy`, and under ours.

The tests of the stock strategy fail on the day that `recipes/distributed/multi_worker.py` can go.
"""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.slow
SECONDS = 120
_SCRIPT = """
import sys
(kind,) = sys.argv[1:]
import tensorflow as tf
import keras, numpy as np
from recipes.distributed.multi_worker import MultiWorkerStrategy

strategy = (tf.distribute.MultiWorkerMirroredStrategy if kind == "stock" else MultiWorkerStrategy)()
keras.utils.set_random_seed(1)
with strategy.scope():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.1), "mse", metrics=["mae"])
rank = strategy.cluster_resolver.task_id
images = np.arange(12.0, dtype="float32").reshape(4, 3)[2 * rank : 2 * rank + 2] / 12
dataset = tf.data.Dataset.from_tensors((images, np.ones((2, 2), "float32"))).repeat(3)
dataset = strategy.distribute_datasets_from_function(lambda context: dataset)
history = model.fit(dataset, epochs=1, steps_per_epoch=2, verbose=0).history
print("weights", [weight.tolist() for weight in model.get_weights()], flush=True)
"""


@pytest.fixture(scope="module")
def outputs(processes):
    """Return what gives the prints of the script in two processes, and their exit codes."""

    def run_both(kind):
        with processes.started() as start:
            workers = [
                start(
                    [sys.executable, "-c", _SCRIPT, kind],
                    stderr=subprocess.STDOUT,
                    env=processes.environment(TF_CONFIG=configuration),
                )
                for configuration in processes.cluster_configurations(2)
            ]
            return [(each.communicate(timeout=SECONDS)[0], each.returncode) for each in workers]

    return run_both


def test_fit_fails_under_the_stock_strategy(outputs):
    for text, code in outputs("stock"):
        assert code != 0, text
        assert "convert a value (PerReplica" in text


def test_fit_works_under_ours_and_workers_agree(outputs):
    found = outputs("ours")
    assert [code for _, code in found] == [0, 0], found
    weights = [text.split("weights ")[-1].splitlines()[0] for text, _ in found]
    assert weights[0] == weights[1]

    # Two steps of gradient descent on the mean squared error of all four rows, in NumPy.
    keras.utils.set_random_seed(1)
    layer = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    kernel, bias = (weight.astype(np.float64) for weight in layer.get_weights())
    images = np.arange(12.0).reshape(4, 3) / 12
    for _ in range(2):
        error = images @ kernel + bias - 1
        kernel, bias = (
            kernel - 0.1 * 2 * images.T @ error / error.size,
            bias - 0.1 * 2 * error.sum(axis=0) / error.size,
        )
    measured = json.loads(weights[0])
    np.testing.assert_allclose(measured[0], kernel, atol=1e-6)
    np.testing.assert_allclose(measured[1], bias, atol=1e-6)
