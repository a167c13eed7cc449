"""The benchmark of calibration, on a tiny run."""

import pytest

from benchmarks import calibration


def test_rows_are_those_of_the_run(tiny_run):
    softmax, calibrated, file = calibration.measure(tiny_run, bootstrap=50)
    metrics = tiny_run.metrics
    assert softmax["ece"] == pytest.approx(metrics["test_uncalibrated"]["ece"], abs=1e-5)
    assert calibrated["ece"] == pytest.approx(metrics["test"]["ece"], abs=1e-5)
    assert softmax["accuracy"] == calibrated["accuracy"] == metrics["test"]["accuracy"]
    int8 = next(row for row in tiny_run.export["files"] if row["quantization"] == "int8")
    assert file["ece"] == pytest.approx(int8["ece"], abs=1e-5)
    for row in (softmax, calibrated, file):
        low, high = row["ece_interval"]
        assert 0 <= low < high <= 1
