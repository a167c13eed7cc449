import keras
import numpy as np
import pytest
import scipy.special

from recipes.errors import ConfigError
from recipes.layers import GatedSum, Merge

SHAPE = (3, 5, 4, 6)
BRANCHES = [np.random.default_rng(i).normal(size=SHAPE).astype("float32") for i in range(3)]


@pytest.mark.parametrize(
    "arguments",
    [{}, {"mode": "concat"}, {"mode": "gated", "ratio": 2, "minimum": 4}],
    ids=["sum", "concat", "gated"],
)
def test_layer(check_layer, arguments):
    check_layer(Merge, arguments, images=BRANCHES)


def test_gated_sum_layer(check_layer):
    logits = np.random.default_rng(9).normal(size=(3, 1, 1, 12)).astype("float32")
    check_layer(GatedSum, {}, images=[logits, *BRANCHES[:2]])


def test_sum_and_concat():
    np.testing.assert_allclose(Merge("sum")(BRANCHES), np.sum(BRANCHES, 0), atol=1e-6)
    maps = [*BRANCHES, np.ones((3, 5, 4, 2), "float32")]
    np.testing.assert_array_equal(Merge("concat")(maps), np.concatenate(maps, -1))


def test_gated(arithmetic):
    layer = arithmetic.randomized(Merge("gated", ratio=2, minimum=1), [SHAPE] * 3)
    parts = arithmetic.parts(layer)
    assert parts["reduce"]["kernel"].shape == (1, 1, 6, 3)
    mean = np.sum(BRANCHES, 0).mean((1, 2), keepdims=True)
    hidden = np.maximum(arithmetic.convolution(mean, parts["reduce"]), 0)
    logits = arithmetic.convolution(hidden, parts["expand"]).reshape(3, 3, 1, 1, 6)
    weights = scipy.special.softmax(logits, axis=1)
    expected = sum(weights[:, i] * branch for i, branch in enumerate(BRANCHES))
    np.testing.assert_allclose(layer(BRANCHES), expected, atol=1e-5)


def test_weights_of_the_branches_sum_to_one(arithmetic):
    layer = arithmetic.randomized(Merge("gated"), [SHAPE] * 3)
    same = [BRANCHES[0]] * 3
    np.testing.assert_allclose(layer(same), BRANCHES[0], atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_large_logits_in_half_precision(policy):
    logits = np.array([3e4, -3e4], "float32").reshape(1, 1, 1, 2)
    maps = [np.full((1, 2, 2, 1), value, "float32") for value in (2.0, 5.0)]
    np.testing.assert_array_equal(GatedSum(dtype=policy)([logits, *maps]), maps[0])


def test_open_sizes():
    inputs = [keras.Input((None, None, 6)), keras.Input((5, None, 6))]
    model = keras.Model(inputs, Merge("gated")(inputs))
    assert model(BRANCHES[:2]).shape == SHAPE


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "add"}, "mode must be one of 'sum', 'concat', 'gated'"),
        ({"ratio": 0}, "ratio must be a positive integer"),
        ({"minimum": 1.5}, "minimum must be a positive integer"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Merge(**arguments)


@pytest.mark.parametrize(
    ("mode", "shapes", "message"),
    [
        ("sum", [SHAPE], "a list of two or more feature maps"),
        ("sum", [SHAPE, (3, 5, 4, 7)], "with the same number of channels"),
        ("gated", [SHAPE, (3, 5, 4, 7)], "with the same number of channels"),
        ("concat", [SHAPE, (3, 5, 8, 6)], "of one size"),
        ("concat", [SHAPE, (3, 6)], "takes feature maps"),
    ],
)
def test_feature_maps_that_do_not_fit(mode, shapes, message):
    with pytest.raises(ConfigError, match=message):
        Merge(mode)([np.zeros(shape, "float32") for shape in shapes])


def test_a_single_tensor_is_refused():
    with pytest.raises(ConfigError, match="a list of two or more feature maps"):
        Merge()(BRANCHES[0])
