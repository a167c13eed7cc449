"""Time the sides of a row in alternating rounds, on the cores that the process is held to."""

import statistics
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

# A batch slower than this is timed alone; of faster ones many make a round.
_SLOW_SECONDS = 1.0


class MappedSide:
    """A function `(images, labels, seed) -> tensors`, mapped over a batch in memory by `tf.data`.

    Args:
        function: What is measured. It is traced once.
        images: uint8 or float32 `(batch, size, size, 3)`.
        labels: int32 `(batch,)`.
        cores: Parallel calls of the map.

    Attributes:
        first_seconds: Seconds of the first call: tracing, compiling, running.
        batch_seconds: Seconds of a later one.
        traces: How often Python has run `function`.
    """

    def __init__(self, function, images, labels, cores):
        self.traces = 0

        # Autograph has nothing to convert here, and would convert all that is called.
        @tf.autograph.experimental.do_not_convert
        def counted(step, images, labels):
            self.traces += 1
            return function(images, labels, tf.stack([0, tf.cast(step, tf.int32)]))

        self._function, self._cores = counted, cores
        self._batch, self._size = (tf.constant(images), tf.constant(labels)), len(images)
        start = time.perf_counter()
        specs = [tf.TensorSpec(part.shape, part.dtype) for part in self._batch]
        graph = tf.function(counted, autograph=False)
        self._traced = graph.get_concrete_function(tf.TensorSpec([], tf.int64), *specs)
        self._run(1, 1, warm=False)
        self.first_seconds = time.perf_counter() - start
        self.batch_seconds = self.first_seconds
        if self.first_seconds > _SLOW_SECONDS:
            self.batch_seconds = self._run(1, 1, warm=False)[0]
        if self.batch_seconds < _SLOW_SECONDS:
            self.batch_seconds = self._run(4, 1)[0] / 4

    def _dataset(self, function, count):
        batches = tf.data.Dataset.from_tensors(self._batch).repeat(count).enumerate()
        # In parallel calls on one core the second batch would begin before the clock does.
        parallel = self._cores if self._cores > 1 else None
        unpacked = tf.autograph.experimental.do_not_convert(
            lambda step, batch: function(step, *batch)
        )
        return batches.map(unpacked, num_parallel_calls=parallel)

    def _run(self, groups, group, *, warm=True):
        """Return wall and CPU seconds of some groups of batches.

        Args:
            groups: How many groups are timed.
            group: Batches in a group. Python sees one of each: to see one takes a twentieth of a
                millisecond, as long as some take to make.
            warm: Whether the clock starts after another group, when the iterator has started.
        """
        dataset = self._dataset(self._traced, (groups + warm) * group).shard(group, group - 1)
        iterator = iter(dataset)
        if warm:
            next(iterator)
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in iterator:
            pass
        return time.perf_counter() - wall, time.process_time() - cpu

    def round(self, seconds):
        """Run for about `seconds`; return images per second of wall and of CPU time."""
        count = max(1, round(seconds / self.batch_seconds))
        groups = min(count, 16)
        group = count // groups
        wall, cpu = self._run(groups, group, warm=self.batch_seconds < _SLOW_SECONDS)
        self.batch_seconds = wall / (groups * group)
        images = groups * group * self._size
        return images / wall, images / cpu

    def later_traces(self, epochs=3, steps=2):
        """Return how often the function is traced after the first epoch of a plain `map`."""
        dataset = self._dataset(self._function, steps)
        counts = []
        for _ in range(epochs):
            for _ in dataset:
                pass
            counts.append(self.traces)
        return counts[-1] - counts[0]


class CalledSide:
    """A function without arguments that makes one batch, called from Python.

    Args:
        function: What is measured.
        size: Images in a batch.
    """

    def __init__(self, function, size):
        self._function, self._size = function, size
        start = time.perf_counter()
        function()
        self.first_seconds = self.batch_seconds = time.perf_counter() - start

    def round(self, seconds):
        """Call for about `seconds`; return images per second of wall and of CPU time."""
        wall, cpu, count = time.perf_counter(), time.process_time(), 0
        while count == 0 or time.perf_counter() - wall < seconds:
            self._function()
            count += 1
        images = count * self._size
        return images / (time.perf_counter() - wall), images / (time.process_time() - cpu)


def alternate(sides, *, rounds, seconds, budget):
    """Run the sides in turn; return for each the list of `(per wall second, per CPU second)`.

    Args:
        sides: Dictionary of name to side.
        rounds: Rounds of each side.
        seconds: About how long a round of a side takes, at least one batch.
        budget: Seconds after which a side runs no further round; each has one.
    """
    found, spent = {name: [] for name in sides}, dict.fromkeys(sides, 0.0)
    for turn in range(rounds):
        names = list(sides)
        # Another goes first each time, so that none is always the one after the slowest.
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            if found[name] and spent[name] > budget:
                continue
            start = time.perf_counter()
            found[name].append(sides[name].round(seconds))
            spent[name] += time.perf_counter() - start
    return found


def median_ratio(ours, others):
    """Return the median ratio of CPU speeds over rounds side by side; `None` without others."""
    if not ours or not others:
        return None
    pairs = zip(ours, others, strict=False)
    return statistics.median(own[1] / other[1] for own, other in pairs)


def medians(rounds):
    """Return the median `(per wall second, per CPU second)`, or `None`."""
    return None if not rounds else tuple(np.median(rounds, axis=0).tolist())


def faster_input(make, images, labels, cores):
    """Return the faster `MappedSide` of `make()` on float32 and on uint8 images.

    Args:
        make: Function that returns a new function to measure, since layers may keep state.
        images: uint8.
        labels: int32.
        cores: As for `MappedSide`.
    """
    float_side = MappedSide(make(), images.astype(np.float32), labels, cores)
    if float_side.first_seconds > 5 * _SLOW_SECONDS or float_side.batch_seconds > _SLOW_SECONDS:
        return float_side
    try:
        whole_side = MappedSide(make(), images, labels, cores)
    except (TypeError, ValueError, tf.errors.OpError):
        return float_side
    # Each once more, longer: one batch says little.
    speeds = {side: side.round(0.2)[1] for side in (float_side, whole_side)}
    return max(speeds, key=speeds.get)


class PeakMemory:
    """Growth of the process's peak memory inside a `with`, in megabytes, where Linux tells it."""

    def __enter__(self):
        self.megabytes = None
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            self._start = None
        else:
            self._start = _status("VmRSS")
        return self

    def __exit__(self, *_):
        if self._start is not None:
            self.megabytes = max(0.0, (_status("VmHWM") - self._start) / 1024)


def _status(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])
