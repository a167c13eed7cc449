"""Two devices of one machine train what one does; they need a process of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = """
import runpy, sys
from unittest import mock
import keras, numpy as np
worker = runpy.run_path(sys.argv[1])
worker["make_logical_devices"](2)
from recipes import load_data, train
from recipes.network import Network

data = load_data(sys.argv[2])

def weights(name, plain, strategy, **settings):
    recipe = worker["tiny_recipe"]().override(
        {key.replace("__", "."): value for key, value in settings.items()})
    with mock.patch.object(Network, "_plain", plain):
        more = worker["more_callbacks"](data) if plain is small else []
        run = train(recipe, data, f"{sys.argv[3]}/{name}", progress=False, strategy=strategy,
                    callbacks=more)
    assert run.environment["devices"]["replicas"] == (1 if strategy == "none" else 2)
    return keras.saving.load_model(run.path("model.keras")).get_weights()

def distance(first, second):
    return max(np.abs(a - b).max() for a, b in zip(first, second, strict=True))

small, normalized = worker["small_network"], Network._plain
"""

_ALIKE = """
one = weights("one", small, "none", training__epochs=2)
two = weights("two", small, "mirrored", training__epochs=2)
print(distance(one, two))
"""

_MORE = """
mixed = {"augmentation__mixup_alpha": 0.4, "training__epochs": 2}
print(distance(
    weights("e", small, "none", **mixed),
    weights("f", small, "mirrored", **mixed)))
# The statistics of 16 images are noisy, and small steps amplify what rounding makes of them.
gentle = {"optimizer__learning_rate": 1e-3, "training__epochs": 2, "augmentation__cutout": 0}
one = weights("a", normalized, "none", **gentle)
together = weights(
    "b", normalized, "mirrored", training__synchronize_batch_norm=True, **gentle)
apart = weights("c", normalized, "mirrored", **gentle)
print(distance(one, together))
print(distance(one, apart))
"""


def _run(script, source, folder):
    worker = Path(__file__).with_name("worker.py")
    command = [sys.executable, "-c", _SCRIPT + script, worker, source, folder]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert answer.returncode == 0, answer.stderr
    return [float(line) for line in answer.stdout.split()]


@pytest.mark.slow
def test_two_devices_train_what_one_does(tiny_source, tmp_path):
    """With clipping, which Keras would do on each device apart, averages and a temperature."""
    (distance,) = _run(_ALIKE, tiny_source, tmp_path)
    assert distance < 2e-6


@pytest.mark.exhaustive
def test_batch_normalisation_is_alike_only_where_it_is_synchronized(tiny_source, tmp_path):
    mixed, together, apart = _run(_MORE, tiny_source, tmp_path)
    assert mixed < 2e-6
    assert together < 1e-4
    assert apart > 10 * together
