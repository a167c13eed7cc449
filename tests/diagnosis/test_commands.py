"""`recipes preflight` and `recipes diagnose`, as a person types them."""

import json

import pytest

from recipes.cli import main
from recipes.diagnosis.diagnose import diagnose


def written(folder, losses):
    folder.mkdir()
    (folder / "recipe.json").write_text("{}")
    (folder / "environment.json").write_text(json.dumps({"format_version": 1}))
    lines = [json.dumps({"epoch": 1 + i, "loss": loss}) + "\n" for i, loss in enumerate(losses)]
    (folder / "history.jsonl").write_text("".join(lines))
    return str(folder)


def test_diagnose(tmp_path, capsys):
    run = written(tmp_path / "run", [2.0, 1.0, None])
    assert main(["diagnose", run]) == 0
    assert "loss is not finite from epoch 3 on" in capsys.readouterr().out
    assert main(["diagnose", run, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == diagnose(run).to_dict()
    assert [finding["name"] for finding in found["findings"]] == ["diverged"]


def test_diagnose_says_what_is_wrong(tmp_path, capsys):
    assert main(["diagnose", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("recipes: no run directory at ")
    assert main(["diagnose", written(tmp_path / "run", [])]) == 2
    assert "has no epoch in its history.jsonl" in capsys.readouterr().err
    (tmp_path / "run" / "history.jsonl").write_text('{"epoch": 1, "accuracy": 0.5}\n')
    assert main(["diagnose", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("recipes: the history has no 'loss', only: ")
    assert said.count("\n") == 1


@pytest.mark.slow
def test_preflight(tiny_source, capsys):
    settings = ["--set", "model.width=8", "--set", "training.batch_size=32"]
    command = ["preflight", "fashion-mini", tiny_source, *settings]
    assert main([*command, "--layers"]) == 0
    out = capsys.readouterr().out
    assert "no findings" in out
    assert "head_dense" in out
    # A learning rate that cannot work: an error, and so another exit code.
    broken = ["--set", "optimizer.learning_rate=100000"]
    assert main([*command, "--json", "--steps", "0", *broken]) == 1
    found = json.loads(capsys.readouterr().out)
    assert "learning_rate_high" in [finding["name"] for finding in found["findings"]]
    assert main([*command, "--steps", "-1"]) == 2
    expected = "recipes: steps must be an integer of at least 0, received: -1\n"
    assert capsys.readouterr().err == expected
