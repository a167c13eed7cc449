"""`compress` where it trains: pruning, teaching a student, integers alone; and its command."""

import json

import keras
import numpy as np
import pytest
import scipy.special
from ai_edge_litert.interpreter import Interpreter

from recipes.cli import main
from recipes.data import load_data
from recipes.evaluation.litert import read_facts
from recipes.models import build_model
from tuning.compression import compress, replay
from tuning.compression_report import CompressionReport

pytest.importorskip("litert_quantizer")
pytestmark = pytest.mark.slow


def test_all_ways_to_the_smallest_file(network, data, tmp_path):
    pytest.importorskip("tensorflow_model_optimization")
    out = tmp_path / "out"
    arguments = {"target": "smallest", "max_drop": 0.03, "epochs": 4, "out": out}
    report = compress(network, data, **arguments, progress=False)
    pruned, int8 = report.row("pruned-int8"), report.row("int8")
    assert pruned["status"] == "measured"
    assert pruned["gzip_bytes"] < 0.75 * int8["gzip_bytes"]
    again = replay(report.recipe, network, data, path=tmp_path / "again.tflite")
    assert again.read_bytes() == report.path.read_bytes()


def test_a_student_ships_where_it_is_good_enough(data, tmp_path, accuracy_of, monkeypatch):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    teacher = keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dense(512, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ],
        name="wide",
    )
    teacher.compile("adam", "sparse_categorical_crossentropy")
    split = data.splits["train"]
    teacher.fit(split.images, split.labels, batch_size=32, epochs=8, verbose=0)
    out = tmp_path / "out"
    arguments = {"target": "smallest", "max_drop": 0.1, "out": out, "progress": False}
    arguments |= {"methods": ("post-training", "distillation")}
    arguments |= {"student": "resnet9@8", "student_epochs": 15}
    # Calibrated on images that do not come with the data.
    split = data.splits["validation"]
    pair = split.images, split.labels
    others = {name: data.splits[name] for name in ("train", "test")}
    given = load_data(
        {name: (one.images, one.labels) for name, one in others.items()}, validation=0.0
    )
    report = compress(teacher, given, validation=pair, **arguments)
    row, int8 = report.row("distilled-int8"), report.row("int8")
    assert report.chosen == "distilled-int8", report.why
    assert row["gzip_bytes"] < 0.5 * int8["gzip_bytes"]
    # What ships is the student, judged by the bare interpreter.
    assert row["student"] == "resnet9@8"
    expected = build_model("resnet9", input_shape=(16, 16, 1), width=8).count_params()
    assert row["parameters"] == read_facts(report.path)["provenance"]["parameters"] == expected
    assert row["validation"]["accuracy"] == accuracy_of(report.path, data.splits["validation"])
    assert any("another network: resnet9@8" in sentence for sentence in report.why)
    taught = json.loads((out / "distillation.json").read_text())
    assert taught["finished"]
    assert (taught["teacher"], taught["epochs"]) == ("wide", 15)
    # Its probabilities are calibrated on the validation images: no other temperature does better.
    student = keras.saving.load_model(out / "student.keras")
    found = np.log(student.predict(split.images, verbose=0).astype(np.float64))
    losses = [
        -scipy.special.log_softmax(found * scale, axis=1)[
            np.arange(len(found)), split.labels
        ].mean()
        for scale in (0.9, 1.0, 1.1)
    ]
    assert losses[1] == min(losses)
    again = replay(report.recipe, teacher, given, path=tmp_path / "again.tflite", validation=pair)
    assert again.read_bytes() == report.path.read_bytes()
    # Killed while the file was made, it does not teach the student once more.
    for path in (out / "report.json", *(out / "candidates").glob("distilled*")):
        path.unlink()
    monkeypatch.setattr("tuning.distillation.distill", None)
    again = compress(teacher, given, validation=pair, **arguments)
    assert again.row("distilled-int8")["sha256"] == row["sha256"]


def test_integers_alone_come_from_training_where_int8_fails(network, data, tmp_path, fail):
    pytest.importorskip("tensorflow_model_optimization")
    fail("int8")
    report = compress(
        network,
        data,
        target="int-only",
        max_drop=0.02,
        methods=("post-training", "quantization-aware"),
        out=tmp_path / "out",
        progress=False,
    )
    assert [row["name"] for row in report.candidates] == ["float32", "int8", "qat"]
    assert report.chosen == "qat", report.why
    interpreter = Interpreter(model_path=str(report.path))
    assert interpreter.get_input_details()[0]["dtype"] == np.int8
    assert interpreter.get_output_details()[0]["dtype"] == np.int8
    assert report.row("qat")["float_operations"] == 0
    assert report.row("qat")["test"]["difference"] > -0.03
    again = replay(report.recipe, network, data, path=tmp_path / "again.tflite")
    assert again.read_bytes() == report.path.read_bytes()


def test_the_command(tiny_run, tmp_path, capsys):
    out = tmp_path / "out"
    options = ["--methods", "post-training", "--max-drop", "0.5", "--out", str(out)]
    assert main(["compress", str(tiny_run.directory), *options, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["chosen"] == CompressionReport.load(out).chosen
    assert main(["compress", str(tiny_run.directory), *options]) == 0
    assert "(chosen)" in capsys.readouterr().out
    student = ["--methods", "post-training", "--student", "resnet9"]
    assert main(["compress", str(tiny_run.directory), *student]) == 2
    assert "for the method 'distillation'" in capsys.readouterr().err
    assert main(["compress", str(tiny_run.directory), "--target", "cpus"]) == 2
    assert "did you mean 'cpu'" in capsys.readouterr().err
