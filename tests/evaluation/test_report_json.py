"""What report.json holds, against the files of the run and plain arithmetic."""

import json

import numpy as np
import pytest
from scipy import stats

from recipes import files
from recipes.evaluation import write_report


def test_json_gives_every_number_its_definition_and_n(copy):
    write_report(copy)
    content = files.read_json(copy / "report.json")
    metrics = files.read_json(copy / "metrics.json")
    for number in content["numbers"]:
        assert number["definition"].endswith("."), number
        assert number["name"]
        if number["split"]:
            assert number["n"] == 300
    found = {(number["split"], number["key"]): number for number in content["numbers"]}
    assert len(found) == len(content["numbers"])
    for split in ("test", "validation", "test_uncalibrated"):
        for key, value in metrics[split].items():
            if isinstance(value, float):
                assert found[split, key]["value"] == value
    assert found["test", "accuracy"]["interval"] == metrics["test"]["accuracy_interval"]
    assert found[None, "temperature"]["n"] == 60
    assert found[None, "parameters"]["value"] == 272_474
    assert set(content["tables"]) == {
        "epochs", "classes", "confusion", "reliability", "reliability_uncalibrated", "mistakes",
        "files",
    }  # fmt: skip
    for name, table in content["tables"].items():
        assert table["n"]
        for row in table.get("rows", []):
            assert row.keys() <= table["definitions"].keys(), name
    with np.load(copy / "predictions.npz") as arrays:
        probabilities, labels = arrays["probabilities"].astype(float), arrays["labels"]
    nll = -np.log(probabilities[np.arange(len(labels)), labels])
    low, high = found["test", "nll"]["interval"]
    assert (low + high) / 2 == pytest.approx(nll.mean(), rel=1e-9)
    expected = stats.ttest_1samp(nll, 0).confidence_interval(0.95)
    assert [low, high] == pytest.approx(list(expected), rel=1e-9)


def test_classes_are_hardest_first_with_what_they_are_taken_for(copy):
    test = files.read_json(copy / "metrics.json")["test"]
    write_report(copy)
    rows = files.read_json(copy / "report.json")["tables"]["classes"]["rows"]
    recalls = [row["recall"] for row in rows]
    assert recalls == sorted(recalls)
    confusion = np.array(test["confusion"])
    names = [row["name"] for row in test["per_class"]]
    for row in rows:
        index = names.index(row["name"])
        mistakes = confusion[index] * (np.arange(len(names)) != index)
        assert row["taken_for_count"] == mistakes.max()
        assert mistakes[names.index(row["taken_for"])] == mistakes.max()
    assert (
        f"{rows[0]['taken_for']} ({rows[0]['taken_for_count']})" in (copy / "report.md").read_text()
    )


def test_findings_of_the_training_are_told_with_their_advice(copy):
    rows = [json.loads(line) for line in (copy / "history.jsonl").read_text().splitlines()]
    for row, loss, held_out in zip(
        rows, [1.0, 0.6, 0.4, 0.2, 0.1, 0.05], [1.0, 0.8, 0.9, 1.2, 1.5, 1.9], strict=True
    ):
        row |= {"loss": loss, "val_loss": held_out}
    (copy / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_report(copy)
    findings = files.read_json(copy / "report.json")["findings"]
    (found,) = [finding for finding in findings if finding["name"] == "overfit"]
    assert found.keys() == {"name", "severity", "message", "advice"}
    text = (copy / "report.md").read_text().replace("\\", "")
    assert found["message"][1:] in text
    assert found["advice"] in text
