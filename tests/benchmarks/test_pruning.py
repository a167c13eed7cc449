"""The benchmark of pruning runs on a small finished run, and prints what it measured."""

import json

import pytest

pytest.importorskip("tensorflow_model_optimization")


@pytest.mark.slow
def test_it_measures_all_files(tiny_run, capsys):
    from benchmarks import pruning

    arguments = [str(tiny_run.directory), "--fast", "--epochs", "1", "--json"]
    assert pruning.main([*arguments, "--sparsity", "0.5"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["file"]) for row in result["rows"]] == [
        (name, file) for name in ("dense", "pruned") for file in ("keras", "float32", "int8")
    ]
    sizes = {(row["name"], row["file"]): row.get("gzip_bytes") for row in result["rows"]}
    assert sizes["pruned", "float32"] < 0.75 * sizes["dense", "float32"]
    assert result["rows"][0]["difference"] == 0
    assert result["test_images"] == 90
    lines = pruning.table(result).splitlines()
    assert len(lines) == 1 + 6 + 1


def test_mistakes_are_one_line(tmp_path, capsys):
    from benchmarks import pruning

    assert pruning.main([str(tmp_path / "nowhere")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("pruning: ")
    assert error.count("\n") == 1
