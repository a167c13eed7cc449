"""The chief of a search: gives its trials to workers, here or on other machines.

It is KerasTuner's: its protocol and service, its oracle behind them, and its client in the workers.
They suit a search whose trials are recorded, since the oracle alone decides, sees one call after
another, and gives the trial of a worker that was started anew to it again. Three things do not, and
are done here: KerasTuner's own loop around the service waits for ever for a worker that was killed,
and at every end in steps of twenty seconds; its client waits an hour for a chief that is not there;
and a measure has 32 bits on the wire, so that results are read from the records instead.

A name on the wire is that of a worker and of the life it is in, `worker0#4f2a`; one of a trial says
who has it, too: `coarse 0003 worker0#4f2a`.
"""

import dataclasses
import threading
import time
from collections.abc import Callable
from concurrent import futures
from typing import TYPE_CHECKING, Any, Protocol

from recipes.errors import RunError
from tuning._search_cluster import Cluster
from tuning._search_tuner import load_keras_tuner, quiet_keras_tuner

if TYPE_CHECKING:
    from tuning._search_crew import Crew

# A trial that ends its worker as often is not run again.
_DEATHS = 3
# Seconds without a sign of life before the trial of a worker on another machine is given away.
SILENCE = 180
# Seconds in which workers on other machines that outlived the chief before say what they have.
GRACE = 45
# Seconds for workers to hear that the search is over, and for a record to be seen over a network.
_FAREWELL = 10
_SIGHT = 30


class Tasks(Protocol):
    """What the chief gives to workers: the trials of a stage, or the seeds of the winner."""

    name: str

    def take(self, worker: str) -> Any:
        """Return KerasTuner's trial for a worker, or one that says that there is none."""

    def holding(self, worker: str) -> str | None:
        """Return the name of what a worker has."""

    def leave(self, worker: str) -> None:
        """Give what a worker has to another."""

    def adopt(self, worker: str, number: int) -> None:
        """Let a worker have what it says it has, if nobody else does."""

    def is_recorded(self, number: int) -> bool:
        """Whether one is done, by its files."""

    def finish(self, number: int, worker: str, hyperparameters: Any) -> None:
        """Take one that a worker has done."""

    def give_up(self, worker: str, reason: str) -> None:
        """Do without what a worker has."""

    @property
    def unfinished(self) -> int:
        """How many were begun and are not done."""

    @property
    def interrupted(self) -> bool:
        """Whether workers of a chief before this may still be at some."""


@dataclasses.dataclass
class _Worker:
    """What is known of a worker in its present life."""

    life: str
    seen: float
    given: int = 0
    dismissed: bool = False
    former: frozenset = frozenset()


class Chief:
    """Serves one stage after another; a context manager that ends what it started.

    The methods from `get_space` to `end_trial` are called by KerasTuner's service, on its thread.

    Args:
        cluster: Where to listen.
        say: Receives a line about each event.
        crew: Processes to start and watch, or `None` where workers come by themselves.
    """

    def __init__(self, cluster: Cluster, say: Callable[[str], None], crew: "Crew | None" = None):
        self.cluster = cluster
        self.say = say
        self.crew = crew
        self._turn = threading.Condition()
        self._workers: dict[str, _Worker] = {}
        self._stage = self._error = None
        self._drained = self._ready = self._closing = False
        self._deaths: dict[str, int] = {}
        self._opens = 0
        self._server = None

    @property
    def size(self) -> int:
        """Workers among which time is shared, at least 1."""
        if self.crew:
            return len(self.crew.names)
        return max(1, sum(not worker.dismissed for worker in self._workers.values()))

    def __enter__(self):
        self._server, port = _serve(self, self.cluster)
        self.cluster = dataclasses.replace(self.cluster, port=port)
        return self

    def __exit__(self, kind, error, trace):
        with self._turn:
            self._closing = True
        limit = time.monotonic() + _FAREWELL
        if kind is None:
            while self._somebody_listens() and time.monotonic() < limit:
                time.sleep(0.05)
        if self.crew:
            self.crew.stop()
        self._server.stop(grace=0.2).wait()

    def run(self, stage: Tasks) -> None:
        """Have all trials of a stage run.

        Raises:
            RunError: If the search has to end.
        """
        with quiet_keras_tuner(), self._turn:
            grace = GRACE if stage.interrupted and not self.crew else 0
            # Nobody is started for a stage in which there is nothing to do.
            if stage.take("nobody").status == "STOPPED":
                return
            stage.leave("nobody")
            if self.crew:
                self.crew.start(self.cluster.port)
            elif not self._workers:
                self.say(f"waiting for workers at {self.cluster.address}")
            self._stage, self._drained, self._ready = stage, False, True
            self._opens = time.monotonic() + grace
            try:
                while self._error is None and (not self._drained or stage.unfinished):
                    self._turn.wait(0.1)
                    self._watch()
            finally:
                self._stage = None
            if self._error is not None:
                raise self._error

    def get_space(self):
        """Return a space that says whether the search has begun; no worker needs another."""
        space = load_keras_tuner().HyperParameters()
        if self._ready:
            space.Fixed("ready", True)
        return space

    def update_space(self, hyperparameters):
        """Do nothing: a space comes with the end of a trial."""

    def create_trial(self, tuner_id):
        """Give a worker something to do."""
        name, _, life = tuner_id.partition("#")
        with self._turn:
            try:
                return self._next(name, life)
            except Exception as error:
                self._fail(error)
                return _answer("IDLE")

    def update_trial(self, trial_id, metrics, step=0):
        """Do nothing: measures come from the records."""
        return _answer("RUNNING", trial_id)

    def get_trial(self, trial_id):
        """Hear that a worker lives; say whether the trial is still its own."""
        stage, number, name, life = _parts(trial_id)
        with self._turn:
            worker = self._workers.setdefault(name, _Worker(life, time.monotonic()))
            if worker.life != life:
                return _answer("STOPPED", trial_id)
            worker.seen = time.monotonic()
            if self._stage and self._stage.name == stage:
                self._stage.adopt(name, number)
            # In between stages, or since another has recorded it: nothing to object to.
            held = self._stage and self._stage.name == stage and self._stage.holding(name)
            is_own = not self._stage or held == f"{stage} {number}"
            return _answer("RUNNING" if is_own else "STOPPED", trial_id)

    def end_trial(self, trial):
        """Take a trial that a worker has recorded."""
        stage_name, number, name, _ = _parts(trial.trial_id)
        stage = self._stage
        if stage is None or stage.name != stage_name:
            return
        limit = time.monotonic() + _SIGHT
        while not stage.is_recorded(number) and time.monotonic() < limit:
            time.sleep(0.1)
        with self._turn:
            try:
                if not stage.is_recorded(number):
                    raise RunError(
                        f"{name} has finished {stage.name} {number}, but its record is not here: "
                        "all machines have to see the same folder"
                    )
                stage.adopt(name, number)
                stage.finish(number, name, trial.hyperparameters)
            except Exception as error:
                self._fail(error)
            self._turn.notify_all()

    def get_best_trials(self, num_trials=1):
        """Return none: nobody asks."""
        return []

    def _next(self, name, life):
        worker = self._workers.get(name)
        if worker is None:
            worker = self._workers[name] = _Worker(life, time.monotonic())
        elif life in worker.former:
            return _answer("STOPPED")
        elif life != worker.life:
            # Started anew. It gets what it had; if the earlier one lives, it hears so.
            former = worker.former | {worker.life}
            worker = self._workers[name] = _Worker(life, time.monotonic(), former=former)
        worker.seen, worker.dismissed = time.monotonic(), False
        if self._closing:
            worker.dismissed = True
            return _answer("STOPPED")
        if self._stage is None or self._error is not None or time.monotonic() < self._opens:
            return _answer("IDLE")
        trial = self._stage.take(name)
        if trial.status != "RUNNING":
            # None in this stage. Others may be left by a worker that ends, or come with the next.
            self._drained |= trial.status == "STOPPED"
            self._turn.notify_all()
            return _answer("IDLE")
        if self.crew and self.crew.is_worn(name, worker.given):
            # Only now, so that no fresh one is started for nothing.
            self._stage.leave(name)
            return _answer("STOPPED")
        worker.given += 1
        self._deaths.pop(name, None)
        trial_id = f"{self._stage.name} {trial.trial_id} {name}#{life}"
        return _answer("RUNNING", trial_id, trial.hyperparameters)

    def _fail(self, error):
        self._error = self._error or error
        self._turn.notify_all()

    def _watch(self):
        """See after workers that ended, or are silent."""
        for name, code, line in self.crew.ended() if self.crew else ():
            self._bury(name, code, line)
            self.crew.start_again(name)
        for name, worker in self._workers.items():
            held = self._stage.holding(name)
            if held and not self.crew and time.monotonic() - worker.seen > SILENCE:
                self.say(f"{name} is silent for {SILENCE} s, {held} is left to another")
                self._stage.leave(name)
                worker.dismissed = True

    def _bury(self, name, code, line):
        if code == 0:
            # Worn out, as it was meant to be.
            return
        if code == REFUSED:
            raise RunError(f"{name}: {line}")
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        held = self._stage.holding(name)
        # Of a trial whoever had it, of a worker until it is given one.
        deaths = self._deaths[held or name] = self._deaths.get(held or name, 0) + 1
        if not held:
            if deaths >= _DEATHS:
                raise RunError(f"{name} ended {deaths} times before a trial ({how}): {line}")
            self.say(f"{name} ended ({how}) and is started again")
        elif deaths < _DEATHS:
            self.say(f"{name} ended ({how}) in {held}, which is run again")
        else:
            self._stage.give_up(name, f"ended its worker {deaths} times ({how})")

    def _somebody_listens(self):
        if self.crew:
            return self.crew.is_alive()
        now = time.monotonic()
        with self._turn:
            return any(
                not worker.dismissed and now - worker.seen < _FAREWELL
                for worker in self._workers.values()
            )


# How a worker ends that was given something wrong.
REFUSED = 2


def _answer(status, trial_id="none", hyperparameters=None):
    keras_tuner = load_keras_tuner()
    return keras_tuner.engine.trial.Trial(
        hyperparameters=hyperparameters or keras_tuner.HyperParameters(),
        trial_id=trial_id,
        status=status,
    )


def _parts(trial_id):
    stage, number, tuner_id = trial_id.split(" ", 2)
    name, _, life = tuner_id.partition("#")
    return stage, int(number), name, life


def _serve(chief, cluster):
    """Start KerasTuner's service; return the server and its port."""
    import grpc

    # Not public; start_server, which would be, is what does not suit.
    from keras_tuner.src import protos
    from keras_tuner.src.distribute.oracle_chief import OracleServicer

    # Two chiefs at one port would each get some of the calls.
    server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    protos.get_service_grpc().add_OracleServicer_to_server(OracleServicer(chief), server)
    try:
        port = server.add_insecure_port(cluster.address)
    except RuntimeError:
        port = 0
    if not port:
        raise RunError(f"the chief cannot listen at {cluster.address}: is the port taken?")
    server.start()
    return server, port
