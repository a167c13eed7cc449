"""The command, as a person types it: output, JSON, exit codes, one line for each mistake."""

import json
import re
import shutil
import subprocess
import sys
from unittest import mock
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from recipes.cli import main
from tuning.export import ExportError

COMMANDS = (
    "list",
    "show",
    "model",
    "train",
    "evaluate",
    "predict",
    "export",
    "benchmark",
    "report",
    "search",
    "compare",
    "compress",
    "check-data",
    "preflight",
    "diagnose",
    "show-augment",
    "ablate",
    "demo",
)


@pytest.fixture
def run_cli(capsys):
    """Return a function from arguments to exit code, standard output and standard error."""

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"recipes {command}" in capsys.readouterr().out.split("example:")[1]


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert set(re.findall(r"^    ([a-z-]+)\b", out, re.MULTILINE)) == set(COMMANDS)


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("keras-recipes ")


def test_list_and_show(run_cli):
    code, out, _ = run_cli("list")
    assert code == 0
    assert "fashion-mini" in out
    code, out, _ = run_cli("list", "--json")
    assert {row["name"] for row in json.loads(out)} >= {"fashion-mini"}
    code, out, _ = run_cli("list", "--models")
    assert "resnet20" in out.splitlines()
    code, out, _ = run_cli("list", "--models", "vgg1?")
    assert out.split() == ["vgg11", "vgg13", "vgg16", "vgg19"]
    code, out, _ = run_cli("show", "fashion-mini", "--set", "training.epochs=3")
    assert "training.epochs" in out
    code, out, _ = run_cli("show", "fashion-mini", "--json", "--seed", "5")
    assert json.loads(out)["training"]["seed"] == 5


def test_model_by_name(run_cli, tmp_path):
    code, out, _ = run_cli("model", "resnet20", "--input", 64, "--json")
    facts = json.loads(out)
    assert code == 0
    # 269,722: published for option A; the stride of CIFAR ResNets is 4, so 64 pixels leave 16.
    assert facts["trainable"] == 269_722
    assert facts["feature_shape"] == [16, 16, 64]
    code, out, _ = run_cli("model", "resnet20", "--brief", "--diagram", tmp_path / "resnet20.svg")
    assert code == 0
    assert "stage3_block3_conv2" not in out
    drawing = ElementTree.parse(tmp_path / "resnet20.svg").getroot()
    assert drawing.tag.endswith("svg")


def test_model_of_a_run(run_cli, tiny_run):
    code, out, _ = run_cli("model", tiny_run.directory)
    assert code == 0
    assert "CalibratedSoftmax" in out


def test_model_that_is_unknown(run_cli):
    code, out, err = run_cli("model", "resnt20")
    assert (code, out) == (2, "")
    assert err == "recipes: unknown model 'resnt20'; did you mean 'resnet20'?\n"
    code, _, err = run_cli("model", "missing.keras")
    assert code == 2
    assert "missing.keras" in err


def test_train_prints_its_result(run_cli, tiny_run, tiny_recipe, tiny_source, tmp_path):
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(tiny_recipe.to_dict()))
    code, out, err = run_cli(
        *("train", recipe, tiny_source, "--out", tmp_path / "run", "--json"),
        *("--set", "training.epochs=1", "--no-export"),
    )
    assert code == 0
    result = json.loads(out)
    assert result["epochs"] == 1
    assert result["files"] == []
    assert "epoch 1/1" in err, "progress goes to the standard error stream"
    assert (tmp_path / "run" / "report.html").exists()
    code, out, err = run_cli("train", "--resume", tiny_run.directory)
    assert code == 0
    assert "already finished" in err
    assert "model.tflite" in out


@pytest.mark.parametrize("file", ["", "model.keras", "model.tflite"])
@pytest.mark.sampled(1)
def test_evaluate_measures_what_the_run_says(run_cli, tiny_run, tiny_source, file):
    code, out, _ = run_cli("evaluate", tiny_run.directory / file, "--json")
    assert code == 0
    measured = json.loads(out)
    if file == "model.tflite":
        expected = tiny_run.export["files"][0]["accuracy"]
    else:
        expected = tiny_run.metrics["test"]["accuracy"]
    assert measured["accuracy"] == expected
    code, out, _ = run_cli("evaluate", tiny_run.directory / file, tiny_source)
    assert code == 0
    assert "Ankle boot" in out


@pytest.mark.parametrize("file", ["", "model.keras", "model.tflite"])
@pytest.mark.sampled(1)
def test_predict(run_cli, tiny_run, tmp_path, file):
    kept = np.load(tiny_run.path("predictions.npz"))
    data = tiny_run.load_data()
    paths = []
    for index in (0, 40, 80):
        paths.append(tmp_path / f"{index}.png")
        Image.fromarray(data.splits["test"].load([index])[0][..., 0]).save(paths[-1])
    code, out, _ = run_cli("predict", tiny_run.directory / file, *paths, "--top", 2, "--json")
    assert code == 0
    for row, path, index in zip(json.loads(out), paths, (0, 40, 80), strict=True):
        expected = kept["probabilities"][index]
        assert row["file"] == str(path)
        tolerance = 0.1 if file == "model.tflite" else 1e-4
        found = expected[data.class_names.index(row["class"])]
        assert row["probability"] == pytest.approx(found, abs=tolerance)
        assert found == pytest.approx(expected.max(), abs=tolerance)
        assert len(row["top"]) == 2
    code, out, _ = run_cli("predict", tiny_run.directory / file, paths[0])
    assert "%" in out


def test_export_and_report_again(run_cli, tiny_run, tmp_path, monkeypatch):
    folder = tmp_path / "copy"
    shutil.copytree(tiny_run.directory, folder)
    code, out, _ = run_cli("export", folder, "--quantization", "float16", "--json")
    assert code == 0
    found = [file["quantization"] for file in json.loads(out)["files"]]
    assert found == ["int8", "float32", "float16"], "what the run had stays"
    assert (folder / "model_float16.tflite").exists()
    (folder / "report.html").unlink()
    code, out, _ = run_cli("report", folder)
    assert code == 0
    assert (folder / "report.html").exists()
    (folder / "report.html").unlink()
    failing = mock.Mock(side_effect=ExportError("no model.tflite: it is another classifier"))
    monkeypatch.setattr("tuning.export.export_run", failing)
    code, _, err = run_cli("train", "--resume", folder)
    assert (code, err.splitlines()[-1]) == (
        2,
        f"recipes: no model.tflite: it is another classifier; all else of {folder} is written",
    )
    assert (folder / "report.html").exists()


def test_check_data_says_what_is_wrong(run_cli, tmp_path):
    generator = np.random.default_rng(0)
    for kind in ("cat", "dog"):
        (tmp_path / kind).mkdir()
        for index in range(4):
            pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / kind / f"{index}.png")
    code, out, _ = run_cli("check-data", tmp_path)
    assert (code, "cat" in out) == (0, True)
    broken = tmp_path / "cat" / "broken.png"
    broken.write_bytes((tmp_path / "cat" / "0.png").read_bytes()[:100])
    code, out, _ = run_cli("check-data", tmp_path)
    assert code == 1
    assert "broken.png" in out
    code, out, _ = run_cli("check-data", tmp_path, "--json")
    assert code == 1
    assert json.loads(out)["problems"]


_MISTAKES = [
    (("train",), "train expects RECIPE SOURCE --out DIR"),
    (("train", "fashion-mini", "fashion-mini"), "train expects RECIPE SOURCE --out DIR"),
    (("train", "fashion-min", "x", "--out", "OUT"), "did you mean 'fashion-mini'"),
    (("train", "fashion-mini", "/none", "--out", "OUT"), "/none"),
    (("train", "fashion-mini", "FILE", "--out", "OUT"), "is a file"),
    (("train", "fashion-mini", "EMPTY", "--out", "OUT"), "EMPTY"),
    (("train", "fashion-mini", "ONE", "--out", "OUT"), "class"),
    (("train", "fashion-mini", "CORRUPT", "--out", "OUT"), "no image file"),
    (("train", "fashion-mini", "MISMATCH", "--out", "OUT"), "labels"),
    (("train", "fashion-mini", "fashion-mini", "--out", "OTHER"), "is not a run"),
    (("train", "fashion-mini", "fashion-mini", "--out", "FILE"), "is a file, expected a folder"),
    (("train", "fashion-mini", "x", "--out", "OUT", "--set", "a=1"), "unknown field 'a'"),
    (("model", "resnet20", "--diagram", "/none/x.svg"), "cannot write /none/x.svg: No such file"),
    (
        ("train", "fashion-mini", "x", "--out", "OUT", "--set", "training.epochs=-1"),
        "training.epochs must be a positive number, received: -1",
    ),
    (("train", "--resume", "OUT"), "no run to resume"),
    (("train", "x", "--resume", "OUT"), "--resume DIR stands alone"),
    (("train", "--resume", "OUT", "--corrupt", "skip"), "--resume DIR stands alone"),
    (("evaluate", "OUT"), "OUT"),
    (("predict", "OTHER", "FILE"), "OTHER"),
    (("predict", "FILE", "FILE"), "FILE"),
    (("report", "OTHER"), "is not a run directory"),
    (("export", "OTHER"), "is not a run directory"),
    (("check-data", "/none"), "/none"),
    (("check-data", "x", "--labels", "none"), "cannot read the class names in none: No such file"),
]


@pytest.mark.parametrize(("arguments", "message"), _MISTAKES)
def test_a_mistake_is_one_line_and_writes_nothing(run_cli, tmp_path, arguments, message):
    places = {name: tmp_path / name for name in ("OUT", "EMPTY", "OTHER", "ONE", "CORRUPT")}
    for name, path in places.items():
        if name != "OUT":
            path.mkdir()
    places["FILE"] = tmp_path / "FILE"
    places["FILE"].write_text("no model, no folder")
    (places["OTHER"] / "something").write_text("of somebody else's")
    for folder in (places["ONE"] / "only", places["CORRUPT"] / "a", places["CORRUPT"] / "b"):
        folder.mkdir()
    Image.new("L", (8, 8)).save(places["ONE"] / "only" / "1.png")
    for kind in "ab":
        (places["CORRUPT"] / kind / "1.jpg").write_bytes(b"\xff\xd8\xff not an image")
    idx = tmp_path / "MISMATCH"
    idx.mkdir()
    (idx / "train-images-idx3-ubyte").write_bytes(
        bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (4, 8, 8)) + bytes(256)
    )
    (idx / "train-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 0, 1, 0]))
    arguments = [
        f"idx:{idx}" if name == "MISMATCH" else places.get(name, name) for name in arguments
    ]
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run_cli(*arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("recipes: ")
    assert err.count("\n") == 1, "one line"
    assert message in err
    assert sorted(tmp_path.rglob("*")) == before


def test_an_interrupted_run_without_resume(run_cli, tiny_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(tiny_run.directory, folder)
    (folder / "metrics.json").unlink()
    code, _, err = run_cli("train", "fashion-mini", "fashion-mini", "--out", folder)
    assert code == 2
    assert f"go on with: recipes train --resume {folder} " in err


def test_a_reader_that_stops_early_is_no_error():
    command = f"{sys.executable} -m recipes list --models | head -1"
    answer = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert answer.stderr == ""
