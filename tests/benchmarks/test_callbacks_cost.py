"""The benchmark of the callbacks: its arithmetic, and what it counts."""

import time

import keras
import numpy as np
import pytest

from benchmarks import callbacks_cost


def test_ratios_are_of_medians_within_rounds():
    # (clock, processor) seconds of three epochs, two rounds; one outlier in each.
    plain = [np.array([[1, 2], [1, 2], [9, 9]]), np.array([[2, 4], [2, 4], [0, 0]])]
    ours = [np.array([[2, 2.08], [2, 2.08], [2, 2.08]]), np.array([[3, 4.08], [9, 9], [3, 4.08]])]
    found = callbacks_cost.summarize({"plain": plain, "ours": ours})
    assert found["clock"]["ratios"] == [2.0, 1.5]
    assert found["clock"]["ratio"] == 1.75
    assert found["processor"]["ratios"] == pytest.approx([1.04, 1.02])
    assert found["meets_target"]


def test_first_epochs_do_not_count():
    class Slow(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            time.sleep(0.5 if epoch == 0 else 0.05)

    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    model.compile(loss="mse")
    seconds = {}
    watch, slow = (
        callbacks_cost.Stopwatch(seconds),
        callbacks_cost.clocked(Slow(), seconds),
    )
    model.fit(np.ones((1, 1)), np.ones((1, 1)), epochs=3, verbose=0, callbacks=[watch, slow])
    assert watch.epochs().shape == (2, 2)
    assert 0.05 <= watch.epochs()[:, 0].min() < 0.5
    assert 0.1 <= seconds["Slow"] < 0.4
