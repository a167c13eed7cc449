"""Cyclic rates against the formulas of the papers, in plain Python."""

import math

import keras
import pytest

from callbacks import AveragingRate, CosineCycles, WarmupDecay


def _paper(t, total, cycles, peak):
    """Huang et al., equation 2, with t counted from 1."""
    length = math.ceil(total / cycles)
    return peak / 2 * (math.cos(math.pi * ((t - 1) % length) / length) + 1)


def test_cosine_cycles_are_those_of_the_paper():
    schedule = CosineCycles(0.2, math.ceil(100 / 3))
    ours = [float(schedule(step)) for step in range(0, 100, 3)]
    expected = [_paper(step + 1, 100, 3, 0.2) for step in range(0, 100, 3)]
    assert ours == pytest.approx(expected, abs=1e-7)
    assert float(CosineCycles(1.0, 10, final=0.2)(5)) == pytest.approx(0.6)
    # float32 could not tell these steps apart
    assert float(schedule(34 * 10**6 + 1)) == float(schedule(1)) < float(schedule(34 * 10**6))


def test_averaging_rate_is_that_of_the_paper():
    before = WarmupDecay(0.4, 20, decay="linear")
    schedule = AveragingRate(before, start=10, rate=0.05, final=0.01, cycle_steps=5)
    for step in range(10):
        assert float(schedule(step)) == float(before(step))
    for step in range(10, 30):
        i = step - 10 + 1  # the paper counts from 1
        t = ((i - 1) % 5 + 1) / 5
        assert float(schedule(step)) == pytest.approx((1 - t) * 0.05 + t * 0.01, rel=1e-5)
    constant = AveragingRate(0.1, start=2, rate=0.05)
    assert [float(constant(step)) for step in (1, 2, 99)] == pytest.approx([0.1, 0.05, 0.05])


@pytest.mark.parametrize(
    "schedule",
    [
        CosineCycles(0.2, 7, final=0.1),
        AveragingRate(WarmupDecay(0.4, 20), 10, 0.05, final=0.01, cycle_steps=5),
        AveragingRate(0.3, 10, 0.05),
    ],
)
def test_they_serialise_inside_an_optimizer(schedule):
    optimizer = keras.optimizers.SGD(schedule)
    config = keras.saving.serialize_keras_object(optimizer)
    again = keras.saving.deserialize_keras_object(config)
    again.build([keras.Variable([1.0])])
    for step in (0, 9, 13):
        again.iterations.assign(step)
        assert float(again.learning_rate) == pytest.approx(float(schedule(step)))


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (CosineCycles, {"peak": 0}, "peak"),
        (CosineCycles, {"cycle_steps": 2.5}, "cycle_steps"),
        (CosineCycles, {"final": 2.0}, "final"),
        (AveragingRate, {"before": 0}, "before"),
        (AveragingRate, {"start": -1}, "start"),
        (AveragingRate, {"rate": 0}, "rate"),
        (AveragingRate, {"final": 0.1}, "belong together"),
        (AveragingRate, {"final": 0.0, "cycle_steps": 3}, "final"),
    ],
)
def test_wrong_arguments(kind, arguments, message):
    usual = {
        CosineCycles: {"peak": 0.1, "cycle_steps": 3},
        AveragingRate: {"before": 0.1, "start": 3, "rate": 0.1},
    }
    with pytest.raises(ValueError, match=message):
        kind(**{**usual[kind], **arguments})
