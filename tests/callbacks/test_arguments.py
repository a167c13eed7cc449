"""Whole numbers as NumPy and TensorFlow give them."""

import json

import numpy as np
import pytest
import tensorflow as tf

import callbacks
from callbacks._arguments import whole


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), np.array(3), tf.constant(3)])
def test_whole_numbers(value):
    found = whole("steps", value, 3)
    assert found == 3
    assert type(found) is int


@pytest.mark.parametrize(
    "value", [2, True, np.True_, 3.0, np.float32(3), "3", None, np.ones(2, int)]
)
def test_what_is_none(value):
    with pytest.raises(ValueError, match="steps must be an integer of at least 3, received: "):
        whole("steps", value, 3)


def test_callbacks_and_schedules_keep_plain_integers(tmp_path):
    five = np.int64(5)
    made = {
        "cycle_steps": callbacks.CosineCycles(0.1, five),
        "hold": callbacks.WarmupDecay(0.1, 10, hold=five),
        "start": callbacks.StochasticWeightAverage(five),
        "epochs": callbacks.SnapshotEnsemble(tmp_path, five),
        "every": callbacks.GradientNorms(every=five),
        "bins": callbacks.ExpectedCalibrationError(bins=five),
        "stages": callbacks.GradualUnfreezing({five: ["last"]}),
    }
    for name, one in made.items():
        value = getattr(one, name)
        assert json.loads(json.dumps(value)) in (5, {"5": ["last"]})
    rate = callbacks.AveragingRate(0.1, 2, 0.05, final=0.01, cycle_steps=five)
    assert json.dumps(rate.get_config()["cycle_steps"]) == "5"
