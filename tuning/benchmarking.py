"""Latency, memory and bytes of `.tflite` files, measured side by side."""

import gzip
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from recipes.errors import ConfigError
from recipes.evaluation.litert import LiteRTModel, peak_memory, runtime_name
from tuning.flatbuffer import inspect_tflite

_LEVEL = 0.95
_WARM_UP = 3


@dataclass(frozen=True)
class FileCost:
    """What one file costs.

    Attributes:
        file: Its path, as given.
        median_ms: Median time of a call on one image, over all rounds, in milliseconds.
        p90_ms: The time that 90 % of the calls stay under.
        ratio: Its time as a share of that of the first file: median over rounds of the ratio of
            medians. Below 1 it is faster.
        ratio_interval: Interval of that median over rounds, at least 95 % if there are 6 rounds or
            more; with fewer, the smallest and largest ratio.
        delegate: `"XNNPACK"`, `"none"` or `"unknown"`.
        memory_mb: Peak memory of a process that runs the file, more than before it was loaded, in
            10^6 bytes; `None` where the system does not tell.
        process_mb: Peak memory of that process, with Python and NumPy.
        bytes: Of the file.
        gzip_bytes: Of the file compressed by gzip, level 9.
        operations: Number of operations.
        float_operations: Those that compute in floating point.
    """

    file: str
    median_ms: float
    p90_ms: float
    ratio: float
    ratio_interval: tuple[float, float]
    delegate: str
    memory_mb: float | None
    process_mb: float | None
    bytes: int
    gzip_bytes: int
    operations: int
    float_operations: int


@dataclass(frozen=True)
class Benchmark:
    """Costs of several files; `print` shows them as a table.

    Attributes:
        files: In the order given; the first is what the others are compared with.
        threads: Threads the interpreter had.
        runs: Timed calls of each file in each round.
        rounds: Turns of each file.
        runtime: Package and version that ran the files.
    """

    files: tuple[FileCost, ...]
    threads: int
    runs: int
    rounds: int
    runtime: str

    def to_dict(self) -> dict[str, Any]:
        """Return all as plain types for JSON."""
        result = asdict(self)
        result["files"] = [
            {**row, "ratio_interval": list(row["ratio_interval"])} for row in result["files"]
        ]
        return result

    def __str__(self) -> str:
        head = ("file", "ms", "p90", "ratio (95 %)", "delegate", "MB", "kB", "gzip kB", "float ops")
        rows = [head] + [_row(cost) for cost in self.files]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        lines = [
            "  ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        lines.append(
            f"{self.runtime}, {threads}, one image a call; {self.rounds} rounds of {self.runs} "
            "calls of each file in turn; ratio: time as a share of the first file's"
        )
        return "\n".join(lines)


def benchmark(
    files: str | os.PathLike | Sequence[str | os.PathLike],
    *,
    threads: int = 1,
    runs: int = 50,
    rounds: int = 10,
) -> Benchmark:
    """Time `.tflite` files in the LiteRT interpreter, in turns, and measure what else they cost.

    The files take turns, each round begins with another one, and ratios are taken within a round:
    what slows the machine down for a while slows all of them down.

    Args:
        files: `.tflite` files with one image input; the first is the reference.
        threads: Threads of the interpreter, at least 1.
        runs: Timed calls of each file in a round, at least 1.
        rounds: How often each file has its turn, at least 1; 6 or more for an interval.

    Returns:
        The costs; `print` it, or `to_dict()`.

    Raises:
        ConfigError: If there is no file, or a number is below 1.
        RunError: If a file cannot be loaded or takes something else than one batch of images.

    Example:
        >>> print(benchmark(["float32.tflite", "int8.tflite"]))  # doctest: +SKIP
        file               ms    p90      ratio (95 %)  delegate    MB    kB  gzip kB  float ops
        float32.tflite  0.522  0.591  1.00 (1.00-1.00)   XNNPACK  14.4  1858     1725         15
        int8.tflite     0.149  0.155  0.28 (0.28-0.29)   XNNPACK  11.6   487      413          1
    """
    paths = [files] if isinstance(files, (str, os.PathLike)) else list(files)
    if not paths:
        raise ConfigError("files is empty: expected one .tflite file or more")
    for name, value in (("threads", threads), ("runs", runs), ("rounds", rounds)):
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, received: {value}")
    models = [LiteRTModel(path, threads) for path in paths]
    seconds = _time_in_turns(models, runs, rounds)
    medians = np.median(seconds, axis=2)
    costs = []
    for index, (path, model) in enumerate(zip(paths, models, strict=True)):
        ratios = medians[index] / medians[0]
        median, p90 = np.percentile(seconds[index], [50, 90]) * 1e3
        memory = peak_memory(path, threads) or {"file": None, "peak": None}
        content = Path(path).read_bytes()
        counts = inspect_tflite(path)
        costs.append(
            FileCost(
                file=os.fspath(path),
                median_ms=float(median),
                p90_ms=float(p90),
                ratio=float(np.median(ratios)),
                ratio_interval=median_interval(ratios),
                delegate=model.delegate,
                memory_mb=memory["file"],
                process_mb=memory["peak"],
                bytes=len(content),
                gzip_bytes=len(gzip.compress(content, 9, mtime=0)),
                operations=counts["operations"],
                float_operations=counts["float_operations"],
            )
        )
    return Benchmark(tuple(costs), threads, runs, rounds, runtime_name())


def median_interval(values: np.ndarray, level: float = _LEVEL) -> tuple[float, float]:
    """Return an interval of the median of a distribution from a sample of it.

    It lies between two order statistics and holds for any distribution: the number of values below
    the median is binomial with probability one half.

    Args:
        values: The sample, shape `(n,)`, n at least 1.
        level: Least coverage, between 0 and 1. Samples too small for it (under 6 for 95 %) give
            their smallest and largest value.

    Source:
        David and Nagaraja, "Order Statistics", 3rd edition, section 7.1.

    Example:
        >>> median_interval(np.arange(1, 11))
        (2.0, 9.0)
    """
    ordered = np.sort(np.asarray(values, np.float64))
    count, outside = len(ordered), (1 - level) / 2
    # The largest number of values that can be left out on either side.
    left_out = 0
    while left_out + 1 <= (count - 1) // 2 and special.bdtr(left_out + 1, count, 0.5) <= outside:
        left_out += 1
    return float(ordered[left_out]), float(ordered[count - 1 - left_out])


def _time_in_turns(models: Sequence[LiteRTModel], runs: int, rounds: int) -> np.ndarray:
    """Return seconds of shape `(files, rounds, runs)`."""
    images = [model.example() for model in models]
    seconds = np.empty((len(models), rounds, runs))
    for number in range(rounds):
        for turn in range(len(models)):
            index = (turn + number) % len(models)
            # The turn before has filled the caches with another file.
            models[index].time_calls(images[index], _WARM_UP)
            seconds[index, number] = models[index].time_calls(images[index], runs)
    return seconds


def _row(cost: FileCost) -> tuple[str, ...]:
    low, high = cost.ratio_interval
    return (
        cost.file,
        f"{cost.median_ms:.3g}",
        f"{cost.p90_ms:.3g}",
        f"{cost.ratio:.2f} ({low:.2f}-{high:.2f})",
        cost.delegate,
        "?" if cost.memory_mb is None else f"{cost.memory_mb:.1f}",
        f"{cost.bytes / 1000:.0f}",
        f"{cost.gzip_bytes / 1000:.0f}",
        str(cost.float_operations),
    )
