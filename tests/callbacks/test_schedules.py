"""WarmupDecay against its reference, and against points worked out by hand."""

import keras
import pytest

from callbacks import WarmupDecay
from callbacks.schedules import warmup_decay

# step, warmup, final, decay, expected share of the peak over 100 steps
_BY_HAND = [
    (0, 0.1, 0.0, "cosine", 0.1),
    (9, 0.1, 0.0, "cosine", 1.0),
    (10, 0.1, 0.0, "cosine", 1.0),
    (55, 0.1, 0.0, "cosine", 0.5),
    (100, 0.1, 0.0, "cosine", 0.0),
    (55, 0.1, 0.2, "cosine", 0.6),
    (40, 0.2, 0.0, "linear", 0.75),
    (100, 0.2, 0.1, "linear", 0.1),
    (500, 0.2, 0.1, "linear", 0.1),
    (3, 0.0, 0.0, "constant", 1.0),
    (99, 0.5, 0.0, "constant", 1.0),
]


@pytest.mark.parametrize(("step", "warmup", "final", "decay", "share"), _BY_HAND)
def test_points_by_hand(step, warmup, final, decay, share):
    schedule = WarmupDecay(0.4, 100, warmup=warmup, final=final, decay=decay)
    assert float(schedule(step)) == pytest.approx(0.4 * share, abs=1e-7)
    reference = warmup_decay(step, 0.4, 100, warmup=warmup, final=final, decay=decay)
    assert reference == pytest.approx(0.4 * share, abs=1e-12)


def test_it_serialises():
    schedule = WarmupDecay(0.4, 100, warmup=0.3, final=0.1, decay="linear")
    config = keras.optimizers.schedules.serialize(schedule)
    again = keras.optimizers.schedules.deserialize(config)
    assert float(again(77)) == float(schedule(77))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"peak": 0.0}, "peak"),
        ({"steps": 0}, "steps"),
        ({"warmup": 1.0}, "warmup"),
        ({"final": 2.0}, "final"),
        ({"decay": "cos"}, "decay"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        WarmupDecay(**{"peak": 0.1, "steps": 10, **arguments})
