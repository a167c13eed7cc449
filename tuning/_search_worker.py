"""A worker of a search: asks the chief for trials, runs them, records them.

As a program, `python -m tuning._search_worker FOLDER`, it is a process of a `Crew`.
"""

import os
import secrets
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from recipes.config import Recipe
from recipes.errors import RecipesError, RunError
from recipes.files import read_json
from tuning._search_chief import REFUSED
from tuning._search_cluster import Cluster, ImpatientStub, cluster_from_environment, connect
from tuning._search_crew import REFUSAL
from tuning._search_job import Job, read_job
from tuning.spaces import Space

# Seconds between signs of life.
_BEAT = 20
# Seconds for a file of the chief to be seen over a network.
_SIGHT = 30


def work(job: Job, cluster: Cluster, say: Callable[[str], None]) -> None:
    """Run trials of a search until its chief has no more.

    Args:
        job: What is known of the search; compared with what the chief has written.
        cluster: The place of this process, as KerasTuner's variables give it.
        say: Receives a line a trial.

    Raises:
        RunError: If there is no chief, it ends, or it searches for something else.
    """
    from tuning._search_tuner import load_keras_tuner

    load_keras_tuner()
    try:
        _Worker(job, cluster, say).run()
    except OSError as error:
        raise RunError(f"cannot write to {job.out}: {error.strerror or error}") from error


class _Worker:
    def __init__(self, job, cluster, say):
        self.job = job
        self.cluster = cluster
        self.say = say
        self.stages = {}
        self.trial_id = None
        self.lost = False
        self.over = threading.Event()

    def run(self):
        from tuning._search_oracle import make_oracle
        from tuning._search_tuner import load_keras_tuner, make_tuner, quiet_keras_tuner, run_tuner

        channel = connect(self.cluster, self.say)
        objective = load_keras_tuner().Objective(self.job.objective, self.job.direction)
        # Stands for that of the chief, whose oracle alone decides.
        oracle = make_oracle("random", objective=objective, seed=0, epochs=1, hyperparameters=None)
        with channel, quiet_keras_tuner(), tempfile.TemporaryDirectory() as folder:
            tuner = make_tuner(oracle, Path(folder) / "tuner", self._trial, self.job.subject.model)
            self.client = tuner.oracle
            self.client.stub = ImpatientStub(type(self.client.stub)(channel), self.cluster)
            # Another process of the same name, or this one started again, is another life.
            tuner.tuner_id = f"{self.cluster.name}#{secrets.token_hex(4)}"
            self._compare()
            beats = threading.Thread(target=self._beat, daemon=True)
            beats.start()
            try:
                run_tuner(tuner)
            finally:
                self.over.set()
                beats.join(1)

    def _compare(self):
        """Refuse to work on another search than the chief's."""
        path = self.job.out / "search.json"
        while not path.exists():
            # While it is not ready it may still be checking the recipe.
            if "ready" in self.client.get_space():
                self._wait_for(path)
            time.sleep(0.5)
        found, plan = read_json(path), self.job.plan
        other = [name for name in {**plan, **found} if plan.get(name) != found.get(name)]
        if other:
            raise RunError(
                f"{self.cluster.name} was given another search than that in {self.job.out}: "
                f"its {other[0]} differs"
            )

    def _wait_for(self, path):
        limit = time.monotonic() + _SIGHT
        while not path.exists():
            if time.monotonic() > limit:
                raise RunError(
                    f"{self.cluster.name} does not see {path}, which its chief has written: "
                    "all machines have to see the same folder"
                )
            time.sleep(0.5)

    def _trial(self, trial_id, hypermodel, hyperparameters):
        stage, number, _ = trial_id.split(" ", 2)
        self.trial_id = trial_id
        try:
            if stage == "seeds":
                return self._seed(int(number))
            attempts = self._stage(stage)
            trial = attempts.run(int(number), hypermodel, hyperparameters)
        finally:
            self.trial_id = None
        self.say(attempts.line(trial))
        return trial.reported

    def _stage(self, name):
        from tuning._search_attempt import Attempts

        if name not in self.stages:
            directory = self.job.out / name
            self._wait_for(directory / "stage.json")
            facts = read_json(directory / "stage.json")
            self.stages[name] = Attempts(
                name=name,
                directory=directory,
                subject=self.job.subject,
                space=Space.from_dict(facts["space"]) if facts["space"] else None,
                epochs=facts["epochs"],
                objective=self.job.objective,
                direction=self.job.direction,
                prune=self.job.prune,
                progress=self.job.progress,
                check=self._check,
            )
        return self.stages[name]

    def _seed(self, seed):
        """Train the winner with a seed."""
        from tuning._search_runners import train_or_go_on

        directory = self.job.out / "seeds"
        self._wait_for(directory / "winner.json")
        recipe = Recipe.from_dict(read_json(directory / "winner.json"))
        recipe = recipe.override({"training.seed": seed})
        self.say(f"winner, seed {seed}")
        progress = self.job.progress
        run = train_or_go_on(
            recipe, self.job.subject.data, directory / f"seed{seed}", lambda line: None, progress
        )
        return run.metrics["validation"]["accuracy"]

    def _check(self):
        if self.lost:
            raise RunError(
                f"{self.cluster.name} has lost its trial: the chief did not hear of it, or another "
                "worker has the same KERASTUNER_TUNER_ID"
            )

    def _beat(self):
        while not self.over.wait(_BEAT):
            trial_id = self.trial_id
            if trial_id is None:
                continue
            try:
                status = self.client.get_trial(trial_id).status
            except RunError:
                # Said when the trial is done: what it gives is recorded, chief or not.
                continue
            if status == "STOPPED" and trial_id == self.trial_id:
                self.lost = True


def _end_with_parent():
    """Wait until nobody holds the other end of the standard input; then end, at once."""
    while os.read(0, 1024):
        pass
    os._exit(1)


def main(folder: str) -> int:
    """Work for the chief that started this process."""
    # Ctrl-C reaches all processes of a terminal; the chief ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        from recipes._quiet import import_tensorflow

        import_tensorflow()
        work(read_job(folder), cluster_from_environment(), lambda line: None)
    except RecipesError as error:
        print(f"{REFUSAL}{error}", flush=True)
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
