"""Runs one trial: of a recipe through the one training path, or of a user's own model by `fit`."""

import dataclasses
import functools
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from recipes.config import Recipe
from recipes.data.image_data import ImageData
from recipes.errors import DataError, RecipesError, RunError
from recipes.hardware import choose_precision
from recipes.network import weights_digest
from recipes.run import Run
from recipes.training import train
from tuning._search_trials import COMPLETED, DIVERGED, FAILED, OUT_OF_MEMORY, PRUNED, best_of


class EndOfTrial(Exception):
    """Leaves `fit` when a trial has told what it can: no model is calibrated, judged or saved."""

    def __init__(self, state: str, reason: str | None = None):
        super().__init__(reason or state)
        self.state = state
        self.reason = reason


class Watch(keras.callbacks.Callback):
    """Collects the logs of a trial, and ends it when it diverges, is hopeless or is done.

    Args:
        objective: Name in the logs of an epoch.
        epochs: Planned.
        prune: Called with the objective after each epoch so far; whether the trial is hopeless.
        stop_at_end: Whether to leave `fit` after the last epoch, too.
        earlier: Logs of the epochs before a trial was killed.
    """

    def __init__(self, objective, epochs, prune, stop_at_end=False, earlier=()):
        super().__init__()
        self.objective = objective
        self.epochs = epochs
        self.prune = prune
        self.stop_at_end = stop_at_end
        self.logs = list(earlier)

    @property
    def curve(self) -> list[float]:
        """The objective after each epoch that has one."""
        values = [logs.get(self.objective) for logs in self.logs]
        return [value for value in values if value is not None and math.isfinite(value)]

    def on_epoch_begin(self, epoch, logs=None):
        """Drop epochs that are trained again; judge those that a killed trial left."""
        del self.logs[epoch:]
        if self.logs:
            self._judge()

    def on_epoch_end(self, epoch, logs=None):
        """Remember, judge."""
        if self.objective not in logs:
            raise ValueError(
                f"objective {self.objective!r} is not among what training reports: "
                f"{', '.join(sorted(logs))}"
            )
        self.logs.append({name: float(value) for name, value in logs.items()})
        self._judge()

    def _judge(self):
        newest, epoch = self.logs[-1], len(self.logs)
        for name in ("loss", self.objective):
            value = newest.get(name)
            if name in newest and (value is None or not math.isfinite(value)):
                raise EndOfTrial(DIVERGED, f"{name} was not finite in epoch {epoch}")
        if self.stop_at_end and (epoch >= self.epochs or self.model.stop_training):
            raise EndOfTrial(COMPLETED)
        if epoch < self.epochs and self.prune(self.curve):
            raise EndOfTrial(PRUNED, f"worse than the median of other trials in epoch {epoch}")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a trial ended; the attributes are those of `Trial`."""

    state: str
    reason: str | None
    value: float | None
    curve: tuple[float, ...]


def run_watched(fit: Callable[[], Any], watch: Watch, value: Callable[[Watch], float]) -> Outcome:
    """Run a trial to whatever end; an end that concerns the trial alone is an outcome.

    Args:
        fit: Trains with `watch` among the callbacks.
        watch: Of the trial.
        value: Returns the objective of the trial from what was watched.

    Raises:
        RunError: If files cannot be written.
        DataError: If the images cannot be used.
    """
    state, reason = COMPLETED, None
    try:
        fit()
    except EndOfTrial as end:
        state, reason = end.state, end.reason
    except (RunError, DataError):
        raise
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        state, reason = OUT_OF_MEMORY, _first_line(error)
    except Exception as error:
        # Whatever a point of the space does to a builder or to TensorFlow: the next may do better.
        state, reason = FAILED, _first_line(error)
    finally:
        # Keras keeps the graphs and names of each model; this drops them, and collects garbage.
        keras.utils.clear_session()
    curve = tuple(watch.curve)
    measured = value(watch) if curve and state in (COMPLETED, PRUNED) else None
    return Outcome(state, reason, measured, curve)


def run_recipe_trial(
    recipe: Recipe,
    data: ImageData,
    directory: Path,
    *,
    objective: str,
    prune: Callable[[Sequence[float]], bool],
    progress: bool,
) -> Outcome:
    """Train a recipe as `recipes.train` does, but for calibration, judgement and the files of it.

    A trial that was killed goes on after its last whole epoch; in another precision, as another
    machine may choose it, it begins anew.

    Args:
        recipe: With the epochs of the trial.
        data: Without test images, from `without_test`.
        directory: Of the run; kept, without weights.
        objective: Name of the measure.
        prune: As for `Watch`.
        progress: Whether to show the epochs.
    """
    earlier = _earlier_epochs(directory, recipe, _fits)
    watch = Watch(objective, recipe.training.epochs, prune, stop_at_end=True, earlier=earlier or ())

    def fit():
        run = train(
            recipe,
            data,
            directory,
            resume=earlier is not None,
            callbacks=[watch],
            say=lambda line: None,
            progress=progress,
        )
        # Only a run that was killed after its last epoch comes to this.
        watch.logs = run.history

    def value(watch):
        return _kept(watch, recipe.training.monitor, recipe.training.keep)

    outcome = run_watched(fit, watch, value)
    shutil.rmtree(directory / "checkpoints", ignore_errors=True)
    for name in ("model.keras", "predictions.npz"):
        (directory / name).unlink(missing_ok=True)
    return outcome


def run_model_trial(
    hypermodel,
    hyperparameters,
    data: tuple[Any, Any],
    *,
    objective: str,
    direction: str,
    epochs: int,
    prune: Callable[[Sequence[float]], bool],
) -> Outcome:
    """Train a user's own hypermodel with `fit`; its value is the best of all epochs.

    Args:
        hypermodel: A `keras_tuner.HyperModel`.
        hyperparameters: Of the trial.
        data: Training and validation data, each a dataset or a tuple of arrays.
        objective: Name of the measure; so are the others as for `run_recipe_trial`.
        direction: `"max"` or `"min"`.
        epochs: To train.
        prune: As for `Watch`.
    """
    watch = Watch(objective, epochs, prune)
    train_data, validation_data = data
    images = train_data if isinstance(train_data, tuple) else (train_data,)

    def fit():
        model = hypermodel.build(hyperparameters)
        hypermodel.fit(
            hyperparameters,
            model,
            *images,
            validation_data=validation_data,
            epochs=epochs,
            callbacks=[watch],
            verbose=0,
        )

    return run_watched(fit, watch, lambda watch: best_of(watch.curve, direction))


def train_or_go_on(recipe: Recipe, data: ImageData, directory: Path, say, progress) -> Run:
    """Return the finished run of a recipe in a folder: read, gone on with, or trained."""
    earlier = _earlier_epochs(directory, recipe)
    return train(recipe, data, directory, resume=earlier is not None, say=say, progress=progress)


class _SearchData(ImageData):
    """Images whose statistics are counted once, not for every trial."""

    def statistics(self):
        return self._statistics

    @functools.cached_property
    def _statistics(self):
        return super().statistics()


def without_test(data: ImageData) -> ImageData:
    """Return images for a search: it cannot look at test images, which it is not given."""
    splits = dict(data.splits)
    if "test" in splits:
        test = splits["test"]
        images = None if test.images is None else test.images[:0]
        paths = None if test.paths is None else ()
        splits["test"] = dataclasses.replace(
            test, labels=test.labels[:0], images=images, paths=paths
        )
    fields = {field.name: getattr(data, field.name) for field in dataclasses.fields(data)}
    return _SearchData(**{**fields, "splits": splits})


def _kept(watch: Watch, monitor: str, keep: str) -> float:
    """Return the objective of the epoch that the recipe would keep."""
    from callbacks._monitoring import better_direction

    chosen = len(watch.logs) - 1
    if keep == "best":
        sign = 1 if better_direction(monitor) == "min" else -1
        finite = [
            epoch
            for epoch, logs in enumerate(watch.logs)
            if logs.get(monitor) is not None and math.isfinite(logs[monitor])
        ]
        chosen = min(finite, key=lambda epoch: sign * watch.logs[epoch][monitor])
    return watch.logs[chosen][watch.objective]


def _earlier_epochs(
    directory: Path, recipe: Recipe, can_go_on: Callable[[Run], bool] = lambda run: True
) -> list[dict] | None:
    """Return the epochs of an earlier run of the recipe; make room for a new one if none is."""
    if not directory.exists():
        return None
    try:
        run = Run(directory)
        is_same = run.recipe == recipe
    except RecipesError:
        is_same = False  # Killed before the run had all its files: there is nothing in it.
    if is_same and (run.finished or can_go_on(run)):
        return run.history
    shutil.rmtree(directory)
    return None


def _fits(run: Run) -> bool:
    """Whether a run can go on here: in the precision and from the weights that it began with."""
    precision, _ = choose_precision(run.recipe.training.precision)
    weights = weights_digest(run.recipe.transfer.weights)
    return (precision, weights) == (run.environment["precision"], run.environment.get("weights"))


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"[:300]
