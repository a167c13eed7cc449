"""One stage of a search: an oracle, a length of trials, and the files of the trials."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.errors import ConfigError, RunError
from recipes.files import read_json, write_json
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
    read_trials,
    write_trial,
)
from tuning._search_tuner import load_keras_tuner, make_oracle, run_tuner

if TYPE_CHECKING:
    from tuning.spaces import Space

# As many in a row, and it is not the point of the space that is at fault.
_FAILURES = 3
# A trial may show what it can before the median rule looks at it: this part of its epochs.
_WARMUP_SHARE = 1 / 3


class Stage:
    """Runs the trials of one algorithm in one space; those that are recorded are not run again.

    Args:
        name: `"coarse"` or `"refined"`.
        directory: Its folder.
        subject: What is tuned.
        algorithm: Of KerasTuner.
        space: A `Space`, or `None` for a subject that declares its own.
        epochs: Of a trial.
        start: Values of the first trial, or `None` for whatever the algorithm begins with.
        objective: Name of the measure.
        direction: `"max"` or `"min"`.
        seed: Of the algorithm.
        prune: Whether to end hopeless trials.
        say: Receives a line a trial.
        progress: Whether to show epochs.

    Attributes:
        trials: Those that are finished.
    """

    def __init__(
        self,
        name: str,
        directory: Path,
        *,
        subject,
        algorithm: str,
        space: "Space | None",
        epochs: int,
        start: dict[str, Any] | None,
        objective: str,
        direction: str,
        seed: int,
        prune: bool,
        say: Callable[[str], None],
        progress: bool,
    ):
        self.name = name
        self.directory = directory
        self.subject = subject
        self.algorithm = algorithm
        self.space = space
        self.epochs = epochs
        self.start = start
        self.objective = objective
        self.direction = direction
        self.seed = seed
        self.prune = prune
        self.say = say
        self.progress = progress
        self._check_region()
        self.trials = read_trials(directory)
        self._recorded = len(self.trials)
        self._failures = 0

    def run(self, *, trials: int | None, seconds: float | None) -> list[Trial]:
        """Return all trials of the stage: those that were recorded, then those run now.

        Args:
            trials: At most.
            seconds: Begin no trial once the trials took so long.
        """
        keras_tuner = load_keras_tuner()
        hyperparameters = self._declared()
        oracle = make_oracle(
            self.algorithm,
            objective=keras_tuner.Objective(self.objective, self.direction),
            seed=self.seed,
            epochs=self.epochs,
            trials=trials,
            hyperparameters=hyperparameters,
        )

        def enough(number):
            spent = sum(trial.seconds for trial in self.trials)
            return seconds is not None and number >= len(self.trials) and spent >= seconds

        run_tuner(
            oracle,
            self.directory / "keras_tuner",
            self._trial,
            enough=enough,
            hypermodel=self.subject.model,
        )
        return self.trials

    def _declared(self):
        if self.space is None:
            return None
        found = self.space.to_hyperparameters()
        if self.start:
            found = self.space.to_hyperparameters(self.subject.recipe.override(self.start))
        return found

    def _check_region(self):
        """Refuse trials of another space, as a longer coarse search makes of the refined."""
        path = self.directory / "stage.json"
        facts = {
            "space": self.space.to_dict() if self.space else None,
            "algorithm": self.algorithm,
            "epochs": self.epochs,
            "start": self.start,
        }
        if path.exists() and read_json(path) != facts:
            raise RunError(
                f"{self.directory} holds a {self.name} search of another region, from fewer or "
                "other coarse trials: give another folder"
            )
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            write_json(path, facts)
        except OSError as error:
            raise RunError(f"cannot write to {self.directory}: {error.strerror}") from error

    def _trial(self, number, hypermodel, hyperparameters) -> float | None:
        """Run a trial, or take it from its record; return what the algorithm is told."""
        if number < self._recorded:
            trial = self.trials[number]
            hyperparameters.values = dict(trial.hyperparameters)
            return trial.reported
        if number == 0 and self.start and self.algorithm != "grid":
            # A grid begins with the defaults by itself.
            declared = self._declared()
            hyperparameters.values.update(
                {name: declared.get(name) for name in self.space.dimensions}
            )
        epochs = hyperparameters.values.get("tuner/epochs", self.epochs)
        began = time.perf_counter()
        outcome = self._outcome(number, hypermodel, hyperparameters, epochs)
        trial = Trial(
            stage=self.name,
            number=number,
            values=self._values(hyperparameters),
            planned_epochs=epochs,
            epochs=len(outcome.curve),
            seconds=round(time.perf_counter() - began, 3),
            reported=self._reported(outcome),
            hyperparameters=dict(hyperparameters.values),
            **vars(outcome),
        )
        write_trial(self.directory, trial)
        self.trials.append(trial)
        self.say(self._line(trial))
        self._count_failures(trial)
        return trial.reported

    def _outcome(self, number, hypermodel, hyperparameters, epochs):
        prune = self._prune_rule(epochs)
        if hypermodel is not None:
            return runners.run_model_trial(
                hypermodel,
                hyperparameters,
                self.subject.data,
                objective=self.objective,
                direction=self.direction,
                epochs=epochs,
                prune=prune,
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
            prune=prune,
            progress=self.progress,
        )

    def _prune_rule(self, epochs):
        """Return whether a trial is hopeless, as a function of its objective so far."""
        others = [
            trial.curve
            for trial in self.trials
            if trial.planned_epochs == epochs and trial.state in (COMPLETED, PRUNED)
        ]
        first = max(1, round(epochs * _WARMUP_SHARE))

        def rule(values):
            return self.prune and hopeless(
                values, others, direction=self.direction, first_epoch=first
            )

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
        """Return what the algorithm is told: of a trial that gave nothing, what guessing gives."""
        if outcome.value is not None:
            return outcome.value
        if self.subject.classes is not None:
            known = chance(self.objective, self.subject.classes)
            if known is not None:
                return known
        told = [trial.reported for trial in self.trials if trial.reported is not None]
        worst = "min" if self.direction == "max" else "max"
        return best_of(told, worst) if told else None

    def _count_failures(self, trial):
        self._failures = self._failures + 1 if trial.state == FAILED else 0
        if self._failures >= _FAILURES:
            raise RunError(f"{_FAILURES} trials in a row failed, the last: {trial.reason}")

    def _line(self, trial):
        value = "" if trial.value is None else f" {self.objective} {trial.value:.4f}"
        why = f" ({trial.reason})" if trial.state in (DIVERGED, FAILED) else ""
        point = ", ".join(f"{name}={_brief(value)}" for name, value in trial.values.items())
        return f"{trial.name}: {trial.state}{value}, {trial.seconds:.1f} s{why}: {point}"


def _brief(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)
