"""Searches in one process, without training: what is tried, taken up again, and refused."""

import errno
import math

import numpy as np
import pytest

from recipes import ConfigError, RunError
from recipes.catalog import get_recipe

pytest.importorskip("keras_tuner")

from recipes import load_data
from recipes.cli import main
from recipes.run import Run
from tuning import _search_runners as runners
from tuning import search, searching

SPACE = {"optimizer.learning_rate": "log 1e-3..1", "model.width": [4, 8, 16]}
QUIET = {"preflight": False, "range_test": False, "say": lambda line: None}


def test_the_function_is_not_hidden_by_its_module():
    assert search is searching.search


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
    ["random", "hyperband", "grid", pytest.param("bayesian", marks=pytest.mark.exhaustive)],
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


def test_more_trials_or_time_extend_a_refined_search(formula, recipe, data, tmp_path):
    """By what looks closer: the region that it looks at is settled."""
    arguments = {"epochs_per_trial": 2, "refine": True, "prune": False, **QUIET}
    formula()
    short = search(recipe, data, SPACE, trials=18, out=tmp_path / "a", **arguments)
    more = formula()
    long = search(recipe, data, SPACE, trials=24, out=tmp_path / "a", **arguments)
    assert long.trials[:18] == short.trials
    assert len(long.trials) == 24
    assert [one.training.epochs for one in more.recipes] == [4] * 6
    again = search(recipe, data, SPACE, trials=18, out=tmp_path / "a", **arguments)
    assert again.trials == long.trials
    # No time but for one trial each; then time for more.
    search(recipe, data, SPACE, budget_minutes=1e-9, out=tmp_path / "b", **arguments)
    arguments |= {"budget_minutes": 10, "trials": 5}
    found = search(recipe, data, SPACE, out=tmp_path / "b", **arguments)
    assert [trial.stage for trial in found.trials] == ["coarse"] + ["refined"] * 4


@pytest.mark.parametrize("place", ["searching.write_json", "_search_attempt.write_trial"])
def test_a_full_disk_is_one_line(place, recipe, data, tmp_path, formula, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    formula()
    monkeypatch.setattr(f"tuning.{place}", full)
    with pytest.raises(RunError, match="cannot write to .*: No space left on device"):
        search(recipe, data, SPACE, trials=2, out=tmp_path / "a", **QUIET)


def test_what_a_kill_left_of_a_file_is_no_hindrance(formula, recipe, data, tmp_path):
    for name in (".search.ab12.partial.json", ".preflight.cd34.partial.json"):
        (tmp_path / name).touch()
    made = formula()
    search(recipe, data, SPACE, trials=1, out=tmp_path, **QUIET)
    assert len(made.recipes) == 1


@pytest.mark.parametrize(
    ("precision", "is_finished", "goes_on"),
    [("float32", False, True), ("mixed_bfloat16", False, False), ("mixed_bfloat16", True, True)],
)
def test_a_killed_trial_goes_on_in_its_precision_or_begins_anew(
    precision, is_finished, goes_on, recipe, data, monkeypatch, tmp_path
):
    recipe = recipe.override({"training.precision": "float32"})
    environment = {"format_version": 1, "precision": precision}
    run = Run.create(tmp_path / "run", recipe, data.to_dict(), environment)
    run.write_history([{"loss": 1.0, "val_loss": 1.0, "val_accuracy": 0.5}])
    if is_finished:
        run.path("metrics.json").touch()
        run.path("model.keras").touch()
    resumed = []

    def train(*arguments, resume, **options):
        resumed.append(resume)
        raise runners.EndOfTrial("completed")

    monkeypatch.setattr(runners, "train", train)
    found = runners.run_recipe_trial(
        recipe,
        data,
        run.directory,
        objective="val_accuracy",
        prune=lambda curve: False,
        progress=False,
    )
    assert resumed == [goes_on]
    assert found.curve == ((0.5,) if goes_on else ())


def outcome(state, value=None):
    return runners.Outcome(state, None, value, () if value is None else (value,))


def test_a_trial_that_gave_nothing_is_told_as_the_worst(recipe, data, monkeypatch, tmp_path):
    outcomes = iter([outcome("diverged"), outcome("completed", 5.0), outcome("diverged")])
    monkeypatch.setattr(runners, "run_recipe_trial", lambda *a, **options: next(outcomes))
    arguments = {"objective": "val_loss", "trials": 3, "out": tmp_path / "a", **QUIET}
    found = search(recipe, data, SPACE, **arguments)
    # First guessing among three classes; then another trial was worse than that.
    assert [trial.reported for trial in found.trials] == [pytest.approx(math.log(3)), 5.0, 5.0]


def test_kerastuner_prints_no_traceback(recipe, data, monkeypatch, tmp_path, capsys):
    outcomes = iter([outcome("diverged"), outcome("completed", 0.1)])
    monkeypatch.setattr(runners, "run_recipe_trial", lambda *a, **options: next(outcomes))
    # Of an error of calibration nobody knows what guessing gives: there is no measure.
    search(recipe, data, SPACE, objective="val_ece", trials=2, out=tmp_path / "a", **QUIET)
    assert "Traceback" not in capsys.readouterr().err
    monkeypatch.setattr(runners, "run_recipe_trial", lambda *a, **options: outcome("failed"))
    command = ["search", "fashion-mini", "fashion-mini", "--trials", "4", "--no-preflight"]
    assert main([*command, "--no-range-test", "--out", str(tmp_path / "b")]) == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("recipes: 3 trials in a row failed")
    assert "Traceback" not in error


def test_a_grid_of_steps_is_whole(formula, recipe, data, tmp_path):
    made = formula()
    recipe = recipe.override({"model.width": 8, "schedule.warmup": 0.3})
    space = {"schedule.warmup": "0..0.5 step 0.1"}
    search(recipe, data, space, algorithm="grid", out=tmp_path / "a", **QUIET)
    tried = [one.schedule.warmup for one in made.recipes]
    assert tried[0] == 0.3
    assert sorted(tried) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]


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


def test_the_median_rule_is_not_for_hyperband(recipe, data, monkeypatch, tmp_path):
    jobs = []

    def note(job, *arguments):
        jobs.append(job)
        raise KeyboardInterrupt

    monkeypatch.setattr(searching, "_chief", note)
    for algorithm in ("hyperband", "grid"):
        arguments = {"algorithm": algorithm, "workers": 2, "out": tmp_path / "a", **QUIET}
        with pytest.raises(KeyboardInterrupt):
            search(recipe, data, SPACE, **arguments)
    assert [job.prune for job in jobs] == [False, True]
    # What the search is known by is what was asked for.
    assert [job.plan["prune"] for job in jobs] == [True, True]


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
