"""What worker processes on this machine are given, in files that they share."""

import dataclasses
import mmap
import os
import pickle
from pathlib import Path
from typing import Any

from recipes.errors import ConfigError


@dataclasses.dataclass
class Job:
    """What a worker needs to know of a search.

    Attributes:
        subject: What is tuned, with its images.
        out: Folder of the search.
        plan: What search.json holds.
        objective: Name of the measure.
        direction: `"max"` or `"min"`.
        prune: Whether to end hopeless trials.
        progress: Whether to show epochs.
    """

    subject: Any
    out: Path
    plan: dict[str, Any]
    objective: str
    direction: str
    prune: bool
    progress: bool


def check_subject(subject) -> None:
    """Refuse a user's own model or data that cannot be sent to another process.

    Raises:
        ConfigError: In one line.
    """
    if subject.model is None:
        return
    kind = subject.model if hasattr(subject.model, "__qualname__") else type(subject.model)
    expected = (
        "workers need a model from a module that they can import, and images or arrays; "
        "else start this script as chief and as workers (KERASTUNER_TUNER_ID)"
    )
    if kind.__module__ == "__main__" or "<" in kind.__qualname__:
        raise ConfigError(f"{expected}; received: {kind.__module__}.{kind.__qualname__}")
    try:
        pickle.dumps(subject, protocol=5, buffer_callback=lambda buffer: None)
    except Exception as error:
        raise ConfigError(f"{expected}; received: {str(error).splitlines()[0]}") from error


def write_job(directory: Path, job: Job) -> None:
    """Write a job; arrays go into a file of their own, as they are.

    Args:
        directory: Folder, made if need be.
        job: To be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    buffers = []
    described = pickle.dumps(job, protocol=5, buffer_callback=buffers.append)
    sizes = []
    with open(directory / "arrays", "wb") as file:
        for buffer in buffers:
            raw = buffer.raw()
            sizes.append(raw.nbytes)
            file.write(raw)
            file.write(bytes(-raw.nbytes % 64))
    with open(directory / "job", "wb") as file:
        pickle.dump((sizes, described), file)


def read_job(directory: str | os.PathLike) -> Job:
    """Return a job whose arrays are mapped, not read: all workers share one copy in memory."""
    directory = Path(directory)
    with open(directory / "job", "rb") as file:
        sizes, described = pickle.load(file)
    whole = memoryview(b"")
    if any(sizes):
        with open(directory / "arrays", "rb") as file:
            whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    buffers, start = [], 0
    for size in sizes:
        buffers.append(whole[start : start + size])
        start += size + -size % 64
    return pickle.loads(described, buffers=buffers)
