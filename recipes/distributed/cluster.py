"""The machines that train together, as the environment variable `TF_CONFIG` names them."""

import dataclasses
import json
import os
from collections.abc import Mapping

from recipes.errors import ClusterError

EXAMPLE = (
    '{"cluster": {"worker": ["host-a:2222", "host-b:2222"]}, '
    '"task": {"type": "worker", "index": 0}}'
)


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Who trains together, and which of them this process is.

    Attributes:
        workers: `host:port` of each, the chief first. The same text in every process.
        index: Place of this process in `workers`; 0 is the chief.
    """

    workers: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the results."""
        return self.index == 0

    @property
    def port(self) -> int:
        """The port on which this process listens."""
        return int(self.workers[self.index].rpartition(":")[2])

    def name(self, index: int) -> str:
        """Return what to call a worker in a message.

        Example:
            >>> Cluster(("a:2222", "b:2222"), 0).name(1)
            'worker 1 (b:2222)'
        """
        return f"{'worker' if index else 'the chief, worker'} {index} ({self.workers[index]})"


def cluster_from_environment(environment: Mapping[str, str] | None = None) -> Cluster:
    """Read `TF_CONFIG`, as TensorFlow does.

    It is JSON: `cluster` holds the addresses of the processes, `host:port`, as a list `worker`, or
    one `chief` and a list `worker`; `task` says by `type` and `index` which of them this one is.
    The first worker is the chief if there is no other.

    Args:
        environment: Default: `os.environ`.

    Raises:
        ClusterError: If it is missing or cannot be meant; one line says what was expected.

    Example:
        >>> cluster_from_environment({"TF_CONFIG": EXAMPLE})
        Cluster(workers=('host-a:2222', 'host-b:2222'), index=0)
    """
    text = (os.environ if environment is None else environment).get("TF_CONFIG", "")
    if not text.strip():
        raise ClusterError(
            f"strategy 'multiworker' needs the environment variable TF_CONFIG, such as {EXAMPLE}"
        )
    try:
        config = json.loads(text)
    except ValueError as error:
        raise ClusterError(f"TF_CONFIG is not JSON ({error}), expected such as {EXAMPLE}") from None
    cluster, task = _section(config, "cluster"), _section(config, "task")
    for job in cluster:
        if job not in ("chief", "worker"):
            raise ClusterError(
                f"TF_CONFIG: cluster may hold 'chief' and 'worker', received: {job!r}"
            )
    chief, workers = _addresses(cluster, "chief"), _addresses(cluster, "worker")
    if len(chief) > 1:
        raise ClusterError(f"TF_CONFIG: there must be one chief, received: {len(chief)}")
    everyone = chief + workers
    if not everyone:
        raise ClusterError(f"TF_CONFIG: cluster names no worker, expected such as {EXAMPLE}")
    twice = sorted({address for address in everyone if everyone.count(address) > 1})
    if twice:
        raise ClusterError(f"TF_CONFIG: cluster names {twice[0]} twice; each needs its own port")
    return Cluster(tuple(everyone), _place(task, chief, workers))


def _section(config, name):
    section = config.get(name) if isinstance(config, dict) else None
    if not isinstance(section, dict):
        raise ClusterError(f"TF_CONFIG has no object {name!r}, expected such as {EXAMPLE}")
    return section


def _addresses(cluster, job):
    found = cluster.get(job, [])
    if not isinstance(found, list):
        raise ClusterError(
            f"TF_CONFIG: cluster.{job} must be a list of 'host:port', received: {found!r}"
        )
    for address in found:
        host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise ClusterError(
                f"TF_CONFIG: cluster.{job} must hold addresses 'host:port', received: {address!r}"
            )
    return found


def _place(task, chief, workers):
    kind, index = task.get("type"), task.get("index")
    jobs = {"chief": chief, "worker": workers}
    if kind not in jobs:
        raise ClusterError(f"TF_CONFIG: task.type must be 'chief' or 'worker', received: {kind!r}")
    if isinstance(index, str) and index.isascii() and index.isdigit():
        index = int(index)  # TensorFlow takes it as text, too
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(jobs[kind]):
        raise ClusterError(
            f"TF_CONFIG: task.index must be the place of this process among the {len(jobs[kind])} "
            f"of cluster.{kind}, counted from 0, received: {index!r}"
        )
    return index if kind == "chief" else len(chief) + index
