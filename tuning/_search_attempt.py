"""One trial of a stage: run and recorded, by the process of the search or by a worker of it."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recipes.errors import ConfigError
from tuning import _search_runners as runners
from tuning._search_trials import (
    COMPLETED,
    DIVERGED,
    FAILED,
    PRUNED,
    Trial,
    best_of,
    chance,
    hopeless,
    read_trial,
    read_trials,
    write_trial,
)
from tuning.spaces import Space

# A trial may show what it can before the median rule looks at it: this part of its epochs.
_WARMUP_SHARE = 1 / 3


@dataclasses.dataclass
class Attempts:
    """Runs trials of a stage; what is recorded is not run again.

    Attributes:
        name: Of the stage: `"coarse"` or `"refined"`.
        directory: Its folder.
        subject: What is tuned.
        space: A `Space`, or `None` for a subject that declares its own.
        epochs: Of a trial.
        objective: Name of the measure.
        direction: `"max"` or `"min"`.
        prune: Whether to end hopeless trials.
        progress: Whether to show epochs.
        check: Called after each epoch but the last; may raise a `RunError` to end the search.
    """

    name: str
    directory: Path
    subject: Any
    space: Space | None
    epochs: int
    objective: str
    direction: str
    prune: bool
    progress: bool
    check: Callable[[], None] = lambda: None

    def __post_init__(self):
        """Read what is recorded."""
        self._known = {}

    @property
    def trials(self) -> list[Trial]:
        """The finished trials, in order of their numbers, whichever process ran them."""
        found = read_trials(self.directory, self._known)
        self._known = {trial.number: trial for trial in found}
        return found

    def record(self, number: int) -> Trial | None:
        """Return the record of a finished trial."""
        return self._known.get(number) or read_trial(self.directory, number)

    def run(self, number: int, hypermodel, hyperparameters) -> Trial:
        """Run a trial and record it, or take it from its record.

        Args:
            number: Of the trial.
            hypermodel: A user's own, or `None`.
            hyperparameters: KerasTuner's; gets the values of the record.
        """
        trial = self.record(number)
        if trial is None:
            epochs = hyperparameters.values.get("tuner/epochs", self.epochs)
            began = time.perf_counter()
            outcome = self._outcome(number, hypermodel, hyperparameters, epochs)
            seconds = round(time.perf_counter() - began, 3)
            trial = self.conclude(number, outcome, hyperparameters, epochs, seconds)
        hyperparameters.values = dict(trial.hyperparameters)
        return trial

    def conclude(self, number, outcome, hyperparameters, epochs, seconds) -> Trial:
        """Record how a trial ended, unless another process has, and return the record."""
        trial = Trial(
            stage=self.name,
            number=number,
            values=self._values(hyperparameters),
            planned_epochs=epochs,
            epochs=len(outcome.curve),
            seconds=seconds,
            reported=self._reported(outcome),
            hyperparameters=dict(hyperparameters.values),
            **vars(outcome),
        )
        earlier = read_trial(self.directory, number)
        if earlier is None:
            write_trial(self.directory, trial)
        return earlier or trial

    def line(self, trial: Trial, worker: str | None = None) -> str:
        """Return what is said of a trial."""
        who = f" ({worker})" if worker else ""
        value = "" if trial.value is None else f" {self.objective} {trial.value:.4f}"
        why = f" ({trial.reason})" if trial.state in (DIVERGED, FAILED) else ""
        point = ", ".join(f"{name}={_brief(value)}" for name, value in trial.values.items())
        return f"{trial.name}{who}: {trial.state}{value}, {trial.seconds:.1f} s{why}: {point}"

    def _outcome(self, number, hypermodel, hyperparameters, epochs):
        if hypermodel is not None:
            return runners.run_model_trial(
                hypermodel,
                hyperparameters,
                self.subject.data,
                objective=self.objective,
                direction=self.direction,
                epochs=epochs,
                prune=self._prune_rule(epochs),
            )
        try:
            recipe = self.subject.of_length(self._values(hyperparameters), epochs)
        except ConfigError as error:
            return runners.Outcome(FAILED, str(error), None, ())
        return runners.run_recipe_trial(
            recipe,
            self.subject.data,
            self.directory / "runs" / f"{number:04d}",
            objective=self.objective,
            prune=self._prune_rule(epochs),
            progress=self.progress,
        )

    def _prune_rule(self, epochs):
        """Return whether a trial is hopeless, as a function of its objective so far."""
        first = max(1, round(epochs * _WARMUP_SHARE))

        def rule(values):
            self.check()
            if not self.prune:
                return False
            # Read anew each time: other workers finish theirs meanwhile.
            others = [
                trial.curve
                for trial in self.trials
                if trial.planned_epochs == epochs and trial.state in (COMPLETED, PRUNED)
            ]
            return hopeless(values, others, direction=self.direction, first_epoch=first)

        return rule

    def _values(self, hyperparameters):
        if self.space is not None:
            return self.space.from_hyperparameters(hyperparameters.values)
        return {
            name: value
            for name, value in hyperparameters.values.items()
            if not name.startswith("tuner/")
        }

    def _reported(self, outcome):
        """Return what the algorithm is told: of a trial that gave nothing, the worst there is.

        That is what guessing gives, unless another trial gave less.
        """
        if outcome.value is not None:
            return outcome.value
        told = [trial.reported for trial in self.trials if trial.reported is not None]
        if self.subject.classes is not None:
            known = chance(self.objective, self.subject.classes)
            told += [] if known is None else [known]
        worst = "min" if self.direction == "max" else "max"
        return best_of(told, worst) if told else None


def _brief(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)
