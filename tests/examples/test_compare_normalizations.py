"""The example that compares normalisations, on tiny data."""

import json
import types

import keras
import numpy as np
import pytest

from recipes import load_data


@pytest.mark.slow
def test_comparison(program, tiny_source, tmp_path, capsys):
    path = tmp_path / "rows.json"
    arguments = [tiny_source, "--norms", "batch", "none", "--batch-sizes", "30", "--seeds", "2"]
    arguments += ["--epochs", "3", "--width", "4", "--learning-rates", "0.03", "0.3"]
    assert program.main([*arguments, "--json", "--out", str(path)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert json.loads(path.read_text())["rows"] == rows
    assert [(row["norm"], row["batch_size"]) for row in rows] == [("batch", 30), ("none", 30)]
    for row in rows:
        trials = row["validation_accuracies"]
        assert set(trials) == {"0.03", "0.3"}
        assert trials[str(row["learning_rate"])] == max(trials.values())
        assert len(row["test_accuracies"]) == 2
    assert np.mean(rows[0]["test_accuracies"]) > 0.5, "three kinds of clothes, a third by chance"


def options(**changes):
    defaults = {"images": 60, "epochs": 1, "width": 4, "seeds": 1}
    return types.SimpleNamespace(**{**defaults, **changes})


def test_a_run_repeats_whatever_ran_before(program, tiny_source):
    """Weights, optimizer and order of images all begin anew."""
    trainer = program.Trainer(load_data(tiny_source), "batch", 20, options())
    weights = []
    for rate, seed in ((0.1, 0), (0.3, 1), (0.1, 0)):
        trainer.run(rate, seed)
        weights.append(np.concatenate([w.ravel() for w in trainer.model.get_weights()]))
    np.testing.assert_array_equal(weights[0], weights[2])
    assert np.abs(weights[0] - weights[1]).max() > 1e-3
    assert int(trainer.model.optimizer.iterations) == 3


def test_all_start_at_the_same_weights(program, tiny_source):
    data = load_data(tiny_source)
    kernels = []
    for norm in ("batch", "layer", "instance", "group"):
        keras.utils.set_random_seed(5)
        model = program.build(data, norm, 4)
        kernels.append([w.numpy() for w in model.weights if w.name == "kernel"])
    for others in kernels[1:]:
        for one, other in zip(kernels[0], others, strict=True):
            np.testing.assert_array_equal(one, other)


def test_learning_rate(program):
    schedule = program.Peak(100)
    schedule.peak.assign(0.5)
    rates = [float(schedule(step)) for step in range(100)]
    assert max(rates) == pytest.approx(0.5, rel=1e-3)
    assert np.argmax(rates) in (9, 10)
    assert rates[-1] < 0.001


def test_diverged_networks_get_nothing_right(program, tiny_source):
    split = load_data(tiny_source).splits["test"]
    nothing = np.full((250, 3), np.nan)
    assert program.accuracy(lambda images, training: nothing[: len(images)], split) == 0
    first = np.tile([1.0, 0.0, 0.0], (250, 1))
    found = program.accuracy(lambda images, training: first[: len(images)], split)
    assert found == np.mean(split.labels == 0)


def test_table(program):
    rows = [
        {"norm": norm, "batch_size": size, "test_accuracies": values}
        for norm, size, values in (
            ("batch", 2, [0.5, 0.7]),
            ("batch", 64, [0.9]),
            ("group", 2, [0.8, 0.8]),
            ("group", 64, [0.75]),
        )
    ]
    # The standard deviation of 50 and 70 is 14.1.
    assert program.table(rows).splitlines() == [
        "| batch size | 2 | 64 |",
        "|---|---|---|",
        "| batch | 60.0 ± 14.1 | 90.0 |",
        "| group | 80.0 ± 0.0 | 75.0 |",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "--seeds must be at least 1, received: 0"),
        (["--batch-sizes", "8", "0"], "--batch-sizes must be at least 1"),
        (["--learning-rates", "-1"], "--learning-rates must be above 0"),
        (["--batch-sizes", "1000"], "batches of 1000 need as many images"),
    ],
)
def test_mistakes_are_one_line(program, tiny_source, arguments, message, capsys):
    assert program.main([tiny_source, *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("compare_normalizations: ")
    assert message in error
    assert error.count("\n") == 1
