"""The parts of a batch are the batch, to the bit; and gathered gradients are those of the batch."""

import runpy
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from recipes import load_data, train
from recipes.distributed.devices import Devices
from recipes.errors import ConfigError, DataError
from recipes.network import Network
from recipes.training import training_pipeline

WORKER = runpy.run_path(str(Path(__file__).with_name("worker.py")))


@pytest.fixture(scope="module")
def data(tiny_source):
    return load_data(tiny_source)


@pytest.mark.parametrize(
    "settings",
    [
        {
            "augmentation.flip": "horizontal",
            "augmentation.crop_padding": 2,
            "augmentation.cutout": 4,
            "augmentation.erase_probability": 0.5,
            "data.class_weights": True,
        },
        {"augmentation.mixup_alpha": 0.4, "augmentation.cutmix_alpha": 1.0},
        pytest.param(
            {"augmentation.policy": "randaugment(n=2, m=9)", "data.sampling": "balanced"},
            marks=pytest.mark.exhaustive,
        ),
    ],
)
def test_the_parts_of_a_batch_are_the_batch(settings, tiny_recipe, data):
    recipe = tiny_recipe.override({"augmentation.mixup_alpha": 0.0, **settings})
    whole = list(training_pipeline(recipe, data, 12, 1).take(3))
    parts = [list(training_pipeline(recipe, data, 12, 1, (part, 2)).take(3)) for part in range(2)]
    for step, batch in enumerate(whole):
        for place, expected in enumerate(batch):
            found = [parts[part][step][place] for part in range(2)]
            assert [len(each) for each in found] == [6, 6]
            np.testing.assert_array_equal(tf.concat(found, axis=0), expected)
    assert (whole[0][0].numpy() != whole[1][0].numpy()).any(), "or anything would pass"


def test_without_a_transform(data):
    split = data.splits["train"]
    whole = next(iter(split.pipeline(10, shuffle=True, drop_remainder=True)))
    for part in (0, 1):
        arguments = {"shuffle": True, "drop_remainder": True, "part": (part, 2)}
        images, labels = next(iter(split.pipeline(10, **arguments)))
        np.testing.assert_array_equal(images, whole[0][part * 5 : part * 5 + 5])
        np.testing.assert_array_equal(labels, whole[1][part * 5 : part * 5 + 5])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"part": (0, 3), "drop_remainder": True}, "20 cannot be divided into 3 equal parts"),
        ({"part": (2, 2), "drop_remainder": True}, "number below parts, received: .2, 2."),
        ({"part": (0, 7)}, "add drop_remainder=True"),
    ],
)
def test_wrong_parts(arguments, message, data):
    with pytest.raises(DataError, match=message):
        data.splits["train"].pipeline(20, **arguments)  # of 270 images


def test_a_batch_is_cut_into_steps():
    batches = tf.data.Dataset.from_tensor_slices((tf.range(24), tf.range(24) * 2))
    batches = batches.batch(12, drop_remainder=True)
    steps = list(Devices().distribute(batches, 3))
    expected = np.arange(24).reshape(6, 4)
    np.testing.assert_array_equal([step[0] for step in steps], expected)
    np.testing.assert_array_equal([step[1] for step in steps], 2 * expected)


def test_a_gathered_gradient_is_that_of_the_batch(data, tmp_path):
    """With clipping, decay, momentum, a schedule with warmup and averaged weights."""
    weights, histories = [], []
    for steps in (1, 4):
        recipe = WORKER["tiny_recipe"]().override({"training.accumulation_steps": steps})
        with mock.patch.object(Network, "_plain", WORKER["small_network"]):
            run = train(recipe, data, tmp_path / str(steps), progress=False)
        weights.append(keras.saving.load_model(run.path("model.keras")).get_weights())
        histories.append(run.history)
    for found, expected in zip(*weights, strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-6)
    for found, expected in zip(*histories, strict=True):
        assert found["loss"] == pytest.approx(expected["loss"], abs=1e-5)
        assert found["val_loss"] == pytest.approx(expected["val_loss"], abs=1e-5)
        assert found["learning_rate"] == expected["learning_rate"]


@pytest.mark.parametrize(
    ("settings", "replicas", "message"),
    [
        (
            {"training.batch_size": 33},
            2,
            "batch_size must be a multiple of 2, to be shared equally by 2 devices, received: 33",
        ),
        (
            {"training.accumulation_steps": 5},
            1,
            "batch_size must be a multiple of 5, to be shared equally by 5 steps, received: 32",
        ),
        ({"training.accumulation_steps": 2}, 2, "accumulation_steps is for one device"),
        ({"training.steps_per_execution": 4}, 2, "steps_per_execution is for one device"),
        ({"training.jit_compile": True}, 2, "jit_compile is for one device.*received: True"),
    ],
)
def test_what_cannot_be_shared_is_refused(settings, replicas, message, data, tmp_path, monkeypatch):
    recipe = WORKER["tiny_recipe"]().override(settings)
    monkeypatch.setattr(Devices, "replicas", replicas)
    with pytest.raises(ConfigError, match=message):
        train(recipe, data, tmp_path / "run", strategy=Devices(), progress=False)
    assert not (tmp_path / "run").exists()
