"""What a search concludes of its trials: which are hopeless, what is best, what mattered."""

import dataclasses
import math

import numpy as np
import pytest

from tuning._search_trials import Trial, hopeless
from tuning.search_report import best_so_far, importance, trials_csv, variance_share


def reference_hopeless(values, others, direction, first_epoch, least):
    """The rule in NumPy, written from the paper."""
    sign = 1 if direction == "max" else -1
    step = len(values)
    means = [np.mean(sign * np.array(other[:step])) for other in others if len(other) >= step]
    if step < first_epoch or len(means) < least:
        return False
    return bool(np.max(sign * np.array(values)) < np.median(means))


@pytest.mark.parametrize("direction", ["max", "min"])
def test_the_median_rule_agrees_with_numpy(direction):
    random = np.random.default_rng(0)
    verdicts = []
    for _ in range(300):
        others = [random.random(random.integers(1, 6)).tolist() for _ in range(7)]
        values = random.random(random.integers(1, 6)).tolist()
        arguments = {"direction": direction, "first_epoch": 2, "least": 3}
        verdicts.append(hopeless(values, others, **arguments))
        assert verdicts[-1] == reference_hopeless(values, others, **arguments)
    assert 10 < sum(verdicts) < 290


def trial(number, values, value, state="completed", stage="coarse"):
    return Trial(stage, number, values, state, None, value, 1, 1, 1.0, (), value, values)


def test_variance_share_is_that_of_the_f_test():
    from scipy import stats

    random = np.random.default_rng(0)
    groups = random.integers(0, 4, 60)
    values = groups * 0.7 + random.normal(size=60)
    ranks = stats.rankdata(values)
    f = stats.f_oneway(*(ranks[groups == group] for group in range(4))).statistic
    # Epsilon squared by its other formula, from F and the degrees of freedom.
    expected = 3 * (f - 1) / (3 * f + 56)
    assert variance_share(groups.tolist(), values) == pytest.approx(expected)


def test_importance_finds_what_matters_and_how_much():
    """Independent inputs whose shares of the variance are known."""
    random = np.random.default_rng(1)
    trials = []
    for number in range(600):
        rate, depth, kind = random.random(), random.random(), random.choice(["x", "y"])
        # Variances: 3/12 from the rate; of the square 1/180, so 1/8 from the depth; of the kind 0.
        bump = (depth - 0.5) ** 2 * math.sqrt(180 / 8)
        values = {"depth": depth, "kind": kind, "rate": rate}
        trials.append(trial(number, values, rate * math.sqrt(3) + bump))
    found = {one.name: one for one in importance(trials, "max")}
    assert list(found) == ["rate", "depth", "kind"]
    # Ranks and five groups keep most of a share, not all.
    assert found["rate"].share == pytest.approx(2 / 3, abs=0.08)
    assert found["depth"].share == pytest.approx(1 / 3, abs=0.1)
    assert found["kind"].share < 0.02
    assert found["rate"].trend > 0.75
    # A correlation alone would have missed it.
    assert abs(found["depth"].trend) < 0.1
    assert found["kind"].trend is None


def test_importance_with_little_to_go_by():
    few = [trial(n, {"a": float(n), "b": 1}, float(n)) for n in range(3)]
    assert [(one.name, one.share) for one in importance(few, "max")] == [("b", 0.0), ("a", None)]
    # A conditional one that not every trial has.
    some = [trial(n, {"a": n} if n % 2 else {}, float(n)) for n in range(12)]
    assert importance(some, "max")[0].name == "a"


def test_importance_is_that_within_trials_of_one_length():
    """As of Hyperband: the few that are trained longer are better whatever their values."""
    short = [trial(n, {"a": n % 3}, float(n % 3)) for n in range(12)]
    long = [
        dataclasses.replace(trial(12 + n, {"a": 0}, 10.0 + n), planned_epochs=3) for n in range(5)
    ]
    assert importance(short + long, "max") == importance(short, "max")


@pytest.mark.parametrize("direction", ["max", "min"])
def test_diverged_trials_are_the_worst(direction):
    from scipy import stats

    rates = [0.01, 0.02, 0.03, 0.1, 0.12, 0.14, 0.5, 0.6, 0.7]
    losses = [0.5, 0.5, 0.5, 0.9, 0.92, 0.95]
    sign = 1 if direction == "min" else -1
    trials = [trial(n, {"rate": rates[n]}, sign * loss) for n, loss in enumerate(losses)]
    for number in (6, 7, 8):
        # The algorithm was told less than the worst of the others has.
        one = trial(number, {"rate": rates[number]}, None, "diverged")
        trials.append(dataclasses.replace(one, reported=sign * math.log(2)))
    (found,) = importance(trials, direction)
    expected = stats.spearmanr(rates, [*losses, 9, 9, 9]).statistic
    assert found.trend == pytest.approx(sign * expected)


def test_best_so_far_begins_anew_with_each_stage():
    values = [(0.5, "completed"), (0.7, "pruned"), (0.4, "completed"), (0.6, "completed")]
    trials = [trial(n, {}, value, state) for n, (value, state) in enumerate(values)]
    assert best_so_far(trials, "max") == [0.5, 0.5, 0.5, 0.6]
    assert best_so_far(trials, "min") == [0.5, 0.5, 0.4, 0.4]
    refined = [trial(0, {}, 0.2, stage="refined")]
    assert best_so_far(trials + refined, "max")[-1] == 0.2
    assert best_so_far([trial(0, {}, None, "diverged")], "max") == [None]


def test_csv_is_read_back():
    import csv

    trials = [trial(0, {"a": 1, "b": "x, y"}, 0.5), trial(1, {"a": 2}, None, "diverged")]
    rows = list(csv.DictReader(trials_csv(trials).splitlines()))
    assert [(row["a"], row["b"], row["value"], row["state"]) for row in rows] == [
        ("1", "x, y", "0.5", "completed"),
        ("2", "", "", "diverged"),
    ]
