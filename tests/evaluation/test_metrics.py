"""Metrics against scikit-learn, SciPy and hand computations."""

import doctest
import json

import numpy as np
import pytest
from scipy import special, stats
from sklearn import metrics as reference

from callbacks import calibration
from recipes import evaluation
from recipes.evaluation import metrics


def predictions(images=600, classes=7, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, images)
    logits = generator.normal(size=(images, classes)) + 2.0 * np.eye(classes)[labels]
    return special.softmax(logits, axis=1), labels


def names(classes):
    return [f"class {index}" for index in range(classes)]


@pytest.mark.parametrize("classes", [2, 5, 7])
def test_metrics_equal_scikit_learn(classes):
    probabilities, labels = predictions(classes=classes)
    predicted = probabilities.argmax(axis=1)
    result = metrics.classification_metrics(probabilities, labels, names(classes))
    precision, recall, f1, support = reference.precision_recall_fscore_support(labels, predicted)
    assert result["images"] == len(labels)
    assert result["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted))
    assert result["balanced_accuracy"] == pytest.approx(
        reference.balanced_accuracy_score(labels, predicted)
    )
    assert result["macro_f1"] == pytest.approx(
        reference.f1_score(labels, predicted, average="macro")
    )
    assert result["confusion"] == reference.confusion_matrix(labels, predicted).tolist()
    assert [row["precision"] for row in result["per_class"]] == pytest.approx(precision.tolist())
    assert [row["recall"] for row in result["per_class"]] == pytest.approx(recall.tolist())
    assert [row["f1"] for row in result["per_class"]] == pytest.approx(f1.tolist())
    assert [row["support"] for row in result["per_class"]] == support.tolist()
    assert [row["name"] for row in result["per_class"]] == names(classes)
    assert result["nll"] == pytest.approx(reference.log_loss(labels, probabilities))
    if classes > 5:
        assert result["top5_accuracy"] == pytest.approx(
            reference.top_k_accuracy_score(labels, probabilities, k=5)
        )
    else:
        assert "top5_accuracy" not in result


@pytest.mark.parametrize("decimals", [17, 1], ids=["distinct", "tied"])
def test_rankings_equal_scikit_learn(decimals):
    probabilities, labels = predictions(images=300, classes=5)
    labels[labels == 3] = 0  # A class without images.
    rounded = np.round(probabilities, decimals)
    rounded[:, 0] += 1 - rounded.sum(axis=1)
    usable = rounded[:, 0] >= 0
    rounded, labels = np.clip(rounded, 0, 1)[usable], labels[usable]
    result = metrics.classification_metrics(rounded, labels, names(5))
    expected = {"auroc": [], "average_precision": []}
    for index, row in enumerate(result["per_class"]):
        if index == 3:
            assert row["auroc"] is None
            assert row["average_precision"] is None
            continue
        truth = labels == index
        expected["auroc"].append(reference.roc_auc_score(truth, rounded[:, index]))
        expected["average_precision"].append(
            reference.average_precision_score(truth, rounded[:, index])
        )
        for name, values in expected.items():
            assert row[name] == pytest.approx(values[-1], abs=1e-12)
    for name, values in expected.items():
        assert result[f"macro_{name}"] == pytest.approx(np.mean(values), abs=1e-12)


def slow_debiased_error(probabilities, labels, bins=15):
    """The formula, image by image: groups of sorted confidences, edges midway between."""
    confidence = [max(row) for row in probabilities]
    right = [row.argmax() == label for row, label in zip(probabilities, labels, strict=True)]
    ordered = sorted(confidence)
    sizes = [
        len(ordered) // bins + (group < len(ordered) % bins)
        for group in range(min(bins, len(ordered)))
    ]
    ends = np.cumsum(sizes)[:-1]
    edges = sorted({(ordered[end - 1] + ordered[end]) / 2 for end in ends})
    total = 0.0
    for index in range(len(edges) + 1):
        inside = [
            place
            for place in range(len(ordered))
            if sum(edge < confidence[place] for edge in edges) == index
        ]
        count = len(inside)
        if count < 2:
            continue
        a = sum(right[place] for place in inside) / count
        c = sum(confidence[place] for place in inside) / count
        total += count / len(ordered) * ((a - c) ** 2 - a * (1 - a) / (count - 1))
    return max(0.0, total) ** 0.5


# The last column is what uncertainty-calibration 0.1.4 gives:
# get_calibration_error(probabilities, labels, p=2, debias=True, mode="top-label").
@pytest.mark.parametrize(
    ("images", "seed", "package"),
    [(40, 0, 0.18145475320843085), (301, 1, 0.18714454560180474), (1000, 2, 0.17345308050179697)],
)
def test_debiased_error_equals_a_double_loop_and_the_package(images, seed, package):
    probabilities, labels = predictions(images=images, seed=seed)
    sharpened = special.softmax(4 * np.log(probabilities), axis=1)
    found = metrics.debiased_calibration_error(sharpened, labels)
    assert found == pytest.approx(slow_debiased_error(sharpened, labels), abs=1e-12)
    assert found == pytest.approx(package, abs=1e-12)
    assert metrics.classification_metrics(sharpened, labels, names(7))["debiased_ece"] == found


def test_debiased_error_with_ties_equals_a_double_loop():
    probabilities = np.repeat([[0.9, 0.1], [0.6, 0.4], [0.55, 0.45]], 40, axis=0)
    labels = np.arange(120) % 2
    assert metrics.debiased_calibration_error(probabilities, labels) == pytest.approx(
        slow_debiased_error(probabilities, labels), abs=1e-12
    )


def test_calibration_numbers_are_those_of_the_callbacks():
    probabilities, labels = predictions()
    result = metrics.classification_metrics(probabilities, labels, names(7))
    assert result["ece"] == calibration.expected_calibration_error(probabilities, labels)
    assert result["mce"] == calibration.maximum_calibration_error(probabilities, labels)
    assert result["adaptive_ece"] == calibration.adaptive_calibration_error(probabilities, labels)
    assert result["brier"] == calibration.brier_score(probabilities, labels)
    floor = calibration.ece_noise_floor(probabilities)
    assert result["ece_noise_floor"] == {"mean": floor.mean, "upper": floor.upper}
    table = result["reliability"]
    assert sum(table["count"]) == len(labels)
    gaps = [
        count * abs(confidence - accuracy)
        for count, confidence, accuracy in zip(
            table["count"], table["confidence"], table["accuracy"], strict=True
        )
        if count
    ]
    assert sum(gaps) / len(labels) == pytest.approx(result["ece"], abs=1e-12)


def test_undefined_numbers_are_none_and_the_result_is_plain_json():
    probabilities = np.array([[0.8, 0.1, 0.1], [0.7, 0.2, 0.1]], np.float32)
    result = metrics.classification_metrics(probabilities, np.array([0, 1]), ["a", "b", "c"])
    # Of the class a, the image of a ranks first; of b, the image of b does; none is of c.
    first, none = {"auroc": 1.0, "average_precision": 1.0}, {"auroc": None}
    f1 = pytest.approx(2 / 3)
    assert result["per_class"] == [
        {"name": "a", "precision": 0.5, "recall": 1.0, "f1": f1, "support": 1, **first},
        {"name": "b", "precision": None, "recall": 0.0, "f1": 0.0, "support": 1, **first},
        {"name": "c", "precision": None, "recall": None, "f1": None, "support": 0, **none}
        | {"average_precision": None},
    ]
    assert result["macro_auroc"] == result["macro_average_precision"] == 1.0
    assert result["balanced_accuracy"] == 0.5
    assert result["macro_f1"] == pytest.approx(1 / 3)
    assert result["reliability"]["accuracy"][0] is None
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_names_must_match_the_classes():
    with pytest.raises(ValueError, match="class_names must hold 3 names, one a class, received 2"):
        metrics.classification_metrics(np.eye(3), [0, 1, 2], ["a", "b"])


@pytest.mark.parametrize(
    ("successes", "trials"), [(0, 10), (10, 10), (1, 1), (90, 100), (893, 1000), (5, 60000)]
)
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_wilson_interval_equals_scipy(successes, trials, level):
    expected = stats.binomtest(successes, trials).proportion_ci(level, method="wilson")
    assert metrics.wilson_interval(successes, trials, level) == pytest.approx(
        (expected.low, expected.high), abs=1e-12
    )


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (-1, 5), (6, 5)])
def test_wilson_interval_refuses_impossible_counts(successes, trials):
    with pytest.raises(ValueError, match="successes"):
        metrics.wilson_interval(successes, trials)


def test_accuracy_difference_by_hand():
    # 100 images: 80 both, 9 only a, 3 only b, 8 neither.
    correct_a = np.array([True] * 80 + [True] * 9 + [False] * 3 + [False] * 8)
    correct_b = np.array([True] * 80 + [False] * 9 + [True] * 3 + [False] * 8)
    result = metrics.accuracy_difference(correct_a, correct_b)
    centre = (10 - 4) / 102
    half = 1.959963984540054 * np.sqrt((14 / 102 - centre**2) / 102)
    assert result["difference"] == pytest.approx(0.06)
    assert result["interval"] == pytest.approx([centre - half, centre + half], abs=1e-12)
    assert (result["only_a"], result["only_b"], result["images"]) == (9, 3, 100)
    # Exact McNemar: twice the tail P(X >= 9) of binomial(12, 1/2) = 299 / 4096.
    assert result["p_value"] == pytest.approx(2 * 299 / 4096)
    swapped = metrics.accuracy_difference(correct_b, correct_a)
    assert swapped["interval"] == pytest.approx([-x for x in reversed(result["interval"])])


def test_accuracy_difference_of_equal_classifiers_has_a_width():
    correct = np.array([True] * 90 + [False] * 10)
    result = metrics.accuracy_difference(correct, correct)
    assert result["difference"] == 0
    assert result["p_value"] == 1
    assert result["interval"][0] < -0.01 < 0.01 < result["interval"][1]
    json.dumps(result, allow_nan=False)


def test_accuracy_difference_interval_covers_the_truth():
    generator = np.random.default_rng(0)
    cells = generator.multinomial(1000, [0.88, 0.015, 0.01, 0.095], size=2000)
    covered = 0
    for both, only_a, only_b, neither in cells:
        a = np.repeat([True, True, False, False], [both, only_a, only_b, neither])
        b = np.repeat([True, False, True, False], [both, only_a, only_b, neither])
        low, high = metrics.accuracy_difference(a, b)["interval"]
        covered += low <= 0.005 <= high
    assert 0.93 <= covered / len(cells) <= 0.98


@pytest.mark.parametrize(
    ("correct_a", "correct_b", "message"),
    [
        ([True], [True, False], "same shape"),
        ([], [], "booleans"),
        ([1, 0], [True, False], "booleans"),
        ([[True]], [[True]], "same shape"),
    ],
)
def test_accuracy_difference_refuses(correct_a, correct_b, message):
    with pytest.raises(ValueError, match=message):
        metrics.accuracy_difference(correct_a, correct_b)


def test_confused_pairs_are_sorted_and_limited():
    confusion = [[50, 3, 0], [7, 40, 3], [0, 1, 9]]
    pairs = metrics.confused_pairs(confusion, ["a", "b", "c"], limit=3)
    assert pairs == [
        {"true": "b", "predicted": "a", "count": 7, "share": pytest.approx(0.14)},
        {"true": "a", "predicted": "b", "count": 3, "share": pytest.approx(3 / 53)},
        {"true": "b", "predicted": "c", "count": 3, "share": pytest.approx(0.06)},
    ]
    assert len(metrics.confused_pairs(confusion, ["a", "b", "c"])) == 4
    assert metrics.confused_pairs([[3, 0], [0, 2]], ["a", "b"]) == []
    most = [metrics.most_confused(row, k, ["a", "b", "c"]) for k, row in enumerate(confusion)]
    assert most == [("b", 3), ("a", 7), ("b", 1)]
    assert metrics.most_confused([0, 2], 1, ["a", "b"]) is None


def test_top_k_takes_the_lower_class_first_on_a_tie():
    probabilities = np.full((4, 4), 0.25)
    assert metrics.top_k_accuracy(probabilities, np.arange(4), 1) == 0.25
    assert metrics.top_k_accuracy(probabilities, np.arange(4), 3) == 0.75


def test_examples_run():
    result = doctest.testmod(metrics)
    assert result.failed == 0
    assert result.attempted > 0


def test_the_package_resolves_its_names_lazily():
    assert evaluation.classification_metrics is metrics.classification_metrics
    assert "write_report" in dir(evaluation)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = evaluation.nothing
