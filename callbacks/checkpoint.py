"""Checkpoints of everything that a run needs to go on exactly where it was."""

import math
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from callbacks._checkpoint_files import (
    check_monitor,
    checkpoint_files,
    checkpoint_name,
    read_best,
    read_newest,
    remove_leftovers,
    remove_others,
    write_checkpoint,
)
from callbacks._monitoring import Monitored, better_direction
from callbacks._resume_data import EpochData, skip_first
from callbacks._resume_states import (
    callback_state,
    has_protocol,
    history_state,
    named_states,
    random_state,
    restore_history,
    restore_random_state,
    restore_stock,
)
from callbacks._resume_variables import (
    assign_all,
    check_signatures,
    run_signatures,
    run_variables,
    variables_signature,
)


class _EpochIsOver:
    """What `stop_training` holds where the batches of a resumed epoch end; true, as any object."""


_EPOCH_IS_OVER = _EpochIsOver()


class Checkpoint(keras.callbacks.Callback):
    """Save the whole state of a run in plain `model.fit`, and resume it to the same bits.

    A run that was killed at any moment and started again by the same program ends with the
    weights, the history and the stop decision of one that was never killed, where TensorFlow
    itself computes the same twice. Saved are every variable of the model (weights, statistics,
    `keras.random.SeedGenerator`s), of the optimizer (slots, averages, step count, learning rate)
    and of the metrics, the states of the callbacks in `states`, the global random states of Python
    and NumPy, the place in the data, and `History`.

    What a kill loses: the steps since the last checkpoint. That is fewer than `every_steps` steps
    (rounded up to whole `steps_per_execution`), or the epoch under way without `every_steps`, and
    in the last of an epoch the validation too; while a checkpoint is being written, the one before
    counts. Files are written under a temporary name and renamed, so each is whole or absent.

    The contract:

    - Name it last in `callbacks`: what runs after it is not in what it saves.
    - Training data go through `data`, which says what they must be.
    - A callback's `restore` is called before `fit`; its `on_train_begin` must keep what it got.
      Inside an epoch, its `on_epoch_begin` is called again for that epoch, and the batches that
      callbacks see there count from 0.
    - Of stock callbacks, `EarlyStopping`, `ReduceLROnPlateau` and `ModelCheckpoint` by the epoch
      can be in `states`; their state is public. `LearningRateScheduler`, `TerminateOnNaN` and
      `CSVLogger(append=True)` have none. `TensorBoard` and `SwapEMAWeights` hide theirs: with them,
      a resumed run is not exact.
    - Not saved are the hidden generators behind `keras.random` and `tf.random` calls without a
      seed. Layers of Keras have their own, which are.

    Args:
        directory: Folder for the checkpoints; made if it is not there.
        states: Callbacks to save, by name, or a list of them: ours and any with
            `state() -> (values, arrays)` and `restore(values, arrays)`.
        every_steps: Save inside epochs too, whenever so many more steps of one are done; or `None`.
        keep: Newest checkpoints to keep, 1 or more, beside the best.
        monitor: Measure in the logs of an epoch by which a checkpoint is the best, or `None`; a
            value that is not finite never is.
        mode: `"min"`, `"max"`, or `"auto"` to infer it from the name.
        say: Receives a line about a checkpoint that cannot be read; default: a warning.

    Attributes:
        epochs_done: Epochs that the newest checkpoint, saved or restored, has done.
        steps_done: Steps of the next epoch that it has done beside.
        best: Value of the best epoch, or `None`.
        best_epoch: That epoch counted from 1, or `None`.

    Raises:
        TypeError: If a callback in `states` has no state that can be saved.
        ValueError: If another argument is wrong.

    Example:
        >>> import tempfile, numpy as np, tensorflow as tf
        >>> from callbacks import EarlyStopping
        >>> def program(folder, epochs):
        ...     keras.utils.set_random_seed(0)
        ...     model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
        ...     model.compile("adam", loss="mse")
        ...     stopping = EarlyStopping("loss", patience=3)
        ...     checkpoint = Checkpoint(folder, [stopping], every_steps=2)
        ...     images = tf.data.Dataset.from_tensor_slices((np.eye(8, 2), np.ones((8, 1))))
        ...     dataset = checkpoint.data(lambda epoch: images.shuffle(
        ...         8, seed=epoch, reshuffle_each_iteration=False).batch(2))
        ...     fitted = model.fit(
        ...         dataset, epochs=epochs, initial_epoch=checkpoint.restore(model), verbose=0,
        ...         callbacks=[stopping, checkpoint], shuffle=False)  # shuffled already
        ...     return fitted.history["loss"]
        >>> folder = tempfile.mkdtemp()
        >>> first = program(folder, 2)
        >>> program(folder, 4) == program(tempfile.mkdtemp(), 4)
        True
    """

    def __init__(
        self,
        directory,
        states=None,
        *,
        every_steps=None,
        keep=2,
        monitor=None,
        mode="auto",
        say=None,
    ):
        super().__init__()
        if keep < 1:
            raise ValueError(f"keep must be 1 or more, received: {keep!r}")
        if every_steps is not None and every_steps < 1:
            raise ValueError(f"every_steps must be 1 or more, or None, received: {every_steps!r}")
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"mode must be 'auto', 'min' or 'max', received: {mode!r}")
        self.directory = Path(directory)
        self.states = named_states(states)
        self.every_steps = every_steps
        self.keep = keep
        self.monitor = monitor
        self.mode = better_direction(monitor) if monitor and mode == "auto" else mode
        self.say = say or (lambda line: warnings.warn(line, stacklevel=2))
        self.epochs_done = 0
        self.steps_done = 0
        self.best = None
        self.best_epoch = None
        self._data = None
        self._done = self._skipped = 0
        self._looked = False  # whether the checkpoints in the folder were offered to this run
        self._strict = every_steps is not None  # whether training data must come from `data`
        self._pending = None  # what was restored, until all of it is in place

    def data(self, source: tf.data.Dataset | Callable[[int], tf.data.Dataset]) -> tf.data.Dataset:
        """Return the training data to give to `fit`, whose place in a killed run is found again.

        Args:
            source: A `tf.data.Dataset` that gives the same batches, in the same order, each time;
                or, for epochs that differ, a function from the epoch, an integer counted from 0, to
                such a dataset, as with `shuffle(1000, seed=epoch, reshuffle_each_iteration=False)`.
                The number of batches must be known and the same in every epoch. A resumed epoch
                reads the batches that it passes over: the pipeline works, the model does not.

        Raises:
            TypeError: If `source` is neither.
            ValueError: If the number of batches is unknown, or the first three differ when they are
                asked for a second time, as after a `shuffle` that reshuffles.
        """
        self._data = EpochData(source)
        return self._data.dataset

    def restore(
        self,
        model: keras.Model,
        prepare: Callable[[keras.Model, int], None] | None = None,
    ) -> int:
        """Put the newest readable checkpoint back; return the `initial_epoch` for `fit`.

        `fit` must then be given the training data of `data`, and this callback.

        Args:
            model: Compiled and built like the one that was saved.
            prepare: Called with the model and the number of epochs begun before anything is put
                back, such as `GradualUnfreezing.prepare`.

        Returns:
            The epoch to go on with, 0 if there is no checkpoint. If the run had stopped early, a
            number beyond all epochs: `fit` then only does what comes at the end of training.

        Raises:
            ValueError: If a checkpoint is of another model, optimizer, set of callbacks or monitor.
        """
        self._strict = True
        epochs = self.restore_newest(model, prepare)
        return sys.maxsize if self._pending and self._pending[0]["stopped"] else epochs

    def restore_newest(
        self,
        model: keras.Model,
        prepare: Callable[[keras.Model, int], None] | None = None,
    ) -> int:
        """As `restore`, for a training pipeline of your own that can begin at any epoch.

        Returns:
            How many epochs are done, whether or not the run then stopped early.
        """
        self._look_into_the_folder()
        found = read_newest(self.directory, self.say)
        if found is None:
            return 0
        path, values, groups = found
        if prepare is not None:
            prepare(model, values["epochs"] + bool(values["steps"]))
        self._restore(model, values, groups, path)
        return self.epochs_done

    def restore_best(self, model: keras.Model) -> int:
        """Put the variables of the best epoch back into a model; return that epoch, from 1.

        They are the raw ones, also where a `WeightAverage` was what `monitor` measured: for the
        averaged ones give `EarlyStopping` the `average`.

        Raises:
            ValueError: If there is none, or it is of another model or monitor.
        """
        found = read_best(self.directory, self.best_epoch, self.say)
        if found is None:
            measure = repr(self.monitor) if self.monitor else "measure that was monitored"
            raise ValueError(f"no epoch in {self.directory} had a finite {measure}")
        epoch, path, values, groups = found
        check_monitor(values, self.monitor, path)
        expected = {"model": variables_signature(model.variables)}
        check_signatures(values["signatures"], expected, path)
        assign_all(model.variables, groups.get("model", []))
        return epoch

    def files(self) -> list[Path]:
        """Return the checkpoints, oldest first."""
        return checkpoint_files(self.directory)

    def _look_into_the_folder(self):
        self._looked = True
        self.directory.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.directory)

    def _restore(self, model, values, groups, path):
        if not model.built:
            raise ValueError("model must be built to restore it: give it an Input")
        check_monitor(values, self.monitor, path)
        if not model.optimizer.built:
            with model.distribute_strategy.scope():
                model.optimizer.build(model.trainable_variables)
        expected = run_signatures(model, self.states)
        expected.pop("metrics")  # they may get their variables with the first batch
        check_signatures(values["signatures"], expected, path)
        for group, members in run_variables(model).items():
            assign_all(members, groups.get(group, []))
        for name, callback in self.states.items():
            if has_protocol(callback):
                callback.restore(values["callbacks"][name], groups.get(f"callback/{name}", []))
        self.epochs_done, self.steps_done = values["epochs"], values["steps"]
        self.best, self.best_epoch = values["best"]
        self._pending = (values, groups, path)

    def on_train_begin(self, logs=None):
        """Refuse what could not be resumed exactly; put back what Keras clears here."""
        if not self._looked and self.files():
            raise ValueError(
                f"{self.directory} holds checkpoints: resume that run with "
                "initial_epoch=checkpoint.restore(model), or give another directory"
            )
        self._look_into_the_folder()
        self._looked = False  # another fit has to look again
        if self._strict and self._data is None:
            raise ValueError("exact resume needs the training data: model.fit(checkpoint.data(...)")
        steps = self.params.get("steps")
        if self._data is not None and steps != self._data.batches:
            raise ValueError(
                f"fit must be given checkpoint.data(...), {self._data.batches} batches an epoch, "
                f"and no steps_per_epoch, received: {steps} steps"
            )
        if self._pending:
            self._check_data()
            self._put_back_what_training_clears()

    def _check_data(self):
        values, _, path = self._pending
        if self._strict and values["data"] != self._data.describe():
            raise ValueError(
                f"{path} was saved with other training data: {values['data']}, received: "
                f"{self._data.describe()}; are there seeds for all that is random in it?"
            )

    def _put_back_what_training_clears(self):
        values, groups, _ = self._pending
        for name, callback in self.states.items():
            if not has_protocol(callback):
                kept = groups.get(f"callback/{name}", [])
                restore_stock(callback, values["callbacks"][name], kept)
        restore_random_state(values["random"])

    def on_epoch_begin(self, epoch, logs=None):
        """Find the place in the data; in a resumed epoch, everything else too."""
        self._epoch, self._done, self._skipped = epoch, 0, 0
        if self._data is not None:
            self._data.epoch = epoch
        if self._pending:
            if epoch != self.epochs_done:
                raise ValueError(
                    "fit must be given initial_epoch=checkpoint.restore(model), expected: "
                    f"{self.epochs_done}, received: {epoch}"
                )
            # Only now, since Keras clears its History after the callbacks that the user names.
            restore_history(getattr(self.model, "history", None), self._pending[0]["history"])
            if self.steps_done:
                self._begin_inside_the_epoch()
            self._pending = None

    def _begin_inside_the_epoch(self):
        values, groups, path = self._pending
        if len(self.model.metrics_variables) != len(values["signatures"]["metrics"]):
            # Metrics get their variables with the first batch; which one does not matter.
            self.model.evaluate(self._data.dataset.take(1), verbose=0)
        metrics = self.model.metrics_variables
        expected = {"metrics": variables_signature(metrics)}
        check_signatures(values["signatures"], expected, path)
        # All once more: what callbacks do as an epoch begins had been done when it was saved.
        for group, members in {**run_variables(self.model), "metrics": metrics}.items():
            assign_all(members, groups.get(group, []))
        self._put_back_what_training_clears()
        self._done = self._skipped = self.steps_done
        skip_first(self.model, self._skipped)

    def on_train_batch_end(self, batch, logs=None):
        """Write a checkpoint inside the epoch where one is due."""
        if self._data is None:
            return
        before = self._done
        # The last execution of several steps may hold fewer; Keras numbers it as if it did not.
        self._done = min(self._skipped + batch + 1, self._data.batches)
        if self.model.stop_training:
            return  # the epoch ends here
        if self._done == self._data.batches:
            if self._skipped:
                self.model.stop_training = _EPOCH_IS_OVER
        elif self.every_steps and self._done // self.every_steps > before // self.every_steps:
            self.epochs_done, self.steps_done = self._epoch, self._done
            self._write(history_state(getattr(self.model, "history", None)))

    def on_epoch_end(self, epoch, logs=None):
        """Write the checkpoint of this epoch, then remove old ones."""
        if self.model.stop_training is _EPOCH_IS_OVER:
            self.model.stop_training = False
        self.epochs_done, self.steps_done = epoch + 1, 0
        if self.monitor:
            self._judge(logs or {})
        self._write(history_state(getattr(self.model, "history", None), epoch, logs))

    def _judge(self, logs):
        value = Monitored("Checkpoint", [self.monitor]).value(self.monitor, logs)
        sign = 1 if self.mode == "max" else -1
        if math.isfinite(value) and (self.best is None or sign * value > sign * self.best):
            self.best, self.best_epoch = value, self.epochs_done

    def _write(self, history):
        variables = {**run_variables(self.model), "metrics": self.model.metrics_variables}
        groups = {
            group: [variable.numpy() for variable in members]
            for group, members in variables.items()
        }
        callbacks = {}
        for name, callback in self.states.items():
            callbacks[name], groups[f"callback/{name}"] = callback_state(callback)
        values = {
            "epochs": self.epochs_done,
            "steps": self.steps_done,
            "stopped": bool(self.model.stop_training),
            "monitor": self.monitor,
            "best": [self.best, self.best_epoch],
            "data": self._data and self._data.describe(),
            "random": random_state(),
            "history": history,
            "callbacks": callbacks,
            "signatures": run_signatures(self.model, self.states),
        }
        path = self.directory / checkpoint_name(self.epochs_done, self.steps_done)
        write_checkpoint(path, values, groups)
        best = self.best_epoch and checkpoint_name(self.best_epoch, 0)
        remove_others(path, self.keep, best)

    def on_train_end(self, logs=None):
        """Return the whole history of a run that had no epoch left to do."""
        if self._pending:
            restore_history(getattr(self.model, "history", None), self._pending[0]["history"])
            self._pending = None
