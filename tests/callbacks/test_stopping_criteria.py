"""Prechelt's criteria on sequences worked out by hand, and against their formulas in NumPy."""

import math

import numpy as np
import pytest

from callbacks import Bound, GeneralizationLoss, ProgressQuotient, RisingStrips
from callbacks.stopping_criteria import (
    check_class_counts,
    generalization_loss,
    rising_strips,
    standard_error,
    training_progress,
)

CURVES = np.random.default_rng(0).uniform(0.5, 2.0, (20, 2, 30))


@pytest.mark.parametrize("curve", CURVES[:5, 0])
def test_formulas(curve):
    for end in range(1, 31):
        seen = curve[:end]
        assert generalization_loss(seen) == pytest.approx(100 * (seen[-1] / seen.min() - 1))
        strip = seen[-4:]
        progress = 1000 * (strip.mean() / strip.min() - 1)
        assert training_progress(list(seen), 4) == pytest.approx(progress)


@pytest.mark.parametrize(
    ("losses", "strip", "rises"),
    [
        ([1], 1, 0),
        ([1, 2], 1, 1),
        ([1, 2, 3, 4], 1, 3),
        ([4, 1, 2, 3], 1, 2),
        ([1, 2, 2], 1, 0),
        ([1, 9, 2, 9, 3], 2, 2),
        ([3, 9, 2, 9, 3], 2, 1),
        ([1, 2, 3], 5, 0),
    ],
)
def test_rising_strips(losses, strip, rises):
    assert rising_strips(losses, strip) == rises


def first_stop(criterion, training, validation):
    stops = (
        end
        for end in range(1, len(validation) + 1)
        if criterion.verdict(training[:end], validation[:end])
    )
    return next(stops, None)


@pytest.mark.parametrize(("training", "validation"), CURVES)
def test_when_each_stops(training, validation):
    training, validation = training.tolist(), validation.tolist()
    over = [100 * (value / min(validation[: at + 1]) - 1) for at, value in enumerate(validation)]
    expected = next((at + 1 for at, value in enumerate(over) if value > 60), None)
    assert first_stop(GeneralizationLoss(60), training, validation) == expected

    def quotient(end):
        strip = training[end - 5 : end]
        return over[end - 1] / (1000 * (sum(strip) / 5 / min(strip) - 1))

    expected = next((end for end in range(5, 31, 5) if quotient(end) > 0.1), None)
    assert first_stop(ProgressQuotient(0.1, strip=5), training, validation) == expected
    ends = validation[2::3]
    up = [ends[at] > ends[at - 1] > ends[at - 2] if at >= 2 else False for at in range(10)]
    expected = next((3 * (at + 1) for at, rises in enumerate(up) if rises), None)
    assert first_stop(RisingStrips(2, strip=3), training, validation) == expected


def test_a_training_loss_that_stands_still():
    assert ProgressQuotient(1.0, strip=2).verdict([1, 1], [1, 1.1]) is not None
    assert ProgressQuotient(1.0, strip=2).verdict([1, 1], [1, 0.9]) is None


def test_bound():
    assert Bound("x", at_most=1).holds(1)
    assert not Bound("x", at_most=1).holds(1.1)
    assert Bound("x", at_least=0, at_most=1).holds(0)
    assert not Bound("x", at_least=0).holds(-0.1)
    assert not Bound("x", at_least=0).holds(math.inf)
    assert not Bound("x", at_most=0).holds(math.nan)
    assert str(Bound("x", at_least=0, at_most=1)) == "0 <= x <= 1"


def test_standard_error_is_that_of_a_binomial_share():
    assert standard_error(0.3, 50) == pytest.approx(np.sqrt(0.3 * 0.7 / 50))
    draws = np.random.default_rng(0).binomial(50, 0.3, 20000) / 50
    assert standard_error(0.3, 50) == pytest.approx(draws.std(), rel=0.03)


def test_class_counts():
    check_class_counts([0, 1, 1, 0], 2)
    with pytest.raises(ValueError, match="class 1 has 0"):
        check_class_counts([0, 2, 2, 0], 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GeneralizationLoss(0), "alpha must be positive, received: 0"),
        (lambda: ProgressQuotient(-1), "alpha must be positive"),
        (lambda: ProgressQuotient(strip=0), "strip must be 1 or more"),
        (lambda: RisingStrips(0), "strips must be 1 or more"),
        (lambda: RisingStrips(strip=0), "strip must be 1 or more"),
        (lambda: Bound("x"), "needs at_most or at_least"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_loss_of_zero():
    """The limits of the formulas."""
    assert generalization_loss([1.0, 0.0]) == 0.0
    assert generalization_loss([0.0, 0.1]) == math.inf
    assert training_progress([0.0, 0.0], 2) == 0.0
    assert training_progress([0.1, 0.0], 2) == math.inf
    assert GeneralizationLoss(5).verdict([0.0] * 2, [0.0, 0.0]) is None
    assert GeneralizationLoss(5).verdict([0.0] * 2, [0.0, 0.1]) is not None
