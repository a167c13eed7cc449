"""The order in which trials begin and end: gone through again, it leads to the same."""

import math
import random

import pytest

from recipes import RunError

pytest.importorskip("keras_tuner")

import keras_tuner

from tuning._search_oracle import make_oracle
from tuning._search_trials import Trial

# KerasTuner asks for the thread by names that Python 3.10 gave up, here on threads of its own.
pytestmark = pytest.mark.filterwarnings("ignore:(currentThread|getName):DeprecationWarning")


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
