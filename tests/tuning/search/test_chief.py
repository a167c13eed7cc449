"""The chief of a search and its processes: what is run again, replaced, given up or left."""

import threading
import time

import pytest

from recipes import RunError

pytest.importorskip("keras_tuner")

from tuning import _search_chief as chiefs
from tuning._search_chief import Chief
from tuning._search_cluster import Cluster

# KerasTuner asks for the thread by names that Python 3.10 gave up, here on threads of its own.
pytestmark = pytest.mark.filterwarnings("ignore:(currentThread|getName):DeprecationWarning")


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
