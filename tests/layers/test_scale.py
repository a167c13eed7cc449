import numpy as np
import pytest

from recipes.layers import Scale

INPUTS = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")


def test_layer(check_layer):
    check_layer(Scale, {"factor": 0.125}, images=INPUTS)


@pytest.mark.parametrize("factor", [0.125, -3, 1e-3])
def test_values(factor):
    np.testing.assert_allclose(Scale(factor)(INPUTS), INPUTS * np.float32(factor), rtol=1e-6)


@pytest.mark.parametrize("factor", [0, float("inf"), float("nan")])
def test_wrong_factor(factor):
    with pytest.raises(ValueError, match="factor must be a finite number other than 0"):
        Scale(factor)
