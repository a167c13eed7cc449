"""What the benchmark of files reports."""

import gzip
import json

import numpy as np
import pytest
from scipy import stats

from recipes.errors import ConfigError, RunError
from recipes.evaluation import litert
from tuning import benchmark
from tuning.benchmarking import median_interval


def test_costs_of_files(exported):
    paths = [exported["float32"], exported["int8"]]
    result = benchmark(paths, runs=3, rounds=6)
    assert [cost.file for cost in result.files] == [str(path) for path in paths]
    for cost, path in zip(result.files, paths, strict=True):
        content = path.read_bytes()
        assert cost.bytes == len(content)
        assert gzip.decompress(gzip.compress(content, 9)) == content
        assert cost.gzip_bytes == len(gzip.compress(content, 9))
        assert 0 < cost.median_ms <= cost.p90_ms
        assert cost.ratio_interval[0] <= cost.ratio <= cost.ratio_interval[1]
        assert cost.delegate == "XNNPACK"
        # A process with Python, NumPy and LiteRT, not one with TensorFlow.
        assert 10 < cost.process_mb < 300
        assert 0 <= cost.memory_mb < cost.process_mb
    assert result.files[0].ratio == 1
    assert result.files[0].ratio_interval == (1, 1)
    assert result.files[1].float_operations == 1
    assert json.loads(json.dumps(result.to_dict())) == result.to_dict()
    text = str(result)
    assert "int8.tflite" in text
    assert "6 rounds of 3 calls" in text


def test_files_take_turns(exported, monkeypatch):
    calls = []

    def watch(self, image, runs):
        calls.append((self.path.stem, runs))
        slow = 2.0 if self.path.stem == "int8" else 1.0
        return np.full(runs, slow * len(calls))  # The machine gets slower and slower.

    monkeypatch.setattr(litert.LiteRTModel, "time_calls", watch)
    monkeypatch.setattr("tuning.benchmarking.peak_memory", lambda *arguments: None)
    result = benchmark([exported["float32"], exported["int8"]], runs=5, rounds=4)
    timed = [name for name, runs in calls if runs == 5]
    assert timed == ["float32", "int8", "int8", "float32"] * 2
    # Calls 2, 4, 6, ... are timed: (2, 4), (8, 6), (10, 12), (16, 14) seconds but for the factor.
    ratios = [2 * 4 / 2, 2 * 6 / 8, 2 * 12 / 10, 2 * 14 / 16]
    assert result.files[1].ratio == pytest.approx(np.median(ratios))
    assert result.files[1].ratio_interval == pytest.approx((min(ratios), max(ratios)))
    assert result.files[1].memory_mb is None


@pytest.mark.parametrize("count", [1, 5, 6, 9, 10, 25, 40])
def test_interval_of_the_median(count):
    low, high = median_interval(np.random.default_rng(0).permutation(count) + 1)
    # Between the k-th smallest and k-th largest value lies the median unless fewer than k values
    # are below it, or above it.
    coverage = 1 - 2 * stats.binom.cdf(low - 1, count, 0.5)
    assert high == count + 1 - low
    if count >= 6:
        assert coverage >= 0.95
        assert 1 - 2 * stats.binom.cdf(low, count, 0.5) < 0.95
    else:
        assert low == 1


def test_wrong_arguments(exported, tmp_path):
    with pytest.raises(ConfigError, match="files is empty"):
        benchmark([])
    for name in ("threads", "runs", "rounds"):
        with pytest.raises(ConfigError, match=f"{name} must be at least 1, received: 0"):
            benchmark(exported["int8"], **{name: 0})
    with pytest.raises(RunError, match="cannot load"):
        benchmark(tmp_path / "nothing.tflite")
    (tmp_path / "broken.tflite").write_text("nothing")
    with pytest.raises(RunError, match="cannot measure the memory of .*broken.tflite"):
        litert.peak_memory(tmp_path / "broken.tflite")


def test_the_command(exported, capsys):
    from recipes.cli import main

    arguments = ["benchmark", str(exported["int8"]), "--runs", "1", "--rounds", "1"]
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"][0]["bytes"] > 0
    assert main(arguments) == 0
    assert "float ops" in capsys.readouterr().out
    assert main(["benchmark", "nothing.tflite"]) == 2
