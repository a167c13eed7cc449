"""Searches: what is tried, recorded, taken up again after a kill, and concluded."""

import gc
import json
import math
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from recipes import ConfigError, Recipe, RunError
from recipes.catalog import get_recipe
from recipes.cli import main

pytest.importorskip("keras_tuner")

import keras
import tensorflow as tf

from recipes import load_data
from tuning import _search_runners as runners
from tuning import search
from tuning._search_trials import Trial, hopeless, read_trials
from tuning.search_report import best_so_far, importance, trials_csv, variance_share

SPACE = {"optimizer.learning_rate": "log 1e-3..1", "model.width": [4, 8, 16]}
QUIET = {"preflight": False, "range_test": False, "say": lambda line: None}


def test_the_function_is_not_hidden_by_its_module():
    import tuning.searching

    assert tuning.search is tuning.searching.search


# --- the rule that ends hopeless trials -----------------------------------------------------------


def reference_hopeless(values, others, direction, first_epoch, least):
    """The rule in NumPy, written from the paper."""
    sign = 1 if direction == "max" else -1
    step = len(values)
    means = [np.mean(sign * np.array(other[:step])) for other in others if len(other) >= step]
    if step < first_epoch or len(means) < least:
        return False
    return bool(np.max(sign * np.array(values)) < np.median(means))


@pytest.mark.parametrize("direction", ["max", "min"])
def test_the_median_rule_agrees_with_numpy(direction):
    random = np.random.default_rng(0)
    verdicts = []
    for _ in range(300):
        others = [random.random(random.integers(1, 6)).tolist() for _ in range(7)]
        values = random.random(random.integers(1, 6)).tolist()
        arguments = {"direction": direction, "first_epoch": 2, "least": 3}
        verdicts.append(hopeless(values, others, **arguments))
        assert verdicts[-1] == reference_hopeless(values, others, **arguments)
    assert 10 < sum(verdicts) < 290


# --- searches without training: what a trial gives is a formula -----------------------------------


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    labels = np.arange(120) % 3
    images = random.integers(0, 255, (120, 8, 8, 1)).astype(np.uint8)
    return load_data((images, labels), validation=0.25)


@pytest.fixture
def recipe():
    return Recipe(name="mine").override({"training.epochs": 8, "optimizer.learning_rate": 0.5})


class Formula:
    """Stands in for training; the accuracy is best at a rate of 0.1 and the largest width."""

    def __init__(self, interrupt_at=None):
        self.recipes = []
        self.interrupt_at = interrupt_at

    def __call__(self, recipe, data, directory, *, objective, prune, progress):
        if len(self.recipes) == self.interrupt_at:
            raise KeyboardInterrupt
        self.recipes.append(recipe)
        assert not len(data.splits["test"])
        rate, width = recipe.optimizer.learning_rate, recipe.model.width
        if rate > 0.8:
            return runners.Outcome("diverged", "loss was not finite in epoch 1", None, ())
        value = 0.8 - 0.1 * abs(math.log10(rate) + 1) + width / 1000
        curve = [value * epoch / recipe.training.epochs for epoch in (1, recipe.training.epochs)]
        if prune(curve[:1]):
            return runners.Outcome("pruned", "median", curve[0], (curve[0],))
        return runners.Outcome("completed", None, value, tuple(curve))


@pytest.fixture
def formula(monkeypatch):
    def install(**arguments):
        found = Formula(**arguments)
        monkeypatch.setattr(runners, "run_recipe_trial", found)
        return found

    return install


ALGORITHMS = {
    "random": {"trials": 9},
    "bayesian": {"trials": 9},
    "hyperband": {"epochs_per_trial": 4},
    "grid": {"trials": 9},
}


@pytest.mark.parametrize(
    "algorithm",
    # Its Gaussian processes take seconds.
    ["random", "hyperband", "grid", pytest.param("bayesian", marks=pytest.mark.slow)],
)
def test_a_search_that_was_cut_off_goes_on_as_if_it_had_not(
    algorithm, formula, recipe, data, tmp_path
):
    arguments = {"algorithm": algorithm, "epochs_per_trial": 2, **ALGORITHMS[algorithm], **QUIET}
    formula()
    whole = search(recipe, data, SPACE, out=tmp_path / "whole", **arguments)

    tried = []
    for stop in (2, 0, 3):
        part = formula(interrupt_at=stop)
        with pytest.raises(KeyboardInterrupt):
            search(recipe, data, SPACE, out=tmp_path / "parts", **arguments)
        tried += part.recipes
        # What KerasTuner wrote may be cut off in the middle of a word.
        (tmp_path / "parts" / "coarse" / "keras_tuner" / "oracle.json").write_text('{"ongo')
    last = formula()
    parts = search(recipe, data, SPACE, out=tmp_path / "parts", **arguments)
    tried += last.recipes

    def facts(result):
        return [(trial.hyperparameters, trial.value, trial.state) for trial in result.trials]

    assert facts(parts) == facts(whole)
    # Nothing was run twice.
    assert len(tried) == len(parts.trials)
    # And a finished search runs nothing.
    again = formula()
    assert facts(search(recipe, data, SPACE, out=tmp_path / "parts", **arguments)) == facts(whole)
    assert not again.recipes


def test_the_first_trial_is_the_recipe_and_all_are_short(formula, recipe, data, tmp_path):
    made = formula()
    recipe = recipe.override({"model.width": 8})
    found = search(recipe, data, SPACE, trials=4, epochs_per_trial=3, out=tmp_path / "a", **QUIET)
    assert made.recipes[0] == recipe.override({"training.epochs": 3})
    assert {one.training.epochs for one in made.recipes} == {3}
    assert len({one.optimizer.learning_rate for one in made.recipes}) == 4
    # The best is of full length again, and can be trained.
    best = get_recipe(str(tmp_path / "a" / "best.json"))
    assert best == found.recipe
    assert best.training.epochs == 8
    assert best.model.width == found.best.values["model.width"]
    assert found.best.value == max(trial.value for trial in found.trials if trial.value)


def test_more_trials_extend_a_search(formula, recipe, data, tmp_path):
    formula()
    short = search(recipe, data, SPACE, trials=3, out=tmp_path / "a", **QUIET)
    more = formula()
    long = search(recipe, data, SPACE, trials=5, out=tmp_path / "a", **QUIET)
    assert long.trials[:3] == short.trials
    assert len(more.recipes) == 2


def test_a_grid_is_whole(formula, recipe, data, tmp_path):
    made = formula()
    space = {"optimizer.learning_rate": [0.01, 0.1, 0.5], "optimizer.name": ["sgd", "adamw"]}
    recipe = recipe.override({"model.width": 8})
    search(recipe, data, space, algorithm="grid", out=tmp_path / "a", **QUIET)
    tried = [(one.optimizer.learning_rate, one.optimizer.name) for one in made.recipes]
    assert tried[0] == (0.5, "sgd")
    assert sorted(tried) == [(r, n) for r in (0.01, 0.1, 0.5) for n in ("adamw", "sgd")]


def test_hyperband_halves(formula, recipe, data, tmp_path):
    made = formula()
    search(
        recipe, data, SPACE, algorithm="hyperband", epochs_per_trial=9, out=tmp_path / "a", **QUIET
    )
    lengths = [one.training.epochs for one in made.recipes]
    assert lengths[0] == 1
    assert set(lengths) == {1, 3, 9}
    # Those that go on are among those that were begun.
    begun = {one.optimizer.learning_rate for one in made.recipes if one.training.epochs == 1}
    assert made.recipes[lengths.index(3)].optimizer.learning_rate in begun


def test_hopeless_trials_are_pruned_and_not_the_best(formula, recipe, data, tmp_path):
    formula()
    found = search(recipe, data, SPACE, trials=20, epochs_per_trial=2, out=tmp_path / "a", **QUIET)
    states = [trial.state for trial in found.trials]
    assert "pruned" in states[5:]
    # The rule waits for five others.
    assert "pruned" not in states[:5]
    assert found.best.state == "completed"
    whole = search(
        recipe, data, SPACE, trials=20, epochs_per_trial=2, prune=False, out=tmp_path / "b", **QUIET
    )
    assert "pruned" not in {trial.state for trial in whole.trials}


def test_refining_looks_closer_and_longer(formula, recipe, data, tmp_path):
    made = formula()
    arguments = {"trials": 18, "epochs_per_trial": 2, "refine": True, "prune": False, **QUIET}
    found = search(recipe, data, SPACE, out=tmp_path / "a", **arguments)
    refined = [trial for trial in found.trials if trial.stage == "refined"]
    assert (len(found.trials), len(refined)) == (18, 6)
    assert {trial.planned_epochs for trial in refined} == {4}
    assert found.best.stage == "refined"
    coarse = [trial for trial in found.trials if trial.stage == "coarse" and trial.value]
    best = max(coarse, key=lambda trial: trial.value)
    # It begins with the best so far, and stays near.
    assert refined[0].values == best.values
    top = sorted(coarse, key=lambda trial: -trial.value)[:3]
    rates = [math.log10(trial.values["optimizer.learning_rate"]) for trial in top]
    reach = max(0.25 * (max(rates) - min(rates)), 0.15) + 1e-3
    for trial in refined:
        rate = math.log10(trial.values["optimizer.learning_rate"])
        assert min(rates) - reach <= rate <= max(rates) + reach
    again = len(made.recipes)
    search(recipe, data, SPACE, out=tmp_path / "a", **arguments)
    assert len(made.recipes) == again


def test_time_ends_a_search_but_not_before_one_trial(formula, recipe, data, tmp_path):
    made = formula()
    search(recipe, data, SPACE, budget_minutes=1e-9, out=tmp_path / "a", **QUIET)
    assert len(made.recipes) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "needs trials or budget_minutes"),
        ({"trials": 0}, "trials must be a whole number above 0"),
        ({"budget_minutes": 0}, "budget_minutes must be a positive"),
        ({"trials": 2, "algorithm": "bayes"}, "did you mean 'bayesian'"),
        ({"trials": 2, "objective": "accuracy"}, "objective must be one of"),
        ({"trials": 2, "epochs_per_trial": 0}, "epochs_per_trial must be"),
        ({"trials": 2, "refine": True}, "at least 4 trials"),
        ({"trials": 2, "seeds": -1}, "seeds must be"),
        ({"trials": 2, "space": {}}, "at least one field"),
        ({"trials": 2, "space": {"data.image_size": [8, 16]}}, "images are read once"),
        ({"trials": 2, "space": {"depth": [20, 21]}}, "no resnet21; there are"),
        ({"trials": 2, "space": {"strength": "0..2"}}, "nothing to scale in mine"),
    ],
)
def test_wrong_arguments_write_nothing(arguments, message, recipe, data, tmp_path):
    with pytest.raises(ConfigError) as caught:
        search(recipe, data, arguments.pop("space", SPACE), out=tmp_path / "a", **arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a").exists()


def test_the_folder_of_another_search_is_refused(formula, recipe, data, tmp_path):
    formula()
    common = {"out": tmp_path / "a", "trials": 2, **QUIET}
    search(recipe, data, SPACE, **common)
    for changed in ({"seed": 3}, {"algorithm": "bayesian"}, {"objective": "val_loss"}):
        with pytest.raises(RunError, match=f"another search \\(its {next(iter(changed))} differs"):
            search(recipe, data, SPACE, **common, **changed)
    with pytest.raises(RunError, match="its recipe differs"):
        search(recipe.override({"model.dropout": 0.1}), data, SPACE, **common)
    images = data.splits["train"].load(np.arange(60))
    other = load_data((images, np.arange(60) % 3), validation=0.25)
    with pytest.raises(RunError, match="its data differs"):
        search(recipe, other, SPACE, **common)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "letter.txt").write_text("mine")
    with pytest.raises(RunError, match="is not a search"):
        search(recipe, data, SPACE, out=tmp_path / "b", trials=2)


# --- what a search concludes ----------------------------------------------------------------------


def trial(number, values, value, state="completed", stage="coarse"):
    return Trial(stage, number, values, state, None, value, 1, 1, 1.0, (), value, values)


def test_variance_share_is_that_of_the_f_test():
    from scipy import stats

    random = np.random.default_rng(0)
    groups = random.integers(0, 4, 60)
    values = groups * 0.7 + random.normal(size=60)
    ranks = stats.rankdata(values)
    f = stats.f_oneway(*(ranks[groups == group] for group in range(4))).statistic
    # Epsilon squared by its other formula, from F and the degrees of freedom.
    expected = 3 * (f - 1) / (3 * f + 56)
    assert variance_share(groups.tolist(), values) == pytest.approx(expected)


def test_importance_finds_what_matters_and_how_much():
    """Independent inputs whose shares of the variance are known."""
    random = np.random.default_rng(1)
    trials = []
    for number in range(600):
        rate, depth, kind = random.random(), random.random(), random.choice(["x", "y"])
        # Variances: 3/12 from the rate; of the square 1/180, so 1/8 from the depth; of the kind 0.
        bump = (depth - 0.5) ** 2 * math.sqrt(180 / 8)
        values = {"depth": depth, "kind": kind, "rate": rate}
        trials.append(trial(number, values, rate * math.sqrt(3) + bump))
    found = {one.name: one for one in importance(trials)}
    assert list(found) == ["rate", "depth", "kind"]
    # Ranks and five groups keep most of a share, not all.
    assert found["rate"].share == pytest.approx(2 / 3, abs=0.08)
    assert found["depth"].share == pytest.approx(1 / 3, abs=0.1)
    assert found["kind"].share < 0.02
    assert found["rate"].trend > 0.75
    # A correlation alone would have missed it.
    assert abs(found["depth"].trend) < 0.1
    assert found["kind"].trend is None


def test_importance_with_little_to_go_by():
    few = [trial(n, {"a": float(n), "b": 1}, float(n)) for n in range(3)]
    assert [(one.name, one.share) for one in importance(few)] == [("b", 0.0), ("a", None)]
    # A conditional one that not every trial has.
    some = [trial(n, {"a": n} if n % 2 else {}, float(n)) for n in range(12)]
    assert importance(some)[0].name == "a"


def test_best_so_far_begins_anew_with_each_stage():
    values = [(0.5, "completed"), (0.7, "pruned"), (0.4, "completed"), (0.6, "completed")]
    trials = [trial(n, {}, value, state) for n, (value, state) in enumerate(values)]
    assert best_so_far(trials, "max") == [0.5, 0.5, 0.5, 0.6]
    assert best_so_far(trials, "min") == [0.5, 0.5, 0.4, 0.4]
    refined = [trial(0, {}, 0.2, stage="refined")]
    assert best_so_far(trials + refined, "max")[-1] == 0.2
    assert best_so_far([trial(0, {}, None, "diverged")], "max") == [None]


def test_csv_is_read_back():
    import csv

    trials = [trial(0, {"a": 1, "b": "x, y"}, 0.5), trial(1, {"a": 2}, None, "diverged")]
    rows = list(csv.DictReader(trials_csv(trials).splitlines()))
    assert [(row["a"], row["b"], row["value"], row["state"]) for row in rows] == [
        ("1", "x, y", "0.5", "completed"),
        ("2", "", "", "diverged"),
    ]


# --- a model of the user's own, with plain fit ----------------------------------------------------


def build_model(hp):
    keras.utils.set_random_seed(0)
    units = hp.Choice("units", [2, 8])
    rate = hp.Float("rate", 1e-3, 1.0, sampling="log")
    if hp.Boolean("fails", default=False):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")
    if hp.get("units") == 8 and hp.Boolean("explodes", parent_name="units", parent_values=[8]):
        rate = float("inf")
    inputs = keras.Input((2,))
    x = keras.layers.Dense(units, "tanh")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.SGD(rate)
    # Eagerly: so little is trained that tracing would take most of the time.
    model.compile(optimizer, loss, metrics=["accuracy"], run_eagerly=True)
    return model


@pytest.fixture(scope="module")
def points():
    random = np.random.default_rng(0)
    x = random.normal(size=(96, 2)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(np.int64)
    return (x[:64], y[:64]), (x[64:], y[64:])


def test_a_model_of_your_own(points, tmp_path):
    arguments = {"trials": 8, "epochs_per_trial": 2, "seed": 2, "say": lambda line: None}
    found = search(build_model, points, out=tmp_path / "a", **arguments)
    states = {trial.state for trial in found.trials}
    assert states >= {"completed", "out of memory", "diverged"}
    for one in found.trials:
        if one.values["fails"]:
            assert one.state == "out of memory"
            assert one.reason.startswith("ResourceExhaustedError")
        elif one.values.get("explodes"):
            assert one.state == "diverged"
        else:
            assert one.state in ("completed", "pruned")
            assert one.value == max(one.curve)
    best = json.loads((tmp_path / "a" / "best.json").read_text())
    assert best == {"values": found.best.values}
    assert "none" not in str(found).splitlines()[0]
    assert found.best.name in str(found)
    # As it is on the disk: read, not run.
    again = search(build_model, points, out=tmp_path / "a", **arguments)
    assert again.trials == found.trials


def test_a_builder_that_always_fails_is_given_up(points, tmp_path):
    def broken(hp):
        hp.Float("rate", 0.1, 1.0)
        if hp.get("rate") > 0.1:
            raise TypeError("no such layer\nand more lines")
        return build_model(hp)

    with pytest.raises(RunError, match="3 trials in a row failed, the last: TypeError: no such"):
        search(broken, points, trials=5, epochs_per_trial=1, out=tmp_path / "a", say=print)
    with pytest.raises(ConfigError, match="space must be None"):
        search(build_model, points, SPACE, trials=2, epochs_per_trial=1, out=tmp_path / "b")
    with pytest.raises(ConfigError, match="epochs_per_trial is needed"):
        search(build_model, points, trials=2, out=tmp_path / "b")
    with pytest.raises(ConfigError, match="objective: cannot tell"):
        search(build_model, points, trials=2, epochs_per_trial=1, objective="x", out=tmp_path / "b")


# --- real trainings -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def short_recipe(tiny_recipe):
    return tiny_recipe.override({"training.epochs": 3, "model.width": 4})


@pytest.mark.slow
def test_a_recipe_from_the_command_line(short_recipe, tiny_source, tmp_path, capsys):
    """A rate that explodes is recorded, the other wins and is trained over two seeds."""
    (tmp_path / "recipe.json").write_text(json.dumps(short_recipe.to_dict()))
    out = tmp_path / "search"
    arguments = ["search", str(tmp_path / "recipe.json"), tiny_source, "--out", str(out)]
    arguments += ["--vary", "optimizer.learning_rate: 1e30, 0.1", "--algorithm", "grid"]
    arguments += ["--epochs", "1", "--seeds", "2", "--json"]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert [trial["state"] for trial in found["trials"]] == ["completed", "diverged"]
    assert [trial["values"]["optimizer.learning_rate"] for trial in found["trials"]] == [0.1, 1e30]
    assert found["trials"][1]["reason"].endswith("was not finite in epoch 1")
    # What the algorithm is told of it: guessing among three classes.
    assert found["trials"][1]["reported"] == pytest.approx(1 / 3)
    assert found["best"]["epochs"] == found["best"]["planned_epochs"] == 1
    assert found["recipe"]["training"]["epochs"] == 3
    accuracies = found["seeds"]["accuracies"]
    assert found["seeds"]["deviation"] == pytest.approx(np.std(accuracies, ddof=1))
    assert json.loads((out / "preflight.json").read_text())["findings"] is not None
    # Trials leave no weights, and no run has seen a test image.
    assert not list((out / "coarse").rglob("*.keras"))
    assert not list((out / "coarse").rglob("checkpoints"))
    for seed in range(2):
        run = json.loads((out / "seeds" / f"seed{seed}" / "metrics.json").read_text())
        assert run["test"] is None
        assert run["validation"]["accuracy"] == accuracies[seed]
    # The rates are choices, which a range test does not cut.
    assert json.loads((out / "range_test.json").read_text())["searched"] == "1e+30, 0.1"
    # Again: all is read, and printed as a table.
    assert main(arguments[:-1]) == 0
    printed = capsys.readouterr().out
    assert "diverged" in printed
    assert f"report: {out / 'search.html'}" in printed
    page = (out / "search.html").read_text()
    for words in ("Range test", "over seeds", "Before the search", "1 of 2 trials diverged"):
        assert words in page


KILLED = """
    import json, sys
    from recipes import Recipe, load_data
    from tuning import search

    recipe = Recipe.from_dict(json.loads(sys.argv[1]))
    data = load_data(sys.argv[2])
    space = {"optimizer.learning_rate": [0.05, 0.1], "model.width": [4, 8]}
    search(recipe, data, space, algorithm="grid", epochs_per_trial=2, prune=False,
           preflight=False, range_test=False, out=sys.argv[3])
"""


@pytest.mark.slow
def test_killed_twice_and_finished(short_recipe, tiny_source, processes, tmp_path):
    """With SIGKILL in the middle of a trial, and between two; no trial is lost or run twice."""
    out = tmp_path / "killed"
    program = [sys.executable, "-c", textwrap.dedent(KILLED)]
    program += [json.dumps(short_recipe.to_dict()), tiny_source]

    for first in ("runs/0001/history.jsonl", "trials/0002.json"):
        processes.kill_when((out / "coarse" / first).exists, [*program, str(out)])
    finished = {
        path: (os.stat(path).st_ino, path.read_text())
        for path in sorted((out / "coarse" / "trials").glob("*.json"))
    }
    assert len(finished) == 3
    subprocess.run([*program, str(out)], check=True, stderr=subprocess.DEVNULL, timeout=240)
    subprocess.run([*program, str(tmp_path / "whole")], check=True, stderr=subprocess.DEVNULL)
    for path, (inode, text) in finished.items():
        assert (os.stat(path).st_ino, path.read_text()) == (inode, text)
    killed, whole = (read_trials(folder / "coarse") for folder in (out, tmp_path / "whole"))
    assert [one.values for one in killed] == [one.values for one in whole]
    assert [one.curve for one in killed] == [one.curve for one in whole]


@pytest.mark.slow
def test_no_model_outlives_its_trial(short_recipe, tiny_source, tmp_path):
    alive = []

    def note(line):
        gc.collect()
        alive.append(sum(isinstance(one, keras.Model) for one in gc.get_objects()))

    search(
        short_recipe,
        load_data(tiny_source),
        {"optimizer.learning_rate": "log 1e-3..1"},
        trials=3,
        epochs_per_trial=1,
        preflight=False,
        range_test=False,
        out=tmp_path / "a",
        say=note,
    )
    assert alive[2] <= alive[0]
