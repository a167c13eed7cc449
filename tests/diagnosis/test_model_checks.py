"""Rules over what was observed of a model, on made-up observations."""

import pytest

from recipes.diagnosis.activations import GradientStatistics, LayerStatistics
from recipes.diagnosis.model_checks import check_activations, check_gradients


def layer(name, rms, spread):
    return LayerStatistics(name, "Dense", rms, spread, None, True, 1.0, True)


@pytest.mark.parametrize(
    ("layers", "collapsed"),
    [
        ([layer("first", 1.0, 0.7), layer("branch", 1e-6, 8e-7), layer("sum", 1.0, 0.7)], None),
        ([layer("first", 1.0, 0.7), layer("small", 1e-6, 8e-7), layer("end", 1e-8, 8e-9)], "small"),
        # Noise, such as that of dropout, makes the images differ once more.
        ([layer("first", 1.0, 0.7), layer("same", 0.5, 1e-6), layer("noise", 0.7, 0.4)], "same"),
    ],
)
def test_a_small_branch_is_told_from_a_collapse(layers, collapsed):
    found = list(check_activations(layers, layers))
    assert [finding.name for finding in found] == ["activations_collapsed"] * bool(collapsed)
    assert all(f"outputs of {collapsed} hardly differ" in one.message for one in found)


def test_the_gradient_of_a_sum_is_as_many_times_that_of_a_mean():
    kernel = GradientStatistics("kernel", 2000.0, 1.0, True, True)
    assert [finding.name for finding in check_gradients([kernel], [kernel])] == [
        "gradients_exploding"
    ]
    assert not list(check_gradients([kernel], [kernel], images=1024))
