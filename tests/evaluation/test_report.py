"""The report of complete, partial, hostile and broken run directories."""

import html.parser
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from recipes import files
from recipes.errors import RunError
from recipes.evaluation import report
from recipes.evaluation.metrics import classification_metrics

VOID = {"img", "meta", "br", "hr"}
OPTIONAL = ["environment.json", "data.json", "history.jsonl", "metrics.json", "export.json",
            "predictions.npz"]  # fmt: skip


class Page(html.parser.HTMLParser):
    """Checks that tags are balanced and gathers text, addresses and headings."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.words, self.addresses, self.headings, self.counts = [], [], [], [], {}
        self.ids, self.links = set(), set()
        self.feed(text)
        self.close()
        assert self.open == [], f"left open: {self.open}"
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, name, attributes):
        self.counts[name] = self.counts.get(name, 0) + 1
        for key, value in attributes:
            if key in ("src", "href", "xlink:href", "action", "data", "srcset"):
                self.addresses.append(value)
            if key == "id":
                self.ids.add(value)
            if key == "href":
                self.links.add(value.removeprefix("#"))
            assert not key.startswith("on"), f"script in attribute {key}"
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open, f"</{name}> closes nothing"
        assert self.open.pop() == name, f"</{name}> closes another element"

    def handle_data(self, text):
        if self.open and self.open[-1] == "h2":
            self.headings.append(text)
        if "style" not in self.open:
            self.words.append(text)


def read_report(directory):
    path = report.write_report(directory)
    assert path == directory / "report.html"
    text = path.read_text(encoding="utf-8")
    assert ">None<" not in text
    assert not re.search(r"https?:|url\(|@import", text)
    found = Page(text)
    assert not re.search(r"\bnan\b|\binf\b", found.text, re.I)
    return found, (directory / "report.md").read_text(encoding="utf-8")


def test_complete_page_has_every_section_and_no_address_outside(copy):
    found, _ = read_report(copy)
    assert found.headings == [
        "Exported files", "Learning curves", "Classes", "Classes by epoch", "Confusion",
        "Reliability", "Most confident mistakes", "Data", "Recipe", "Environment",
        "Numbers and their meaning",
    ]  # fmt: skip
    assert found.links == found.ids
    assert all(value.startswith(("data:image/", "#")) for value in found.addresses)
    assert "script" not in found.counts
    assert found.counts["html"] == found.counts["body"] == found.counts["h1"] == 1
    # Four curves, two reliability diagrams, one bar and one curve a class.
    assert found.counts["svg"] == 4 + 2 + 6 + 6
    with np.load(copy / "predictions.npz") as arrays:
        assert found.counts["img"] == len(arrays["mistake_indices"]) > 0


def test_leading_numbers_and_verdicts(copy):
    metrics = files.read_json(copy / "metrics.json")
    test, raw = metrics["test"], metrics["test_uncalibrated"]
    found, text = read_report(copy)
    low, high = test["accuracy_interval"]
    for words in (
        f"{100 * test['accuracy']:.1f}%",
        f"{100 * low:.1f} to {100 * high:.1f}%",
        f"{raw['ece']:.3f} → {test['ece']:.3f}".replace(" → ", " →"),
        f"{test['ece_noise_floor']['upper']:.3f}",
        "312 kB",
        "0.28 of the float32 file (1.10 MB)",
        "−0.4 points from float",
        "1.43 ms",
        "The int8 file keeps accuracy",
        "21 November 2026, 11:36 UTC",
        "folder/of images",
        "272,474",
        "2 min 47 s",
        "Some <CPU>",
        "9f2c" * 16,
        "a<b>.png",
        "and 7 more",
        "abc123def456",
        "The model kept is that of epoch 4.",
        "optimizer.learning_rate",
    ):
        assert words in found.text.replace("→ ", "→"), words
    assert "312 kB" in text
    assert "- 12 images are duplicates" in text
    assert "| All classes | 300 | 42 | 300 |" in text
    assert "−0.4 points from float" in text


def test_every_metric_is_shown_with_its_value(copy):
    test = files.read_json(copy / "metrics.json")["test"]
    found, text = read_report(copy)
    for key in ("nll", "brier", "ece", "mce", "adaptive_ece", "classwise_ece", "macro_f1"):
        assert f"{test[key]:.4f}" in found.text, key
        assert f"{test[key]:.4f}" in text, key
    for key in ("accuracy", "top5_accuracy", "balanced_accuracy"):
        assert f"{100 * test[key]:.1f}%" in found.text, key
        assert f"{100 * test[key]:.1f}%" in text, key
    for row in test["per_class"]:
        for value in (f"{100 * row['recall']:.1f}%", f"{row['f1']:.3f}", str(row["support"])):
            assert value in found.text
            assert value in text
    for row in files.read_json(copy / "export.json")["files"]:
        assert row["file"] in found.text
        assert f"{100 * row['agreement']:.1f}%" in found.text


def test_calibration_verdict_follows_the_noise_floor(copy):
    metrics = files.read_json(copy / "metrics.json")
    metrics["test"] |= {"ece": 0.01, "ece_noise_floor": {"mean": 0.01, "upper": 0.02}}
    files.write_json(copy / "metrics.json", metrics)
    assert "Calibrated: the expected calibration error 0.010" in read_report(copy)[0].text
    metrics["test"]["ece_noise_floor"]["upper"] = 0.08
    files.write_json(copy / "metrics.json", metrics)
    assert "300 images are too few to tell" in read_report(copy)[0].text
    metrics["test"] |= {"ece": 0.03, "ece_noise_floor": {"mean": 0.01, "upper": 0.02}}
    table = metrics["test"]["reliability"]
    table["confidence"] = [c if c is None else min(1.0, c + 0.2) for c in table["confidence"]]
    files.write_json(copy / "metrics.json", metrics)
    text = read_report(copy)[0].text
    assert "Not fully calibrated" in text
    assert "the model is overconfident" in text
    metrics["temperature"]["at_bound"] = True
    files.write_json(copy / "metrics.json", metrics)
    text = read_report(copy)[0].text
    assert "ran to the limit of its range" in text
    assert "No temperature was applied: 60 validation images did not determine one." in text
    assert "Temperature 1.4000" not in text


def test_int8_verdict_warns_of_lost_accuracy_size_and_flex(copy):
    export = files.read_json(copy / "export.json")
    small = export["files"][0]
    small |= {"accuracy": export["keras"]["accuracy"] - 0.03, "bytes": 500_000}
    small |= {"flex_operations": 3, "ece": 0.06}
    small["accuracy_difference"] = {"interval": [-0.041, -0.019]}
    files.write_json(copy / "export.json", export)
    text = read_report(copy)[0].text
    for words in (
        "The int8 file loses accuracy",
        "−4.1 to −1.9 points",
        "The int8 file is large: 0.46",
        "Flex delegate for 3 operations",
        "less calibrated: ECE 0.060 against 0.020",
    ):
        assert words in text, words


@pytest.mark.parametrize("missing", OPTIONAL)
def test_each_missing_file_is_stated(copy, missing):
    (copy / missing).unlink()
    found, text = read_report(copy)
    assert f"no {missing}" in found.text
    assert f"no {missing}" in text


@pytest.mark.parametrize("broken", OPTIONAL)
@pytest.mark.parametrize("content", [b"", b'{"half": ', b"\xff\xfe\x00", b"[1, 2", b"[1, 2]", b"7"])
def test_each_broken_file_is_stated(copy, broken, content):
    (copy / broken).write_bytes(content)
    found, _ = read_report(copy)
    if not (broken == "history.jsonl" and not content):
        assert re.search(f"{re.escape(broken)} (cannot be read|is damaged)", found.text, re.I)


def test_a_recipe_alone_makes_a_page(copy):
    for name in OPTIONAL:
        (copy / name).unlink()
    found, text = read_report(copy)
    assert found.headings == ["Recipe"]
    assert "unfinished after epoch 0 of 30" in found.text
    assert "the run is unfinished" in text.lower()


def test_an_interrupted_run_still_has_curves(copy):
    for name in ("metrics.json", "export.json", "predictions.npz"):
        (copy / name).unlink()
    with (copy / "history.jsonl").open("a") as file:
        file.write('{"epoch": 7, "loss": 0.')
    found, _ = read_report(copy)
    assert found.headings == [
        "Learning curves",
        "Classes by epoch",
        "Data",
        "Recipe",
        "Environment",
    ]
    assert found.counts["svg"] == 4 + 6
    assert "unfinished after epoch 6 of 30" in found.text
    assert "damaged after epoch 6" in found.text


def test_without_test_images_the_validation_numbers_lead(copy):
    metrics = files.read_json(copy / "metrics.json")
    metrics |= {"test": None, "test_uncalibrated": None}
    files.write_json(copy / "metrics.json", metrics)
    (copy / "predictions.npz").unlink()
    found, text = read_report(copy)
    assert "There are no test images" in found.text
    assert "Validation accuracy" in found.text
    assert "Test accuracy" not in text
    assert "Most confident mistakes" not in found.headings


def test_undefined_and_unrecorded_numbers_do_no_harm(copy):
    names = files.read_json(copy / "data.json")["class_names"]
    labels = np.zeros(5, int)
    probabilities = np.tile(np.eye(6)[1], (5, 1))
    metrics = files.read_json(copy / "metrics.json")
    metrics["test"] = classification_metrics(probabilities, labels, names)
    files.write_json(copy / "metrics.json", metrics)
    rows = [{"epoch": 1, "loss": None, "val_loss": None, "accuracy": 0.1}, {"epoch": 2}]
    (copy / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    export = files.read_json(copy / "export.json")
    export["files"] = [{"file": "model.tflite", "quantization": "int8", "bytes": 10}]
    export.pop("keras")
    files.write_json(copy / "export.json", export)
    found, _ = read_report(copy)
    assert "5 test images are few" in found.text
    assert "Right on 0 of 5 test images (0.0%)" in found.text


def test_faultless_predictions(copy):
    metrics = files.read_json(copy / "metrics.json")
    metrics["test"] = classification_metrics(np.eye(6), np.arange(6), list("abcdef"))
    files.write_json(copy / "metrics.json", metrics)
    with np.load(copy / "predictions.npz") as arrays:
        arrays = dict(arrays)
    arrays |= {"mistake_indices": arrays["mistake_indices"][:0]}
    arrays |= {"mistake_images": arrays["mistake_images"][:0]}
    np.savez(copy / "predictions.npz", **arrays)
    found, _ = read_report(copy)
    assert "There is no mistake." in found.text
    assert "Hardest class:" not in found.text


HOSTILE = [
    "<script>alert(1)</script>",
    'a" onmouseover="alert(1)',
    "R&D | **bold** [x](http-less) `code`",
    "日本語 🙂 שלום",
    "null\x00 bell\x07 lone \udce9 surrogate",
    "a very long name " * 12,
]


def test_hostile_names_are_text(write_run, tmp_path):
    run = write_run(tmp_path / "run", names=HOSTILE)
    recipe = files.read_json(run / "recipe.json") | {"name": "</title><script>x"}
    files.write_json(run / "recipe.json", recipe)
    found, text = read_report(run)
    assert "script" not in found.counts
    assert "<script>alert(1)</script>" in found.text
    assert "R&D | **bold**" in found.text
    assert "日本語 🙂 שלום" in found.text
    assert "lone � surrogate" in found.text
    # In Markdown no pipe, tag or link of a name is left unescaped: all rows keep their columns.
    assert not re.search(r"(?<!\\)<script", text)
    assert r"R\&D \| \*\*bold\*\* \[x\]" in text
    for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(columns) == 1


def test_many_classes_fold_and_lose_the_matrix(write_run, tmp_path):
    run = write_run(tmp_path / "run", names=[f"class {i}" for i in range(40)], images=400)
    found, _ = read_report(run)
    assert "A matrix of 40 classes would not be readable" in found.text
    assert "The other 10 classes" in found.text
    assert "Most frequent mistakes" not in found.text


def test_photographs_stay_small(write_run, tmp_path):
    run = write_run(tmp_path / "run", side=224, channels=3)
    found, _ = read_report(run)
    assert (run / "report.html").stat().st_size < 600_000
    assert any(value.startswith("data:image/jpeg") for value in found.addresses)


def test_same_files_give_the_same_bytes(run, copy):
    for directory in (run, copy):
        report.write_report(directory)
    for name in ("report.html", "report.md", "report.json"):
        assert (run / name).read_bytes() == (copy / name).read_bytes()
    first = (copy / "report.html").read_bytes()
    assert report.write_report(copy).read_bytes() == first


def test_a_failed_write_leaves_the_old_report_and_no_rest(copy, monkeypatch):
    report.write_report(copy)
    before = (copy / "report.html").read_bytes()
    metrics = files.read_json(copy / "metrics.json") | {"parameters": 1}
    files.write_json(copy / "metrics.json", metrics)

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device"):
        report.write_report(copy)
    assert (copy / "report.html").read_bytes() == before
    assert not [path for path in copy.iterdir() if "partial" in path.name]


def test_not_a_run_directory(tmp_path):
    with pytest.raises(RunError, match="no run directory"):
        report.write_report(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"is not a run directory: it has no recipe\.json"):
        report.write_report(tmp_path)
    (tmp_path / "recipe.json").write_text("[1]")
    with pytest.raises(RunError, match="cannot read"):
        report.write_report(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.json"]


def test_a_run_of_another_format_is_refused(copy):
    environment = files.read_json(copy / "environment.json") | {"format_version": 99}
    files.write_json(copy / "environment.json", environment)
    with pytest.raises(RunError, match="run format 99"):
        report.write_report(copy)


def test_the_report_needs_no_tensorflow(copy):
    code = (
        "import sys; from recipes.evaluation import write_report; write_report(sys.argv[1]);"
        "sys.exit(any(name.split('.')[0] in ('tensorflow', 'keras', 'matplotlib') "
        "for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code, str(copy)], check=True)
