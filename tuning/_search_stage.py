"""One stage of a search: an oracle, a length of trials, and the files of the trials."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.errors import RunError
from recipes.files import read_json, write_json
from tuning._search_attempt import Attempts
from tuning._search_oracle import make_oracle
from tuning._search_runners import Outcome
from tuning._search_trials import FAILED, Trial
from tuning._search_tuner import load_keras_tuner, make_tuner, quiet_keras_tuner, run_tuner

if TYPE_CHECKING:
    from tuning._search_chief import Chief
    from tuning.spaces import Space

# As many in a row, and it is not the point of the space that is at fault.
_FAILURES = 3


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
        chief: Gives the trials to workers; `None` to run them here, one after the other.
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
        chief: "Chief | None" = None,
    ):
        self.name = name
        self.directory = directory
        self.subject = subject
        self.algorithm = algorithm
        self.space = space
        self.epochs = epochs
        self.start = start
        self.seed = seed
        self.say = say
        self.chief = chief
        self._check_region()
        self.attempts = Attempts(
            name=name,
            directory=directory,
            subject=subject,
            space=space,
            epochs=epochs,
            objective=objective,
            direction=direction,
            prune=prune,
            progress=progress,
        )
        self._oracle = None
        self._failures = 0

    @property
    def trials(self) -> list[Trial]:
        """The finished ones, in order."""
        return self.attempts.trials

    def run(self, *, trials: int | None, seconds: Callable[[int], float] | None) -> list[Trial]:
        """Return all trials of the stage: those that were recorded, then those run now.

        Args:
            trials: At most.
            seconds: Returns, of a number of workers, how long trials may have taken in all for
                another to begin.
        """

        def enough():
            if seconds is None:
                return False
            return sum(trial.seconds for trial in self.trials) >= seconds(self._workers())

        keras_tuner = load_keras_tuner()
        self._oracle = make_oracle(
            self.algorithm,
            objective=keras_tuner.Objective(self.attempts.objective, self.attempts.direction),
            seed=self.seed,
            epochs=self.epochs,
            hyperparameters=self._declared(),
        )
        folder = self.directory / "keras_tuner"
        tuner = make_tuner(self._oracle, folder, self._trial, self.subject.model)
        with quiet_keras_tuner():
            self._oracle.go_on(
                self.directory / "order.json",
                self.attempts.record,
                first=self._first(),
                limit=trials,
                enough=enough,
            )
        if self.chief:
            self.chief.run(self)
        else:
            run_tuner(tuner)
        return self.trials

    # What the chief asks.

    def take(self, worker: str):
        """Return KerasTuner's trial for a worker, or one that says that there is none."""
        return self._oracle.create_trial(worker)

    def holding(self, worker: str) -> str | None:
        """Return the name of the trial that a worker has."""
        number = self._oracle.holding(worker)
        return None if number is None else f"{self.name} {number}"

    def leave(self, worker: str) -> None:
        """Give the trial of a worker to another."""
        self._oracle.leave(worker)

    def adopt(self, worker: str, number: int) -> None:
        """Let a worker have the trial that it says it has, if nobody else does."""
        if self._oracle.holding(worker) is None:
            self._oracle.adopt(worker, number)

    @property
    def unfinished(self) -> int:
        """Trials that were begun and have not ended."""
        return self._oracle.unfinished

    @property
    def interrupted(self) -> bool:
        """Whether there are such before any was given to a worker."""
        return self.unfinished > 0

    def finish(self, number: int, worker: str, hyperparameters=None) -> None:
        """Take what a worker recorded; if it was taken already, this does nothing.

        Args:
            number: Of the trial.
            worker: Who has it.
            hyperparameters: KerasTuner's, from a model that may have declared more of them.
        """
        if self._oracle.holding(worker) == number:
            if hyperparameters is not None:
                self._oracle.update_space(hyperparameters)
            self._oracle.tell(number)
            self._finished(self.attempts.record(number), worker)

    def is_recorded(self, number: int) -> bool:
        """Whether a trial has its record."""
        return self.attempts.record(number) is not None

    def give_up(self, worker: str, reason: str) -> None:
        """Record that a trial ends its workers."""
        number = self._oracle.holding(worker)
        hyperparameters = self._oracle.ongoing_trials[worker].hyperparameters
        epochs = hyperparameters.values.get("tuner/epochs", self.epochs)
        outcome = Outcome(FAILED, reason, None, ())
        self.attempts.conclude(number, outcome, hyperparameters, epochs, 0.0)
        self.finish(number, worker)

    def _trial(self, trial_id, hypermodel, hyperparameters) -> float | None:
        """Run a trial in this process; return what the algorithm is told."""
        trial = self.attempts.run(int(trial_id), hypermodel, hyperparameters)
        self._finished(trial)
        return trial.reported

    def _finished(self, trial, worker=None):
        self.say(self.attempts.line(trial, worker))
        self._failures = self._failures + 1 if trial.state == FAILED else 0
        if self._failures >= _FAILURES:
            raise RunError(f"{_FAILURES} trials in a row failed, the last: {trial.reason}")

    def _workers(self):
        """Return how many share the time: over machines, as many as there ever were at once.

        A chief that was started again has seen none of them yet.
        """
        if not self.chief or self.chief.crew:
            return self.chief.size if self.chief else 1
        path = self.directory / "workers.json"
        known = read_json(path) if path.exists() else 0
        if self.chief.size > known:
            write_json(path, self.chief.size)
        return max(known, self.chief.size)

    def _declared(self):
        if self.space is None:
            return None
        return self.space.to_hyperparameters(start=self.start)

    def _first(self):
        """Return the values of the first trial in KerasTuner's form, if they are not its own."""
        if not self.start or self.algorithm == "grid":
            # A grid begins with the defaults by itself.
            return None
        declared = self._declared()
        return {name: declared.get(name) for name in self.space.dimensions}

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
