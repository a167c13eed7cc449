"""Train as a program of its own, perhaps killed on the way; `test_resume.py` starts it.

Arguments: the folder of the checkpoints, a file for the result, the kind of data, steps per
execution, and where to die: `never`, `EPOCH.BATCH` after that batch, `EPOCH.end` before the epoch's
checkpoint, `EPOCH.saved` after it, `EPOCH.writing` while it is written.
"""

import json
import os
import random
import signal
import sys

import keras
import numpy as np
import tensorflow as tf

from callbacks import Checkpoint, EarlyStopping, WeightAverage

BATCHES = 10
EPOCHS = 9  # it stops after 7, or 6 in executions of 4 steps


def make_model(steps_per_execution=1):
    """Return a small classifier with everything that has a state."""
    model = keras.Sequential(
        [
            keras.layers.Input((6,)),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(
        keras.optimizers.AdamW(0.05, use_ema=True, ema_momentum=0.8),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=steps_per_execution,
    )
    return model


def make_data(kind):
    """Return training data for `Checkpoint.data` and the validation arrays."""
    generator = np.random.default_rng(1)
    images = generator.standard_normal((8 * BATCHES - 3, 6)).astype("float32")
    labels = (images[:, 0] > 0).astype("int64") + (images[:, 1] > 0.5)
    whole = tf.data.Dataset.from_tensor_slices((images, labels))
    held_out = (images[:16] + 0.3, labels[:16])
    if kind == "fixed":
        return whole.batch(8), held_out

    def of_epoch(epoch):
        order = whole.shuffle(100, seed=epoch, reshuffle_each_iteration=False)
        return order.batch(8).map(lambda x, y: (x * (1 + 0.1 * epoch), y))

    return of_epoch, held_out


class RandomRate(keras.callbacks.Callback):
    """Draw from the global generators of Python and NumPy after each batch."""

    def on_train_batch_end(self, batch, logs=None):
        """Change the learning rate at random."""
        rate = 0.02 * (1 + random.random() + np.random.random())
        self.model.optimizer.learning_rate = rate


class Die(keras.callbacks.Callback):
    """End the process as `kill -9` does, at a chosen place."""

    def __init__(self, place):
        super().__init__()
        epoch, _, self.moment = place.partition(".")
        self.epoch = None if epoch == "never" else int(epoch)
        self.now = None
        self.steps = 0

    def on_epoch_begin(self, epoch, logs=None):
        """Note the epoch."""
        self.now = epoch
        if self.moment == "writing" and epoch == self.epoch:
            np.savez = self.half
        if self.moment == "saved" and epoch == self.epoch + 1:
            self.die()

    def on_train_batch_end(self, batch, logs=None):
        """Die after a batch."""
        if self.moment.isdigit() and (self.now, int(self.moment)) == (self.epoch, batch):
            self.die()

    def on_epoch_end(self, epoch, logs=None):
        """Die before the checkpoint, which is named later."""
        if (self.moment, epoch) == ("end", self.epoch):
            self.die()

    def on_train_end(self, logs=None):
        """Die before training could say that it ended."""
        if self.moment == "train_end":
            self.die()

    def half(self, file, **arrays):
        """Write the half of a file."""
        with open(file, "wb") as opened:
            opened.write(b"PK half")
            opened.flush()
            self.die()

    @staticmethod
    def die():
        """Leave no chance to clean up."""
        os.kill(os.getpid(), signal.SIGKILL)


def train(folder, kind="shuffled", steps_per_execution=1, place="never", every_steps=3):
    """Train, or go on with training; return the result as JSON types."""
    keras.utils.set_random_seed(0)
    model = make_model(steps_per_execution)
    source, held_out = make_data(kind)
    average = WeightAverage(0.9)
    stopping = EarlyStopping("val_loss", patience=1, average=average)
    plateau = keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=0.5, factor=0.9)
    checkpoint = Checkpoint(
        folder, [average, stopping, plateau], every_steps=every_steps, monitor="val_loss"
    )
    dataset = checkpoint.data(source)
    first = checkpoint.restore(model)
    began = (checkpoint.epochs_done, checkpoint.steps_done)
    history = model.fit(
        dataset,
        validation_data=held_out,
        initial_epoch=first,
        epochs=EPOCHS,
        shuffle=False,
        verbose=0,
        callbacks=[RandomRate(), average, plateau, stopping, Die(place), checkpoint],
    )
    return {
        "began": began,
        "epochs": history.epoch,
        "history": history.history,
        "stopped": [stopping.stopped_epoch, stopping.best_epoch, stopping.reason],
        "best": [checkpoint.best_epoch, checkpoint.best],
        "weights": [variable.numpy().tolist() for variable in model.variables],
        "optimizer": [variable.numpy().tolist() for variable in model.optimizer.variables],
        "random": [random.random(), float(np.random.random())],
    }


if __name__ == "__main__":
    folder, result, kind, steps, place = sys.argv[1:]
    found = train(folder, kind, int(steps), place)
    with open(result, "w") as file:
        json.dump(found, file)
