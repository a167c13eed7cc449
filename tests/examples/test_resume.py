"""The example of exact resume, killed as a program, ends as the one that was not."""

import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "resume.py"


def command(source, folder):
    options = ["--epochs", "3", "--batch-size", "32", "--every-steps", "3", "--out", folder]
    return [sys.executable, EXAMPLE, source, *options]


def finish(source, folder):
    """Run the program to its end; return what it printed."""
    answer = subprocess.run(command(source, folder), capture_output=True, text=True, timeout=300)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.splitlines()


@pytest.mark.exhaustive
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_inside_an_epoch_it_ends_on_the_same_weights(tiny_source, processes, tmp_path):
    whole = finish(tiny_source, tmp_path / "whole")
    processes.kill_when(
        lambda: list((tmp_path / "killed").glob("checkpoints/epoch-0001-step-*.npz")),
        command(tiny_source, tmp_path / "killed"),
    )
    resumed = finish(tiny_source, tmp_path / "killed")
    assert resumed[0].startswith("after epoch ")
    assert resumed[1:] == whole
    import recipes.layers  # noqa: F401 registers what the files hold

    weights = [
        keras.saving.load_model(tmp_path / name / "model.keras").get_weights()
        for name in ("whole", "killed")
    ]
    for expected, found in zip(*weights, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_mistakes_are_one_line(tmp_path):
    answer = subprocess.run(
        command(tmp_path / "nowhere", tmp_path / "run"), capture_output=True, text=True, timeout=300
    )
    assert answer.returncode == 2
    lines = [line for line in answer.stderr.splitlines() if line.startswith("resume: ")]
    assert len(lines) == 1
    assert "nowhere" in lines[0]
