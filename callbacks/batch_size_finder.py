"""Find the largest batch whose training step fits into the memory."""

import math
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from callbacks._arguments import whole
from callbacks._batch_trial import Part, process_bytes, spec_batch, timed_steps
from callbacks._layers import walk
from callbacks._optimizers import inner_optimizer

# The share of the free memory that is taken if no budget is given.
_SHARE = 0.8
# The search ends when the largest batch is known to this share of itself.
_FINE = 16
_POLL_SECONDS = 0.01


@dataclass(frozen=True)
class BatchTrial:
    """What trying one batch size gave.

    Attributes:
        batch_size: Images in the batch.
        fits: Whether its training step stayed within the budget.
        memory: Peak bytes of memory, or `None` if unknown. Where the trial was ended because it
            went over the budget, what it had reached by then.
        images_per_second: Speed of a step after the first; `None` if it did not fit.
    """

    batch_size: int
    fits: bool
    memory: int | None = None
    images_per_second: float | None = None


@dataclass(frozen=True)
class BatchSizeSearch:
    """The largest batch that fits, and all that were tried. Prints as a table.

    Attributes:
        batch_size: Largest batch size that fits.
        trials: A `BatchTrial` for each that was tried, by batch size.
        memory_budget: Bytes that it had to fit into, or `None` for all that a GPU has.
        limit: The largest that was allowed.
        device: `"CPU"` or `"GPU"`.
    """

    batch_size: int
    trials: tuple[BatchTrial, ...]
    memory_budget: int | None
    limit: int
    device: str

    @property
    def fastest(self) -> int:
        """The batch size that trained the most images a second: seldom the largest."""
        fitting = [trial for trial in self.trials if trial.fits]
        return max(fitting, key=lambda trial: trial.images_per_second).batch_size

    def __str__(self):
        budget = "all of its memory" if self.memory_budget is None else _size(self.memory_budget)
        lines = [f"{'batch':>7} {'memory':>10} {'images/s':>9}  on the {self.device}, in {budget}"]
        for trial in self.trials:
            memory = "" if trial.memory is None else _size(trial.memory)
            speed = f"{trial.images_per_second:.1f}" if trial.fits else "-"
            remark = "" if trial.fits else "  does not fit"
            remark += "  largest" if trial.batch_size == self.batch_size else ""
            remark += "  fastest" if trial.batch_size == self.fastest else ""
            lines.append(f"{trial.batch_size:>7} {memory:>10} {speed:>9}{remark}")
        return "\n".join(lines)


def _size(count):
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def search_batch_size(trial: Callable[[int], BatchTrial], limit: int) -> list[BatchTrial]:
    """Try 1, 2, 4, ... up to `limit`; then bisect between what fits and what does not.

    It ends when the bracket is no wider than a sixteenth of the power of two below it: up to 31
    the largest batch is exact, beyond it is a multiple of 2, 4, 8 ..., which kernels like.

    Args:
        trial: Tries one batch size.
        limit: Largest batch size, 1 or more.

    Returns:
        The trials in the order in which they were made.

    Example:
        >>> found = search_batch_size(lambda size: BatchTrial(size, size <= 100), 1024)
        >>> [one.batch_size for one in found]
        [1, 2, 4, 8, 16, 32, 64, 128, 96, 112, 104, 100]
    """
    found, low, high, size = [], 0, None, 1
    while high is None and low < limit:
        found.append(trial(size))
        if found[-1].fits:
            low, size = size, min(2 * size, limit)
        else:
            high = size
    # At the limit, which need not be a power of two, the steps still are those below it.
    step = max(1, 2 ** int(math.log2(max(low, 1))) // _FINE)
    while high is not None and high - low > step:
        middle = low + max(step, (high - low) // 2 // step * step)
        found.append(trial(middle))
        low, high = (middle, high) if found[-1].fits else (low, middle)
    return found


def find_batch_size(
    model: keras.Model, data, *, memory_budget: int | None = None, limit: int = 1024
) -> BatchSizeSearch:
    """Find the largest batch size whose training step fits into the memory.

    Batches of zeros of doubling size are trained on for a few steps, then sizes between are
    bisected, see `search_batch_size`; for each the peak of the memory and the speed are measured.

    - On a GPU the steps run here: a size that gets a `ResourceExhaustedError` does not fit, nor
      does one whose peak is above `memory_budget`. The weights, the optimizer with its slots and
      step count and the states of random generators are put back to the bit.
    - Otherwise they run in another process, from a saved copy of the model, so that nothing here
      changes. Measured is its whole resident memory: Python, TensorFlow (some hundreds of MiB), the
      model, the optimizer and a step. It is watched while it runs and ended as soon as
      it is over the budget, so that the machine cannot run out of memory. Not measured is what your
      data pipeline holds. Layers, losses and metrics of your own must be registered and importable
      there: in a module, not in the script that runs.

    The largest batch is not the best one: the table tells what each size gains in speed, and
    the accuracy often suffers from large ones.

    Args:
        model: Compiled.
        data: A batched `tf.data.Dataset` as for `fit`, or its `element_spec`: a tuple of
            `(inputs, targets)` or `(inputs, targets, weights)` of `tf.TensorSpec`, whose first axis
            is the batch. Only shapes and types are looked at; all other axes must be known.
        memory_budget: Bytes; default: on the CPU four fifths of what is free, else all of the GPU.
        limit: Largest batch size to try, 1 or more.

    Returns:
        A `BatchSizeSearch`.

    Raises:
        ValueError: If an argument is wrong, the model is not compiled, or not even one image fits.
        RuntimeError: If the model cannot be trained on such a batch in the other process.

    Example:
        >>> model = keras.Sequential([keras.layers.Input((8,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> data = tf.data.Dataset.from_tensors((np.ones((4, 8)), np.ones((4, 1))))
        >>> print(find_batch_size(model, data, limit=256))        # doctest: +SKIP
          batch     memory  images/s  on the CPU, in 12.40 GiB
              1    512 MiB     812.4
        ...
    """
    limit = whole("limit", limit, 1)
    if memory_budget is not None and not memory_budget > 0:
        raise ValueError(f"memory_budget must be bytes, above 0, received: {memory_budget!r}")
    if not model.compiled:
        raise ValueError("find_batch_size needs a compiled model: call model.compile() first")
    spec = _spec(data)
    on_gpu = bool(tf.config.list_logical_devices("GPU"))
    if not on_gpu and memory_budget is None:
        memory_budget = int(_SHARE * free_bytes())
    trials = _DeviceTrials if on_gpu else _ProcessTrials
    with trials(model, spec, memory_budget) as trial:
        found = search_batch_size(trial, limit)
    fitting = [one.batch_size for one in found if one.fits]
    device = "GPU" if on_gpu else "CPU"
    if not fitting:
        reached = "" if found[0].memory is None else f"; it takes over {_size(found[0].memory)}"
        budget = "the GPU" if memory_budget is None else f"{_size(memory_budget)} of memory"
        raise ValueError(f"not even a batch of one image fits into {budget}{reached}")
    by_size = tuple(sorted(found, key=lambda one: one.batch_size))
    return BatchSizeSearch(max(fitting), by_size, memory_budget, limit, device)


def _spec(data):
    """Return `(inputs, targets[, weights])` as tuples of shape and type without the batch."""
    spec = data.element_spec if isinstance(data, tf.data.Dataset) else data
    if not isinstance(spec, tuple) or len(spec) not in (2, 3):
        raise ValueError(
            "data must be a dataset of (inputs, targets) or (inputs, targets, weights), or its "
            f"element_spec, received: {spec!r}"
        )
    for one in tf.nest.flatten(spec):
        shape = getattr(one, "shape", None)
        if shape is None or shape.rank is None or shape.rank < 1 or None in shape[1:]:
            raise ValueError(
                f"data must be batched, and all axes but the batch be known, received: {one!r}"
            )
    return tf.nest.map_structure(lambda one: Part(tuple(one.shape[1:]), one.dtype.name), spec)


def free_bytes() -> int:
    """Return the memory that new processes may take, where a control group limits it within that.

    Raises:
        RuntimeError: If the system does not tell, as outside Linux.
    """
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError as error:
        raise RuntimeError(
            "this system does not tell its free memory: give a memory_budget in bytes"
        ) from error
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        ),
    ):
        try:
            left = int(Path(limit).read_text()) - int(Path(used).read_text())
        except (OSError, ValueError):  # no such group, or "max"
            continue
        free = min(free, max(left, 0))
    return free


class _DeviceTrials:
    """Tries batches here, on the GPU; puts everything back at the end."""

    def __init__(self, model, spec, budget):
        self.model = model
        self.spec = spec
        self.budget = budget

    def __enter__(self):
        optimizer = self.model.optimizer
        self.optimizer = optimizer
        if not inner_optimizer(optimizer).built:
            # One that was never used must stay so; its copy takes the same memory.
            self.model.optimizer = type(optimizer).from_config(optimizer.get_config())
        variables = [*self.model.variables, *optimizer.variables]
        self.values = [(variable, variable.numpy()) for variable in variables]
        return self

    def __exit__(self, *_):
        self.model.optimizer = self.optimizer
        for variable, value in self.values:
            variable.assign(value)
        self.model.reset_metrics()
        self.model.make_train_function(force=True)

    def __call__(self, batch_size):
        devices = [device.name for device in tf.config.list_logical_devices("GPU")]
        for device in devices:
            tf.config.experimental.reset_memory_stats(_short(device))
        try:
            seconds = timed_steps(self.model, spec_batch(self.spec, batch_size))
        except tf.errors.ResourceExhaustedError:
            return BatchTrial(batch_size, False)
        info = (tf.config.experimental.get_memory_info(_short(device)) for device in devices)
        peak = max(one["peak"] for one in info)
        if self.budget is not None and peak > self.budget:
            return BatchTrial(batch_size, False, peak)
        return BatchTrial(batch_size, True, peak, batch_size / seconds)


def _short(device):
    """Return `GPU:0` of `/device:GPU:0`."""
    return device.removeprefix("/device:")


class _ProcessTrials:
    """Tries batches in another process, watches its memory, ends it when it takes too much."""

    def __init__(self, model, spec, budget):
        self.model = model
        self.spec = spec
        self.budget = budget
        self.process = None

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="batch-size-")
        self.path = Path(self.folder.name)
        self.model.save(self.path / "model.keras")
        (self.path / "spec.pickle").write_bytes(pickle.dumps(self.spec))
        # What registered classes and functions while the model was made must do so again.
        known = keras.saving.get_custom_objects().values()
        used = [type(layer) for layer in walk(self.model)]
        modules = {one.__module__ for one in (*known, *used, type(self.model.optimizer))}
        modules -= {"__main__"}
        (self.path / "modules.txt").write_text("\n".join(sorted(modules)), encoding="utf-8")
        return self

    def __exit__(self, *_):
        self._end()
        self.folder.cleanup()

    def __call__(self, batch_size):
        if self.process is None:
            self._begin()
        self.process.stdin.write(f"{batch_size}\n")
        self.process.stdin.flush()
        answer = self.path / f"{batch_size}.txt"
        peak = 0
        while not answer.exists():
            peak = max(peak, process_bytes(self.process.pid))
            if peak > self.budget:
                self._end()
                return BatchTrial(batch_size, False, peak)
            if self.process.poll() is not None:
                return self._failed(batch_size, peak)
            time.sleep(_POLL_SECONDS)
        seconds, highest = map(float, answer.read_text().split())
        peak = max(peak, int(highest))
        if peak > self.budget:
            # What it still holds would count against smaller batches.
            self._end()
            return BatchTrial(batch_size, False, peak)
        return BatchTrial(batch_size, True, peak, batch_size / seconds)

    def _begin(self):
        code = f"import sys; sys.path[:] = {sys.path!r}; import callbacks._batch_trial as trial; "
        self.errors = (self.path / "errors.txt").open("w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"{code}trial.main({str(self.path)!r})"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self.errors,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            text=True,
        )

    def _failed(self, batch_size, peak):
        code = self.process.poll()
        self._end()
        text = (self.path / "errors.txt").read_text(encoding="utf-8", errors="replace").strip()
        if code < 0 or "ResourceExhausted" in text or "MemoryError" in text:
            # Ended from outside, as a system short of memory does.
            return BatchTrial(batch_size, False, peak)
        last = text.splitlines()[-1] if text else f"exit code {code}"
        raise RuntimeError(
            f"the model could not be trained on a batch of {batch_size} in another process: {last}"
        )

    def _end(self):
        if self.process is None:
            return
        self.process.kill()
        self.process.communicate()
        self.errors.close()
        self.process = None
