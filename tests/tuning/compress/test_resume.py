"""A compression killed as a program goes on where it was, and ends as one that nobody killed."""

import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

from tuning.compression_report import CompressionReport

pytest.importorskip("litert_quantizer")

_PROGRAM = """
import sys
import numpy as np
from recipes.data import load_data
from tuning import compress
source, model, out = sys.argv[1:]
arrays = np.load(source)
splits = ("train", "validation", "test")
data = load_data({name: (arrays[name], arrays[name + "_labels"]) for name in splits})
compress(model, data, max_drop=0.0, methods=("post-training",), out=out, progress=False)
"""


@pytest.fixture
def program(digits, tmp_path):
    """Return a function from a folder to the command that compresses a tiny network into it."""
    images, labels = digits["train"]
    arrays = {
        "train": images[:600],
        "train_labels": labels[:600],
        "validation": images[600:],
        "validation_labels": labels[600:],
        "test": digits["test"][0],
        "test_labels": digits["test"][1],
    }
    np.savez(tmp_path / "digits.npz", **arrays)
    keras.utils.set_random_seed(0)
    layers = [
        keras.Input((16, 16, 1)),
        keras.layers.Rescaling(1 / 255),
        *(keras.layers.Conv2D(8, 3, padding="same", activation="relu") for _ in range(8)),
        keras.layers.Flatten(),
        keras.layers.Dense(10, activation="softmax"),
    ]
    model = keras.Sequential(layers)
    # A whole epoch is not needed: what int8 loses of a poor network has to come back as well.
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(images[:600], labels[:600], epochs=1, verbose=0)
    model.save(tmp_path / "model.keras")
    (tmp_path / "program.py").write_text(_PROGRAM)

    def command(out):
        paths = [tmp_path / name for name in ("program.py", "digits.npz", "model.keras")]
        return [sys.executable, *paths, out]

    return command


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_it_goes_on(program, processes, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(program(whole), check=True, capture_output=True, timeout=300)
    processes.kill_when((killed / "candidates" / "int8.json").exists, program(killed))
    assert not (killed / "report.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in (killed / "candidates").glob("*.tflite")}
    done = [path.stem for path in (killed / "candidates").glob("*.json")]
    subprocess.run(program(killed), check=True, capture_output=True, timeout=300)

    log = (killed / "compress.log").read_text()
    for name in done:
        assert log.count(f" {name}: kept from before") == 1
        path = killed / "candidates" / f"{name}.tflite"
        assert path.stat().st_mtime_ns == kept[path]
    expected, found = CompressionReport.load(whole), CompressionReport.load(killed)
    assert [row["name"] for row in found.candidates] == [row["name"] for row in expected.candidates]
    for ours, theirs in zip(found.candidates, expected.candidates, strict=True):
        for name in ("status", "sha256", "validation", "test", "float_operations"):
            assert ours.get(name) == theirs.get(name)
    assert found.sensitivity == expected.sensitivity
    # Latency may differ from one run to the next, and with it the choice; not what can be chosen.
    assert found.chosen in {row["name"] for row in found.candidates}
    left_over = [path.name for path in killed.rglob("*") if path.name.startswith((".", "trial"))]
    assert left_over == []
