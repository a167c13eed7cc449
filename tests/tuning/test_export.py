"""Exporting a run: its files, its figures, and what is left when something fails."""

import gzip
import json

import keras
import numpy as np
import pytest
import sklearn.metrics

from recipes.data import load_data
from recipes.errors import ConfigError, DataError, RecipesError, RunError
from recipes.evaluation.classifier import LiteRTClassifier
from tuning.export import ExportError, calibration_indices, export_run, keep_rows
from tuning.pipeline import resume_and_export, train_and_export
from tuning.verification import LARGEST_MEAN_DISTANCE

CLASS_NAMES = [f"digit {digit}" for digit in range(10)]


@pytest.fixture(scope="module")
def data(digits):
    return load_data(
        {"train": digits["train"], "test": digits["test"]},
        labels=CLASS_NAMES,
        validation=0.1,
    )


@pytest.fixture
def run(digit_classifier, tmp_path):
    digit_classifier.save(tmp_path / "model.keras")
    return tmp_path


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def test_an_unknown_precision_is_refused_before_the_training(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="precision must be one of .*did you mean 'int8'"):
        train_and_export("fashion-mini", "fashion-mini", out, precisions=("int8", "int88"))
    with pytest.raises(ConfigError, match="received: 'int88'"):
        resume_and_export(out, precisions=("int88",))
    assert not out.exists()


def test_figures_are_those_of_the_files(run, data, digits):
    result = export_run(run, data, precisions=("int8", "float32", "float16"))
    assert result == json.loads((run / "export.json").read_text())
    names = ["model.tflite", "model_float32.tflite", "model_float16.tflite"]
    assert [row["file"] for row in result["files"]] == names
    assert listing(run) == sorted([*names, "export.json", "model.keras"])
    images, labels = digits["test"]
    expected = keras.models.load_model(run / "model.keras").predict(images, verbose=0)
    assert result["split"] == "test"
    assert result["images"] == len(images)
    assert result["calibration_images"] == 300
    assert result["runtime"].startswith("ai-edge-litert ")
    assert result["provenance"]["data_fingerprint"] == data.fingerprint
    assert result["keras"]["bytes"] == (run / "model.keras").stat().st_size
    for row in result["files"]:
        content = (run / row["file"]).read_bytes()
        received = LiteRTClassifier(run / row["file"]).predict(images)
        answers = received.argmax(axis=1)
        assert row["bytes"] == len(content)
        assert row["gzip_bytes"] == len(gzip.compress(content, 9))
        assert row["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(labels, answers))
        exact = received / received.sum(axis=1, keepdims=True, dtype=np.float64)
        log_loss = sklearn.metrics.log_loss(labels, exact)
        assert row["nll"] == pytest.approx(log_loss, rel=1e-4)
        assert 0 < row["ece"] < 0.1
        assert row["agreement"] == np.mean(answers == expected.argmax(axis=1))
        assert row["max_difference"] == pytest.approx(np.abs(received - expected).max(), abs=1e-6)
        assert 0 < row["latency_ms"]["median"] <= row["latency_ms"]["p90"]
        assert row["latency_ms"]["threads"] == 1
        assert row["output_dtype"] == "float32"
        assert row["flex_operations"] == 0
    by_name = {row["quantization"]: row for row in result["files"]}
    assert by_name["int8"]["input_dtype"] == "uint8"
    assert by_name["int8"]["float_operations"] == 1
    assert by_name["int8"]["accuracy"] >= result["keras"]["accuracy"] - 0.01
    assert by_name["float32"]["input_dtype"] == "float32"
    assert by_name["float32"]["max_difference"] < 1e-5


def test_another_export_keeps_the_rows_of_the_same_model(run, data):
    first = export_run(run, data, precisions=("float32",), max_images=20)
    both = export_run(run, data, precisions=("float16",), max_images=20)
    assert [row["file"] for row in both["files"]] == [
        "model_float32.tflite",
        "model_float16.tflite",
    ]
    assert both["files"][0] == first["files"][0]


def test_which_rows_of_a_former_export_are_kept(tmp_path):
    def kept(**changed):
        result = {**former, "files": [{"file": "b", "n": 2}], "calibration_images": 0, **changed}
        keep_rows(result, tmp_path)
        return result["files"], result["calibration_images"]

    rows = [{"file": name, "n": 1} for name in ("a", "b", "c")]
    former = {"files": rows, "images": 9, "split": "test", "runtime": "x", "provenance": {"y": 1}}
    former |= {"calibration_images": 300, "keras": {"nll": 0.1}}
    assert kept() == ([{"file": "b", "n": 2}], 0), "there is none"
    (tmp_path / "export.json").write_text(json.dumps(former))
    for name in ("a", "b"):
        (tmp_path / name).touch()
    a, new = rows[0], {"file": "b", "n": 2}
    assert kept(keras={"nll": 0.1000001}) == ([a, new], 300)
    assert kept(calibration_images=20) == ([a, new], 20)
    for changed in ({"images": 8}, {"split": "validation"}, {"provenance": {"y": 2}}):
        assert kept(**changed) == ([new], 0), changed


def test_without_test_images_the_validation_images_serve(run, data, monkeypatch):
    monkeypatch.delitem(data.splits, "test")
    result = export_run(run, data, precisions=("float32",), max_images=50)
    assert (result["split"], result["images"]) == ("validation", 50)
    assert result["calibration_images"] == 0


def test_calibration_sees_training_images_alone(run, data, monkeypatch):
    seen = []

    def watch(self, indices):
        seen.append((self.name, len(indices)))
        return load(self, indices)

    load = type(data.splits["train"]).load
    monkeypatch.setattr(type(data.splits["train"]), "load", watch)
    export_run(run, data, precisions=("int8",), calibration_count=40, max_images=20)
    assert [count for name, count in seen if name == "train"] == [40]
    assert {name for name, _ in seen} == {"train", "test"}


def test_calibration_images_are_spread_over_the_classes():
    labels = np.array([0] * 900 + [1] * 90 + [2] * 10)
    chosen = calibration_indices(labels, 60)
    assert np.bincount(labels[chosen]).tolist() == [25, 25, 10]
    assert len(set(chosen)) == 60
    np.testing.assert_array_equal(chosen, calibration_indices(labels, 60))
    np.testing.assert_array_equal(calibration_indices(labels, 5000), np.arange(1000))


def test_a_failure_leaves_the_former_export(run, data, monkeypatch):
    export_run(run, data, precisions=("float32",), max_images=20)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    import tuning.export

    def fail(path):
        raise RecipesError("measured in vain")

    monkeypatch.setattr(tuning.export, "measure_latency", fail)
    with pytest.raises(RecipesError, match="measured in vain"):
        export_run(run, data, precisions=("int8", "float32"), max_images=20)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_a_file_that_fails_does_not_cost_the_others(run, data, monkeypatch):
    monkeypatch.setitem(LARGEST_MEAN_DISTANCE, "int8", -1.0)
    message = "^no model.tflite: the int8 TFLite file does not compute what the model"
    with pytest.raises(ExportError, match=message):
        export_run(run, data, precisions=("int8", "float32"), max_images=20)
    assert listing(run) == ["export.json", "model.keras", "model_float32.tflite"]
    rows = json.loads((run / "export.json").read_text())["files"]
    assert [row["file"] for row in rows] == ["model_float32.tflite"]


def test_wrong_arguments(run, data, tmp_path):
    with pytest.raises(ConfigError, match="received: 'int4'"):
        export_run(run, data, precisions=("int4",))
    for arguments in ({"calibration_count": 0}, {"max_images": 0}):
        with pytest.raises(ConfigError, match="at least 1"):
            export_run(run, data, **arguments)
    with pytest.raises(RunError, match="has no model.keras"):
        export_run(tmp_path / "nowhere", data)
    assert listing(run) == ["model.keras"]


def test_data_of_another_kind(run, digits):
    images, labels = digits["train"]
    wider = load_data((images[:, :, :12], labels), labels=CLASS_NAMES)
    with pytest.raises(DataError, match=r"takes images of shape \(16, 16, 1\).*\(16, 12, 1\)"):
        export_run(run, wider)
    fewer = load_data((images[labels < 9], labels[labels < 9]), labels=CLASS_NAMES[:9])
    with pytest.raises(DataError, match="10 classes, the data has 9"):
        export_run(run, fewer)
    renamed = load_data((images, labels), labels=[*CLASS_NAMES[:9], "nine"])
    with pytest.raises(DataError, match="'digit 9' and 'nine'"):
        export_run(run, renamed)
    assert listing(run) == ["model.keras"]
