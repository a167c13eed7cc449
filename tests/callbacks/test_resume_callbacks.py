"""Exact resume with other precisions, stages of unfreezing, measures and best weights."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from callbacks import (
    Checkpoint,
    EarlyStopping,
    GradientNorms,
    GradualUnfreezing,
    RunLog,
    WeightAverage,
)


class Killed(BaseException):
    """What ends a run in place of a signal."""


@pytest.mark.parametrize("policy", ["bfloat16", "mixed_float16"])
def test_other_precisions_come_back_to_the_bit(policy, tmp_path):
    def make():
        keras.utils.set_random_seed(1)
        layers = [keras.layers.Input((2,)), keras.layers.Dense(1, dtype=policy)]
        model = keras.Sequential(layers)
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss="mse")
        model.optimizer.build(model.trainable_variables)
        return model

    model = make()
    model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0, callbacks=[Checkpoint(tmp_path)])
    other = make()
    assert Checkpoint(tmp_path).restore_newest(other) == 1
    variables = (each.variables + each.optimizer.variables for each in (model, other))
    for ours, theirs in itertools.chain(zip(*variables, strict=True)):
        assert ours.numpy().tobytes() == theirs.numpy().tobytes(), ours.path


class KillAt(keras.callbacks.Callback):
    """Raise after a batch of an epoch, both counted from 0."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.place = epoch, batch

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.place:
            raise Killed


def killed_and_resumed(train, place):
    """Return what `train(place)` gives where nobody kills it, and killed there and run again."""
    expected = train("whole", [])
    with pytest.raises(Killed):
        train("killed", [KillAt(*place)])
    return expected, train("killed", [])


@pytest.mark.parametrize("stage", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_killed_in_the_first_epoch_of_a_stage(stage, tmp_path):
    images = np.random.default_rng(0).normal(size=(64, 2)).astype("float32")
    data = tf.data.Dataset.from_tensor_slices((images, images.sum(1, keepdims=True))).batch(8)

    def train(folder, more):
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Dense(3, name="first"), keras.layers.Dense(1, name="last")]
        model = keras.Sequential([keras.layers.Input((2,)), *layers])
        model.get_layer("first").trainable = False
        model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss="mse")
        unfreezing = GradualUnfreezing({stage: ["first"]})
        checkpoint = Checkpoint(tmp_path / folder, every_steps=2)
        model.fit(
            checkpoint.data(data),
            initial_epoch=checkpoint.restore(model, unfreezing.prepare),
            epochs=3,
            shuffle=False,
            verbose=0,
            callbacks=[unfreezing, *more, checkpoint],
        )
        return [weight.tolist() for weight in model.get_weights()]

    expected, resumed = killed_and_resumed(train, (stage, 5))
    assert resumed == expected


def test_measures_of_an_epoch_that_is_resumed_inside(tmp_path):
    """Gradient norms are those of the whole run; images a second are of the rest of the epoch."""
    images = np.random.default_rng(0).normal(size=(80, 2)).astype("float32")
    data = tf.data.Dataset.from_tensor_slices((images, images.sum(1, keepdims=True))).batch(8)
    logs = {}

    def train(folder, more):
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Input((2,)), keras.layers.Dense(1, name="line")]
        model = keras.Sequential(layers)
        model.compile(keras.optimizers.SGD(0.01), loss="mse")
        norms = GradientNorms(every=3)
        checkpoint = Checkpoint(tmp_path / folder, [norms], every_steps=4)
        first = checkpoint.restore(model)
        logs[folder] = [
            RunLog(tmp_path / f"{folder}.jsonl"),
            RunLog(tmp_path / f"{folder}-known.jsonl", images_per_epoch=40),
        ]
        history = model.fit(
            checkpoint.data(data),
            initial_epoch=first,
            epochs=2,
            shuffle=False,
            verbose=0,
            callbacks=[norms, *logs[folder], *more, checkpoint],
        ).history
        return history, norms.history

    expected, resumed = killed_and_resumed(train, (1, 9))
    assert resumed == expected
    assert resumed[1]["step"] == [3, 6, 9, 12, 15, 18]
    # Of the ten batches of eight, two came after the last checkpoint; of 40 images a fifth.
    for log, trained in zip(logs["killed"], (16, 8), strict=True):
        line = log.lines[-1]
        found = line["images_per_second"] * line["train_seconds"]
        assert found == pytest.approx(trained, rel=0.1)
    assert logs["whole"][0].lines[-1]["epoch"] == 2


def test_the_best_weights_of_a_model_in_half_precision(script, tmp_path):
    """The best epoch lies before the kill; its weights are read from the checkpoint."""
    ones = np.ones((1, 1))

    def train(epochs):
        line = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", dtype="bfloat16")
        model = keras.Sequential([keras.layers.Input((1,)), line])
        model.compile(keras.optimizers.SGD(0.25), loss="mse")
        stopping, average = EarlyStopping("val_loss"), WeightAverage(0.5)
        checkpoint = Checkpoint(tmp_path, [average, stopping])
        model.fit(
            checkpoint.data(tf.data.Dataset.from_tensors((ones, ones))),
            initial_epoch=checkpoint.restore(model),
            epochs=epochs,
            shuffle=False,
            verbose=0,
            callbacks=[average, script("val_loss", [2.0, 1.0, 3.0, 4.0]), stopping, checkpoint],
        )
        return stopping.best_epoch, float(model.get_weights()[0][0, 0])

    assert [train(3), train(4)] == [(2, 0.75)] * 2
