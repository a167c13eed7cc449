"""Numbers that say how good a classifier is, as plain Python values ready for JSON."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import special, stats

from callbacks import calibration
from recipes.evaluation.ranking import rank_weighted
from recipes.evaluation.resampling import debiased_square, equal_mass_index

CONFIDENCE_LEVEL = 0.95


def classification_metrics(
    probabilities: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> dict[str, Any]:
    """Judge predicted probabilities against true classes.

    Args:
        probabilities: Shape `(images, classes)`, rows sum to 1 within 0.001.
        labels: True classes, integers, shape `(images,)`.
        class_names: One name a class.

    Returns:
        Plain numbers, lists and strings, with `None` where a number is undefined, such as the
        precision of a class never predicted:

        - `images`, `accuracy`, `accuracy_interval` (Wilson, 95 %), `top5_accuracy` (only with more
          than five classes), `balanced_accuracy` (mean recall of the classes that have images),
          `macro_f1` (mean F1 of the classes that are true or predicted for some image);
        - `macro_auroc`, `macro_average_precision` (means over the classes that have images, and
          are not all there is, of each class's probability against the rest);
        - `nll` (nats an image), `brier` (0 to 2), `ece`, `mce`, `adaptive_ece`, `classwise_ece`,
          `debiased_ece` (15 bins), `ece_noise_floor` (`mean` and `upper`: what chance gives a
          perfectly calibrated model of these confidences);
        - `per_class`: for each class `name`, `precision`, `recall`, `f1`, `support`, `auroc`,
          `average_precision`;
        - `confusion`: counts, rows are true classes, columns predicted ones;
        - `reliability`: lists `lower`, `upper`, `count`, `confidence`, `accuracy`, one entry a bin.

    Raises:
        ValueError: If the probabilities or labels cannot be used, or the names do not match.

    Example:
        >>> result = classification_metrics([[0.9, 0.1], [0.7, 0.3]], [0, 1], ["cat", "dog"])
        >>> result["accuracy"], result["confusion"], result["per_class"][1]["precision"]
        (0.5, [[1, 0], [1, 0]], None)
    """
    probabilities, labels = calibration.check_predictions(probabilities, labels)
    images, classes = probabilities.shape
    if len(class_names) != classes:
        raise ValueError(
            f"class_names must hold {classes} names, one a class, received {len(class_names)}"
        )
    predicted = probabilities.argmax(axis=1)
    confusion = confusion_matrix(labels, predicted, classes)
    correct = int(np.trace(confusion))
    per_class = class_scores(confusion, class_names)
    for row, ranks in zip(per_class, _rankings(probabilities, labels), strict=True):
        row.update(ranks)
    result: dict[str, Any] = {
        "images": images,
        "accuracy": correct / images,
        "accuracy_interval": list(wilson_interval(correct, images)),
    }
    if classes > 5:
        result["top5_accuracy"] = top_k_accuracy(probabilities, labels, 5)
    floor = calibration.ece_noise_floor(probabilities)
    reliability = calibration.reliability_bins(probabilities, labels)
    return {
        **result,
        "balanced_accuracy": _mean(row["recall"] for row in per_class),
        "macro_f1": _mean(row["f1"] for row in per_class),
        "macro_auroc": _mean(row["auroc"] for row in per_class),
        "macro_average_precision": _mean(row["average_precision"] for row in per_class),
        "nll": calibration.negative_log_likelihood(probabilities, labels),
        "brier": calibration.brier_score(probabilities, labels),
        "ece": calibration.expected_calibration_error(probabilities, labels),
        "mce": calibration.maximum_calibration_error(probabilities, labels),
        "adaptive_ece": calibration.adaptive_calibration_error(probabilities, labels),
        "classwise_ece": calibration.classwise_calibration_error(probabilities, labels),
        "debiased_ece": debiased_calibration_error(probabilities, labels),
        "ece_noise_floor": {"mean": floor.mean, "upper": floor.upper},
        "per_class": per_class,
        "confusion": confusion.tolist(),
        "reliability": {name: _plain(values) for name, values in reliability.items()},
    }


def debiased_calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the debiased root-mean-square calibration error of the predicted class.

    `sqrt(max(0, sum_b n_b / N ((a_b - c_b)^2 - a_b (1 - a_b) / (n_b - 1))))` over 15 bins that hold
    about equally many images, with accuracy `a_b` and mean confidence `c_b`. The last term is what
    noise adds to the square, so that it has no upward bias on few images.

    Args:
        probabilities: Shape `(images, classes)`, rows sum to 1.
        labels: True classes, integers, shape `(images,)`.

    Returns:
        Float in `[0, 1]`; 0 is perfect. As a root mean square it weighs large gaps more than ECE.

    Raises:
        ValueError: If the probabilities or the labels cannot be used.

    Example:
        >>> probabilities = np.repeat([[0.9, 0.1], [0.6, 0.4]], 50, axis=0)
        >>> labels = np.arange(100) % 2  # Half are right: the gaps are 0.4 and 0.1.
        >>> round(debiased_calibration_error(probabilities, labels), 3)  # Not 0.292.
        0.283

    Source:
        Kumar, Liang and Ma, "Verified Uncertainty Calibration", 2019; equal to
        `get_calibration_error(p=2, debias=True, mode="top-label")` of their package
        uncertainty-calibration where confidences take more than a few values.
    """
    probabilities, labels = calibration.check_predictions(probabilities, labels)
    confidence = np.minimum(probabilities.max(axis=1), 1.0)
    correct = probabilities.argmax(axis=1) == labels
    index = equal_mass_index(confidence)
    count = np.bincount(index)
    right = np.bincount(index, correct)
    gap = right - np.bincount(index, confidence)
    return math.sqrt(max(0.0, float(debiased_square(gap, count, right))))


def wilson_interval(
    successes: int, trials: int, level: float = CONFIDENCE_LEVEL
) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion.

    Unlike `p ± 1.96 * sqrt(p (1 - p) / n)` it stays inside `[0, 1]` and has a width when every
    trial succeeds.

    Args:
        successes: Number of successes, 0 to `trials`.
        trials: Number of trials, at least 1.
        level: Coverage of the interval, between 0 and 1.

    Raises:
        ValueError: If the counts or the level are out of range.

    Example:
        >>> [round(bound, 4) for bound in wilson_interval(90, 100)]
        [0.8256, 0.9448]

    Source:
        Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"expected 0 to {trials} successes of at least 1, received: {successes}")
    z = _normal_quantile(level)
    share = successes / trials
    shrink = 1 + z**2 / trials
    centre = (share + z**2 / (2 * trials)) / shrink
    half = z / shrink * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    return max(0.0, centre - half), min(1.0, centre + half)


def accuracy_difference(
    correct_a: np.ndarray, correct_b: np.ndarray, level: float = CONFIDENCE_LEVEL
) -> dict[str, Any]:
    """Compare the accuracy of two classifiers on the same images.

    Only the images that exactly one of them classifies correctly say which is better, so the
    interval is far narrower than that of two separate accuracies.

    Args:
        correct_a: Whether the first is correct, booleans of shape `(images,)`.
        correct_b: Whether the second is correct on the same images in the same order.
        level: Coverage of the interval, between 0 and 1.

    Returns:
        `difference` (accuracy of the first minus that of the second), its `interval` (Bonett and
        Price: Wald with one image added to each kind of disagreement, which has a width even when
        the two always agree), `only_a` and `only_b` (images only that one has right), `p_value`
        (exact McNemar test that they are equally accurate) and `images`.

    Raises:
        ValueError: If the two are not booleans of one and the same length of at least 1.

    Example:
        >>> result = accuracy_difference([True] * 9 + [False], [True] * 7 + [False] * 3)
        >>> result["difference"], result["only_a"], result["only_b"], result["p_value"]
        (0.2, 2, 0, 0.5)

    Source:
        Bonett and Price, "Adjusted Wald confidence interval for a difference of binomial
        proportions based on paired data", 2012; McNemar, 1947.
    """
    correct_a, correct_b = np.asarray(correct_a), np.asarray(correct_b)
    if correct_a.dtype != bool or correct_b.dtype != bool:
        raise ValueError(
            "correct_a and correct_b must hold booleans, "
            f"received {correct_a.dtype} and {correct_b.dtype}"
        )
    if correct_a.ndim != 1 or correct_a.shape != correct_b.shape or not len(correct_a):
        raise ValueError(
            "correct_a and correct_b must have one and the same shape (images,), "
            f"received {correct_a.shape} and {correct_b.shape}"
        )
    images = len(correct_a)
    only_a = int((correct_a & ~correct_b).sum())
    only_b = int((correct_b & ~correct_a).sum())
    share_a, share_b = (only_a + 1) / (images + 2), (only_b + 1) / (images + 2)
    centre = share_a - share_b
    half = _normal_quantile(level) * math.sqrt((share_a + share_b - centre**2) / (images + 2))
    differing = only_a + only_b
    p_value = float(stats.binomtest(only_a, differing).pvalue) if differing else 1.0
    return {
        "difference": (only_a - only_b) / images,
        "interval": [max(-1.0, centre - half), min(1.0, centre + half)],
        "only_a": only_a,
        "only_b": only_b,
        "p_value": p_value,
        "images": images,
    }


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count images by true class (rows) and predicted class (columns), int64.

    Example:
        >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1]), 2).tolist()
        [[1, 0], [1, 1]]
    """
    flat = np.bincount(np.asarray(labels) * classes + predicted, minlength=classes**2)
    return flat.reshape(classes, classes)


def class_scores(confusion: np.ndarray, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Return precision, recall, F1 and support of each class, `None` where undefined.

    Precision is undefined for a class never predicted, recall for one with no image, F1 for one
    that is both.

    Args:
        confusion: Counts, shape `(classes, classes)`, rows are true classes.
        class_names: One name a class.
    """
    confusion = np.asarray(confusion)
    return [
        {
            "name": str(name),
            "precision": _ratio(right, predicted),
            "recall": _ratio(right, support),
            "f1": _ratio(2 * right, predicted + support),
            "support": int(support),
        }
        for name, right, predicted, support in zip(
            class_names,
            np.diag(confusion),
            confusion.sum(axis=0),
            confusion.sum(axis=1),
            strict=True,
        )
    ]


def confused_pairs(
    confusion: Sequence[Sequence[int]], class_names: Sequence[str], limit: int = 10
) -> list[dict[str, Any]]:
    """Return the most frequent mistakes, largest count first.

    Args:
        confusion: Counts, shape `(classes, classes)`, rows are true classes.
        class_names: One name a class.
        limit: Most pairs to return.

    Returns:
        Dictionaries of `true` and `predicted` class names, `count`, and `share`: the part of the
        images of the true class.

    Example:
        >>> confused_pairs([[8, 2], [0, 5]], ["cat", "dog"])
        [{'true': 'cat', 'predicted': 'dog', 'count': 2, 'share': 0.2}]
    """
    counts = np.asarray(confusion)
    mistakes = counts - np.diag(np.diag(counts))
    # Stable, so that equal counts keep the order of the classes.
    order = np.argsort(-mistakes, axis=None, kind="stable")[:limit]
    return [
        {
            "true": str(class_names[row]),
            "predicted": str(class_names[column]),
            "count": int(mistakes[row, column]),
            "share": float(mistakes[row, column] / counts[row].sum()),
        }
        for row, column in zip(*np.unravel_index(order, counts.shape), strict=True)
        if mistakes[row, column]
    ]


def most_confused(
    row: Sequence[int], index: int, class_names: Sequence[str]
) -> tuple[str, int] | None:
    """Return the class that images of another are most often taken for, and how often.

    Args:
        row: Predictions counted by class, of the images of class `index`.
        index: Of the true class.
        class_names: One name a class.

    Returns:
        Name and count, the first of equal counts; `None` without a mistake.

    Example:
        >>> most_confused([8, 1, 3], 0, ["cat", "dog", "owl"])
        ('owl', 3)
    """
    mistakes = np.array(row)
    mistakes[index] = 0
    place = int(mistakes.argmax())
    return (str(class_names[place]), int(mistakes[place])) if mistakes[place] else None


def top_k_accuracy(probabilities: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Return the share of images whose true class is among the k most probable.

    Among equal probabilities the lower class index comes first, as in `argmax`.

    Example:
        >>> top_k_accuracy(np.array([[0.5, 0.3, 0.2], [0.4, 0.4, 0.2]]), np.array([1, 2]), 2)
        0.5
    """
    rows = np.arange(len(labels))
    true = probabilities[rows, labels][:, np.newaxis]
    earlier = np.arange(probabilities.shape[1]) < np.asarray(labels)[:, np.newaxis]
    rank = np.sum((probabilities > true) | ((probabilities == true) & earlier), axis=1)
    return float(np.mean(rank < k))


def _rankings(probabilities, labels):
    """Yield AUROC and average precision of each class, `None` where undefined."""
    once = np.ones((len(labels), 1), np.uint8)
    for index in range(probabilities.shape[1]):
        area, average = rank_weighted(probabilities[:, index], labels == index, once)
        pair = (None if np.isnan(value[0]) else float(value[0]) for value in (area, average))
        yield dict(zip(("auroc", "average_precision"), pair, strict=True))


def _normal_quantile(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, received: {level!r}")
    return float(special.ndtri((1 + level) / 2))


def _ratio(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None


def _mean(values) -> float | None:
    defined = [value for value in values if value is not None]
    return math.fsum(defined) / len(defined) if defined else None


def _plain(values: np.ndarray) -> list:
    return [None if value != value else value for value in values.tolist()]
