"""The example that compares plain and residual networks, on tiny data."""

import json
import sys
import warnings

import numpy as np
import pytest

from recipes import RecipesError, Run, load_data
from recipes.run import new_environment

ROWS = [
    {
        "network": name,
        "training_error": error,
        "test_error": 0.1,
        "seconds": 61.4,
        "training_curve": [0.5, error],
        "validation_curve": [0.5, 0.2],
    }
    for name, error in (("plain20", 0.0123), ("plain56", 0.2))
]


@pytest.mark.slow
def test_runs_are_trained_once_and_compared(program, tiny_source, tmp_path, capsys):
    arguments = [tiny_source, "--epochs", "1", "--networks", "plain20", "resnet20"]
    arguments += ["--out", str(tmp_path), "--json"]
    assert program.main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    rows = {row["network"]: row for row in result["networks"]}
    assert list(rows) == ["plain20", "resnet20"]
    for name, row in rows.items():
        run = Run(tmp_path / name)
        assert run.finished
        assert run.recipe.model.name == name
        assert row["test_error"] == pytest.approx(1 - run.metrics["test"]["accuracy"], abs=1e-4)
        assert 0 <= row["training_error"] <= 1
        assert row["training_curve"] == [round(1 - run.history[0]["accuracy"], 4)]
        assert row["validation_curve"] == [round(1 - run.history[0]["val_accuracy"], 4)]

    changed = (tmp_path / "plain20" / "model.keras").stat().st_mtime_ns
    assert program.main(arguments) == 0
    assert json.loads(capsys.readouterr().out) == result
    assert (tmp_path / "plain20" / "model.keras").stat().st_mtime_ns == changed


def test_a_run_on_other_images_is_refused(program, tmp_path):
    labels = np.arange(60) % 3
    data, other = (
        load_data((np.random.default_rng(seed).integers(0, 256, (60, 8, 8, 1), np.uint8), labels))
        for seed in (0, 1)
    )
    chosen = program.recipe("plain20", 1, 0)
    run = Run.create(tmp_path / "run", chosen, data.to_dict(), new_environment(0, "float32"))
    for name in ("metrics.json", "model.keras"):
        run.path(name).write_text("{}")
    assert program.run(chosen, data, run.directory).directory == run.directory
    with pytest.raises(RecipesError, match="run is a run of other images; .*another folder"):
        program.run(chosen, other, run.directory)


def test_table(program):
    lines = program.table(ROWS).splitlines()
    assert lines[0].split() == ["network", "training", "error", "test", "error", "seconds"]
    assert lines[1].split() == ["plain20", "1.23", "%", "10.00", "%", "61"]
    assert len({len(line) for line in lines}) == 1


def test_curves(program, tmp_path):
    pytest.importorskip("matplotlib")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of matplotlib's own imports
        picture, drawing = program.draw(ROWS, tmp_path)
    assert picture.read_bytes().startswith(b"\x89PNG")
    text = drawing.read_text()
    assert "<svg" in text
    assert {path.name for path in tmp_path.iterdir()} == {"degradation.png", "degradation.svg"}


def test_without_matplotlib_it_says_so(program, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert program.draw(ROWS, tmp_path) == []
    assert "matplotlib is not installed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-folder"], "no-such-folder"),
        (["--networks", "plain21"], "unknown model 'plain21'; did you mean 'plain20'"),
        (["--epochs", "0"], "training.epochs must be a positive number, received: 0"),
    ],
)
def test_mistakes_are_one_line(program, tiny_source, arguments, message, tmp_path, capsys):
    source = [] if arguments[0] == "no-such-folder" else [tiny_source]
    assert program.main([*source, *arguments, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("degradation: ")
    assert message in error
    assert error.count("\n") == 1
