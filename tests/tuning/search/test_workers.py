"""Workers share a search: who gets what, and what survives when one of them does not."""

import contextlib
import dataclasses
import itertools
import json
import math
import threading
import time
from types import SimpleNamespace

import pytest

from recipes import RunError

pytest.importorskip("keras_tuner")

from recipes.run import Run
from tuning import _search_chief as chiefs
from tuning import _search_cluster as clusters
from tuning import _search_runners as runners
from tuning import _search_worker as workers
from tuning import search, searching
from tuning._search_chief import Chief
from tuning._search_cluster import Cluster
from tuning._search_job import Job
from tuning._search_stage import Stage
from tuning._search_subjects import subject_of
from tuning._search_trials import Trial, read_trials

SPACE = {"optimizer.learning_rate": "log 1e-3..1", "model.width": [4, 8, 16]}
GRID = {"optimizer.learning_rate": [0.01, 0.1, 0.5], "model.width": [4, 8, 16]}
# KerasTuner asks for the thread by names that Python 3.10 gave up, here on threads of its own.
pytestmark = pytest.mark.filterwarnings("ignore:(currentThread|getName):DeprecationWarning")


class Formula:
    """Stands in for training, and counts."""

    def __init__(self):
        self.ran = []
        self.stop = None
        self.first_two = None
        self._met, self._turn = set(), threading.Lock()

    def meet(self):
        """Let the first trial last until another worker has one, too."""
        self.first_two = threading.Barrier(2)

    def __call__(self, recipe, data, directory, *, objective, prune, progress):
        time.sleep(0.02)
        worker = threading.get_ident()
        with self._turn:
            waits = self.first_two and len(self._met | {worker}) > len(self._met) < 2
            self._met.add(worker)
        if waits:
            self.first_two.wait(30)
        rate, width = recipe.optimizer.learning_rate, recipe.model.width
        value = 0.8 - 0.1 * abs(math.log10(rate) + 1) + width / 1000
        if prune([value / 2]):
            return runners.Outcome("pruned", "median", value / 2, (value / 2,))
        if self.stop and self.stop(directory):
            # As abrupt as a kill can be in a thread.
            raise KeyboardInterrupt
        self.ran.append(f"{directory.parent.parent.name} {directory.name}")
        return runners.Outcome("completed", None, value, (value / 2, value))


def coarse(out, subject, chief, algorithm="random", prune=False, say=print):
    return Stage(
        "coarse",
        out / "coarse",
        subject=subject,
        algorithm=algorithm,
        space=subject.space,
        epochs=2,
        start=subject.space.start(subject.recipe),
        objective="val_accuracy",
        direction="max",
        seed=0,
        prune=prune,
        say=say,
        progress=False,
        chief=chief,
    )


@pytest.fixture
def formula(monkeypatch):
    found = Formula()
    monkeypatch.setattr(runners, "run_recipe_trial", found)
    return found


@pytest.fixture
def parallel(recipe, data, formula, monkeypatch):
    """Return a function that searches with workers in threads; their names are given."""
    threads, refused = [], []
    monkeypatch.setattr(chiefs, "GRACE", 0)

    def let(job, cluster):
        try:
            with contextlib.suppress(KeyboardInterrupt):
                workers.work(job, cluster, lambda line: None)
        except RunError as error:
            refused.append(error)

    @contextlib.contextmanager
    def crew(out, space, names, said, prune=True):
        subject = subject_of(recipe, space, 2)
        subject.load(data)
        out.mkdir(exist_ok=True)
        plan = {"a": 1}
        (out / "search.json").write_text(json.dumps(plan))
        with Chief(Cluster("chief", "127.0.0.1", 0), said.append) as chief:
            monkeypatch.setenv("KERASTUNER_TUNER_ID", "any")
            monkeypatch.setenv("KERASTUNER_ORACLE_IP", chief.cluster.host)
            monkeypatch.setenv("KERASTUNER_ORACLE_PORT", str(chief.cluster.port))
            job = Job(subject, out, plan, "val_accuracy", "max", prune, False)
            for name in names:
                cluster = dataclasses.replace(chief.cluster, name=name)
                threads.append(threading.Thread(target=let, args=(job, cluster), daemon=True))
                threads[-1].start()
            yield chief, subject
        for thread in threads:
            thread.join(10)
        assert not any(thread.is_alive() for thread in threads)
        assert not refused
        for variable in ("TUNER_ID", "ORACLE_IP", "ORACLE_PORT"):
            monkeypatch.delenv(f"KERASTUNER_{variable}")

    def run(out, space=SPACE, algorithm="random", names=("worker0", "worker1"), trials=9):
        said, prune = [], algorithm != "hyperband"
        with crew(out, space, names, said, prune) as (chief, subject):
            stage = coarse(out, subject, chief, algorithm, prune, said.append)
            stage.run(trials=trials, seconds=None)
        return stage.trials, said

    run.crew = crew
    yield run
    for thread in threads:
        thread.join(10)


def points(trials):
    return sorted(tuple(sorted(trial.values.items())) for trial in trials)


@pytest.mark.parametrize(
    ("algorithm", "space", "trials"),
    [("random", SPACE, 9), ("grid", GRID, None), ("hyperband", SPACE, None)],
)
def test_workers_share_a_search(
    algorithm, space, trials, parallel, formula, recipe, data, tmp_path
):
    names = ("a", "b", "c")
    formula.meet()
    found, said = parallel(tmp_path / "p", space, algorithm, names=names, trials=trials)
    formula.first_two = None
    assert [trial.number for trial in found] == list(range(len(found)))
    # Each once: pruned ones are not counted by the formula.
    assert len(formula.ran) == len(set(formula.ran))
    assert len([line for line in said if "coarse" in line]) == len(found)
    assert len({name for name in names for line in said if f"({name}):" in line}) > 1
    for trial in found:
        rate = trial.values["optimizer.learning_rate"]
        expected = 0.8 - 0.1 * abs(math.log10(rate) + 1) + trial.values["model.width"] / 1000
        # Of all its digits: on the wire it has but seven.
        expected = expected / 2 if trial.state == "pruned" else expected
        assert trial.reported == trial.value == expected
    if algorithm == "hyperband":
        assert {trial.state for trial in found} == {"completed"}
    if algorithm == "grid":
        rates, widths = GRID.values()
        assert points(found) == sorted(
            (("model.width", width), ("optimizer.learning_rate", rate))
            for width in widths
            for rate in rates
        )
    if algorithm == "random":
        alone = search(
            recipe,
            data,
            space,
            trials=9,
            epochs_per_trial=2,
            out=tmp_path / "s",
            preflight=False,
            range_test=False,
            say=lambda line: None,
        )
        # Whatever the order in which they ended.
        assert [trial.values for trial in found] == [trial.values for trial in alone.trials]


def test_a_search_goes_on_with_more_workers_or_fewer(parallel, formula, tmp_path):
    """A worker vanishes with its trial, then the whole search does; one worker does the rest."""
    formula.stop = lambda directory: directory.name in ("0001", "0004")
    # Both vanish, one after the other; nobody is left, so it is ended from outside.
    with pytest.MonkeyPatch.context() as patch:
        watch, begun = Chief._watch, time.monotonic()

        def impatient(self):
            watch(self)
            if time.monotonic() - begun > 2:
                raise KeyboardInterrupt

        patch.setattr(Chief, "_watch", impatient)
        with pytest.raises(KeyboardInterrupt):
            parallel(tmp_path / "p")
    left = read_trials(tmp_path / "p" / "coarse")
    numbers = [trial.number for trial in left]
    assert {1, 4}.isdisjoint(numbers)
    assert 2 in numbers
    formula.stop = None
    found, _ = parallel(tmp_path / "p", names=("worker7",))
    assert [trial.number for trial in found] == list(range(9))
    assert [trial for trial in found if trial.number in numbers] == left
    assert len(formula.ran) == len(set(formula.ran))
    # And with as many as there are, nobody has to come.
    again, said = parallel(tmp_path / "p", names=())
    assert again == found
    assert said == []


class Machines:
    """A chief of so many workers; one of them does it all."""

    crew = None

    def __init__(self, size):
        self.size = size

    def run(self, stage):
        while (trial := stage.take("a")).status == "RUNNING":
            stage.attempts.run(int(trial.trial_id), None, trial.hyperparameters)
            stage.finish(int(trial.trial_id), "a")


def test_time_is_that_of_all_machines(formula, recipe, data, monkeypatch, tmp_path):
    """Also for a chief that was started again and has seen none of them."""
    clock = SimpleNamespace(perf_counter=itertools.count(0, 25).__next__)
    monkeypatch.setattr("tuning._search_attempt.time", clock)
    subject = subject_of(recipe, SPACE, 2)
    subject.load(data)
    # Trials of 25 s on four machines: 16 in 100 s, 24 in 150 s.
    for size, seconds, expected in ((4, 100, 16), (1, 100, 16), (1, 150, 24)):
        stage = coarse(tmp_path, subject, Machines(size))
        found = stage.run(trials=None, seconds=lambda workers, each=seconds: workers * each)
        assert len(found) == expected


def test_a_worker_that_is_silent_loses_its_trial(parallel, formula, monkeypatch, tmp_path):
    monkeypatch.setattr(chiefs, "SILENCE", 0.5)
    vanished = []

    def stop(directory):
        if directory.name == "0002" and not vanished:
            vanished.append(directory)
            return True
        return False

    formula.stop = stop
    found, said = parallel(tmp_path / "p")
    assert vanished
    assert [trial.number for trial in found] == list(range(9))
    assert any("is silent for 0.5 s, coarse 2 is left to another" in line for line in said)


def test_seeds_are_shared(parallel, monkeypatch, tmp_path):
    trained = []

    def train(recipe, data, directory, say, progress):
        seed = recipe.training.seed
        if not (directory / "metrics.json").exists():
            trained.append(seed)
            directory.mkdir(parents=True)
            metrics = {"validation": {"accuracy": 0.5 + seed / 100}}
            for name, value in (
                ("recipe", recipe.to_dict()),
                ("environment", {"format_version": 1}),
                ("metrics", metrics),
            ):
                (directory / f"{name}.json").write_text(json.dumps(value))
            (directory / "model.keras").touch()
            time.sleep(0.05)
        return Run(directory)

    monkeypatch.setattr(runners, "train_or_go_on", train)
    said = []
    best = Trial("coarse", 3, {"model.width": 8}, "completed", None, 1, 1, 1, 1, (), 1, {})
    for seeds, expected in ((3, {0, 1, 2}), (4, {3})):
        with parallel.crew(tmp_path, {"model.width": [4, 8]}, "ab", said) as (chief, subject):
            found = searching._retrain(
                subject, best, tmp_path, seeds, said.append, progress=False, chief=chief
            )
        assert found.accuracies == tuple(0.5 + seed / 100 for seed in range(seeds))
        assert set(trained) == expected
        trained.clear()
    assert Run(tmp_path / "seeds" / "seed1").recipe.model.width == 8
    lines = [line[:14] for line in said if "waiting" not in line]
    assert sorted(lines) == [f"winner, seed {seed}" for seed in range(4)]


def test_a_failing_search_ends(parallel, monkeypatch, tmp_path):
    def fail(*arguments, **options):
        return runners.Outcome("failed", "no such layer", None, ())

    monkeypatch.setattr(runners, "run_recipe_trial", fail)
    monkeypatch.setattr(clusters, "PATIENCE", 0.5)
    with pytest.raises(RunError, match="3 trials in a row failed, the last: no such layer"):
        parallel(tmp_path / "p")
