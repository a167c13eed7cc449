"""Ticks, pictures and the examples of the modules that the report is made of."""

import base64
import doctest
import io
import re

import numpy as np
import pytest
from PIL import Image

from recipes.evaluation import comparison_text as text
from recipes.evaluation import intervals, markdown, page, plots, run_files, wording


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.51, 0.58, [0.5, 0.52, 0.54, 0.56, 0.58]),
        (-3, 12, [-5, 0, 5, 10, 15]),
        (2, 2, [1, 1.5, 2, 2.5, 3]),
    ],
)
def test_nice_ticks(low, high, expected):
    assert plots.nice_ticks(low, high) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("high", [1, 2, 3, 7, 30, 123, 100_000])
def test_epoch_ticks_are_whole(high):
    ticks = plots.nice_ticks(1, high, whole=True)
    assert all(tick == int(tick) for tick in ticks)
    assert len(ticks) <= 8


@pytest.mark.parametrize("low", [1e-8, 3e-4, 0.02, 1.0, 5e3, 1e7])
def test_ticks_enclose_the_values_and_their_labels_differ(low):
    ticks = plots.nice_ticks(low, 3.3 * low)
    assert ticks[0] <= low < 3.3 * low <= ticks[-1]
    labels = [plots.tick_text(tick, ticks) for tick in ticks]
    assert len(set(labels)) == len(labels)
    assert all(len(label) <= 8 for label in labels)


def test_noise_looks_flat_and_its_labels_are_short():
    drawing = str(plots.line_chart([1, 2, 3], [[0.080151, 0.080160, 0.080268]], label="noise"))
    labels = re.findall(r">(0\.\d+)<", drawing)
    assert len(labels) >= 3
    assert max(map(len, labels)) <= 6
    points = re.search(r'<polyline points="([^"]+)"', drawing)[1].split()
    heights = [float(point.split(",")[1]) for point in points]
    assert max(heights) - min(heights) < 30


def test_each_curve_has_its_style_and_its_own_dot():
    drawing = str(
        plots.line_chart(
            [1, 2, 3],
            [[1.0, 2.0, None], [3.0, 2.0, 1.0]],
            label="two",
            names=["run1 dash1", "run2 dash1"],
            dots=[2, None],
        )
    )
    assert drawing.count("series run1 dash1") == drawing.count("series run2 dash1") == 1
    assert re.findall(r'<circle [^>]*class="([^"]*)"', drawing) == ["dot run1 dash1"]


def test_small_curves_reach_from_the_lowest_to_one():
    drawing = str(plots.spark_line([0.5, 1.0], [0.5, None], low=0.5, label="small", marked=1))
    heights = [float(y) for y in re.findall(r'polyline points="[\d.]+,([\d.]+) ', drawing)]
    lines = [float(y) for y in re.findall(r'<line [^>]*y1="([\d.]+)"', drawing)]
    dot = float(re.findall(r'r="3" class="dot one"|cy="([\d.]+)"', drawing)[-2])
    assert heights == [max(lines)]
    assert dot == min(lines)


def test_pictures_are_lossless_when_small():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    source, small = page.picture(pixels)
    assert small
    content = base64.b64decode(source.removeprefix("data:image/png;base64,"))
    assert (np.asarray(Image.open(io.BytesIO(content))) == pixels).all()


@pytest.mark.parametrize("module", [page, plots, wording, markdown, run_files, intervals, text])
def test_examples_run(module):
    assert doctest.testmod(module).failed == 0
