import pytest

from recipes.errors import ConfigError
from recipes.layers import make_divisible


# By hand from the rule; the MobileNetV2 widths at 0.75 and 1.4 are those of its published models.
@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        (32, 32),
        (32 * 0.75, 24),
        (16 * 1.4, 24),
        (24 * 1.4, 32),
        (96 * 1.4, 136),
        (1280 * 1.4, 1792),
        (1, 8),
        (11, 16),
        (12, 16),
        (19, 24),
        (100, 104),
        (8.8, 8),
        (8.9, 16),
    ],
)
def test_multiples_of_eight(channels, expected):
    assert make_divisible(channels) == expected


@pytest.mark.parametrize("divisor", [1, 4, 8, 16])
def test_the_rule(divisor):
    for channels in range(1, 200):
        result = make_divisible(channels, divisor)
        assert result % divisor == 0
        assert result >= 0.9 * channels
        assert abs(result - channels) <= divisor or channels < divisor


@pytest.mark.parametrize("arguments", [(0,), (-8,), (float("inf"),), (8, 0), (8, 2.5)])
def test_wrong_arguments(arguments):
    with pytest.raises(ConfigError, match=r"(channels|divisor) must be a positive"):
        make_divisible(*arguments)
