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
    seconds = {callbacks_cost.STOCK: 0.5, "Validation": 0.5}
    found = callbacks_cost.summarize({"plain": plain, "ours": ours}, seconds)
    assert found["clock"]["ratios"] == [2.0, 1.5]
    assert found["clock"]["ratio"] == 1.75
    assert found["processor"]["ratios"] == pytest.approx([1.04, 1.02])


def test_what_is_added_does_not_depend_on_the_load():
    """Callbacks of 0.6 s in place of a validation of 0.2 s, around training of 8 s: 4.9 %."""
    seconds = {callbacks_cost.STOCK: 0.2, "Validation": 0.4, "Checkpoint": 0.2}
    quiet = {"plain": [[[8.2, 0]]], "ours": [[[8.6, 0], [8.6, 0]]]}
    assert callbacks_cost.added_share(quiet, seconds) == pytest.approx(0.4 / 8.2)
    busy = {"plain": [[[8.2, 0]]], "ours": [[[17.2, 0]]]}
    slow = {callbacks_cost.STOCK: 0.2, "Validation": 0.8, "Checkpoint": 0.4}
    assert callbacks_cost.added_share(busy, slow) == pytest.approx(0.4 / 8.2)


def test_first_epochs_do_not_count():
    class Slow(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            time.sleep(1.0 if epoch == 0 else 0.05)

    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    model.compile(loss="mse")
    seconds = {}
    watch, slow = (
        callbacks_cost.Stopwatch(seconds),
        callbacks_cost.clocked(Slow(), seconds),
    )
    model.fit(np.ones((1, 1)), np.ones((1, 1)), epochs=3, verbose=0, callbacks=[watch, slow])
    assert watch.epochs().shape == (2, 2)
    assert 0.05 <= watch.epochs()[:, 0].min() < 1
    assert 0.1 <= seconds["Slow"] < 1
