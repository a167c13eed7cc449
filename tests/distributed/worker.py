"""Train the tiny recipe in a process of its own, on devices that the arguments say; see the tests.

    python worker.py STRATEGY SOURCE OUT [--resume] [--normalized] [FIELD=VALUE ...]

With `LOGICAL=n` in the environment the processor counts as n devices; with `PAUSE=s` each epoch
begins with so many seconds of sleep. Without `--normalized` the network has no batch normalisation,
whose statistics depend on how a batch is shared.
"""

import os
import sys
import time
from unittest import mock


def main(strategy, source, out, *settings):
    """Train; print the line of an error that a user could mend."""
    from recipes import RecipesError, load_data, open_devices, train
    from recipes.network import Network

    flags = {setting for setting in settings if setting.startswith("--")}
    settings = dict(setting.split("=") for setting in settings if setting not in flags)
    if count := int(os.environ.get("LOGICAL", "0")):
        make_logical_devices(count)
    plain = Network._plain if "--normalized" in flags else small_network
    try:
        with mock.patch.object(Network, "_plain", plain):
            devices = open_devices(strategy, connect_seconds=60)
            data = load_data(source)
            train(
                tiny_recipe().override(settings),
                data,
                out,
                resume="--resume" in flags,
                callbacks=more_callbacks(data) if plain is small_network else [],
                progress=False,
                strategy=devices,
            )
    except RecipesError as error:
        print(f"refused: {error}")
        return 2
    return 0


def tiny_recipe():
    """Return a recipe that uses most of what has to do with how a batch is shared."""
    from recipes.config import (
        AugmentationConfig,
        ModelConfig,
        OptimizerConfig,
        Recipe,
        TrainingConfig,
    )

    return Recipe(
        name="tiny",
        model=ModelConfig(name="resnet9", width=8),
        optimizer=OptimizerConfig(learning_rate=0.1, clip_norm=0.5),
        augmentation=AugmentationConfig(crop_padding=2, cutout=4),
        training=TrainingConfig(epochs=3, batch_size=32, ema=0.9, precision="float32"),
    )


def small_network(self):
    """Return a network without batch normalisation, in place of `Network._plain`."""
    import keras

    inputs = keras.Input(self.input_shape)
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(x)
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(x)
    return keras.Model(inputs, keras.layers.Dense(self.classes)(keras.layers.Flatten()(x)))


def more_callbacks(data):
    """Return one that measures the model when training ends, and one that may sleep."""
    import keras

    from callbacks import TemperatureScaling
    from recipes.evaluation.judging import evaluation_images

    def sleep(epoch, logs):
        time.sleep(float(os.environ.get("PAUSE", "0")))

    held_out = data.splits["validation"]
    return [
        TemperatureScaling(evaluation_images(held_out), held_out.labels),
        keras.callbacks.LambdaCallback(on_epoch_begin=sleep),
    ]


def make_logical_devices(count):
    """Let the processor count as several devices; before TensorFlow computes anything."""
    import tensorflow as tf

    (processor,) = tf.config.list_physical_devices("CPU")
    devices = [tf.config.LogicalDeviceConfiguration()] * count
    tf.config.set_logical_device_configuration(processor, devices)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
