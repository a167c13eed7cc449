"""One report of several runs: what it pairs and what it refuses, against plain arithmetic."""

import html.parser
import json
import re
import shutil

import numpy as np
import pytest
from scipy import stats

from recipes import cli, files
from recipes.errors import RunError
from recipes.evaluation import write_comparison
from recipes.evaluation.intervals import holm, mean_interval
from recipes.evaluation.metrics import classification_metrics

NAMES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Bag"]


def change(directory, name, **fields):
    """Set top-level fields of a JSON file of a run."""
    files.write_json(directory / name, files.read_json(directory / name) | fields)


def predict(directory, probabilities):
    """Make `probabilities` the run's predictions of its test images."""
    with np.load(directory / "predictions.npz") as arrays:
        arrays = dict(arrays) | {"probabilities": probabilities}
    np.savez_compressed(directory / "predictions.npz", **arrays)
    metrics = classification_metrics(probabilities, arrays["labels"], NAMES)
    change(directory, "metrics.json", test=metrics)


def predictions(directory):
    with np.load(directory / "predictions.npz") as arrays:
        return arrays["probabilities"].astype(np.float64), arrays["labels"]


@pytest.fixture(name="two")
def fixture_two(run, tmp_path):
    """Return a run, and a worse one of the same test images and another recipe."""
    first = shutil.copytree(run, tmp_path / "first")
    second = shutil.copytree(run, tmp_path / "second")
    probabilities, labels = predictions(first)
    noise = np.random.default_rng(1).dirichlet(np.ones(6), len(labels))
    predict(second, 0.3 * probabilities + 0.7 * noise)
    recipe = files.read_json(second / "recipe.json")
    recipe["optimizer"]["learning_rate"] = 0.025
    files.write_json(second / "recipe.json", recipe)
    environment = files.read_json(second / "environment.json")
    environment["versions"]["keras"] = "3.14.0"
    files.write_json(second / "environment.json", environment)
    lines = (second / "history.jsonl").read_text().splitlines()[:4]
    (second / "history.jsonl").write_text("".join(line + "\n" for line in lines))
    return first, second


def compare(directories, out):
    path = write_comparison(directories, out)
    assert path == out / "compare.html"
    page = path.read_text(encoding="utf-8")
    text = path.with_suffix(".md").read_text(encoding="utf-8")
    for words in (page, text):
        assert not re.search(r"https?:|@import|>None<|\bnan\b|\| None", words)
    return json.loads(path.with_suffix(".json").read_text(encoding="utf-8")), Words(page), text


class Words(html.parser.HTMLParser):
    """The text of a page, and the number of its tags."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.words, self.counts, self.headings, self.open = [], {}, [], []
        self.feed(page)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, name, attributes):
        self.open.append(name)
        self.counts[name] = self.counts.get(name, 0) + 1

    def handle_data(self, text):
        if self.open and self.open[-1] == "h2" and text.strip():
            self.headings.append(text)
        self.words.append(text)


def test_paired_differences_are_those_of_the_same_images(two, tmp_path):
    content, page, text = compare(two, tmp_path / "out")
    (pair,) = content["pairs"]["rows"]
    assert (pair["reference"], pair["run"], pair["paired"]) == ("first", "second", True)
    (before, labels), (after, _) = predictions(two[0]), predictions(two[1])
    right_before, right_after = before.argmax(1) == labels, after.argmax(1) == labels
    found = pair["differences"]["accuracy"]
    assert found["difference"] == pytest.approx(right_after.mean() - right_before.mean())
    gained, lost = (right_after & ~right_before).sum(), (right_before & ~right_after).sum()
    assert (found["only_run"], found["only_reference"]) == (gained, lost)
    assert found["p_value"] == pytest.approx(stats.binomtest(gained, gained + lost).pvalue)
    assert found["p_adjusted"] == found["p_value"]
    assert found["interval"][0] < found["difference"] < found["interval"][1]

    rows = np.arange(len(labels))
    nll = np.log(before[rows, labels]) - np.log(after[rows, labels])
    truth = np.eye(6)[labels]
    brier = ((after - truth) ** 2).sum(1) - ((before - truth) ** 2).sum(1)
    for key, values in (("nll", nll), ("brier", brier)):
        expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert pair["differences"][key]["difference"] == pytest.approx(values.mean(), rel=1e-6)
        assert pair["differences"][key]["interval"] == pytest.approx(list(expected), rel=1e-6)
    assert pair["n"] == len(labels)
    points = f"{100 * found['difference']:+.1f}".replace("-", "−")
    for words in (page.text, text):
        assert "second is less accurate than first" in words
        assert f"{points} points" in words
        assert "not of another training" in words


def test_differences_of_classes_and_confusion(two, tmp_path):
    content, page, text = compare(two, tmp_path / "out")
    (pair,) = content["pairs"]["rows"]
    shares = []
    for directory in two:
        probabilities, labels = predictions(directory)
        predicted = probabilities.argmax(1)
        shares.append([[np.mean(predicted[labels == i] == j) for j in range(6)] for i in range(6)])
    expected = np.subtract(shares[1], shares[0])
    np.testing.assert_allclose(pair["confusion"], expected, atol=1e-12)
    for row, change_ in zip(pair["classes"], np.diag(expected), strict=True):
        assert row["difference"] == pytest.approx(change_)
        assert row["n"] == 50
    np.testing.assert_allclose(
        [[entry["recall"] for entry in row["runs"]] for row in content["classes"]["rows"]],
        np.transpose([np.diag(share) for share in shares]),
    )
    worst = np.unravel_index(np.abs(expected).argmax(), (6, 6))
    moved = f"{100 * expected[worst]:+.1f}".replace("-", "−")
    assert f"| {NAMES[worst[0]]} | {NAMES[worst[1]]} | {moved} |" in text
    assert moved in page.text


def test_final_figures_curves_recipes_and_environments(two, tmp_path):
    content, page, text = compare(two, tmp_path / "out")
    for number in content["numbers"]:
        assert number["definition"]
        assert len(number["runs"]) == 2
        if number["split"]:
            assert [entry["n"] for entry in number["runs"]] == [300, 300]
    by_key = {number["key"]: number["runs"] for number in content["numbers"]}
    for index, directory in enumerate(two):
        test = files.read_json(directory / "metrics.json")["test"]
        for key in ("accuracy", "nll", "brier", "ece", "macro_f1"):
            assert by_key[key][index]["value"] == test[key]
        assert by_key["accuracy"][index]["interval"] == test["accuracy_interval"]
        assert f"{test['nll']:.4f}" in page.text
        assert f"{test['nll']:.4f}" in text
    assert [len(run["epochs"]) for run in content["curves"]["runs"]] == [6, 4]
    assert content["settings"] == [{"field": "optimizer.learning_rate", "values": [0.1, 0.025]}]
    differing = [row["field"] for row in content["environments"] if row["differs"]]
    assert differing == ["keras"]
    assert page.headings == [
        "Final figures", "Paired differences", "Learning curves", "Classes",
        "Confusion, difference", "Reliability", "Recipes, what differs", "Data", "Environments",
    ]  # fmt: skip
    # Six charts of curves of two runs each, of which one is dotted where it was kept.
    assert page.counts["polyline"] == 6 * 2
    assert "3.14.0" in page.text
    assert "0.025" in text


def test_other_test_images_are_shown_but_not_paired(two, tmp_path):
    change(two[1], "data.json", fingerprint="0" * 64)
    content, page, text = compare(two, tmp_path / "out")
    (pair,) = content["pairs"]["rows"]
    reason = (
        "first and second were not judged on the same test images: "
        f"data fingerprint {'9f2c' * 3} and {'0' * 12}"
    )
    assert pair == {"reference": "first", "run": "second", "paired": False, "reason": reason}
    accuracy = files.read_json(two[1] / "metrics.json")["test"]["accuracy"]
    for words in (page.text, text):
        assert f"{reason[0].upper()}{reason[1:]}; their numbers are shown but not paired." in words
        assert f"{100 * accuracy:.1f}%" in words
        assert "Confusion, difference" not in words
    assert "less accurate" not in page.text


def test_the_same_fingerprint_with_other_labels_is_not_paired(two, tmp_path):
    with np.load(two[1] / "predictions.npz") as arrays:
        arrays = dict(arrays)
    arrays["labels"] = arrays["labels"][::-1]
    np.savez_compressed(two[1] / "predictions.npz", **arrays)
    (pair,) = compare(two, tmp_path / "out")[0]["pairs"]["rows"]
    assert "whose labels differ" in pair["reason"]


def test_a_run_without_fingerprint_or_predictions_is_not_paired(two, tmp_path):
    change(two[1], "data.json", fingerprint=None)
    (pair,) = compare(two, tmp_path / "out")[0]["pairs"]["rows"]
    assert pair["reason"].startswith("second does not say which images")
    (two[0] / "predictions.npz").unlink()
    (pair,) = compare(two, tmp_path / "out")[0]["pairs"]["rows"]
    assert pair["reason"] == "first has no predictions of test images"


def test_an_unfinished_run_gives_its_curves(two, tmp_path):
    for name in ("metrics.json", "export.json", "predictions.npz"):
        (two[1] / name).unlink()
    content, page, _ = compare(two, tmp_path / "out")
    assert [run["finished"] for run in content["runs"]] == [True, False]
    assert "unfinished after epoch 4 of 30" in page.text
    assert page.counts["polyline"] == 6 * 2


def test_two_recipes_alone(two, tmp_path):
    for directory in two:
        for path in directory.iterdir():
            if path.name != "recipe.json":
                path.unlink()
    content, page, _ = compare(two, tmp_path / "out")
    assert content["numbers"] == []
    assert "Recipes, what differs" in page.headings


def test_many_runs_pair_each_with_each_and_adjust(two, tmp_path):
    third = shutil.copytree(two[0], tmp_path / "third")
    probabilities, labels = predictions(third)
    probabilities[:3] = np.eye(6)[(labels[:3] + 1) % 6]
    predict(third, probabilities)
    content, page, _ = compare([*two, third], tmp_path / "out")
    pairs = content["pairs"]["rows"]
    assert [(pair["reference"], pair["run"]) for pair in pairs] == [
        ("first", "second"), ("first", "third"), ("second", "third"),
    ]  # fmt: skip
    tests = [pair["differences"]["accuracy"] for pair in pairs]
    raw = np.array([test["p_value"] for test in tests])
    order = raw.argsort()
    steps = np.minimum(1, np.maximum.accumulate(raw[order] * [3, 2, 1]))
    assert [tests[index]["p_adjusted"] for index in order] == pytest.approx(steps)
    assert "No difference in accuracy is shown between third and first" in page.text
    assert "adjusted for 3 pairs" in page.text
    assert "The other 1 pair" in page.text
    # Only what is against the reference is given by class.
    assert ["classes" in pair for pair in pairs] == [True, True, False]


def test_names_that_are_the_same_get_their_folders(two, tmp_path):
    paths = []
    for index, directory in enumerate(two):
        path = tmp_path / "sweep" / f"seed{index}" / "run"
        paths.append(shutil.copytree(directory, path))
    content, _, _ = compare(paths, tmp_path / "out")
    assert [run["label"] for run in content["runs"]] == ["seed0/run", "seed1/run"]


def test_what_cannot_be_compared_is_refused(two, write_run, tmp_path):
    first, second = two
    with pytest.raises(RunError, match="expected 2 to 12 runs to compare, received 1"):
        write_comparison([first], tmp_path / "out")
    with pytest.raises(RunError, match="expected 2 to 12 runs to compare, received 13"):
        write_comparison([first] * 13, tmp_path / "out")
    with pytest.raises(RunError, match="expected different runs, received .* twice"):
        write_comparison([first, second, tmp_path / "second" / ".." / "first"], tmp_path / "out")
    with pytest.raises(RunError, match="no run directory at"):
        write_comparison([first, tmp_path / "nowhere"], tmp_path / "out")
    other = write_run(tmp_path / "other", names=["cat", "dog"], images=40)
    message = "other is of other classes than .*first: expected the 6 classes T-shirt/top, .*"
    with pytest.raises(RunError, match=f"{message}, received 2: cat, dog") as refused:
        write_comparison([first, other], tmp_path / "out")
    assert "\n" not in str(refused.value)
    turned = write_run(tmp_path / "turned", names=NAMES[::-1])
    with pytest.raises(RunError, match="has its classes in another order"):
        write_comparison([first, turned], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        write_comparison(two, tmp_path / "file")


def test_the_command_writes_it_and_says_what_is_wrong(two, tmp_path, capsys):
    folders = [str(directory) for directory in two]
    out = tmp_path / "out"
    assert cli.main(["compare", *folders, "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"report": str(out / "compare.html")}
    assert sorted(path.suffix for path in out.iterdir()) == [".html", ".json", ".md"]
    assert cli.main(["compare", folders[0], "--out", str(out)]) == 2
    assert capsys.readouterr().err == "recipes: expected 2 to 12 runs to compare, received 1\n"


def test_hostile_names_are_text(write_run, tmp_path):
    names = ["<script>x</script>", 'a" b', "R&D | **bold**", "日本語", "w", "[x](y)"]
    runs = [write_run(tmp_path / name, names=names) for name in ("a <b> | c", "d")]
    _, page, text = compare(runs, tmp_path / "out")
    assert "script" not in page.counts
    assert "<script>x</script>" in page.text
    for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_many_classes_lose_the_matrix(write_run, tmp_path):
    names = [f"class {index}" for index in range(40)]
    runs = [write_run(tmp_path / name, names=names, images=400) for name in "ab"]
    with np.load(runs[1] / "predictions.npz") as arrays:
        arrays = dict(arrays)
    arrays["probabilities"] = np.roll(arrays["probabilities"], 1, axis=1)
    np.savez_compressed(runs[1] / "predictions.npz", **arrays)
    _, page, _ = compare(runs, tmp_path / "out")
    assert "The other 10 classes" in page.text
    assert "true ↓" not in page.text


def test_same_files_give_the_same_bytes(two, tmp_path):
    for out in ("out", "again"):
        write_comparison(two, tmp_path / out)
    for name in ("compare.html", "compare.md", "compare.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_mean_interval_is_students():
    values = np.random.default_rng(0).normal(2, 3, 40)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert mean_interval(values, 0.9) == pytest.approx(list(expected), rel=1e-12)
    assert mean_interval(values[:1]) is None


def test_holm_is_the_published_example():
    # Ordered: 0.005 * 4, 0.01 * 3, 0.03 * 2, then 0.04 * 1 raised to the one before.
    p_values = [0.01, 0.04, 0.03, 0.005, None]
    assert holm(p_values) == pytest.approx([0.03, 0.06, 0.06, 0.02, None])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
