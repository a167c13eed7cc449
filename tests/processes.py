"""Processes that tests start, wait for and end: none of them outlives its test."""

import contextlib
import json
import os
import socket
import subprocess
import time
from pathlib import Path

SECONDS = 240


def environment(**added):
    """Return that of a process in which `import recipes` finds what is tested here."""
    import recipes

    root = str(Path(recipes.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": root, "TF_CPP_MIN_LOG_LEVEL": "2", **added}


@contextlib.contextmanager
def started():
    """Give a function that starts a command in text mode; at the end of the block all are killed.

    Its keyword arguments are those of `subprocess.Popen`; what is printed is piped by default.
    """
    with contextlib.ExitStack() as stack:

        def start(command, *, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=None):
            process = subprocess.Popen(
                command, stdout=stdout, stderr=stderr, env=env or environment(), text=True
            )
            # Leaving it waits for its end and closes its pipes.
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


def until(condition, *processes, seconds=SECONDS):
    """Wait until a condition holds, as long as all of some processes run."""
    limit = time.monotonic() + seconds
    while not condition():
        for process in processes:
            assert process.poll() is None, ("it ended too early", process.communicate())
        assert time.monotonic() < limit
        time.sleep(0.005)


def kill_when(condition, command):
    """Start a command, and end it with SIGKILL as soon as a condition holds."""
    with started() as start:
        process = start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(condition, process)


def free_ports(count):
    """Return so many ports of this machine that nobody listens at."""
    # Held until all are known, so that they differ.
    with contextlib.ExitStack() as stack:
        holders = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [holder.getsockname()[1] for holder in holders]


def cluster_configurations(count):
    """Return TF_CONFIG for each of so many workers on this machine."""
    workers = [f"127.0.0.1:{port}" for port in free_ports(count)]
    return [
        json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})
        for index in range(count)
    ]
