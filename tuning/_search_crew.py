"""Worker processes of a search on this machine: started, read, replaced and ended."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from recipes.hardware import usable_cores
from tuning._search_cluster import ORACLE_IP, ORACLE_PORT, TUNER_ID
from tuning._search_job import Job, write_job

HOST = "127.0.0.1"
# Before what a worker says that ends it: the chief says that itself.
REFUSAL = "refused: "
# Seconds between asking a process to end and ending it.
_GRACE = 3


class Crew:
    """Some processes that run trials; none outlives this one, however it ends.

    Each has a pipe from this process as its standard input, and ends when that closes; what it
    prints is said line by line, with its name before it.

    Args:
        workers: How many.
        trials_each: Trials that a process is given before another takes its place, or `None`.
        job: What they need to know.
        say: Receives a line of any.
    """

    def __init__(self, workers: int, trials_each: int | None, job: Job, say: Callable[[str], None]):
        self.names = [f"worker{number}" for number in range(workers)]
        self.trials_each = trials_each
        self.job = job
        self.say = say
        self._directory = Path(job.out) / "workers"
        self._processes: dict[str, subprocess.Popen] = {}
        self._readers: dict[str, threading.Thread] = {}
        self._lines: dict[str, str] = {}
        self._environment = None

    def start(self, port: int) -> None:
        """Start all, unless they are."""
        if self._environment is None:
            write_job(self._directory, self.job)
            self._environment = _environment(port, len(self.names))
            for name in self.names:
                self.start_again(name)

    def start_again(self, name: str) -> None:
        """Start one of them, in the place of one that ended."""
        self._lines[name] = "it said nothing"
        process = subprocess.Popen(
            [sys.executable, "-m", "tuning._search_worker", str(self._directory)],
            env={**self._environment, TUNER_ID: name},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._processes[name] = process
        reader = threading.Thread(target=self._read, args=(name, process), daemon=True)
        self._readers[name] = reader
        reader.start()

    def ended(self) -> list[tuple[str, int, str]]:
        """Return name, exit code (below 0: a signal) and last line of those that ended since."""
        found = []
        for name, process in list(self._processes.items()):
            if process.poll() is not None:
                self._close(name)
                found.append((name, process.returncode, self._lines[name]))
        return found

    def is_worn(self, name: str, given: int) -> bool:
        """Whether a process has had as many trials as it may."""
        return self.trials_each is not None and given >= self.trials_each

    def is_alive(self) -> bool:
        """Whether any process runs."""
        return any(process.poll() is None for process in self._processes.values())

    def stop(self) -> None:
        """End all that run, and what was kept for them."""
        for process in self._processes.values():
            # A worker ends at once when its standard input does.
            process.stdin.close()
        for name, process in list(self._processes.items()):
            try:
                process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self._close(name)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _close(self, name):
        process = self._processes.pop(name)
        process.stdin.close()
        # To its last line.
        self._readers.pop(name).join(_GRACE)

    def _read(self, name, process):
        with process.stdout:
            for raw in process.stdout:
                line = raw.decode(errors="replace").rstrip()
                if not line:
                    continue
                self._lines[name] = line.removeprefix(REFUSAL)
                if not line.startswith(REFUSAL):
                    self.say(f"{name}: {line}")


def threads_each(workers: int) -> int:
    """Return the threads of each of some workers: together as many as there are cores."""
    return max(1, usable_cores() // workers)


def _environment(port, workers):
    threads = str(threads_each(workers))
    return {
        **os.environ,
        # It finds the modules that this process finds.
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONUNBUFFERED": "1",
        ORACLE_IP: HOST,
        ORACLE_PORT: str(port),
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": threads,
        "OMP_NUM_THREADS": threads,
        # TensorFlow would let the first have all memory of a GPU.
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    }
