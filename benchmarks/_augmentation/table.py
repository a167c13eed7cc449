"""Measure the rows, and lay out what was found."""

import gc

import numpy as np
import tensorflow as tf

from benchmarks._augmentation import ours, peers, stock
from benchmarks._augmentation.measure import (
    CalledSide,
    MappedSide,
    PeakMemory,
    alternate,
    faster_input,
    median_ratio,
    medians,
)
from benchmarks._augmentation.rows import ROWS


def measure_rows(options, show):
    """Measure what `options` asks for.

    Args:
        options: With `rows`, `sizes`, `batch_size`, `rounds`, `seconds`, `budget`, `cores`.
        show: Called with each row when it is done.

    Returns:
        List of dictionaries, one a row and size.
    """
    found = []
    for size in options.sizes:
        floor = None
        for row in ROWS:
            if row.name != "floor" and row.name not in options.rows:
                continue
            result = _measure(row, size, options, floor)
            if row.name == "floor":
                floor = result["ours"]
            if row.name in options.rows:
                found.append(result)
                show(result)
            # Traced functions refer to themselves in circles.
            gc.collect()
    return found


def _measure(row, size, options, floor):
    generator = np.random.default_rng(0)
    shape = options.batch_size, size, size, options.channels
    images = generator.integers(0, 256, shape, dtype=np.uint8)
    labels = generator.integers(0, stock.CLASSES, options.batch_size).astype(np.int32)
    result = {"row": row.name, "title": row.title, "size": size, "target": row.target(size)}
    sides, memory = {}, PeakMemory()
    if row.name == "floor":
        sides["ours"] = MappedSide(_cast, images, labels, options.cores)
    else:
        try:
            make = ours.ROWS[row.name]
            function = make(size, "float32")
        except (AttributeError, KeyError) as error:
            return {**result, "skipped": str(error)}
        with memory:
            sides["ours"] = MappedSide(function, images, labels, options.cores)
        sides["uint8"] = MappedSide(make(size), images, labels, options.cores)
    if row.name in stock.ROWS and options.keras:
        make = stock.ROWS[row.name]
        sides["keras"] = faster_input(lambda: make(size), images, labels, options.cores)
    if options.channels == 3:
        sides.update(_peer(row.name, size, images, labels))
    rounds = alternate(sides, rounds=options.rounds, seconds=options.seconds, budget=options.budget)
    result.update({name: medians(values) for name, values in rounds.items()})
    result.update(_judged(row, rounds, floor, result["target"]))
    return {
        **result,
        "first_seconds": sides["ours"].first_seconds,
        "peak_megabytes": memory.megabytes if row.name != "floor" else None,
        "later_traces": sides["ours"].later_traces(),
    }


def _judged(row, rounds, floor, target):
    """Return ratios, and whether the target is met."""
    if row.of_floor:
        speeds = {name: medians(rounds[name])[1] / floor[1] for name in ("ours", "uint8")}
    else:
        stocks = rounds.get("keras")
        speeds = {name: median_ratio(rounds.get(name), stocks) for name in ("ours", "uint8")}
    met = None
    if target is not None and speeds["ours"] is not None:
        met = "yes" if speeds["ours"] >= target else "no"
        if met == "no" and speeds["uint8"] >= target:
            met = "uint8"
    return {
        "ratio": speeds["ours"],
        "ratio_uint8": speeds["uint8"],
        "met": met,
        "peer_ratio": median_ratio(rounds.get("ours"), rounds.get("peer")),
        "peer_bar": row.behind,
    }


def _peer(name, size, images, labels):
    transforms = peers.albumentations_rows(size)
    if name in transforms:
        run = peers.albumentations_batch(transforms[name], images)
        return {"peer": CalledSide(run, len(images))}
    mixes = peers.kornia_rows(images, labels) if name in ("mixup", "cutmix") else {}
    return {"peer": CalledSide(mixes[name], len(images))} if name in mixes else {}


def _cast(images, _labels, _seed):
    return tf.cast(images, tf.float32)


HEADER = (
    f"{'size':>4} {'row':<34}{'ours':>8}{'wall':>8}{'Keras':>8}{'ratio':>7}{'target':>8} "
    f"{'met':<6}{'uint8':>8}{'ratio':>7}{'peer':>8}{'ratio':>7}{'first s':>9}{'peak MB':>9}"
    f"{'traces':>8}"
)


def line_of(result):
    """Return a row of the table: thousand images a second, ratios, what the first call costs."""
    start = f"{result['size']:>4} {result['title']:<34}"
    if "skipped" in result:
        return f"{start} skipped: {result['skipped']}"
    ours = result["ours"]
    cells = [
        _thousands(ours and ours[1], 8),
        _thousands(ours and ours[0], 8),
        _thousands(result.get("keras") and result["keras"][1], 8),
        _times(result["ratio"], 7),
        _times(result["target"], 8),
        f" {result['met'] or '':<6}",
        _thousands(result.get("uint8") and result["uint8"][1], 8),
        _times(result["ratio_uint8"], 7),
        _thousands(result.get("peer") and result["peer"][1], 8),
        _times(result["peer_ratio"], 7, "!" if _falls_short(result) else ""),
        f"{result['first_seconds']:>9.2f}",
        f"{'':>9}" if result["peak_megabytes"] is None else f"{result['peak_megabytes']:>9.0f}",
        f"{result['later_traces']:>8}",
    ]
    return start + "".join(cells)


def _falls_short(result):
    return result["peer_bar"] and result["size"] == 224 and (result["peer_ratio"] or 1) < 1


def _thousands(value, width):
    return " " * width if value is None else f"{value / 1e3:>{width}.{0 if value > 1e5 else 2}f}"


def _times(value, width, mark=""):
    if value is None:
        return " " * width
    return f"{value:.{1 if value < 20 else 0}f}x{mark}".rjust(width)
