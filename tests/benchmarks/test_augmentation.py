"""The benchmark of the augmentations: its arithmetic, its rows, and one short run."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from benchmarks._augmentation import measure, ours, rows, stock, table

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "augmentation.py"


def test_every_row_is_made_by_both_sides():
    names = set(rows.NAMES)
    assert len(names) == len(rows.NAMES)
    assert set(ours.ROWS) == names - {"floor"}
    assert set(stock.ROWS) == names - {"floor", "pca"}, "Keras has no lighting noise"


def test_ratios_are_of_rounds_side_by_side():
    first, second = [(1, 10.0), (1, 40.0), (1, 30.0)], [(1, 5.0), (1, 10.0), (1, 10.0)]
    assert measure.median_ratio(first, second) == 3.0
    assert measure.median_ratio(first, None) is None
    assert measure.medians(first) == (1.0, 30.0)


@pytest.mark.parametrize(
    ("ours_", "whole", "met"), [(31, 20, "yes"), (20, 31, "uint8"), (20, 20, "no")]
)
def test_a_target_is_met_or_not(ours_, whole, met):
    row = rows.Row("name", "title", (3, None))
    found = table._judged(
        row, {"ours": [(1, ours_)], "uint8": [(1, whole)], "keras": [(1, 10)]}, None, row.target(32)
    )
    assert found["met"] == met
    assert found["ratio"] == ours_ / 10
    assert row.target(224) is None


def test_a_share_of_the_floor():
    row = rows.Row("name", "title", (0.8, None), of_floor=True)
    found = table._judged(row, {"ours": [(1, 9)], "uint8": [(1, 9)]}, (1, 10), row.target(32))
    assert (found["ratio"], found["met"]) == (0.9, "yes")


def test_a_side_is_traced_once_and_runs_as_often_as_it_says():
    calls = []

    def function(images, labels, seed):
        tf.py_function(lambda step: calls.append(int(step)), [seed[1]], [])
        return images + tf.cast(labels[:, None, None, None], tf.uint8)

    side = measure.MappedSide(
        function, np.zeros((2, 4, 4, 1), np.uint8), np.arange(2, dtype="i"), 1
    )
    before = len(calls)
    side.batch_seconds = 0.001
    wall, cpu = side.round(0.02)
    assert side.traces == 1
    # 16 groups of one batch, after one that warms up.
    assert len(calls) == before + 17
    assert calls[before:] == list(range(17)), "a seed for each batch"
    assert wall > 0
    assert cpu > 0
    assert side.later_traces() == 0


@pytest.mark.slow
def test_it_runs_as_a_program():
    command = [sys.executable, PROGRAM, "--rows", "flip", "--sizes", "8", "--json"]
    answer = subprocess.run(
        [*command, "--rounds", "1", "--seconds", "0.02", "--batch-size", "4"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert answer.returncode == 0, answer.stderr
    (row,) = json.loads(answer.stdout.splitlines()[-1])["rows"]
    assert row["ratio"] > 0
    assert row["later_traces"] == 0
    assert row["target"] is None, "none for this size"
