"""A search as one writes it by hand with KerasTuner and stock Keras, and nothing of this package.

The images are arrays in memory, read once; `fit` in float32 with the augmentation in the model, a
warmed-up cosine schedule and a validation after each epoch; KerasTuner's `RandomSearch`, which
saves the best epoch of each trial. Only the draws are given, so that both sides try the same.
"""

import math

import keras
import keras_tuner
import tensorflow as tf

layers = keras.layers


def unit(x, width):
    """Return a convolution, batch normalisation and ReLU."""
    x = layers.Conv2D(width, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))


def build_network(shape, classes, mean, variance, width):
    """Return a ResNet-9 with augmentation inside."""
    inputs = x = keras.Input(shape)
    x = layers.RandomFlip("horizontal")(x)
    x = layers.RandomTranslation(2 / 28, 2 / 28, fill_mode="constant")(x)
    x = layers.Normalization(mean=mean, variance=variance)(x)
    x = unit(x, width)
    for stage in (1, 2):
        x = shortcut = layers.MaxPooling2D()(unit(x, width * 2**stage))
        x = layers.Add()([unit(unit(x, width * 2**stage), width * 2**stage), shortcut])
    x = layers.GlobalMaxPooling2D()(x)
    x = layers.Dense(classes, use_bias=False)(x)
    return keras.Model(inputs, layers.Rescaling(0.125)(x))


def model_builder(shape, classes, mean, variance, width, steps):
    """Return `build_model(hp)` for images of a shape and a training of so many steps."""

    def build_model(hp):
        rate = hp.Float("learning_rate", 0.03, 3.0, sampling="log")
        decay = hp.Float("weight_decay", 5e-4, 5e-2, sampling="log")
        warmup = hp.Float("warmup", 0.0, 0.4)
        smoothing = hp.Choice("label_smoothing", [0.0, 0.05, 0.1, 0.2])
        warmup_steps = round(steps * warmup)
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0, steps - warmup_steps, warmup_target=rate, warmup_steps=max(warmup_steps, 1)
        )
        model = build_network(shape, classes, mean, variance, width)
        model.compile(
            keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True, weight_decay=decay),
            keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing),
            metrics=["accuracy"],
        )
        return model

    return build_model


class Draws(keras_tuner.oracles.RandomSearchOracle):
    """Random search whose draws are given."""

    def __init__(self, draws, **arguments):
        super().__init__(**arguments)
        self.draws = list(draws)

    def populate_space(self, trial_id):
        """Return the next draw."""
        if not self.draws:
            return {"status": "STOPPED", "values": None}
        return {"status": "RUNNING", "values": self.draws.pop(0)}


def search(train, validation, draws, *, width, epochs, batch_size, folder):
    """Search; return the validation accuracies that KerasTuner reports, in the order of the draws.

    Args:
        train: Images uint8 and labels.
        validation: The same.
        draws: For each trial the values of the four hyperparameters.
        width: Of the network.
        epochs: Of a trial.
        batch_size: Images a step.
        folder: For KerasTuner's files.
    """
    images, classes = train[0], int(max(train[1])) + 1
    # KerasTuner makes a new model for each trial, and clears the session before it.
    steps = math.floor(len(images) / batch_size) * epochs
    build_model = model_builder(
        images.shape[1:], classes, float(images.mean()), float(images.var()), width, steps
    )

    def batches(images, labels, training):
        data = tf.data.Dataset.from_tensor_slices(
            (images, keras.utils.to_categorical(labels, classes))
        )
        if training:
            data = data.shuffle(len(images), seed=0).batch(batch_size, drop_remainder=True)
        else:
            data = data.batch(batch_size)
        return data.prefetch(tf.data.AUTOTUNE)

    oracle = Draws(draws, objective=keras_tuner.Objective("val_accuracy", "max"),
                   max_trials=len(draws))  # fmt: skip
    tuner = keras_tuner.Tuner(
        oracle, build_model, directory=str(folder), project_name="plain", overwrite=True
    )
    tuner.search(
        batches(*train, True), validation_data=batches(*validation, False), epochs=epochs, verbose=0
    )
    trials = sorted(oracle.trials.values(), key=lambda trial: trial.trial_id)
    return [trial.score for trial in trials]
