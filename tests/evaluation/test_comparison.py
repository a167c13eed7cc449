"""Paired comparisons against SciPy and counts by hand."""

import json

import numpy as np
import pytest
from scipy import special, stats
from sklearn import metrics as reference

from callbacks import calibration
from recipes.errors import ConfigError, DataError
from recipes.evaluation import labelled
from recipes.evaluation.comparison import Comparison, compare, compare_predictions
from recipes.evaluation.evaluation import Evaluation, evaluate_predictions

NAMES = ("cat", "dog", "owl", "yak")


@pytest.fixture(scope="module")
def pair():
    """Return probabilities of a good and of a worse, surer model, and labels without a yak."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 500)
    logits = generator.normal(size=(500, 4)) + 2.5 * np.eye(4)[labels]
    worse = logits + generator.normal(size=logits.shape)
    return special.softmax(2 * logits, axis=1), special.softmax(4 * worse, axis=1), labels


@pytest.fixture(scope="module")
def comparison(pair):
    return compare_predictions(*pair, NAMES, bootstrap=300, seed=1)


def test_differences_are_those_of_the_measures(pair, comparison):
    first, second, labels = pair
    for name, measure in {
        "accuracy": lambda p: reference.accuracy_score(labels, p.argmax(axis=1)),
        "nll": lambda p: reference.log_loss(labels, p, labels=range(4)),
        "brier": lambda p: np.mean(np.sum((p - np.eye(4)[labels]) ** 2, axis=1)),
        "ece": lambda p: calibration.expected_calibration_error(p, labels),
    }.items():
        assert comparison.first[name] == pytest.approx(measure(first), abs=1e-12)
        assert comparison.second[name] == pytest.approx(measure(second), abs=1e-12)
        found = comparison.differences[name]
        assert found.value == pytest.approx(measure(first) - measure(second), abs=1e-12)
        assert found.n == 500
        assert found.low < found.high


def test_mcnemar_equals_scipy(pair, comparison):
    first, second, labels = pair
    one, two = first.argmax(axis=1) == labels, second.argmax(axis=1) == labels
    only_first, only_second = np.flatnonzero(one & ~two), np.flatnonzero(two & ~one)
    assert comparison.only_first == tuple(only_first)
    assert comparison.only_second == tuple(only_second)
    differing = len(only_first) + len(only_second)
    expected = stats.binomtest(len(only_first), differing).pvalue
    assert comparison.mcnemar["p_value"] == pytest.approx(expected)
    assert comparison.mcnemar["p_value"] < 0.05


def test_means_have_the_interval_of_a_paired_mean(pair, comparison):
    first, second, labels = pair
    rows = np.arange(500)
    costs = -np.log(first[rows, labels]) + np.log(second[rows, labels])
    error = costs.std() / np.sqrt(500)
    expected = costs.mean() + np.array([-1.96, 1.96]) * error
    assert comparison.differences["nll"].interval == pytest.approx(expected, abs=0.4 * error)


def test_classes_are_compared_one_by_one(pair, comparison):
    first, second, labels = pair
    p_values = []
    for index, row in enumerate(comparison.per_class[:3]):
        one = first.argmax(axis=1)[labels == index] == index
        two = second.argmax(axis=1)[labels == index] == index
        assert (row.name, row.images) == (NAMES[index], len(one))
        assert (row.first, row.second) == (one.mean(), two.mean())
        counts = int((one & ~two).sum()), int((two & ~one).sum())
        assert (row.only_first, row.only_second) == counts
        p_values.append(stats.binomtest(counts[0], sum(counts)).pvalue)
        assert row.p_value == pytest.approx(p_values[-1])
    adjusted = np.maximum.accumulate(np.minimum(1, np.sort(p_values) * [3, 2, 1]))
    found = sorted(row.p_adjusted for row in comparison.per_class[:3])
    assert found == pytest.approx(list(adjusted))
    empty = comparison.per_class[3]
    assert (empty.images, empty.first, empty.p_value, empty.p_adjusted) == (0, None, None, None)


def test_a_model_against_itself_differs_in_nothing(pair):
    first, _, labels = pair
    found = compare_predictions(first, first, labels, NAMES, bootstrap=100)
    assert found.only_first == found.only_second == ()
    assert found.mcnemar["p_value"] == 1
    for estimate in found.differences.values():
        assert estimate.value == 0
        assert estimate.low <= 0 <= estimate.high


def test_a_difference_of_accuracy_has_a_width_where_the_two_never_disagree():
    first, second = (np.repeat([[share, 1 - share]], 50, axis=0) for share in (0.9, 0.8))
    found = compare_predictions(first, second, [0] * 45 + [1] * 5, ["cat", "dog"], bootstrap=100)
    half = 1.959964 * np.sqrt((1 / 52 + 1 / 52) / 52)
    assert found.differences["accuracy"].interval == pytest.approx((-half, half), abs=1e-6)
    assert found.differences["accuracy"].method == "bonett-price"


def test_swapping_changes_signs(pair, comparison):
    first, second, labels = pair
    swapped = compare_predictions(second, first, labels, NAMES, bootstrap=300, seed=1)
    for name, estimate in comparison.differences.items():
        mirrored = swapped.differences[name]
        assert (mirrored.value, mirrored.low, mirrored.high) == pytest.approx(
            (-estimate.value, -estimate.high, -estimate.low), abs=1e-12
        )
    assert swapped.only_first == comparison.only_second


def test_json_and_back(comparison):
    plain = comparison.to_dict()
    text = json.dumps(plain, allow_nan=False)
    assert Comparison.from_dict(json.loads(text)).to_dict() == plain


def test_text_says_what_matters(comparison):
    text = str(comparison)
    assert "exact McNemar test" in text
    assert f"{len(comparison.only_first):,} images" in text
    assert "yak" in text


def test_evaluations_are_compared_without_predicting_again(pair):
    first, second, labels = pair
    judged = [
        evaluate_predictions(labelled.Predictions(p, labels, NAMES, None), bootstrap=0)
        for p in (first, second)
    ]
    found = compare(*judged, bootstrap=50, seed=1)
    expected = compare_predictions(first, second, labels, NAMES, bootstrap=50, seed=1)
    assert found.to_dict() == expected.to_dict()
    with pytest.raises(DataError, match="holds no predictions"):
        compare(Evaluation.from_dict(judged[0].to_dict()), judged[1])
    other = labelled.Predictions(second, np.roll(labels, 1), NAMES, None)
    with pytest.raises(DataError, match="same images in the same order"):
        compare(judged[0], evaluate_predictions(other, bootstrap=0))
    with pytest.raises(ConfigError, match="bootstrap must be a whole number"):
        compare(*judged, bootstrap=-1)


def test_bad_probabilities_are_refused(pair):
    first, second, labels = pair
    with pytest.raises(ValueError, match="must sum to 1"):
        compare_predictions(first, second / 2, labels, NAMES)
    with pytest.raises(ValueError, match="must lie in"):
        compare_predictions(np.log(first), second, labels, NAMES)
    with pytest.raises(ValueError, match="labels must lie in 0 to 3"):
        compare_predictions(first, second, labels + 2, NAMES)
    merged = np.concatenate([second[:, :2], second[:, 2:].sum(axis=1, keepdims=True)], axis=1)
    with pytest.raises(ValueError, match="one shape"):
        compare_predictions(first, merged, labels, NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("sharpness", [1.0, pytest.param(1.5, marks=pytest.mark.exhaustive)])
def test_intervals_of_differences_cover_the_truth(sharpness):
    generator = np.random.default_rng(0)

    def draw(images):
        logits = 3 * generator.normal(size=(images, 5))
        noisy = logits + generator.normal(size=logits.shape)
        true = special.softmax(logits, axis=1)
        labels = (logits + generator.gumbel(size=logits.shape)).argmax(axis=1)
        return (
            true,
            special.softmax(sharpness * logits, axis=1),
            special.softmax(noisy, axis=1),
            labels,
        )

    def error(true, probabilities):
        confidence, rows = probabilities.max(axis=1), np.arange(len(true))
        gaps = true[rows, probabilities.argmax(axis=1)] - confidence
        index = np.ceil(confidence * 15).astype(int) - 1
        cost = -np.sum(true * np.log(probabilities), axis=1).mean()
        return np.array([cost, np.abs(np.bincount(index, gaps)).sum() / len(true)])

    true, first, second, _ = draw(300_000)
    expected = error(true, first) - error(true, second)
    covered = np.zeros(2)
    for trial in range(100):
        _, first, second, labels = draw(600)
        found = compare_predictions(first, second, labels, list("abcde"), 300, trial)
        for index, name in enumerate(("nll", "ece")):
            low, high = found.differences[name].interval
            covered[index] += low <= expected[index] <= high
    assert (covered >= 87).all(), covered
