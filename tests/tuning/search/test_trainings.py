"""Searches that train: from the command line, killed and finished, without a leak."""

import gc
import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from recipes.cli import main

pytest.importorskip("keras_tuner")

import keras

from recipes import ConfigError, Run, get_recipe, load_data
from tuning import _search_runners as runners
from tuning import search
from tuning._search_trials import read_trials


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
    # What the algorithm is told of it: guessing among three classes, or the worse of the two.
    told = min(1 / 3, found["trials"][0]["value"])
    assert found["trials"][1]["reported"] == pytest.approx(told)
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


@pytest.mark.exhaustive
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


def test_a_run_outlives_weights_that_cannot_be_read(tiny_source, tmp_path):
    data = load_data(tiny_source)
    weights = tmp_path / "weights.keras"
    recipe = get_recipe("fashion-mini").override(
        {"transfer.weights": str(weights), "training.precision": "float32"}
    )
    environment = {"format_version": 1, "precision": "float32", "weights": "0" * 64}
    run = Run.create(tmp_path / "run", recipe, data.to_dict(), environment)
    run.write_history([{"loss": 1.0}])
    with pytest.raises(ConfigError, match="cannot read weights"):
        runners._earlier_epochs(run.directory, recipe, runners._fits)
    assert run.path("history.jsonl").exists()
