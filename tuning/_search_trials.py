"""What a search keeps of its trials, each in a file, and the rule that ends hopeless ones."""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from recipes.errors import RunError
from recipes.files import read_json, write_json

COMPLETED, PRUNED, DIVERGED, FAILED = "completed", "pruned", "diverged", "failed"
OUT_OF_MEMORY = "out of memory"


@dataclasses.dataclass(frozen=True)
class Trial:
    """One finished trial of a search.

    Attributes:
        stage: `"coarse"` or `"refined"`.
        number: Of the trial in its stage, from 0.
        values: Name of each hyperparameter to its value.
        state: `"completed"`, `"pruned"`, `"diverged"`, `"out of memory"` or `"failed"`.
        reason: Why it was not completed, one line; else `None`.
        value: The objective where the trial ended, or `None` for a trial that has none.
        epochs: Epochs that were trained.
        planned_epochs: Epochs that were to be.
        seconds: Wall time.
        curve: The objective after each epoch.
        reported: What the search algorithm was told, or `None` for "failed".
        hyperparameters: The values in KerasTuner's form.
    """

    stage: str
    number: int
    values: dict[str, Any]
    state: str
    reason: str | None
    value: float | None
    epochs: int
    planned_epochs: int
    seconds: float
    curve: tuple[float, ...]
    reported: float | None
    hyperparameters: dict[str, Any]

    @property
    def name(self) -> str:
        """Stage and number, such as `"coarse 3"`."""
        return f"{self.stage} {self.number}"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        return {**dataclasses.asdict(self), "curve": list(self.curve)}


def trial_path(directory: Path, number: int) -> Path:
    """Return the file of a trial in the folder of its stage."""
    return directory / "trials" / f"{number:04d}.json"


def write_trial(directory: Path, trial: Trial) -> None:
    """Record a finished trial; the file is whole or absent."""
    path = trial_path(directory, trial.number)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, trial.to_dict())


def read_trial(directory: Path, number: int) -> Trial | None:
    """Return a finished trial of a stage, or `None` if it is not finished.

    Raises:
        RunError: If it cannot be read.
    """
    path = trial_path(directory, number)
    if not path.exists():
        return None
    try:
        values = read_json(path)
        return Trial(**{**values, "curve": tuple(values["curve"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(f"cannot read trial {path}: {error}") from error


def read_trials(directory: Path, known: Mapping[int, Trial] = MappingProxyType({})) -> list[Trial]:
    """Return the finished trials of a stage, in order of their numbers.

    Args:
        directory: Of the stage.
        known: Number to trial, of those that need not be read again.

    Raises:
        RunError: If one cannot be read.
    """
    numbers = sorted(
        int(path.stem) for path in (directory / "trials").glob("*.json") if path.stem.isdigit()
    )
    return [known.get(number) or read_trial(directory, number) for number in numbers]


def is_better(value: float, other: float, direction: str) -> bool:
    """Whether a value beats another; `direction` is `"max"` or `"min"`."""
    return value > other if direction == "max" else value < other


def best_of(values: Sequence[float], direction: str) -> float:
    """Return the best of some values."""
    return max(values) if direction == "max" else min(values)


def ranked_trials(trials: Sequence[Trial], direction: str) -> list[Trial]:
    """Return the completed trials, the best first; of equals the earlier."""
    completed = [trial for trial in trials if trial.state == COMPLETED]
    sign = -1 if direction == "max" else 1
    return sorted(completed, key=lambda trial: sign * trial.value)


def hopeless(
    values: Sequence[float],
    others: Sequence[Sequence[float]],
    *,
    direction: str,
    first_epoch: int = 1,
    least: int = 5,
) -> bool:
    """Whether a trial is to be ended by the median rule.

    It is if the best of its values so far is worse than the median, over earlier trials that came
    as far, of the mean of their values so far.

    Args:
        values: Objective of the trial after each epoch so far.
        others: The same of earlier trials of the same length.
        direction: `"max"` or `"min"`.
        first_epoch: No trial is ended before this epoch, counted from 1.
        least: No trial is ended before this many others came as far.

    Example:
        >>> others = [[0.5, 0.7], [0.4, 0.6], [0.6, 0.8]]
        >>> hopeless([0.2, 0.3], others, direction="max", least=3)
        True
        >>> hopeless([0.2, 0.7], others, direction="max", least=3)
        False

    Source:
        Golovin et al., "Google Vizier: A service for black-box optimization", 2017, section 3.2.2.
        Here trials that were ended early count too, as far as they came: without them the median
        would rise with each that is ended.
    """
    epoch = len(values)
    reached = [statistics.fmean(other[:epoch]) for other in others if len(other) >= epoch]
    if epoch < max(first_epoch, 1) or len(reached) < max(least, 1):
        return False
    return is_better(statistics.median(reached), best_of(values, direction), direction)


def chance(objective: str, classes: int) -> float | None:
    """Return what guessing gives, to tell the algorithm of a trial that gave nothing.

    A trial that "failed" teaches KerasTuner's Bayesian search nothing, and some of them leave
    a bracket of its Hyperband unfinished.

    Example:
        >>> chance("val_accuracy", 4), round(chance("val_loss", 10), 3)
        (0.25, 2.303)
    """
    return {"val_accuracy": 1 / classes, "val_loss": math.log(classes)}.get(objective)
