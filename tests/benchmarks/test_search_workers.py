"""The benchmarks of search by workers: their arithmetic."""

import numpy as np
import pytest

from benchmarks import search_memory, search_workers


def test_rates():
    # Ten trials in 50 s; of two workers, whose first were done after 10 s, eight in 40 s.
    ended = [9.0, 10.0, 15, 20, 25, 30, 35, 40, 45, 50]
    found = search_workers.figures(50.0, ended, 2)
    assert found == {"seconds": 50.0, "trials_an_hour": 720.0, "steady": 720.0}
    assert search_workers.figures(50.0, ended, 1)["steady"] == pytest.approx(9 / 41 * 3600)


def test_ratios_are_taken_within_a_round():
    one, two = ({"seconds": 1, "trials_an_hour": rate, "steady": 1} for rate in (10, 20))
    rounds = [{1: one, 2: two}, {1: two, 2: two}, {1: one, 2: two}]
    found = search_workers.summary(rounds)
    assert found[2]["trials_an_hour_ratio"] == 2.0
    assert found[1]["trials_an_hour_ratio"] == found[2]["steady_ratio"] == 1.0


def test_growth_is_a_slope():
    memory = [500, 900, 700, 650, *np.arange(8) * 2.5 + 700, None]
    assert search_memory.growth(memory) == pytest.approx(2.5)
