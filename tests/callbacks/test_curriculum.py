import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import augment
from callbacks import Checkpoint, Curriculum
from callbacks.curriculum import curriculum_strength


class Target:
    """Stands in for a pipeline, and writes down what it is set to."""

    def __init__(self, strength=0.75):
        self._strength, self.seen = strength, []

    @property
    def strength(self):
        return self._strength

    @strength.setter
    def strength(self, value):
        self.seen.append(value)
        self._strength = value


def fit(line_model, curriculum, epochs=4, steps=2, **keywords):
    model, inputs, outputs = line_model
    batches = tf.data.Dataset.from_tensors((inputs, outputs)).repeat(steps)
    extra = keywords.pop("callbacks", [])
    callbacks = [curriculum, *extra]
    model.fit(batches, epochs=epochs, verbose=0, shuffle=False, callbacks=callbacks, **keywords)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("linear", [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]),
        ("cosine", [0.6 - 0.4 * math.cos(math.pi * k / 4) for k in range(5)] + [1.0]),
        ("step", [0.2, 0.2, 0.6, 0.6, 1.0, 1.0]),
    ],
)
def test_shapes(shape, expected):
    found = [
        curriculum_strength(time, 4, shape=shape, start=0.2, end=1.0, stairs=2) for time in range(6)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    down = [
        curriculum_strength(time, 4, shape=shape, start=1.0, end=0.2, stairs=2) for time in range(6)
    ]
    np.testing.assert_allclose(down, 1.2 - np.array(expected), atol=1e-12)


def test_every_stair_is_as_long():
    found = [
        curriculum_strength(time, 60, shape="step", start=0, end=1, stairs=6) for time in range(60)
    ]
    np.testing.assert_allclose(found, np.repeat(np.arange(6), 10) / 6, atol=1e-12)


def test_once_an_epoch_to_the_last(line_model):
    target = Target()
    fit(line_model, Curriculum(target, start=0.1, end=0.4))
    np.testing.assert_allclose(target.seen, [0.1, 0.2, 0.3, 0.4, 0.75])


def test_every_step_by_a_function(line_model):
    target = Target()
    fit(line_model, Curriculum(target, lambda time: time / 10, every="step"), epochs=3)
    np.testing.assert_allclose(target.seen, [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75])


def test_every_step_to_the_last(line_model):
    target = Target()
    model, inputs, outputs = line_model
    curriculum = Curriculum(target, every="step")
    inputs, outputs = np.repeat(inputs, 3, 0), np.repeat(outputs, 3, 0)
    model.fit(inputs, outputs, batch_size=1, epochs=2, verbose=0, callbacks=[curriculum])
    np.testing.assert_allclose(target.seen, [*np.arange(6) / 5, 0.75])


def test_one_epoch_has_the_end(line_model):
    target = Target()
    fit(line_model, Curriculum(target), epochs=1)
    assert target.seen == [1.0, 0.75]


@pytest.mark.parametrize("every", ["epoch", "step"])
def test_a_resumed_run_goes_on(line_model, tmp_path, every):
    whole, first, second = Target(), Target(), Target()
    fit(line_model, Curriculum(whole, "cosine", over=5, every=every))
    curriculum = Curriculum(first, "cosine", over=5, every=every)
    saving = Checkpoint(tmp_path, {"curriculum": curriculum})
    fit(line_model, curriculum, epochs=2, callbacks=[saving])
    resumed = Curriculum(second, "cosine", over=5, every=every)
    assert Checkpoint(tmp_path, {"curriculum": resumed}).restore_newest(line_model[0]) == 2
    fit(line_model, resumed, initial_epoch=2)
    assert first.seen[:-1] + second.seen[:-1] == whole.seen[:-1]
    values, arrays = resumed.state()
    assert json.loads(json.dumps(values)) == values
    assert arrays == []


@pytest.mark.parametrize(
    ("images", "begun"), [(12, [0, 4, 8, 12, 16, 20]), (10, [0, 4, 8, 10, 14, 18])]
)
def test_several_steps_an_execution(line_model, images, begun):
    model, inputs, outputs = line_model
    model.compile("sgd", "mse", steps_per_execution=4)
    inputs, outputs = np.repeat(inputs, images, 0), np.repeat(outputs, images, 0)
    target = Target()
    curriculum = Curriculum(target, every="step")
    model.fit(inputs, outputs, batch_size=1, epochs=2, verbose=0, callbacks=[curriculum])
    np.testing.assert_allclose(target.seen, [*(np.array(begun) / (2 * images - 1)), 0.75])


def test_inside_an_epoch(line_model):
    """A run of ten steps an epoch that was killed after eight of the second, in executions of 4."""
    target = Target()
    curriculum = Curriculum(target, lambda time: time / 100, every="step")
    curriculum.set_params({"epochs": 3, "steps": 10})

    def train(epoch, executions):
        curriculum.on_epoch_begin(epoch)
        for first in range(0, 4 * executions, 4):
            curriculum.on_train_batch_begin(first)
            curriculum.on_train_batch_end(first + 3)

    train(0, 3)
    curriculum.on_epoch_end(0)
    train(1, 2)
    values, arrays = curriculum.state()
    curriculum = Curriculum(target, curriculum.schedule, every="step")
    curriculum.set_params({"epochs": 3, "steps": 10})
    curriculum.restore(json.loads(json.dumps(values)), arrays)
    train(1, 1)
    curriculum.on_epoch_end(1)
    train(2, 3)
    np.testing.assert_allclose(
        np.multiply(target.seen, 100), [0, 4, 8, 10, 14, 18, 20, 24, 28], atol=1e-9
    )


def test_it_begins_again_with_the_next_fit(line_model):
    target = Target()
    curriculum = Curriculum(target, every="step", over=2)
    fit(line_model, curriculum, epochs=1)
    fit(line_model, curriculum, epochs=1)
    assert target.seen == [0.0, 0.5, 0.75] * 2


def test_a_pipeline_sees_each_epoch():
    pipeline = augment.Pipeline([augment.RandomBrightness((2, 2))], strength=0.5)
    images = tf.data.Dataset.from_tensors(np.full((1, 1, 1, 1), 100, np.float32)).repeat(3)
    seen = []

    batches = pipeline.map(images)
    curriculum = Curriculum(pipeline, over=2)
    curriculum.set_params({"epochs": 3})
    curriculum.on_train_begin()
    for epoch in range(3):
        curriculum.on_epoch_begin(epoch)
        seen += [{float(batch.numpy().max()) for batch in batches}]
    curriculum.on_train_end()
    assert seen == [{100.0}, {150.0}, {200.0}]
    assert pipeline.strength == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"schedule": "quadratic"}, "schedule must be one of .* or a function, received: 'quadr"),
        ({"start": -0.1}, "start must be between 0 and 1, received: -0.1"),
        ({"end": 1.5}, "end must be between 0 and 1"),
        ({"over": 0}, "over must be above 0"),
        ({"stairs": 0}, "stairs must be a whole number of 1 or more"),
        ({"stairs": 1.5}, "stairs must be a whole number"),
        ({"every": "batch"}, "every must be 'epoch' or 'step', received: 'batch'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Curriculum(Target(), **arguments)


def test_a_target_without_strength():
    with pytest.raises(TypeError, match="target must have a strength, .* received: dict"):
        Curriculum({})


def test_an_unknown_number_of_steps(line_model):
    model, inputs, outputs = line_model
    batches = tf.data.Dataset.from_tensors((inputs, outputs)).repeat(2).filter(lambda *_: True)
    curriculum = Curriculum(Target(), every="step")
    with pytest.raises(ValueError, match="over must be given"):
        model.fit(batches, verbose=0, shuffle=False, callbacks=[curriculum])


def test_a_strength_out_of_range_is_refused(line_model):
    pipeline = augment.Pipeline([augment.RandomFlip()])
    with pytest.raises(ValueError, match=r"strength must be a number in \[0, 1\], received: 2"):
        fit(line_model, Curriculum(pipeline, lambda time: 2))


def test_another_fit_after_one_that_was_cut_short(line_model):
    class Cut(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 5:
                raise KeyboardInterrupt

    target = Target()
    curriculum = Curriculum(target, "linear", every="step")
    with pytest.raises(KeyboardInterrupt):
        fit(line_model, curriculum, epochs=2, steps=8, callbacks=[Cut()])
    target.seen.clear()
    fit(line_model, curriculum, epochs=2, steps=8)
    np.testing.assert_allclose(target.seen, [*(np.arange(16) / 15), 0.75], atol=1e-12)
