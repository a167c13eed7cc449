"""The decisions of `compress`: what to try next, what goes back to float, which file ships.

Pure functions of measured figures: nothing here makes, runs or reads a file, so that each decision
can be checked without a network, and a resumed run decides as the one that was never killed.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from recipes.errors import ConfigError, nearest

TARGETS = ("cpu", "int-only", "smallest")
METHODS = ("post-training", "pruning", "quantization-aware")
# What `compress` may use if it is asked to: a distilled network is another one, and takes longest.
ALL_METHODS = (*METHODS, "distillation")
REFERENCE = "float32"
# Latencies closer than this are taken as equal: they move as much from one measurement to the next.
_SAME_LATENCY = 1.05
# A file with half of its operations in float is no longer an integer file.
MOST_RESTORED = 0.5


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One way to make a file.

    Attributes:
        name: Of its files, and in tables.
        method: Which of `ALL_METHODS` it needs.
        summary: What it is, in words.
    """

    name: str
    method: str
    summary: str


_ALL = (
    Candidate(REFERENCE, "post-training", "the float file that all are held against"),
    Candidate("int8", "post-training", "full static int8"),
    Candidate("float16", "post-training", "half-precision weights, float arithmetic"),
    Candidate("weight-only-int8", "post-training", "int8 weights, float arithmetic"),
    Candidate("mixed", "post-training", "int8, the most sensitive operations back in float"),
    Candidate("qat", "quantization-aware", "int8 after quantization-aware training"),
    Candidate("pruned-int8", "pruning", "pruned, fine-tuned, then full static int8"),
    Candidate("distilled-int8", "distillation", "a smaller network that this one taught, in int8"),
    Candidate("pruned-qat", "quantization-aware", "pruned, then quantization-aware training"),
)
CANDIDATES = {candidate.name: candidate for candidate in _ALL}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a candidate, as far as decisions need it.

    Attributes:
        drop: Validation accuracy of the float file minus that of this one, in [-1, 1]; `None` if it
            failed.
        float_operations: Operations left in float, the last softmax apart.
        bytes: Size of the file.
        gzip_bytes: Size after gzip.
        latency: Time of one image as a share of the float file's; `None` before it is measured.
    """

    drop: float | None
    float_operations: int = 0
    bytes: int = 0
    gzip_bytes: int = 0
    latency: float | None = None

    def within(self, max_drop: float) -> bool:
        """Return whether it was made and keeps the accuracy."""
        # Accuracies are counts of images: 0.93 - 0.92 must not count as more than 0.01.
        return self.drop is not None and self.drop <= max_drop + 1e-9


def check_arguments(target: str, methods: Sequence[str], max_drop: float) -> tuple[str, ...]:
    """Return the methods as a tuple; raise `ConfigError` for what cannot be meant.

    Example:
        >>> check_arguments("cpu", ["pruning"], 0.01)
        ('pruning',)
    """
    if target not in TARGETS:
        raise ConfigError(
            f"target must be one of {', '.join(TARGETS)}, received: {target!r}"
            + nearest(str(target), TARGETS)
        )
    methods = (methods,) if isinstance(methods, str) else tuple(methods)
    for method in methods:
        if method not in ALL_METHODS:
            raise ConfigError(
                f"methods must be among {', '.join(ALL_METHODS)}, received: {method!r}"
                + nearest(str(method), ALL_METHODS)
            )
    if not methods:
        raise ConfigError(
            f"methods must name at least one of {', '.join(ALL_METHODS)}, received none"
        )
    number = isinstance(max_drop, (int, float)) and not isinstance(max_drop, bool)
    if not number or not 0 <= max_drop < 1:
        raise ConfigError(
            "max_drop must be a share of all images in [0, 1), such as 0.01 for one point, "
            f"received: {max_drop!r}"
        )
    return methods


def next_candidate(
    target: str, methods: Sequence[str], max_drop: float, outcomes: Mapping[str, Outcome]
) -> str | None:
    """Return the name of the next candidate to try, or `None` when the ladder has ended.

    Args:
        target: One of `TARGETS`.
        methods: Those that may be used.
        max_drop: Largest loss of validation accuracy.
        outcomes: What became of those tried so far, failures included, by name.

    Example:
        >>> done = {"float32": Outcome(0.0), "int8": Outcome(0.05)}
        >>> done |= {"float16": Outcome(0.0), "weight-only-int8": Outcome(0.0)}
        >>> next_candidate("cpu", METHODS, 0.01, done)
        'mixed'
        >>> next_candidate("int-only", METHODS, 0.01, done)
        'qat'
    """

    def fails(*names):
        """Return whether none of some candidates, as far as tried, will do."""
        return not any(
            name in outcomes and acceptable(target, outcomes[name], max_drop) for name in names
        )

    integers = ("int8", "pruned-int8", "distilled-int8", "pruned-qat")
    steps = {
        "cpu": [
            (REFERENCE, True),
            ("int8", True),
            ("float16", True),
            ("weight-only-int8", True),
            ("mixed", "int8" in outcomes and fails("int8")),
            ("distilled-int8", True),
            ("qat", fails("int8", "mixed", "distilled-int8")),
        ],
        "int-only": [
            (REFERENCE, True),
            ("int8", True),
            ("distilled-int8", True),
            ("qat", fails("int8", "distilled-int8")),
            ("pruned-qat", "pruning" in methods and fails("int8", "distilled-int8", "qat")),
        ],
        "smallest": [
            (REFERENCE, True),
            ("int8", True),
            ("weight-only-int8", True),
            ("pruned-int8", True),
            ("distilled-int8", True),
            ("pruned-qat", "pruning" in methods and fails("pruned-int8", "distilled-int8")),
            ("mixed", "int8" in outcomes and fails(*integers)),
            ("qat", fails(*integers, "mixed")),
        ],
    }[target]
    for name, wanted in steps:
        allowed = name == REFERENCE or CANDIDATES[name].method in methods
        if wanted and allowed and name not in outcomes:
            return name
    return None


def acceptable(target: str, outcome: Outcome, max_drop: float) -> bool:
    """Return whether a candidate may ship: accurate enough, and all integer where that is asked."""
    integer = target != "int-only" or outcome.float_operations == 0
    return outcome.within(max_drop) and integer


def choose(target: str, max_drop: float, outcomes: Mapping[str, Outcome]) -> tuple[str | None, str]:
    """Return the name of the file to ship, and a sentence that says why.

    For `"cpu"` the fastest, of equally fast ones the smallest; for `"int-only"` the smallest
    without a float operation; for `"smallest"` the smallest after gzip.

    Args:
        target: One of `TARGETS`.
        max_drop: Largest loss of validation accuracy.
        outcomes: Of all candidates, by name.

    Returns:
        `None` for the name if none will do.

    Example:
        >>> tried = {"float32": Outcome(0.0, 9, 400, 380, 2.0)}
        >>> tried["int8"] = Outcome(0.002, 0, 100, 90, 0.8)
        >>> choose("cpu", 0.01, tried)[0]
        'int8'
    """
    kept = {
        name: outcome for name, outcome in outcomes.items() if acceptable(target, outcome, max_drop)
    }
    points = f"{100 * max_drop:g}"
    unit = "point" if points == "1" else "points"
    limit = f"{points} {unit} of the float file on the validation images"
    if not kept:
        what = " and has no float operation left" if target == "int-only" else ""
        return None, f"No candidate stays within {limit}{what}."
    if target == "cpu":
        times = {name: outcome.latency for name, outcome in kept.items()}
        known = {name: time for name, time in times.items() if time is not None}
        if known:
            fastest = min(known.values())
            level = [name for name, time in known.items() if time <= fastest * _SAME_LATENCY]
            name = min(level, key=lambda name: (kept[name].bytes, name))
            tie = ", the smallest of those equally fast" if len(level) > 1 else ""
            return name, f"{name} is the fastest of the files within {limit}{tie}."
    if target == "smallest":
        name = min(kept, key=lambda name: (kept[name].gzip_bytes, name))
        return name, f"{name} is the smallest after gzip of the files within {limit}."
    name = min(kept, key=lambda name: (kept[name].bytes, name))
    kind = " without float operations" if target == "int-only" else ""
    return name, f"{name} is the smallest of the files{kind} within {limit}."


def pareto(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Return the names of the points that no other beats: more accuracy or fewer bytes.

    Args:
        points: `(accuracy, cost)` by name.

    Returns:
        Names by rising cost. Of points that are equal in both the first stays.

    Example:
        >>> pareto({"float": (0.9, 400), "int8": (0.9, 100), "tiny": (0.8, 50), "bad": (0.7, 60)})
        ['tiny', 'int8']
    """
    front, best = [], -math.inf
    order = sorted(points.items(), key=lambda item: (item[1][1], -item[1][0]))
    for name, (accuracy, _) in order:
        if accuracy > best:
            front.append(name)
            best = accuracy
    return front


@dataclasses.dataclass(frozen=True)
class Measure:
    """How far a quantized file is from the float one.

    Attributes:
        drop: Loss of validation accuracy, a share.
        distortion: Mean Kullback-Leibler divergence of its probabilities from those of the float
            file, nats an image. It falls where single images near a border between classes do not
            yet change sides, so it ranks operations with far less noise than accuracy does.
    """

    drop: float
    distortion: float


def rank(base: float, alone: Mapping[str, float]) -> list[str]:
    """Return the operations whose return to float helps, the most helpful first.

    Args:
        base: Distortion with all operations in int8.
        alone: Distortion with one operation in float, by its name.

    Example:
        >>> rank(0.5, {"a": 0.4, "b": 0.1, "c": 0.6})
        ['b', 'a']
    """
    helpful = {name: value for name, value in alone.items() if value < base}
    return sorted(helpful, key=lambda name: (helpful[name], name))


def restore(
    order: Iterable[str],
    start: Measure,
    measure: Callable[[tuple[str, ...]], Measure],
    max_drop: float,
    most: int,
    cost: Callable[[tuple[str, ...]], int] = len,
) -> tuple[tuple[str, ...], Measure, list[dict]]:
    """Give operations back to float, one after the other, until the accuracy is back.

    An operation stays in float only if the file comes nearer to the float one by it; the others
    return to int8 at once.

    Args:
        order: Operations, the most sensitive first.
        start: With all operations in int8.
        measure: Makes and measures the file with some operations in float.
        max_drop: Where to stop.
        most: Operations that may be float in the end.
        cost: How many operations are float when some are asked to be.

    Returns:
        The operations in float, what the last file measured, and the steps: `operation`, `drop`,
        `distortion`, `kept`.

    Example:
        >>> files = {("a",): Measure(0.03, 0.4), ("a", "b"): Measure(0.005, 0.1)}
        >>> restore(["a", "b", "c"], Measure(0.06, 0.9), files.get, 0.01, 3)[0]
        ('a', 'b')
    """
    kept, best, steps = (), start, []
    for operation in order:
        if best.drop <= max_drop + 1e-9:
            break
        if cost((*kept, operation)) > most:
            continue
        found = measure((*kept, operation))
        better = found.distortion < best.distortion
        steps.append({"operation": operation, **dataclasses.asdict(found), "kept": better})
        if better:
            kept, best = (*kept, operation), found
    return kept, best, steps
