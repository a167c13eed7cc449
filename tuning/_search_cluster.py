"""Who takes part in a search: KerasTuner's variables of the environment, and its client."""

import dataclasses
import os
import time
from collections.abc import Callable, Mapping

from recipes.errors import ConfigError, RunError

TUNER_ID = "KERASTUNER_TUNER_ID"
ORACLE_IP = "KERASTUNER_ORACLE_IP"
ORACLE_PORT = "KERASTUNER_ORACLE_PORT"
# Seconds for a chief to answer: it reads its images before it can.
PATIENCE = 120


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A process's place in a search.

    Attributes:
        name: Of the process.
        host: Of the chief.
        port: Of the chief; 0 for any that is free.
    """

    name: str
    host: str
    port: int

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{self.host}:{self.port}"

    @property
    def is_chief(self) -> bool:
        """Whether the process is the chief, by KerasTuner's rule."""
        return "chief" in self.name


def cluster_from_environment(environment: Mapping[str, str] = os.environ) -> Cluster | None:
    """Return the place that KerasTuner's variables give to this process, or `None`.

    Raises:
        ConfigError: If one is missing or wrong.

    Example:
        >>> cluster_from_environment({"KERASTUNER_TUNER_ID": "worker1",
        ...     "KERASTUNER_ORACLE_IP": "10.0.0.1", "KERASTUNER_ORACLE_PORT": "8000"})
        Cluster(name='worker1', host='10.0.0.1', port=8000)
    """
    if not environment.get(ORACLE_IP):
        return None
    for name, example in ((TUNER_ID, "chief or worker0"), (ORACLE_PORT, "8000")):
        if not environment.get(name):
            raise ConfigError(f"{ORACLE_IP} is set, so {name} is needed, too, such as {example}")
    port, name = environment[ORACLE_PORT], environment[TUNER_ID]
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ConfigError(f"{ORACLE_PORT} must be a port from 1 to 65535, received: {port!r}")
    if set(name) & set("#/ "):
        raise ConfigError(f"{TUNER_ID} must be without #, / and space, received: {name!r}")
    return Cluster(name, environment[ORACLE_IP], int(port))


def connect(cluster: Cluster, say: Callable[[str], None]):
    """Return a gRPC channel to the chief of a cluster, once it answers.

    Raises:
        RunError: If it does not within `PATIENCE` seconds.
    """
    import grpc

    # The chief is near: a proxy is for what is not.
    channel = grpc.insecure_channel(cluster.address, options=[("grpc.enable_http_proxy", 0)])
    ready = grpc.channel_ready_future(channel)
    limit, wait = time.monotonic() + PATIENCE, min(3, PATIENCE)
    while True:
        try:
            ready.result(timeout=wait)
            return channel
        except grpc.FutureTimeoutError:
            if time.monotonic() >= limit:
                channel.close()
                raise RunError(
                    f"no chief answers at {cluster.address} after {PATIENCE} s: start one there "
                    f"with {TUNER_ID}=chief"
                ) from None
            say(f"{cluster.name} waits for the chief at {cluster.address}")
            wait = min(30, limit - time.monotonic())


class ImpatientStub:
    """KerasTuner's stub for calls to the chief, which do not wait an hour for one that is gone.

    Args:
        stub: KerasTuner's.
        cluster: The place of this process.
    """

    def __init__(self, stub, cluster: Cluster):
        self._stub = stub
        self._cluster = cluster

    def __getattr__(self, name):
        method = getattr(self._stub, name)

        def call(request, timeout=None, **options):
            import grpc

            try:
                return method(request, wait_for_ready=True, timeout=PATIENCE)
            except grpc.RpcError as error:
                raise RunError(
                    f"the chief at {self._cluster.address} does not answer any more "
                    f"({error.code().name.lower()}); start it again, and this worker"
                ) from None

        return call
