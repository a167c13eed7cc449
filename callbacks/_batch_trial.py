"""Steps on batches of zeros; and the program that runs them in a process of its own."""

import importlib
import os
import pickle
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

_STEPS = 3


@dataclass(frozen=True)
class Part:
    """Shape without the batch, and type, of one tensor of a batch."""

    shape: tuple[int, ...]
    dtype: str


def spec_batch(spec, batch_size: int):
    """Return a batch of zeros: whatever the values, they take the same memory."""
    return tf.nest.map_structure(
        lambda part: tf.zeros((batch_size, *part.shape), part.dtype),
        spec,
    )


def timed_steps(model: keras.Model, batch) -> float:
    """Train on a batch a few times; return the seconds of the fastest step after the first."""
    seconds = []
    for _ in range(_STEPS):
        began = time.perf_counter()
        # The logs are read back, so the step has ended.
        model.train_on_batch(*batch)
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])


def process_bytes(process: int | str, field: str = "VmRSS") -> int:
    """Return the resident memory of a process, now or (`"VmHWM"`) at most; 0 if it is not told."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    found = [line for line in lines if line.startswith(f"{field}:")]
    return int(found[0].split()[1]) * 1024 if found else 0


def main(folder: str) -> None:
    """Answer each batch size from the standard input with a file `SIZE.txt` of seconds and bytes.

    Args:
        folder: Holds `model.keras`, `spec.pickle` and `modules.txt`, what to import before loading.
    """
    folder = Path(folder)
    for name in (folder / "modules.txt").read_text(encoding="utf-8").splitlines():
        try:
            importlib.import_module(name)
        except ImportError:  # Loading will say what is missing, if it matters.
            continue
    spec = pickle.loads((folder / "spec.pickle").read_bytes())
    model = keras.saving.load_model(folder / "model.keras")
    for line in sys.stdin:
        seconds = timed_steps(model, spec_batch(spec, int(line)))
        # Sizes only grow within one process, so its highest peak is that of this size.
        answer = f"{seconds!r} {process_bytes('self', 'VmHWM')}"
        written = folder / "answer"
        written.write_text(answer, encoding="ascii")
        os.replace(written, folder / f"{int(line)}.txt")
