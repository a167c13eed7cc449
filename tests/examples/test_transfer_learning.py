"""The example of transfer learning runs, and what it saves goes on training."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "transfer_learning.py"


@pytest.mark.slow
def test_it_runs_on_the_bundled_images(tmp_path):
    arguments = ["--backbone", "resnet9", "--weights", "none", "--size", "32"]
    arguments += ["--images", "90", "--epochs", "2", "--out", str(tmp_path / "model.keras")]
    answer = subprocess.run(
        [sys.executable, EXAMPLE, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
    )
    assert answer.returncode == 0, answer.stderr
    assert "90 training images, 9 a class" in answer.stdout
    assert answer.stdout.count("parameters are trainable") == 2
    assert "fine-tuned:   validation accuracy" in answer.stdout

    import recipes.layers  # registers what the file holds
    import recipes.transfer.rates  # noqa: F401

    model = keras.saving.load_model(tmp_path / "model.keras")
    assert model.optimizer.factor("stage2_conv/kernel") == 0.5
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype("float32")
    before = [weight.numpy() for weight in model.trainable_weights]
    model.fit(images, np.arange(4), verbose=0)
    moved = [
        not np.array_equal(weight, old)
        for weight, old in zip(model.trainable_weights, before, strict=True)
    ]
    assert all(moved)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-folder"], "no-such-folder"),
        (["--epochs", "0"], "--epochs must be at least 1, received: 0"),
        (["--out", "model"], "--out must end in .keras, received: model"),
    ],
)
def test_mistakes_are_one_line(program, arguments, message, capsys):
    assert program.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("transfer_learning: ")
    assert message in error
    assert error.count("\n") == 1
