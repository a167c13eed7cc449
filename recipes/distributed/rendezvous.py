"""All workers meet at the chief before TensorFlow connects them.

TensorFlow waits for a missing worker for as long as it takes, and says nothing. Here the chief
listens at its address of `TF_CONFIG`, each worker calls it there, and once all have called, or time
has run out, it tells each how it went; then the port is free for TensorFlow. Who is missing, or was
started to do something else, is one line, the same in every process.
"""

import contextlib
import json
import socket
import time
from typing import Any

from recipes.distributed.cluster import Cluster
from recipes.errors import ClusterError

_LONGEST_LINE = 2**20
_PAUSE = 0.2
# What calls and says nothing is no worker: it must not keep the others waiting.
_GREETING_SECONDS = 5.0
# How much longer than the others a worker waits, so that it hears from the chief who is missing.
_GRACE_SECONDS = 5.0


def meet(cluster: Cluster, facts: dict[str, Any], seconds: float) -> None:
    """Wait until every worker of the cluster is there and has the same facts.

    Args:
        cluster: Who must come.
        facts: JSON types by name, what must be the same for all, such as versions.
        seconds: How long to wait, positive.

    Raises:
        ClusterError: If one does not come in time, comes twice, or has other facts.
    """
    deadline = time.monotonic() + seconds
    greeting = {"index": cluster.index, "workers": list(cluster.workers), "facts": facts}
    if not cluster.is_chief:
        _call(cluster, greeting, seconds, deadline)
    elif len(cluster.workers) > 1:
        _receive(cluster, greeting, seconds, deadline)


def _receive(cluster, own, seconds, deadline):
    """Be the chief: take all calls, then answer them."""
    callers = {}
    try:
        with _listen(cluster) as listener:
            problem = _take_calls(cluster, own, listener, callers, deadline)
        missing = [index for index in range(1, len(cluster.workers)) if index not in callers]
        if missing and not problem:
            names = ", ".join(map(cluster.name, missing))
            problem = f"did not come within {seconds:g} s: {names}"
        for caller in callers.values():
            _send(caller, {"problem": problem})
    finally:
        for caller in callers.values():
            caller.close()
    if problem:
        raise ClusterError(problem)


def _listen(cluster):
    both = socket.has_dualstack_ipv6()
    try:
        return socket.create_server(
            ("", cluster.port),
            family=socket.AF_INET6 if both else socket.AF_INET,
            dualstack_ipv6=both,
            backlog=max(128, len(cluster.workers)),
        )
    except OSError as error:
        raise ClusterError(
            f"cannot listen on port {cluster.port} of TF_CONFIG: {error.strerror or error}"
        ) from None


def _take_calls(cluster, own, listener, callers, deadline):
    """Fill `callers` by index; return what is wrong, or `None`."""
    while len(callers) < len(cluster.workers) - 1:
        left = deadline - time.monotonic()
        if left <= 0:
            return None
        listener.settimeout(left)
        try:
            caller, _ = listener.accept()
        except TimeoutError:
            return None
        greeting = _hear(caller, min(_GREETING_SECONDS, left))
        index = greeting.get("index") if isinstance(greeting, dict) else None
        if not isinstance(index, int):
            caller.close()  # a stranger, or a worker that was killed
            continue
        if index in callers and not _has_gone(callers[index]):
            problem = f"two processes say that they are worker {index}: look at task of TF_CONFIG"
            _send(caller, {"problem": problem})
            caller.close()
            return problem
        if index in callers:
            callers.pop(index).close()  # it was killed, and started again
        callers[index] = caller
        problem = _difference(cluster, own, greeting)
        if problem:
            return problem
    return None


def _difference(cluster, own, other):
    """Return how the greeting of a worker differs from that of the chief, or `None`."""
    index = other["index"]
    if other.get("workers") != own["workers"] or not 0 < index < len(cluster.workers):
        return (
            f"worker {index} has another cluster in TF_CONFIG: {other.get('workers')}, expected: "
            f"{own['workers']}"
        )
    for name, expected in own["facts"].items():
        found = other.get("facts", {}).get(name)
        if found != expected:
            return f"{cluster.name(index)} has another {name}: {found}, expected: {expected}"
    return None


def _call(cluster, greeting, seconds, deadline):
    """Be a worker: call the chief until it answers."""
    host, _, port = cluster.workers[0].rpartition(":")
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), min(left, 10)) as chief:
                _send(chief, greeting)
                answer = _hear(chief, left + _GRACE_SECONDS)
        except OSError:
            answer = None
        if isinstance(answer, dict) and "problem" in answer:
            if answer["problem"]:
                raise ClusterError(answer["problem"])
            return
        time.sleep(_PAUSE)
    raise ClusterError(f"cannot reach {cluster.name(0)} within {seconds:g} s")


def _send(connection, value):
    # If it has gone, who waits for it finds out.
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(value).encode() + b"\n")


def _hear(connection, seconds):
    """Return the value of one line, or `None` for anything else."""
    deadline, heard = time.monotonic() + seconds, b""
    try:
        while not heard.endswith(b"\n") and len(heard) < _LONGEST_LINE:
            connection.settimeout(max(deadline - time.monotonic(), 0.01))
            more = connection.recv(4096)
            if not more:
                return None
            heard += more
        return json.loads(heard)
    except (OSError, ValueError):
        return None


def _has_gone(connection):
    """Whether the other side, which has nothing to say now, closed the connection."""
    try:
        connection.settimeout(0.01)
        return not connection.recv(1)
    except TimeoutError:
        return False
    except OSError:
        return True
