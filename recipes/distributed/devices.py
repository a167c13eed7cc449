"""The devices that train a model: one, all of a machine, or those of several machines."""

import contextlib
import functools
import io
import itertools
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recipes.distributed.cluster import Cluster, cluster_from_environment
from recipes.distributed.rendezvous import meet
from recipes.errors import ClusterError, ConfigError, RecipesError

if TYPE_CHECKING:
    import tensorflow as tf

STRATEGIES = ("none", "mirrored", "multiworker")
CONNECT_SECONDS = 300.0
# What a worker needs of a run to go on with it, beside the checkpoints.
_RUN_FILES = ("environment.json", "data.json", "recipe.json")
# TensorFlow connects a process once.
_CONNECTED: dict[Cluster, "Devices"] = {}
# Whole numbers that are sent at once: 64 MiB.
_CHUNK = 2**24


class Devices:
    """Which devices train, and what the processes that train together tell each other.

    Of a strategy over several processes, each calls the same methods in the same order.

    Args:
        name: One of `STRATEGIES`.
        strategy: The `tf.distribute.Strategy`, or `None` for one device.
        cluster: The processes, or `None` for this one alone.

    Attributes:
        name: As given.
        strategy: As given.
    """

    def __init__(
        self,
        name: str = "none",
        strategy: "tf.distribute.Strategy | None" = None,
        cluster: Cluster | None = None,
    ):
        self.name = name
        self.strategy = strategy
        self._cluster = cluster

    @property
    def workers(self) -> int:
        """How many processes train together."""
        return len(self._cluster.workers) if self._cluster else 1

    @property
    def index(self) -> int:
        """Which of them this is; 0 is the chief."""
        return self._cluster.index if self._cluster else 0

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the results."""
        return self.index == 0

    @property
    def replicas(self) -> int:
        """How many devices share each batch, over all processes."""
        return self.strategy.num_replicas_in_sync if self.strategy else 1

    def describe(self) -> dict[str, Any]:
        """Return what environment.json records."""
        return {"strategy": self.name, "workers": self.workers, "replicas": self.replicas}

    def scope(self) -> contextlib.AbstractContextManager:
        """Return the context in which the model and its optimizer are made."""
        return self.strategy.scope() if self.strategy else contextlib.nullcontext()

    def distribute(self, dataset: "tf.data.Dataset", pieces: int = 1) -> Any:
        """Return what `fit` is given: this process's part of the batches, spread over its devices.

        Args:
            dataset: Of this process's part of each batch.
            pieces: Steps over which each batch is spread.
        """
        import tensorflow as tf

        count = pieces * self.replicas // self.workers
        if count > 1:

            def cut(*element):
                cut_up = tf.nest.map_structure(
                    lambda tensor: tf.reshape(
                        tensor, (count, tensor.shape[0] // count, *tensor.shape[1:])
                    ),
                    element,
                )
                return tf.data.Dataset.from_tensor_slices(cut_up)

            dataset = dataset.flat_map(cut).prefetch(tf.data.AUTOTUNE)
        if self.strategy is None:
            return dataset
        return self.strategy.distribute_datasets_from_function(lambda context: dataset)

    def agree(self, action: Callable[[], Any], *, chief_only: bool = False) -> Any:
        """Return what `action` does here; if it fails in one process, raise that in all.

        Args:
            action: Of no arguments.
            chief_only: Leave it to the chief; the others get `None`.
        """
        if self.workers == 1:
            return action()
        result = error = None
        if self.is_chief or not chief_only:
            try:
                result = action()
            except RecipesError as failure:
                error = failure
        told = [json.loads(text) for text in self._gather(json.dumps(error and str(error)))]
        if error:
            raise error
        for index, problem in enumerate(told):
            if problem:
                raise ClusterError(f"{self._cluster.name(index)}: {problem}")
        return result

    def same(self, facts: dict[str, Any]) -> None:
        """Raise unless all processes have the same facts, JSON types by what to call them."""
        if self.workers == 1:
            return
        told = [json.loads(text) for text in self._gather(json.dumps(facts))]
        for index, other in enumerate(told):
            for name, expected in told[0].items():
                if other[name] != expected:
                    raise ClusterError(
                        f"{self._cluster.name(index)} has another {name} than the chief: "
                        f"{other[name]}, expected: {expected}"
                    )

    def from_chief(self, value: Any) -> Any:
        """Return the chief's value, of JSON types."""
        if self.workers == 1:
            return value
        return json.loads(self._gather(json.dumps(value if self.is_chief else None))[0])

    @contextlib.contextmanager
    def run_folder(
        self, out: str | Path, *, resume: bool = False, checkpoints: bool = True
    ) -> Iterator[Path]:
        """Give the chief the folder of the run, the others one that is removed at the end.

        So every process does exactly the same, and only the chief's files stay.

        Args:
            out: The folder of the run.
            resume: Whether the others need what is in it; they need not see it.
            checkpoints: Whether they need its checkpoints, too.
        """
        if self.workers == 1:
            yield Path(out)
            return
        packed = _pack(Path(out), checkpoints) if resume and self.is_chief else b""
        if resume:
            packed = self._send(packed)
        if self.is_chief:
            yield Path(out)
            return
        with tempfile.TemporaryDirectory(prefix="recipes-worker-") as folder:
            own = Path(folder) / "run"
            if resume:
                with zipfile.ZipFile(io.BytesIO(packed)) as archive:
                    archive.extractall(own)
            yield own

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Turn what TensorFlow raises when another process has died into one line."""
        if self.workers == 1:
            yield
            return
        import tensorflow as tf

        gone = (
            tf.errors.UnavailableError,
            tf.errors.AbortedError,
            tf.errors.CancelledError,
            tf.errors.DeadlineExceededError,
        )
        try:
            yield
        except tf.errors.OpError as error:
            if isinstance(error, gone) or "ollective" in str(error):
                raise ClusterError(
                    f"contact with another worker was lost ({type(error).__name__}); start all "
                    "of them again, to go on with --resume"
                ) from error
            raise

    def _gather(self, text: str) -> list[str]:
        """Return the texts of all processes, in order."""
        own = text.encode()
        lengths = self._sum(self._row(np.array([len(own)], np.int32), 1))[:, 0]
        whole = self._sum(self._row(np.frombuffer(own, np.uint8).astype(np.int32), max(lengths)))
        return [
            whole[index, :length].astype(np.uint8).tobytes().decode()
            for index, length in enumerate(lengths)
        ]

    def _row(self, values, length):
        """Return zeros but for this process's row."""
        rows = np.zeros((self.workers, length), np.int32)
        rows[self.index, : len(values)] = values
        return rows

    def _send(self, content: bytes) -> bytes:
        """Return the chief's bytes; the others give none."""
        length = self.from_chief(len(content))
        numbers = np.zeros(-(-length // 4), np.int32)
        if self.is_chief:
            numbers.view(np.uint8)[:length] = np.frombuffer(content, np.uint8)
        for start in range(0, len(numbers), _CHUNK):
            numbers[start : start + _CHUNK] = self._sum(numbers[start : start + _CHUNK])
        return numbers.view(np.uint8)[:length].tobytes()

    def _sum(self, numbers: np.ndarray) -> np.ndarray:
        import tensorflow as tf

        with self.watched(), tf.device("CPU:0"):
            return self.strategy.reduce("SUM", tf.constant(numbers), axis=None).numpy()


def open_devices(
    strategy: "str | Devices" = "none",
    *,
    connect_seconds: float = CONNECT_SECONDS,
    facts: dict[str, Any] | None = None,
) -> Devices:
    """Return the devices that a strategy names; with `"multiworker"`, wait for all the others.

    It must come before anything that TensorFlow computes in this process.

    Args:
        strategy: `"none"`: one device, whichever TensorFlow prefers. `"mirrored"`: all GPUs of this
            machine, or without one all logical processors that TensorFlow was told to make, which
            is one if it was not. `"multiworker"`: those of all processes in `TF_CONFIG`. Or what
            this function returned before.
        connect_seconds: How long to wait for the other processes.
        facts: JSON types by name that must be the same in all of them, beside the versions.

    Raises:
        ConfigError: If there is no such strategy, or its time is not positive.
        ClusterError: If `TF_CONFIG` is wrong, or a process is missing.

    Example:
        >>> open_devices("none").replicas
        1
    """
    if isinstance(strategy, Devices):
        return strategy
    if strategy not in STRATEGIES:
        raise ConfigError(
            f"strategy must be one of {', '.join(STRATEGIES)}, received: {strategy!r}"
        )
    if not connect_seconds > 0:
        raise ConfigError(f"connect_seconds must be positive, received: {connect_seconds!r}")
    if strategy == "none":
        return Devices()
    # Its warnings, some anew for each epoch, are about how it distributes any dataset of functions.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if strategy == "mirrored":
        return Devices("mirrored", _mirrored())
    from recipes.hardware import package_versions

    cluster = cluster_from_environment()
    if cluster in _CONNECTED:
        return _CONNECTED[cluster]
    versions = package_versions()
    names = ("keras-recipes", "tensorflow", "keras")
    told = {"versions": ", ".join(f"{name} {versions[name]}" for name in names), **(facts or {})}
    meet(cluster, told, connect_seconds)
    _CONNECTED[cluster] = Devices("multiworker", _multi_worker(), cluster)
    return _CONNECTED[cluster]


# One a process: those of a second would be taken for the first's when they add up gradients.
@functools.cache
def _mirrored():
    from recipes._quiet import import_tensorflow

    import_tensorflow()
    import tensorflow as tf

    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _multi_worker():
    from recipes._quiet import import_tensorflow

    # Once TensorFlow has computed anything it cannot join a cluster.
    import_tensorflow(wake=False)
    from recipes._quiet import filtered_stderr
    from recipes.distributed.multi_worker import MultiWorkerStrategy

    try:
        with filtered_stderr():
            return MultiWorkerStrategy()
    except RuntimeError as error:
        if "startup" not in str(error):
            raise
        raise ClusterError(
            "strategy 'multiworker' must be opened before TensorFlow computes anything in this "
            "process; call recipes.open_devices first and give train what it returns"
        ) from error


def _pack(folder: Path, checkpoints: bool) -> bytes:
    """Return the files of a run that a worker needs, as a zip archive."""
    packed = io.BytesIO()
    found = itertools.chain(
        (folder / name for name in _RUN_FILES),
        sorted(folder.glob("checkpoints/epoch-*.npz")) if checkpoints else (),
    )
    with zipfile.ZipFile(packed, "w") as archive:
        for path in found:
            archive.write(path, path.relative_to(folder))
    return packed.getvalue()
