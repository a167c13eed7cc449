"""KerasTuner's oracles, which say what to try next, made to go on where a search was left.

KerasTuner 1.4.8 loses a search that is killed while it writes its state, and a grid always
(KerasTuner issue 1055). Here its state is never read again. The order in which trials began and
ended is kept in a file of ours, and their results in others; a search that goes on makes a new
oracle with the same seed, and lets it go through the same, after which it stands where it stood.
That holds for one process and for many workers: whatever they do at a time, the oracle sees one
call after another.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.errors import ConfigError, RunError
from recipes.files import read_json, write_json
from tuning._search_trials import Trial
from tuning._search_tuner import load_keras_tuner

if TYPE_CHECKING:
    import keras_tuner

ALGORITHMS = ("random", "bayesian", "hyperband", "grid")
_BEGIN, _END = "begin", "end"
# Who is said to run a trial that was begun and that nobody runs now.
_NOBODY = "nobody"


def make_oracle(
    algorithm: str,
    *,
    objective: "keras_tuner.Objective",
    seed: int,
    epochs: int,
    hyperparameters: "keras_tuner.HyperParameters | None",
) -> "keras_tuner.Oracle":
    """Return the oracle of an algorithm; it is also a `Recorded`.

    Args:
        algorithm: One of `ALGORITHMS`.
        objective: What it looks at.
        seed: 0 or more.
        epochs: Of a trial; for `"hyperband"` of its longest.
        hyperparameters: The space, or `None` where a model-building function declares it.
    """
    oracles = load_keras_tuner().oracles
    if algorithm == "bayesian" and importlib.util.find_spec("sklearn") is None:
        raise ConfigError("algorithm bayesian needs scikit-learn: pip install scikit-learn")
    kind = {
        "random": oracles.RandomSearchOracle,
        "bayesian": oracles.BayesianOptimizationOracle,
        "hyperband": oracles.HyperbandOracle,
        "grid": oracles.GridSearchOracle,
    }[algorithm]
    arguments = {
        "objective": objective,
        # KerasTuner takes 0 for "any".
        "seed": seed + 1,
        "hyperparameters": hyperparameters,
        # When to give up is decided by the search.
        "max_consecutive_failed_trials": 10**9,
    }
    if algorithm == "hyperband":
        arguments["max_epochs"] = epochs
    oracle = type(f"Recorded{kind.__name__}", (Recorded, kind), {})(**arguments)
    # `Recorded` counts. KerasTuner would make the names of trials as long as this number is, and
    # its Bayesian search and Hyperband do not take None in their constructors.
    oracle.max_trials = None
    # What is said of a trial is said by the search.
    oracle.verbose = 0
    return oracle


class Recorded:
    """What is added to an oracle: an order that is kept, and an end that the search decides.

    Trials are numbered from 0 as they begin; `int(trial.trial_id)` is the number.
    """

    def go_on(
        self,
        path: Path,
        record: Callable[[int], Trial | None],
        *,
        first: dict[str, Any] | None,
        limit: int | None,
        enough: Callable[[], bool],
    ) -> None:
        """Go through what happened in earlier parts of the search.

        Args:
            path: File of the order.
            record: Returns the record of a finished trial.
            first: Values of the first trial, or `None` for the oracle's own.
            limit: Begin no more trials in all, or `None`.
            enough: Whether to begin no more; not asked before the first.
        """
        self._path, self._record, self._first = path, record, first
        # While it goes through the past nothing is new.
        self._limit, self._enough, self._events = None, lambda: False, None
        events = self._past()
        for what, number in events:
            if what == _BEGIN:
                self._begin_again(number)
            else:
                self.tell(number)
        self._events = events
        # A worker was killed after it had written its record, before it could say so.
        for number in sorted(self._numbers(self.ongoing_trials)):
            if record(number) is not None:
                self.tell(number)
        self._limit, self._enough = limit, enough

    def create_trial(self, tuner_id: str) -> "keras_tuner.engine.trial.Trial":
        """Return a trial that was left, else a new one, else what says that there is none.

        A worker that has one already gets the same again: KerasTuner's way with one that was
        started anew.
        """
        if tuner_id not in self.ongoing_trials and self._events is not None:
            left = self._left()
            if left is not None:
                self.ongoing_trials[tuner_id] = self.ongoing_trials.pop(left)
            elif self._is_over():
                return self._answer("STOPPED")
        is_new = tuner_id not in self.ongoing_trials
        trial = super().create_trial(tuner_id)
        if is_new and trial.status == "RUNNING":
            number = int(trial.trial_id)
            if number == 0 and self._first:
                trial.hyperparameters.values.update(self._first)
            self._note(_BEGIN, number)
        return trial

    def end_trial(self, trial: "keras_tuner.engine.trial.Trial") -> None:
        """Take what came of a trial; only what is recorded has come to an end."""
        super().end_trial(trial)
        self._note(_END, int(trial.trial_id))

    def tell(self, number: int) -> None:
        """Take the result of a trial from its record, unless it has been taken.

        Not from what a worker sends: on the wire a measure is rounded to 32 bits.
        """
        trial = self._trial(number)
        if trial.trial_id in self.end_order:
            return
        found = self._record(number)
        if found is None:
            raise RunError(f"{self._path} tells of trial {number}, whose record is not there")
        trial.hyperparameters.values = dict(found.hyperparameters)
        trial.status = "FAILED"
        if found.reported is not None:
            trial.status = "COMPLETED"
            self.update_trial(trial.trial_id, {self.objective.name: found.reported})
        self.end_trial(trial)

    def leave(self, tuner_id: str) -> None:
        """Keep the trial of a worker that is no more for the next that asks."""
        if tuner_id in self.ongoing_trials:
            trial = self.ongoing_trials.pop(tuner_id)
            self.ongoing_trials[f"{_NOBODY} {trial.trial_id}"] = trial

    def adopt(self, tuner_id: str, number: int) -> None:
        """Let a worker have a trial that was left, if it is: one that outlived its chief."""
        for name, trial in list(self.ongoing_trials.items()):
            if name.startswith(f"{_NOBODY} ") and int(trial.trial_id) == number:
                self.ongoing_trials[tuner_id] = self.ongoing_trials.pop(name)

    def holding(self, tuner_id: str) -> int | None:
        """Return the number of the trial that a worker has."""
        trial = self.ongoing_trials.get(tuner_id)
        return None if trial is None else int(trial.trial_id)

    @property
    def unfinished(self) -> int:
        """Trials that were begun, are wanted, and have not ended."""
        numbers = self._numbers(self.ongoing_trials)
        return sum(self._limit is None or number < self._limit for number in numbers)

    def _left(self):
        left = [name for name in self.ongoing_trials if name.startswith(f"{_NOBODY} ")]
        name = min(left, key=lambda name: int(name.split()[1]), default=None)
        if name is not None and self._limit is not None and int(name.split()[1]) >= self._limit:
            return None
        return name

    def _is_over(self):
        begun = len(self.start_order)
        return begun and ((self._limit is not None and begun >= self._limit) or self._enough())

    def _past(self):
        if self._path.exists():
            try:
                return [(str(what), int(number)) for what, number in read_json(self._path)]
            except (OSError, ValueError, TypeError) as error:
                raise RunError(f"cannot read {self._path}: {error}") from error
        # No trial was ever begun, or each after the other.
        events, number = [], 0
        while self._record(number) is not None:
            events += [(_BEGIN, number), (_END, number)]
            number += 1
        return events

    def _begin_again(self, number):
        trial = self.create_trial(f"{_NOBODY} {number}")
        if trial.status != "RUNNING" or int(trial.trial_id) != number:
            raise RunError(f"{self._path} does not fit the search: give another folder")
        found = self._record(number)
        if found is not None:
            trial.hyperparameters.values = dict(found.hyperparameters)
        # The name by which it is looked for.
        self.leave(f"{_NOBODY} {number}")

    def _trial(self, number):
        for trial_id in self.start_order:
            if int(trial_id) == number:
                return self.trials[trial_id]
        raise RunError(f"{self._path} ends trial {number}, which it does not begin")

    def _note(self, what, number):
        if self._events is not None:
            self._events.append((what, number))
            write_json(self._path, self._events)

    def _answer(self, status):
        trial = load_keras_tuner().engine.trial.Trial
        return trial(hyperparameters=self.get_space(), status=status)

    @staticmethod
    def _numbers(trials):
        return [int(trial.trial_id) for trial in trials.values()]
