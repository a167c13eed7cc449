"""Searches by several workers: who gets what, what survives, who is refused, who is left behind."""

import contextlib
import dataclasses
import json
import math
import os
import random
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from recipes import ConfigError, Recipe, RunError
from recipes.cli import main

pytest.importorskip("keras_tuner")

import keras_tuner

from recipes import load_data
from recipes.run import Run
from tuning import _search_chief as chiefs
from tuning import _search_cluster as clusters
from tuning import _search_runners as runners
from tuning import _search_worker as workers
from tuning import search, searching
from tuning._search_chief import Chief
from tuning._search_cluster import Cluster, cluster_from_environment
from tuning._search_crew import Crew, threads_each
from tuning._search_job import Job, check_subject, read_job, write_job
from tuning._search_oracle import make_oracle
from tuning._search_stage import Stage
from tuning._search_subjects import subject_of
from tuning._search_trials import Trial, read_trials

SPACE = {"optimizer.learning_rate": "log 1e-3..1", "model.width": [4, 8, 16]}
GRID = {"optimizer.learning_rate": [0.01, 0.1, 0.5], "model.width": [4, 8, 16]}
# KerasTuner asks for the thread by names that Python 3.10 gave up, here on threads of its own.
pytestmark = pytest.mark.filterwarnings("ignore:(currentThread|getName):DeprecationWarning")


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 255, (120, 8, 8, 1)).astype(np.uint8)
    return load_data((images, np.arange(120) % 3), validation=0.25)


@pytest.fixture
def recipe():
    return Recipe(name="mine").override({"training.epochs": 8, "optimizer.learning_rate": 0.5})


# --- the order of what happened, gone through again -----------------------------------------------


def value_of(values):
    """Stands in for training."""
    return 1 - 0.1 * abs(math.log10(values["rate"]) + 1) + values["width"] / 1000


class Happening:
    """Workers that take and finish trials of an oracle in an order drawn by chance."""

    def __init__(self, algorithm, folder, limit=24):
        self.algorithm, self.folder, self.limit, self.records = algorithm, folder, limit, {}
        self.awake()

    def awake(self):
        """Begin anew with what is on the disk."""
        hyperparameters = keras_tuner.HyperParameters()
        if self.algorithm == "grid":
            hyperparameters.Choice("rate", [0.001, 0.01, 0.1, 1.0])
        else:
            hyperparameters.Float("rate", 1e-3, 1.0, sampling="log")
        hyperparameters.Int("width", 4, 16)
        self.oracle = make_oracle(
            self.algorithm,
            objective=keras_tuner.Objective("val_accuracy", "max"),
            seed=0,
            epochs=9,
            hyperparameters=hyperparameters,
        )
        self.oracle._set_project_dir(str(self.folder), "keras_tuner")
        self.oracle.go_on(
            self.folder / "order.json",
            self.records.get,
            first={"rate": 0.1} if self.algorithm == "random" else None,
            limit=self.limit,
            enough=lambda: False,
        )
        self.held = {}

    def take(self, worker):
        trial = self.oracle.create_trial(worker)
        if trial.status == "RUNNING":
            self.held[worker] = int(trial.trial_id), dict(trial.hyperparameters.values)
        return trial.status

    def record(self, worker):
        number, values = self.held[worker]
        assert number not in self.records
        facts = ("coarse", number, values, "completed", None, value_of(values), 1, 1, 1.0, ())
        self.records[number] = Trial(*facts, value_of(values), values)

    def end(self, worker):
        self.oracle.tell(self.held.pop(worker)[0])


@pytest.mark.parametrize(
    ("algorithm", "limit"),
    [
        ("random", 24),
        ("grid", 24),
        ("hyperband", 24),
        # Its Gaussian processes take seconds, from the seventh trial on.
        pytest.param("bayesian", 9, marks=pytest.mark.exhaustive),
    ],
)
def test_an_order_that_was_cut_off_goes_on_as_if_it_had_not(algorithm, limit, tmp_path):
    """Cut off at every turn but for its files, it gives the same trials in the same order."""

    def happen(folder, cut):
        folder.mkdir()
        chance = random.Random(3)
        happening = Happening(algorithm, folder, limit)
        for _ in range(300):
            names = [f"worker{number}" for number in range(3)]
            worker = chance.choice(names)
            if worker in happening.held:
                happening.record(worker)
                if cut and chance.random() < 0.3:
                    # Killed with its record written and not yet told; told at once on return.
                    chance.random()
                    held = {name: happening.held[name] for name in names if name in happening.held}
                    held.pop(worker)
                    happening.awake()
                    # The others come back under their names, in whatever order.
                    for name in sorted(held, key=lambda name: held[name][0]):
                        assert happening.take(name) == "RUNNING"
                    assert happening.held == held
                else:
                    if not cut and chance.random() < 0.3:
                        chance.random()
                    happening.end(worker)
            elif happening.take(worker) == "STOPPED" and not happening.held:
                break
        else:
            pytest.fail("it does not end")
        return {number: trial.hyperparameters for number, trial in happening.records.items()}

    whole = happen(tmp_path / "whole", cut=False)
    assert sorted(whole) == list(range(len(whole)))
    assert limit - 4 <= len(whole) <= limit
    assert happen(tmp_path / "parts", cut=True) == whole


def test_an_order_that_does_not_fit_is_refused(tmp_path):
    happening = Happening("random", tmp_path)
    happening.take("worker0")
    for text, message in (
        ("[[", "cannot read"),
        ('[["end", 0]]', "which it does not begin"),
        ('[["begin", 0], ["end", 0]]', "whose record is not there"),
        ('[["begin", 4]]', "does not fit the search"),
    ):
        (tmp_path / "order.json").write_text(text)
        with pytest.raises(RunError, match=message):
            happening.awake()


# --- a chief and its workers, as threads; what a trial gives is a formula -------------------------


class Formula:
    """Stands in for training, and counts."""

    def __init__(self):
        self.ran = []
        self.stop = None

    def __call__(self, recipe, data, directory, *, objective, prune, progress):
        time.sleep(0.02)
        rate, width = recipe.optimizer.learning_rate, recipe.model.width
        value = 0.8 - 0.1 * abs(math.log10(rate) + 1) + width / 1000
        if prune([value / 2]):
            return runners.Outcome("pruned", "median", value / 2, (value / 2,))
        if self.stop and self.stop(directory):
            # As abrupt as a kill can be in a thread.
            raise KeyboardInterrupt
        self.ran.append(f"{directory.parent.parent.name} {directory.name}")
        return runners.Outcome("completed", None, value, (value / 2, value))


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
    def crew(out, space, names, said):
        subject = subject_of(recipe, space, 2)
        subject.load(data)
        out.mkdir(exist_ok=True)
        plan = {"a": 1}
        (out / "search.json").write_text(json.dumps(plan))
        with Chief(Cluster("chief", "127.0.0.1", 0), said.append) as chief:
            monkeypatch.setenv("KERASTUNER_TUNER_ID", "any")
            monkeypatch.setenv("KERASTUNER_ORACLE_IP", chief.cluster.host)
            monkeypatch.setenv("KERASTUNER_ORACLE_PORT", str(chief.cluster.port))
            job = Job(subject, out, plan, "val_accuracy", "max", True, False)
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
        said = []
        with crew(out, space, names, said) as (chief, subject):
            stage = Stage(
                "coarse",
                out / "coarse",
                subject=subject,
                algorithm=algorithm,
                space=subject.space,
                epochs=2,
                start=subject.space.start(recipe),
                objective="val_accuracy",
                direction="max",
                seed=0,
                prune=True,
                say=said.append,
                progress=False,
                chief=chief,
            )
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
    found, said = parallel(tmp_path / "p", space, algorithm, names=names, trials=trials)
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


class Tasks:
    """Three things to do, and what was done."""

    name = "coarse"

    def __init__(self):
        self.waiting, self.held, self.done, self.given_up = [0, 1, 2], {}, [], []

    def take(self, worker):
        if worker not in self.held and self.waiting:
            self.held[worker] = self.waiting.pop(0)
        number = self.held.get(worker)
        status = "STOPPED" if number is None else "RUNNING"
        return chiefs._answer(status, str(number))

    def holding(self, worker):
        return f"coarse {self.held[worker]}" if worker in self.held else None

    def leave(self, worker):
        self.waiting.insert(0, self.held.pop(worker))

    def adopt(self, worker, number):
        if number in self.waiting:
            self.waiting.remove(number)
            self.held[worker] = number

    def is_recorded(self, number):
        return True

    def finish(self, number, worker, hyperparameters=None):
        if self.held.get(worker) == number:
            self.done.append(self.held.pop(worker))

    def give_up(self, worker, reason):
        self.given_up.append((self.held.pop(worker), reason))

    @property
    def unfinished(self):
        return len(self.waiting) + len(self.held)

    interrupted = True


class FakeCrew:
    """Processes that a test kills."""

    names = ("worker0",)
    trials_each = None

    def __init__(self, lives):
        self.lives, self.chief, self.life = iter(lives), None, 0

    def start(self, port):
        self.life = 1

    def start_again(self, name):
        self.life += 1

    def is_worn(self, name, given):
        return False

    def ended(self):
        live = next(self.lives)
        return live(self.chief, f"worker0#{self.life}") or []

    def is_alive(self):
        return False

    def stop(self):
        pass


def run_lives(*lives):
    said, tasks, crew = [], Tasks(), FakeCrew(lives)
    with Chief(Cluster("chief", "127.0.0.1", 0), said.append, crew) as crew.chief:
        crew.chief.run(tasks)
    return tasks, said


def takes_and_dies(chief, name):
    assert chief.create_trial(name).trial_id == f"coarse 0 {name}"
    return [("worker0", -9, "")]


def finishes(chief, name):
    while (trial := chief.create_trial(name)).status == "RUNNING":
        chief.end_trial(trial)


def test_a_trial_that_was_killed_is_run_again_but_not_for_ever():
    tasks, said = run_lives(takes_and_dies, takes_and_dies, finishes)
    assert (tasks.done, tasks.given_up) == ([0, 1, 2], [])
    assert said == ["worker0 ended (signal 9) in coarse 0, which is run again"] * 2
    tasks, _ = run_lives(*[takes_and_dies] * 3, finishes)
    assert tasks.given_up == [(0, "ended its worker 3 times (signal 9)")]
    assert tasks.done == [1, 2]


def test_a_process_is_replaced_after_some_trials():
    lives = []

    def works(chief, name):
        if name not in lives:
            lives.append(name)
        trial = chief.create_trial(name)
        if trial.status == "RUNNING":
            assert trial.trial_id.endswith(name)
            chief.end_trial(trial)
        return [("worker0", 0, "")] if trial.status == "STOPPED" else []

    crew = FakeCrew([works] * 9)
    crew.is_worn = lambda name, given: given >= 2
    tasks = Tasks()
    tasks.waiting.append(3)
    with Chief(Cluster("chief", "127.0.0.1", 0), print, crew) as crew.chief:
        crew.chief.run(tasks)
    assert tasks.done == [0, 1, 2, 3]
    # No third is started to hear that there is nothing left.
    assert lives == ["worker0#1", "worker0#2"]


def test_a_worker_that_cannot_start_ends_the_search():
    def dies(chief, name):
        return [("worker0", 1, "ImportError: no such thing")]

    with pytest.raises(
        RunError, match=r"worker0 ended 3 times before a trial \(exit code 1\): Imp"
    ):
        run_lives(dies, dies, dies)

    def is_refused(chief, name):
        return [("worker0", 2, "the folder is full")]

    with pytest.raises(RunError, match="^worker0: the folder is full$"):
        run_lives(is_refused)


def test_two_of_one_name():
    """The later is taken for the earlier, started again; the earlier hears of it."""

    def come(chief, name):
        first = chief.create_trial("worker0#a")
        assert chief.get_trial(first.trial_id).status == "RUNNING"
        second = chief.create_trial("worker0#b")
        assert first.trial_id.split()[:2] == second.trial_id.split()[:2]
        assert chief.get_trial(first.trial_id).status == "STOPPED"
        assert chief.get_trial(second.trial_id).status == "RUNNING"
        assert chief.create_trial("worker0#a").status == "STOPPED"
        chief.end_trial(second)
        finishes(chief, "worker0#b")

    tasks, _ = run_lives(come)
    assert tasks.done == [0, 1, 2]


def test_a_worker_that_outlives_its_chief_keeps_its_trial(monkeypatch):
    """Another that asks first has to wait until it can have said so."""
    monkeypatch.setattr(chiefs, "GRACE", 0.5)
    given = []

    def come():
        while (trial := chief.create_trial("b#1")).status == "IDLE" and not given:
            if chief._stage:
                assert chief.get_trial("coarse 0 a#1").status == "RUNNING"
            time.sleep(0.05)
        given.append(trial.trial_id)
        chief.end_trial(chiefs._answer("COMPLETED", "coarse 0 a#1"))
        chief.end_trial(trial)
        finishes(chief, "b#1")

    tasks = Tasks()
    with Chief(Cluster("chief", "127.0.0.1", 0), print) as chief:
        thread = threading.Thread(target=come)
        thread.start()
        chief.run(tasks)
        monkeypatch.setattr(chiefs, "_FAREWELL", 0)
        thread.join()
    assert given == ["coarse 1 b#1"]
    assert sorted(tasks.done) == [0, 1, 2]


def test_an_adopted_trial_of_an_oracle(tmp_path):
    happening = Happening("random", tmp_path)
    for name in "abc":
        happening.take(name)
    held = happening.held["b"]
    happening.awake()
    happening.oracle.adopt("b", 1)
    assert happening.take("new") == "RUNNING"
    assert happening.take("b") == "RUNNING"
    assert happening.held["b"] == held
    assert happening.held["new"][0] == 0


def test_a_failing_search_ends(parallel, monkeypatch, tmp_path):
    def fail(*arguments, **options):
        return runners.Outcome("failed", "no such layer", None, ())

    monkeypatch.setattr(runners, "run_recipe_trial", fail)
    monkeypatch.setattr(clusters, "PATIENCE", 0.5)
    with pytest.raises(RunError, match="3 trials in a row failed, the last: no such layer"):
        parallel(tmp_path / "p")


# --- what workers are given -----------------------------------------------------------------------


def test_a_job_is_mapped(recipe, data, tmp_path):
    subject = subject_of(recipe, SPACE, 2)
    subject.load(data)
    # TensorFlow's copy does not travel.
    subject.data.splits["train"].pipeline(8)
    write_job(tmp_path / "w", Job(subject, tmp_path, {"a": 1}, "val_accuracy", "max", True, False))
    job = read_job(tmp_path / "w")
    assert (job.plan, job.subject.recipe, job.subject.space) == ({"a": 1}, recipe, subject.space)
    assert job.subject.data.fingerprint == data.fingerprint
    for name, split in subject.data.splits.items():
        mine = job.subject.data.splits[name]
        np.testing.assert_array_equal(mine.labels, split.labels)
        np.testing.assert_array_equal(mine.images, split.images)
        assert not mine.images.flags.owndata
        assert "_tensor" not in vars(mine)
    images = subject.data.splits["train"].images[3].tobytes()
    assert images in (tmp_path / "w" / "arrays").read_bytes()
    assert images not in (tmp_path / "w" / "job").read_bytes()


class Own(keras_tuner.HyperModel):
    """A user's own."""

    def build(self, hp):
        raise NotImplementedError


def test_what_cannot_be_sent_is_refused(data):
    import tensorflow as tf

    arrays = (np.zeros((4, 2)), np.zeros(4)), (np.zeros((4, 2)), np.zeros(4))
    good = subject_of(Own(), None, 1)
    for given in (arrays, data):
        good.load(given)
        check_subject(good)
    dataset = tf.data.Dataset.from_tensors(1)
    for model, given in ((lambda hp: None, arrays), (Own(), (dataset, dataset))):
        subject = subject_of(model, None, 1)
        subject.load(given)
        with pytest.raises(
            ConfigError, match="^workers need a model from a module.*received: "
        ) as e:
            check_subject(subject)
        assert "\n" not in str(e.value)


def test_cores_are_shared(monkeypatch):
    monkeypatch.setattr("tuning._search_crew.usable_cores", lambda: 8)
    assert [threads_each(count) for count in (1, 2, 3, 8, 20)] == [8, 4, 2, 1, 1]
    crew = Crew(2, 3, Job(None, Path(), {}, "val_loss", "min", True, False), print)
    assert [crew.is_worn("worker0", given) for given in (0, 2, 3)] == [False, False, True]


# --- who is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        ({"workers": 0}, {}, "workers must be a whole number above 0, received: 0"),
        ({"workers": 1.5}, {}, "workers must be a whole number above 0"),
        ({"recycle": 0}, {}, "recycle must be a whole number above 0"),
        ({"workers": 2}, {"IP": "a", "PORT": "80", "ID": "chief"}, "are for one machine"),
        ({}, {"IP": "a", "PORT": "80"}, "KERASTUNER_TUNER_ID is needed, too"),
        ({}, {"IP": "a", "ID": "w"}, "KERASTUNER_ORACLE_PORT is needed, too"),
        ({}, {"IP": "a", "PORT": "http", "ID": "w"}, "must be a port from 1 to 65535"),
        ({}, {"IP": "a", "PORT": "80", "ID": "w#1"}, "must be without #"),
    ],
)
def test_wrong_arguments(arguments, environment, message, recipe, data, tmp_path, monkeypatch):
    names = {"IP": "ORACLE_IP", "PORT": "ORACLE_PORT", "ID": "TUNER_ID"}
    for name, value in environment.items():
        monkeypatch.setenv(f"KERASTUNER_{names[name]}", value)
    with pytest.raises(ConfigError) as caught:
        search(recipe, data, SPACE, trials=2, out=tmp_path / "a", **arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a").exists()


def test_the_environment_of_no_cluster():
    assert cluster_from_environment({"KERASTUNER_TUNER_ID": "tuner0"}) is None


@pytest.fixture
def place(monkeypatch):
    """Return a function that gives this process a place in a cluster."""

    def set_place(name, port):
        monkeypatch.setenv("KERASTUNER_TUNER_ID", name)
        monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
        monkeypatch.setenv("KERASTUNER_ORACLE_PORT", str(port))

    return set_place


def test_a_chief_that_is_not_there(place, processes, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(clusters, "PATIENCE", 0.3)
    (port,) = processes.free_ports(1)
    place("worker1", port)
    command = ["search", "fashion-mini", "fashion-mini", "--trials", "2"]
    assert main([*command, "--out", str(tmp_path / "a")]) == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert f"recipes: no chief answers at 127.0.0.1:{port} after 0.3 s" in line
    assert not (tmp_path / "a").exists()


def test_a_port_that_is_taken(place, recipe, data, tmp_path):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        place("chief", listening.getsockname()[1])
        with pytest.raises(RunError, match="the chief cannot listen at 127.0.0.1:.*is the port"):
            search(recipe, data, SPACE, trials=2, out=tmp_path / "a")


@pytest.mark.parametrize("other", ["data", "recipe", "space", "seed"])
def test_a_worker_on_something_else(other, place, recipe, data, formula, tmp_path):
    """Refused before it has done anything; so is one that does not see the chief's folder."""
    formula.stop = lambda directory: True
    said = []
    alone = {"epochs_per_trial": 2, "preflight": False, "range_test": False, "say": said.append}
    with pytest.raises(KeyboardInterrupt):
        search(recipe, data, SPACE, trials=2, out=tmp_path / "a", **alone)
    given = {"recipe": recipe, "data": data, "space": SPACE, "seed": 0}
    images = data.splits["train"].load(np.arange(60))
    changed = {
        "data": load_data((images, np.arange(60) % 3), validation=0.25),
        "recipe": recipe.override({"model.dropout": 0.1}),
        "space": {"model.width": [4, 8]},
        "seed": 1,
    }
    given[other] = changed[other]
    with Chief(Cluster("chief", "127.0.0.1", 0), said.append) as chief:
        place("worker1", chief.cluster.port)
        with pytest.raises(RunError) as caught:
            search(**given, trials=2, out=tmp_path / "a", **alone)
    assert str(caught.value) == (
        f"worker1 was given another search than that in {tmp_path / 'a'}: its {other} differs"
    )
    assert not read_trials(tmp_path / "a" / "coarse")


def test_a_worker_that_does_not_see_the_folder(place, recipe, data, monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "_SIGHT", 0.1)
    with Chief(Cluster("chief", "127.0.0.1", 0), print) as chief:
        chief._ready = True
        place("worker1", chief.cluster.port)
        with pytest.raises(RunError, match="worker1 does not see .*search.json, which its chief"):
            search(recipe, data, SPACE, trials=2, out=tmp_path / "a")


# --- real processes -------------------------------------------------------------------------------


def children(pid):
    """Return the processes that a process started and that run."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_killed_in_every_way_and_finished(tiny_recipe, tiny_source, processes, tmp_path):
    """A worker with SIGKILL, the chief with SIGKILL, all with Ctrl-C; then it is finished."""
    recipe = tiny_recipe.override({"training.epochs": 3, "model.width": 4})
    (tmp_path / "recipe.json").write_text(json.dumps(recipe.to_dict()))
    out = tmp_path / "search"
    command = [sys.executable, "-m", "recipes", "search", str(tmp_path / "recipe.json")]
    command += [tiny_source, "--out", str(out), "--no-preflight", "--no-range-test"]
    command += ["--no-prune", "--json"]
    command += ["--algorithm", "grid", "--vary", "optimizer.learning_rate: 0.05, 0.1"]
    command += ["--vary", "model.width: 4, 6", "--epochs", "2"]
    runs, trials = out / "coarse" / "runs", out / "coarse" / "trials"

    with processes.started() as start:
        chief = start([*command, "--workers", "2"])
        processes.until(lambda: list(runs.glob("*/history.jsonl")), chief)
        crew = children(chief.pid)
        assert len(crew) == 2
        killed = next(int(number.parent.name) for number in runs.glob("*/history.jsonl"))
        # Which of the two has it is not known: both lose theirs.
        for worker in crew:
            os.kill(worker, signal.SIGKILL)
        processes.until(lambda: (trials / f"{killed:04d}.json").exists(), chief)
        crew = children(chief.pid)
        chief.kill()
        said = chief.communicate()[1]
        assert f"in coarse {killed}, which is run again" in said
        # None outlives its chief.
        processes.until(lambda: not any(map(is_running, crew)), seconds=10)

        # Ctrl-C goes to all processes of the terminal.
        chief = start([*command, "--workers", "2"])
        processes.until(lambda: len(children(chief.pid)) == 2, chief)
        crew = children(chief.pid)
        time.sleep(1)
        for number in (*crew, chief.pid):
            os.kill(number, signal.SIGINT)
        assert chief.wait(20) == 130
        assert chief.communicate()[1].splitlines()[-1] == "recipes: interrupted"
        assert not any(map(is_running, crew))
        assert not (out / "workers").exists()
        finished = {path: path.read_text() for path in trials.glob("*.json")}
        assert 1 <= len(finished) < 4

        # One worker, a fresh process after two trials; what is done is not done again.
        last = start([*command, "--workers", "1", "--recycle", "2"])
        answer, said = last.communicate(timeout=240)
        assert last.returncode == 0, said
    found = json.loads(answer)
    assert sorted(trial["number"] for trial in found["trials"]) == list(range(4))
    assert {path: path.read_text() for path in finished} == finished
    values = [
        (trial["values"]["optimizer.learning_rate"], trial["values"]["model.width"])
        for trial in found["trials"]
    ]
    assert sorted(values) == [(rate, width) for rate in (0.05, 0.1) for width in (4, 6)]
    lines = [line for line in said.splitlines() if line.startswith("coarse")]
    assert len(lines) == 4 - len(finished)


@pytest.mark.exhaustive
def test_as_on_several_machines(tiny_recipe, tiny_source, processes, tmp_path):
    """With KerasTuner's variables; a worker is killed and started again under its name."""
    recipe = tiny_recipe.override({"training.epochs": 4, "model.width": 4})
    (tmp_path / "recipe.json").write_text(json.dumps(recipe.to_dict()))
    out = tmp_path / "search"
    command = [sys.executable, "-m", "recipes", "search", str(tmp_path / "recipe.json")]
    command += [tiny_source, "--out", str(out), "--no-preflight", "--no-prune", "--json"]
    command += ["--no-range-test", "--vary", "optimizer.learning_rate: log 1e-2..1"]
    command += ["--epochs", "2"]
    command += ["--trials", "6", "--refine", "--seeds", "2"]
    (port,) = processes.free_ports(1)

    def environment(name):
        return processes.environment(
            KERASTUNER_TUNER_ID=name,
            KERASTUNER_ORACLE_IP="127.0.0.1",
            KERASTUNER_ORACLE_PORT=str(port),
        )

    with processes.started() as start:
        first = start(command, env=environment("worker0"))
        chief = start(command, env=environment("chief"))
        history = out / "coarse" / "runs" / "0000" / "history.jsonl"
        processes.until(history.exists, chief)
        first.kill()
        first.communicate()
        assert not (out / "coarse" / "trials" / "0000.json").exists()
        crew = [start(command, env=environment(name)) for name in ("worker0", "worker1")]
        answer, said = chief.communicate(timeout=500)
        assert chief.returncode == 0, said
        for worker in crew:
            printed, said_there = worker.communicate(timeout=60)
            assert worker.returncode == 0, said_there
            # What the chief found, as far as trials go.
            assert json.loads(printed)["best"] == json.loads(answer)["best"]
    found = json.loads(answer)
    counts = [trial["stage"] for trial in found["trials"]]
    assert (counts.count("coarse"), counts.count("refined")) == (4, 2)
    assert len(found["seeds"]["accuracies"]) == 2
    assert "waiting for workers at 127.0.0.1" in said
