"""Distillation on two devices, which need a process of their own."""

import subprocess
import sys

import pytest

_MIRRORED = """
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tuning import distill
def network(width):
    inputs = keras.Input((4, 4, 1))
    x = keras.layers.Conv2D(width, 3, name="conv")(inputs)
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
keras.utils.set_random_seed(0)
teacher = network(4)
alone = network(2)
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    mirrored = network(2)
mirrored.set_weights(alone.get_weights())
random = np.random.default_rng(0)
images, labels = random.normal(size=(16, 4, 4, 1)), random.integers(0, 3, 16)
data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(8)
one, two = (
    distill(student, teacher, data, epochs=2, hints={"conv": "conv"}, learning_rate=0.01)
    for student in (alone, mirrored)
)
for a, b, old in zip(one.get_weights(), two.get_weights(), alone.get_weights()):
    np.testing.assert_allclose(a, b, atol=1e-5)
    assert not np.allclose(a, old, atol=1e-3)
assert type(two.distribute_strategy).__name__ == "MirroredStrategy"
print("same")
"""


@pytest.mark.slow
def test_two_devices_give_what_one_gives():
    command = [sys.executable, "-c", _MIRRORED]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert answer.stdout.strip() == "same", answer.stderr
