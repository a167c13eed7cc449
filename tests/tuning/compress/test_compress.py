"""`compress` on tiny trained networks: what it writes, what it chooses by, how it goes on."""

import dataclasses
import gzip
import hashlib
import json
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from recipes.config import Recipe
from recipes.data import load_data
from recipes.errors import ConfigError, DataError, RecipesError, RunError
from recipes.run import FORMAT_VERSION, Run
from tuning._compression_folder import CompressionFolder, validation_digest
from tuning.candidates import Settings
from tuning.compression import _recipe_batches, _resolve, compress, replay
from tuning.compression_report import CompressionReport

pytest.importorskip("litert_quantizer")

# What makes the results of one layer 2,000 times as wide as those of its other channels.
_WIDE = 2000.0


@pytest.fixture(scope="module")
def hard_network(network):
    """Return a network that computes the same, but is hard to round."""
    return widened(network, _WIDE)


def widened(network, factor):
    """Return a network that computes the same, but with one channel far wider than the others.

    A ReLU commutes with a positive factor, so a channel may be made wider here and narrower where
    it is read. One scale for all channels then rounds the others to nothing.
    """
    model = keras.models.clone_model(network)
    model.set_weights(network.get_weights())
    kernel, bias = model.get_layer("first").get_weights()
    kernel[..., 0] *= factor
    bias[0] *= factor
    model.get_layer("first").set_weights([kernel, bias])
    kernel, bias = model.get_layer("second").get_weights()
    kernel[:, :, 0] /= factor
    model.get_layer("second").set_weights([kernel, bias])
    return model


@pytest.fixture(scope="module")
def report(network, data, tmp_path_factory):
    """Return what is found for a network that int8 does no harm."""
    out = tmp_path_factory.mktemp("compressed") / "out"
    return compress(network, data, max_drop=0.02, out=out, progress=False)


def test_it_chooses_an_integer_file_and_every_figure_is_that_of_the_file(report, data, accuracy_of):
    assert report.chosen == "int8"
    row = report.row("int8")
    content = report.path.read_bytes()
    assert row["sha256"] == hashlib.sha256(content).hexdigest()
    assert row["bytes"] == len(content)
    assert abs(row["gzip_bytes"] - len(gzip.compress(content, 9))) < 20
    assert row["float_operations"] == 0
    assert row["bytes"] < 0.5 * report.row("float32")["bytes"]
    for split, figures in (("validation", row["validation"]), ("test", row["test"])):
        images = data.splits[split]
        assert figures["images"] == len(images)
        assert figures["accuracy"] == pytest.approx(accuracy_of(report.path, images))
        low, high = figures["interval"]
        assert low < figures["accuracy"] < high
    reference = report.row("float32")
    assert accuracy_of(report.path.parent / reference["file"], data.splits["test"]) > 0.9
    assert row["test"]["difference"] == pytest.approx(
        row["test"]["accuracy"] - reference["test"]["accuracy"]
    )
    low, high = row["test"]["difference_interval"]
    assert low < row["test"]["difference"] < high


def test_the_report_is_written_and_read_again(report):
    folder = report.path.parent
    assert CompressionReport.load(folder) == report
    assert json.loads((folder / "report.json").read_text())["chosen"] == "int8"
    markdown = (folder / "report.md").read_text()
    assert re.search(r"\| int8 .*\(chosen\) \|", markdown)
    assert "points against float" in markdown
    page = (folder / "report.html").read_text()
    picture = (folder / "pareto.svg").read_text()
    for row in report.candidates:
        assert row["name"] in page
        assert row["name"] in picture
    assert (folder / "compress.log").read_text().count("float16") >= 2
    assert not list(folder.glob(".*")) + list(folder.glob("trial*"))


def test_latency_is_measured_of_every_file(report):
    for row in report.candidates:
        assert 0 < row["latency"]["median"] <= row["latency"]["p90"]


def test_replay_gives_the_same_bytes(report, network, data, tmp_path):
    path = replay(report.path.parent / "replay.json", network, data, path=tmp_path / "a.tflite")
    assert path.read_bytes() == report.path.read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot read"),
        ("[]", "replay.json is no replay.json of compress"),
        ('{"candidate": "int8", "settings": {"epoch": 3}}', "is no replay.json of compress"),
        (None, "compress chose no file"),
    ],
)
def test_replay_refuses_what_is_no_recipe(content, message, network, data, tmp_path):
    path = content and tmp_path / "replay.json"
    if path:
        path.write_text(content)
    with pytest.raises(RecipesError, match=message):
        replay(path, network, data, path=tmp_path / "a.tflite")


def test_replay_refuses_another_suffix(report, network, data, tmp_path):
    with pytest.raises(ConfigError, match=r"path must end in \.tflite"):
        replay(report.recipe, network, data, path=tmp_path / "a.bin")


def test_replay_refuses_another_model(report, hard_network, data, tmp_path):
    with pytest.raises(RunError, match="model is not that of the recipe"):
        replay(report.recipe, hard_network, data, path=tmp_path / "a.tflite")
    assert not list(tmp_path.iterdir())


def test_replay_refuses_other_validation_images_for_a_student(report, network, data, tmp_path):
    recipe = {**report.recipe, "candidate": "distilled-int8"}
    pair = data.splits["test"].images, data.splits["test"].labels
    path = tmp_path / "a.tflite"
    with pytest.raises(RunError, match="validation is not that of the recipe"):
        replay(recipe, network, data, path=path, validation=pair)
    assert not list(tmp_path.iterdir())


def test_batches_of_a_transfer_run_and_of_few_images():
    changes = {"transfer.weights": "imagenet", "transfer.head_epochs": 3, "training.epochs": 12}
    recipe = Recipe("mine").override(changes)
    images, labels = np.zeros((60, 8, 8, 3), np.uint8), np.arange(60) % 3
    pairs = {"train": (images[:40], labels[:40]), "validation": (images[40:], labels[40:])}
    given = load_data(pairs, test=0.0)
    batches = _recipe_batches(recipe, given, Settings())(3, True)
    assert batches.element_spec[0].shape[0] == 40


@pytest.mark.parametrize("limit", [2**31, 1])
def test_validation_images_are_told_apart_by_content(limit, tmp_path):
    generator = np.random.default_rng(0)
    for name in ("ant", "bee"):
        (tmp_path / "here" / name).mkdir(parents=True)
        for number in range(10):
            image = generator.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(image).save(tmp_path / "here" / name / f"{number}.png")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    here, there, other = (
        load_data(tmp_path / name, memory_limit=limit, seed=seed)
        for name, seed in (("here", 0), ("there", 0), ("here", 1))
    )
    assert validation_digest(here) == validation_digest(there) != validation_digest(other)


def test_a_start_that_was_killed_is_not_in_the_way(tmp_path, network, data):
    (tmp_path / "candidates").mkdir()
    (tmp_path / ".plan.x1.partial.json").touch()
    CompressionFolder(tmp_path, {}, network, data)
    assert (tmp_path / "plan.json").exists()


def test_a_finished_one_is_not_repeated(report, network, data):
    before = {path: path.stat().st_mtime_ns for path in report.path.parent.rglob("*")}
    again = compress(network, data, max_drop=0.02, out=report.path.parent, progress=False)
    assert again == report
    assert {path: path.stat().st_mtime_ns for path in report.path.parent.rglob("*")} == before


def test_it_goes_on_where_the_report_is_no_answer(report, network, data, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(report.path.parent, out)
    folder = CompressionFolder(out, {}, network, data)
    assert folder.finished(1)
    assert not folder.finished(2)
    (out / "model.tflite").unlink()
    assert not folder.finished(1)
    again = compress(network, data, max_drop=0.02, out=out, threads=2, progress=False)
    assert again.facts["threads"] == 2
    content = again.path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == again.row(again.chosen)["sha256"]
    kept = (out / "compress.log").read_text().count(": kept from before")
    assert kept == len(report.candidates)


def test_images_of_a_run_are_divided_as_it_divided_them(tiny_source, tmp_path, monkeypatch):
    recipe = Recipe("mine").override({"data.split_seed": 7, "data.validation": 0.3})
    divided = load_data(tiny_source, seed=7, validation=0.3)
    run = Run.create(
        tmp_path / "run", recipe, divided.to_dict(), {"format_version": FORMAT_VERSION}
    )
    model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten()])
    model.add(keras.layers.Dense(3, activation="softmax"))
    model.save(run.path("model.keras"))
    run.path("metrics.json").write_text("{}")
    shutil.copytree(tiny_source.removeprefix("idx:"), tmp_path / "again")
    # Elsewhere the same images are another source, which the recipe divides.
    elsewhere = f"idx:{tmp_path / 'again'}"
    folder = Path(tiny_source.removeprefix("idx:"))
    monkeypatch.chdir(folder.parent)
    for given, source in (
        (run.directory, f"idx:{folder.name}"),
        (run.directory, None),
        (run.directory, tiny_source),
        (run.path("model.keras"), tiny_source),
        (run.directory, elsewhere),
    ):
        _, found, _, _ = _resolve(given, source, tmp_path / "out")
        assert found.fingerprint == divided.fingerprint
    small = keras.Sequential([keras.Input((14, 14, 3)), keras.layers.Flatten()])
    _, found, _, _ = _resolve(small, tiny_source, tmp_path / "out")
    assert found.image_shape == (14, 14, 3)
    small.save(run.path("student.keras"))
    _, found, _, _ = _resolve(run.path("student.keras"), tiny_source, tmp_path / "out")
    assert found.image_shape == (14, 14, 3)
    assert found.counts == divided.counts
    with pytest.raises(RecipesError, match="only functional and built sequential models"):
        _resolve(keras.Sequential([keras.layers.Dense(3)]), tiny_source, tmp_path / "out")


def test_a_folder_of_something_else_is_refused(report, network, hard_network, data, tmp_path):
    with pytest.raises(RunError, match="max_drop was 0.02, received 0.01"):
        compress(network, data, max_drop=0.01, out=report.path.parent, progress=False)
    with pytest.raises(RunError, match="model_sha256 was"):
        compress(hard_network, data, max_drop=0.02, out=report.path.parent, progress=False)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="no folder of compress"):
        compress(network, data, out=tmp_path, progress=False)
    among = dataclasses.replace(data, settings={"reload": {"source": str(tmp_path)}})
    with pytest.raises(RunError, match="lies in the folder of images"):
        compress(network, among, out=tmp_path / "out", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_int8_loses_comes_back_with_the_operations_it_hangs_on(hard_network, data, tmp_path):
    methods = ("post-training",)
    report = compress(
        hard_network, data, max_drop=0.02, methods=methods, out=tmp_path / "out", progress=False
    )
    int8, mixed = report.row("int8"), report.row("mixed")
    assert int8["status"] == "failed" or int8["validation"]["difference"] < -0.02
    assert mixed["validation"]["difference"] >= -0.02
    assert mixed["test"]["difference"] >= -0.03
    # The wide result and its only reader, nothing else.
    kinds = [re.search("first|second|third|last", name).group() for name in mixed["restored"]]
    assert kinds == ["first", "second"]
    assert report.sensitivity["restored"] == mixed["restored"]
    assert report.sensitivity["start"]["drop"] > 0.02
    recipe = {**report.recipe, "candidate": "mixed"}
    recipe |= {"restored": mixed["restored"], "sha256": mixed["sha256"]}
    again = replay(recipe, hard_network, data, path=tmp_path / "again.tflite")
    assert again.read_bytes() == (tmp_path / "out" / mixed["file"]).read_bytes()
    assert any("back in float" in sentence for sentence in report.why)


def test_a_candidate_that_fails_does_not_stop_the_others(
    network, data, tmp_path, fail, monkeypatch
):
    fail("float16")
    arguments = {"max_drop": 0.02, "methods": ("post-training",), "progress": False}
    report = compress(network, data, out=tmp_path / "out", **arguments)
    assert report.row("float16")["status"] == "failed"
    assert report.row("float16")["reason"] == "out of luck"
    assert not (tmp_path / "out" / "candidates" / "float16.tflite").exists()
    assert report.row("weight-only-int8")["status"] == "measured"
    assert any("float16 failed: out of luck" in sentence for sentence in report.why)
    # As if killed after the failure: the same call does the rest, and then tries it again.
    monkeypatch.undo()
    names = ("candidates/weight-only-int8.json", "report.json", "compress.log")
    for name in names:
        (tmp_path / "out" / name).unlink()
    again = compress(network, data, out=tmp_path / "out", **arguments)
    assert {row["status"] for row in again.candidates} == {"measured"}
    log = (tmp_path / "out" / "compress.log").read_text()
    kept = {row["name"] for row in again.candidates if f"{row['name']}: kept" in log}
    assert kept == {"float32", "int8"}
    assert log.index(" weight-only-int8: ") < log.index(" float16: ")


def test_the_budget_ends_it_between_candidates_and_more_time_goes_on(network, data, tmp_path):
    out = tmp_path / "out"
    arguments = {"max_drop": 0.02, "out": out, "progress": False, "methods": ("post-training",)}
    report = compress(network, data, budget_minutes=1e-9, **arguments)
    assert [row["status"] for row in report.candidates] == ["measured", "not tried"]
    assert "budget" in report.row("int8")["reason"]
    assert report.chosen == "float32"
    report = compress(network, data, **arguments)
    assert {row["status"] for row in report.candidates} == {"measured"}
    log = (out / "compress.log").read_text()
    assert log.count("the float file that all are held against") == 1


def test_validation_images_of_ones_own_are_chosen_by(network, data, tmp_path):
    images, labels = data.splits["train"].images[:50], data.splits["train"].labels[:50]
    report = compress(
        network,
        data,
        validation=(images, labels),
        methods=("post-training",),
        max_drop=0.1,
        budget_minutes=1e-9,
        out=tmp_path / "out",
        progress=False,
    )
    assert report.row("float32")["validation"]["images"] == 50


def distilling(student):
    """Return arguments for `compress`."""
    return {"methods": ("post-training", "distillation"), "student": student}


class Subclassed(keras.Model):
    """A model that states no inputs."""

    def call(self, inputs):
        return inputs


def test_mistakes_are_one_clear_error_and_nothing_is_written(network, data, tiny_model, tmp_path):
    out = tmp_path / "out"
    splits = dict(data.splits)
    pairs = {name: (split.images, split.labels) for name, split in splits.items()}
    cases = [
        ((network, data), {"target": "smalest"}, ConfigError, "did you mean 'smallest'"),
        ((network, data), {"max_drop": 2}, ConfigError, "max_drop must be a share"),
        ((network, data), {"budget_minutes": 0}, ConfigError, "budget_minutes must be above 0"),
        ((network, data), {"epochs": 0}, ConfigError, "epochs must be a whole number"),
        ((network, data), {"sparsity": 1.0}, ConfigError, "sparsity must be between 0 and 1"),
        ((network, data), {"student": "resnet9"}, ConfigError, "for the method 'distillation'"),
        ((network, data), distilling(None), ConfigError, "student is missing: only of a run"),
        ((network, data), distilling("resnet10"), ConfigError, "unknown model 'resnet10'"),
        ((network, data), distilling("resnet9@4.5"), ConfigError, "whole number, such as 32"),
        ((network, data), distilling("resnet20@4"), ConfigError, "resnet20 has no free width"),
        ((network, data), distilling("@-1"), ConfigError, "a number above 0, received: '@-1'"),
        ((network, data), distilling("resnet9"), ConfigError, "student must be smaller"),
        (
            (network, data),
            {**distilling("resnet9@4"), "student_epochs": 0},
            ConfigError,
            "student_epochs must be a whole number above 0",
        ),
        ((network, None), {}, ConfigError, "data is missing"),
        ((Subclassed(), data), {}, RecipesError, "states no inputs"),
        ((tiny_model(), data), {}, DataError, r"takes images of shape \(8, 8, 1\)"),
        ((network, data), {"validation": pairs["test"][0]}, DataError, "a pair"),
        (
            (network, data),
            {"validation": (np.zeros((4, 8, 8, 1), np.uint8), [0, 1, 2, 3])},
            DataError,
            "expected images of shape",
        ),
        ((tmp_path / "none", data), {}, RecipesError, "none"),
    ]
    for given, changes, kind, message in cases:
        with pytest.raises(kind, match=message):
            compress(*given, out=out, progress=False, **changes)
    with pytest.raises(ConfigError, match="out is missing"):
        compress(network, data, progress=False)
    fewer = load_data({"train": pairs["train"]}, validation=0.0, test=0.1)
    with pytest.raises(DataError, match="the data has none"):
        compress(network, fewer, out=out, progress=False)
    nine = {
        name: (images[labels < 9], labels[labels < 9]) for name, (images, labels) in pairs.items()
    }
    with pytest.raises(DataError, match="10 classes, the data has 9"):
        compress(network, nine, out=out, progress=False)
    assert not out.exists()
