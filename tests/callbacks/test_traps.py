"""Traps of stock Keras callbacks, each beside ours: the table in the README names these tests.

The model is one weight `w` that starts at 0 and goes half of its way to 1 in each epoch of one
step, so that after epoch `k` the raw weight is `1 - 0.5**k`, and what training ends on can be read
off the weight. Where a test of the stock callback fails, Keras has mended the trap.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from callbacks import Checkpoint, EarlyStopping, ReduceOnPlateau, WeightAverage

NAN = float("nan")


def fit(line_model, callbacks, epochs):
    """Train one step an epoch; return the weight that training ends on."""
    model, x, y = line_model
    model.fit(x, y, epochs=epochs, verbose=0, callbacks=callbacks)
    return float(model.get_weights()[0][0, 0])


def raw(epoch):
    return pytest.approx(1 - 0.5**epoch)


def averages(decays):
    """Return the moving average of the raw weights after each epoch, by its recursion in NumPy."""
    found, average = [], 0.0
    for epoch, decay in enumerate(decays, start=1):
        average = decay * average + (1 - decay) * (1 - 0.5**epoch)
        found.append(average)
    return found


class TestFirstMeasureIsNaN:
    """The first validation loss is NaN; the best epoch is the third."""

    VALUES = (NAN, 2, 1, 3, 3)

    def test_stock_keeps_the_diverged_epoch(self, line_model, script):
        stock = keras.callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True)
        assert fit(line_model, [script("val_loss", self.VALUES), stock], 5) == raw(1)

    def test_ours_keeps_the_best(self, line_model, script):
        ours = EarlyStopping("val_loss", patience=2)
        assert fit(line_model, [script("val_loss", self.VALUES), ours], 5) == raw(3)


class TestMisspeltMonitor:
    def test_stock_saves_every_epoch_as_the_best(self, line_model, script, tmp_path):
        path = str(tmp_path / "{epoch}.keras")
        stock = keras.callbacks.ModelCheckpoint(
            path, monitor="val_los", mode="min", save_best_only=True
        )
        with pytest.warns(UserWarning, match="val_los"):
            fit(line_model, [script("val_loss", [1, 2, 3]), stock], 3)
        assert len(list(tmp_path.iterdir())) == 3

    def test_ours_raises_after_the_first_batch(self, line_model, script):
        ours = EarlyStopping("val_los", mode="min")
        with pytest.raises(ValueError, match="did you mean 'val_loss'"):
            fit(line_model, [ours, script("val_loss", [1, 2, 3])], 3)


class TestAveragedWeightsAndTheBestEpoch:
    """The averaged weights were validated, and the second epoch was the best."""

    VALUES = (3, 1, 2)

    def test_stock_ends_on_raw_weights(self, line_model, script):
        model, _, _ = line_model
        optimizer = keras.optimizers.SGD(0.25, use_ema=True, ema_momentum=0.5)
        model.compile(optimizer=optimizer, loss="mse")
        stock = keras.callbacks.EarlyStopping("val_loss", patience=1, restore_best_weights=True)
        found = fit(line_model, [script("val_loss", self.VALUES), stock], 3)
        assert found == raw(2)
        assert found != pytest.approx(averages([0.5] * 2)[1])

    def test_ours_ends_on_the_averaged_weights_of_that_epoch(self, line_model, script):
        average = WeightAverage(0.5)
        ours = EarlyStopping("val_loss", patience=1, average=average)
        found = fit(line_model, [average, script("val_loss", self.VALUES), ours], 3)
        # The decay is held to (1 + t) / (10 + t) early on.
        decays = [min(0.5, (1 + step) / (10 + step)) for step in range(3)]
        assert found == pytest.approx(averages(decays)[1], rel=1e-5)


class TestAveragedWeightsAndAnEarlyStop:
    """Training stops early, and nothing is restored: it should end on the averaged weights."""

    VALUES = (1, 2, 3, 4)

    def test_stock_ends_on_raw_weights(self, line_model, script):
        model, _, _ = line_model
        optimizer = keras.optimizers.SGD(0.25, use_ema=True, ema_momentum=0.5)
        model.compile(optimizer=optimizer, loss="mse")
        swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
        stock = keras.callbacks.EarlyStopping("val_loss", patience=1)
        found = fit(line_model, [swap, script("val_loss", self.VALUES), stock], 4)
        assert found == raw(2)

    def test_ours_ends_on_the_average(self, line_model, script):
        average = WeightAverage(0.5)
        ours = EarlyStopping("val_loss", patience=1, average=average, restore_best_weights=False)
        found = fit(line_model, [average, script("val_loss", self.VALUES), ours], 4)
        decays = [min(0.5, (1 + step) / (10 + step)) for step in range(2)]
        assert found == pytest.approx(averages(decays)[1], rel=1e-5)


class TestMeasureWithoutADirection:
    @staticmethod
    def compiled(line_model):
        model, _, _ = line_model

        @keras.saving.register_keras_serializable("test_traps")
        class Spread(keras.metrics.Mean):
            def update_state(self, y_true, y_pred, sample_weight=None):
                super().update_state(keras.ops.std(y_pred))

        model.compile(optimizer=keras.optimizers.SGD(0.25), loss="mse", metrics=[Spread("spread")])

    def test_stock_raises_only_after_the_first_epoch(self, line_model):
        self.compiled(line_model)
        seen = []
        count = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
        stock = keras.callbacks.EarlyStopping("spread", patience=1)
        with pytest.raises(ValueError, match="isn't able to automatically determine"):
            fit(line_model, [count, stock], 2)
        assert seen == [0]

    def test_ours_raises_when_it_is_made(self):
        with pytest.raises(ValueError, match="say mode="):
            EarlyStopping("spread", patience=1)


class TestPlateauOfAScheduledRate:
    """The optimizer runs a schedule; the loss stands still after the first epoch."""

    @staticmethod
    def compiled(line_model):
        model, _, _ = line_model
        schedule = keras.optimizers.schedules.PiecewiseConstantDecay([100], [0.25, 0.1])
        model.compile(optimizer=keras.optimizers.SGD(schedule), loss="mse")

    def test_stock_raises_when_it_should_reduce(self, line_model, script):
        self.compiled(line_model)
        stock = keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=1, mode="min")
        with pytest.raises(TypeError, match="learning rate is not settable"):
            fit(line_model, [script("val_loss", [1, 1, 1]), stock], 3)

    def test_ours_reduces(self, line_model, script):
        self.compiled(line_model)
        ours = ReduceOnPlateau("val_loss", factor=0.5, patience=1, cooldown=1, say=None)
        found = fit(line_model, [script("val_loss", [1, 1, 1]), ours], 3)
        # Two steps at 0.25, which leave a quarter of the way, and one at 0.125.
        assert found == pytest.approx(1 - 0.25 * 0.75)


def test_averages_by_hand():
    np.testing.assert_allclose(averages([0.5, 0.5]), [0.25, 0.5])


class TestResumeAndCallbackState:
    """Killed after the third epoch, when two epochs of a patience of three have passed."""

    VALUES = (1, 2, 3, 4, 5, 6, 7, 8)
    # The first epoch is the best, and the three after it bring nothing.
    RIGHT = 4

    @staticmethod
    def resumed(line_model, make, epochs):
        """Fit until the kill, then again with new callbacks; return the epoch it stops after."""
        fit(line_model, make(), 3)
        seen = []
        note = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, _: seen.append(epoch + 1))
        model, x, y = line_model
        callbacks = make()
        first = 0
        if isinstance(callbacks[-1], Checkpoint):
            first = callbacks[-1].restore_newest(model)
        arguments = {"initial_epoch": first, "epochs": epochs, "verbose": 0}
        model.fit(x, y, callbacks=[note, *callbacks], **arguments)
        return seen[-1]

    def test_stock_forgets_how_long_it_waited(self, line_model, script, tmp_path):
        def make():
            stock = keras.callbacks.EarlyStopping("val_loss", patience=3)
            backup = keras.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
            return [script("val_loss", self.VALUES), stock, backup]

        # It takes the fourth epoch for the best one, and waits three more.
        assert self.resumed(line_model, make, 8) == 7

    def test_ours_stops_where_the_run_would_have(self, line_model, script, tmp_path):
        def make():
            ours = EarlyStopping("val_loss", patience=3)
            return [script("val_loss", self.VALUES), ours, Checkpoint(tmp_path, [ours])]

        assert self.resumed(line_model, make, 8) == self.RIGHT


class TestResumeAndHistory:
    @staticmethod
    def resumed(line_model, make):
        model, x, y = line_model
        model.fit(x, y, epochs=2, verbose=0, callbacks=[make()])
        callback, first = make(), 0
        if isinstance(callback, Checkpoint):
            first = callback.restore_newest(model)
        return model.fit(x, y, initial_epoch=first, epochs=4, verbose=0, callbacks=[callback])

    def test_stock_keeps_only_the_resumed_part(self, line_model, tmp_path):
        found = self.resumed(
            line_model, lambda: keras.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
        )
        assert found.epoch == [2, 3]
        assert len(found.history["loss"]) == 2

    def test_ours_holds_every_epoch(self, line_model, tmp_path):
        found = self.resumed(line_model, lambda: Checkpoint(tmp_path))
        assert found.epoch == [0, 1, 2, 3]
        # Before step k the weight is 1 - 0.5**k, so the loss of that epoch is 0.25**k.
        np.testing.assert_allclose(found.history["loss"], [1, 0.25, 0.25**2, 0.25**3])


class TestResumeInsideAnEpoch:
    """Two epochs of four batches; killed after the third batch of the second epoch."""

    class Kill(keras.callbacks.Callback):
        """Raise in the second epoch; another process would not see more of it."""

        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_end(self, batch, logs=None):
            if (self.epoch, batch) == (1, 2):
                raise KeyboardInterrupt

    def resumed(self, line_model, make):
        """Return the optimizer's number of updates in both parts, and the final weight."""
        model, x, y = line_model
        dataset = tf.data.Dataset.from_tensors((x, y)).repeat(4)
        for dying in (True, False):
            callback, first = make(), 0
            if isinstance(callback, Checkpoint):
                dataset = callback.data(dataset)
                first = callback.restore(model)
            callbacks = [callback, self.Kill()] if dying else [callback]
            arguments = {"initial_epoch": first, "epochs": 2, "shuffle": False, "verbose": 0}
            try:
                model.fit(dataset, callbacks=callbacks, **arguments)
            except KeyboardInterrupt:
                # What is in memory is lost.
                model.set_weights([np.full((1, 1), -9.0)])
                model.optimizer.iterations.assign(99)
        return int(model.optimizer.iterations.numpy()), float(model.get_weights()[0][0, 0])

    def test_stock_trains_again_on_batches_that_it_has_seen(self, line_model, tmp_path):
        updates, weight = self.resumed(
            line_model,
            lambda: keras.callbacks.BackupAndRestore(
                tmp_path, save_freq=2, delete_checkpoint=False
            ),
        )
        assert updates > 8
        assert weight != raw(8)

    def test_ours_goes_on_with_the_next_batch(self, line_model, tmp_path):
        found = self.resumed(line_model, lambda: Checkpoint(tmp_path, every_steps=2))
        assert found == (8, 1 - 0.5**8)
