"""Slices against counts by hand and SciPy."""

import numpy as np
import pytest
from scipy import special, stats

from callbacks import calibration
from recipes.errors import DataError
from recipes.evaluation import slices


@pytest.fixture(scope="module")
def predictions():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 900)
    logits = generator.normal(size=(900, 3)) + 2.0 * np.eye(3)[labels]
    return special.softmax(logits, axis=1), labels


def test_a_slice_says_what_the_images_say(predictions):
    probabilities, labels = predictions
    correct = probabilities.argmax(axis=1) == labels
    place = np.array(["indoors"] * 200 + ["outdoors"] * 600 + ["unknown"] * 100)
    found = {
        part.value: part for part in slices.slice_predictions(probabilities, labels, {"at": place})
    }
    assert set(found) == {"indoors", "outdoors", "unknown"}
    chosen = place == "indoors"
    part = found["indoors"]
    inside, outside = correct[chosen], correct[~chosen]
    assert part.column == "at"
    assert part.accuracy.value == inside.mean()
    wilson = stats.binomtest(int(inside.sum()), 200).proportion_ci(0.95, method="wilson")
    assert part.accuracy.interval == pytest.approx((wilson.low, wilson.high))
    assert part.rest == outside.mean()
    table = [[inside.sum(), (~inside).sum()], [outside.sum(), (~outside).sum()]]
    assert part.p_value == pytest.approx(stats.fisher_exact(table).pvalue)
    assert part.ece == calibration.expected_calibration_error(probabilities[chosen], labels[chosen])
    assert part.ece_noise_floor == calibration.ece_noise_floor(probabilities[chosen]).upper
    assert found["unknown"].ece is None, "100 images are too few"


def test_surely_worst_first_and_adjusted():
    labels = np.zeros(203, int)
    probabilities = np.tile([0.9, 0.1], (203, 1))
    probabilities[:60] = [0.1, 0.9]  # 60 of the first 100 are wrong,
    probabilities[200] = [0.1, 0.9]  # and the only one of "rare".
    column = np.array(["bad"] * 100 + ["good"] * 100 + ["rare"] + ["good"] * 2)
    found = slices.slice_predictions(probabilities, labels, {"kind": column})
    assert [part.value for part in found] == ["bad", "rare", "good"]
    ordered = sorted(part.p_value for part in found)
    expected = np.maximum.accumulate(np.minimum(1, np.array(ordered) * [3, 2, 1]))
    assert sorted(part.p_adjusted for part in found) == pytest.approx(list(expected))
    assert found[0].p_adjusted < 1e-6
    assert found[1].p_adjusted > 0.05


def test_one_slice_of_all_images_has_no_rest(predictions):
    (part,) = slices.slice_predictions(*predictions, {"all": ["same"] * 900})
    assert (part.rest, part.p_value, part.p_adjusted) == (None, None, None)
    assert slices.Slice.from_dict(part.to_dict()) == part


def test_numbers_are_cut_at_quartiles():
    values = np.append(np.arange(1, 101), [np.nan] * 3)
    parts = dict(slices.cut("width", values, 103))
    assert list(parts) == ["1 to 25", "26 to 50", "51 to 75", "76 to 100", "missing"]
    assert [int(chosen.sum()) for chosen in parts.values()] == [25, 25, 25, 25, 3]
    few = dict(slices.cut("level", np.array([1, 1, 2, 2, 2]), 5))
    assert {name: int(chosen.sum()) for name, chosen in few.items()} == {"1": 2, "2": 3}
    heaped = slices.cut("dark", np.append(np.zeros(90), np.arange(1, 21)), 110)
    assert sum(int(chosen.sum()) for _, chosen in heaped) == 110, "ties are in one part"
    assert len(slices.cut("class", [f"class {index}" for index in range(300)], 300)) == 300


def test_what_evaluate_takes_as_slices():
    labels = np.array([0, 1, 1])
    sizes = np.array([10, 20, 30])

    def columns(value):
        return slices.slice_columns(value, labels, ["cat", "dog"], lambda: sizes)

    assert list(columns("class")["class"]) == ["cat", "dog", "dog"]
    found = columns(["class", "size", {"camera": ["a", "b", "b"]}])
    assert list(found) == ["class", "size", "camera"]
    assert list(found["size"]) == [10, 20, 30]
    assert list(columns(np.arange(3))["column"]) == [0, 1, 2]
    assert columns(["a", "b", "b"])["column"] == ["a", "b", "b"]
    with pytest.raises(DataError, match="unknown slice 'clas'; .* did you mean 'class'"):
        columns("clas")
    with pytest.raises(DataError, match="unknown slice 'sise'"):
        columns(["class", "sise"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, 2], r"'x' must hold one value an image, 900 in all, received shape \(2,\)"),
        (np.zeros((900, 2)), r"received shape \(900, 2\)"),
        ([f"{index}.jpg" for index in range(900)], "900 different values; expected at most 200"),
    ],
)
def test_columns_that_cannot_be_used(predictions, values, message):
    with pytest.raises(DataError, match=message):
        slices.slice_predictions(*predictions, {"x": values})
