"""Every measure of a classifier for every resample of its images, as sums weighted by counts."""

import dataclasses
import itertools

import numpy as np
from scipy import sparse

from callbacks.calibration import PROBABILITY_FLOOR, check_predictions
from recipes.evaluation.bootstrap import resample_counts
from recipes.evaluation.ranking import rank_weighted

BINS = 15
# Ranking costs about 15 ns for an image, a class and a resample: this is a minute or so.
_RANKING_BUDGET = 5e9
# Fewer resamples than this say nothing of a 2.5 % tail.
_FEWEST_RESAMPLES = 100


@dataclasses.dataclass(frozen=True, eq=False)
class Resampled:
    """What each resample of the images would have given; the last axis is the resamples.

    Attributes:
        accuracy, nll, brier: Means over the images, shape `(resamples,)`.
        balanced_accuracy, macro_f1: Shape `(resamples,)`.
        gap, count: Sum of `correct - confidence`, and number of images, in the bins of ECE and
            MCE, shape `(bins, resamples)`.
        adaptive_gap: The same sum in the bins of the adaptive error, cut for the images as they
            are.
        classwise_gap: Sum of `is of class k - p_k` for each class and bin, shape
            `(classes * bins, resamples)`.
        mass_gap, mass_count, mass_correct: Sums in the bins of the debiased error.
        auroc, average_precision: Shape `(classes, ranked)`, with `ranked` at most the number of
            resamples: fewer, or none, where classes and images are very many.
    """

    accuracy: np.ndarray
    nll: np.ndarray
    brier: np.ndarray
    balanced_accuracy: np.ndarray
    macro_f1: np.ndarray
    gap: np.ndarray
    count: np.ndarray
    adaptive_gap: np.ndarray
    classwise_gap: np.ndarray
    mass_gap: np.ndarray
    mass_count: np.ndarray
    mass_correct: np.ndarray
    auroc: np.ndarray
    average_precision: np.ndarray


def resample(
    probabilities: np.ndarray,
    labels: np.ndarray,
    resamples: int,
    seed: int = 0,
    *,
    ranking: bool = True,
) -> Resampled:
    """Measure resamples of the images, drawn with replacement.

    Args:
        probabilities: Shape `(images, classes)`, rows sum to 1.
        labels: True classes, integers, shape `(images,)`.
        resamples: Number of resamples, at least 1.
        seed: The same seed and number of images give the same resamples.
        ranking: Whether to measure AUROC and average precision, too; they cost the most.

    Returns:
        A `Resampled`.

    Raises:
        ValueError: If the probabilities or labels cannot be used, or `resamples` is below 1.

    Example:
        >>> resample([[0.9, 0.1], [0.4, 0.6]], [0, 0], 100).accuracy.shape
        (100,)
    """
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, received: {resamples!r}")
    sums = _Sums(*check_predictions(probabilities, labels))
    ranked = _ranked(*sums.probabilities.shape, resamples) if ranking else 0
    chunks = []
    for counts in resample_counts(len(sums.labels), resamples, seed):
        chunks.append(sums.of(counts, counts[:, : max(0, ranked)]))
        ranked -= counts.shape[1]
    return Resampled(
        **{name: np.concatenate([chunk[name] for chunk in chunks], axis=-1) for name in chunks[0]}
    )


def observed(
    probabilities: np.ndarray, labels: np.ndarray
) -> tuple[Resampled, dict[str, np.ndarray]]:
    """Measure the images themselves: each counts once, the last axis is 1 long.

    Returns:
        A `Resampled`, with no ranking, and for each kind of gap the mean probability in its bins,
        0 where a bin is empty.
    """
    sums = _Sums(*check_predictions(probabilities, labels))
    once = np.ones((len(sums.labels), 1), np.uint8)
    return Resampled(**sums.of(once, once[:, :0])), sums.expected


def bin_index(values: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Return the equal-width bin of each value: `(b / bins, (b + 1) / bins]`.

    Example:
        >>> bin_index(np.array([0.0, 0.5, 0.51, 1.0]), 2).tolist()
        [0, 0, 1, 1]
    """
    return np.searchsorted(np.linspace(0.0, 1.0, bins + 1)[1:-1], values, side="left")


def equal_mass_index(confidence: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Return the bin of each confidence among bins that hold about equally many images.

    The sorted confidences are cut into `bins` groups whose sizes differ by at most one; the edges
    lie midway between groups, and equal confidences share a bin.

    Example:
        >>> equal_mass_index(np.array([0.9, 0.5, 0.6, 0.9]), 2).tolist()
        [1, 0, 0, 1]

    Source:
        Kumar, Liang and Ma, "Verified Uncertainty Calibration", 2019: `get_equal_bins`.
    """
    groups = np.array_split(np.sort(confidence), min(bins, len(confidence)))
    edges = [(left[-1] + right[0]) / 2 for left, right in itertools.pairwise(groups)]
    return np.searchsorted(np.unique(edges), confidence, side="left")


def debiased_square(gap: np.ndarray, count: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """Return the square of the calibration error with the part taken out that noise adds.

    Args:
        gap: Sum of `correct - confidence` in each bin, shape `(bins,)` or `(bins, resamples)`.
        count: Number of images, the same shape.
        correct: Number of correct images, the same shape.

    Returns:
        `sum_b n_b / N ((a_b - c_b)^2 - a_b (1 - a_b) / (n_b - 1))`, shape `()` or `(resamples,)`;
        negative where the gaps are smaller than noise makes them. A bin of a single image adds
        nothing.

    Source:
        Kumar, Liang and Ma, "Verified Uncertainty Calibration", 2019, definition 4.1.
    """
    many = np.maximum(count, 2)
    accuracy = correct / many
    squares = (gap / many) ** 2 - accuracy * (1 - accuracy) / (many - 1)
    return np.where(count > 1, count * squares, 0.0).sum(axis=0) / count.sum(axis=0)


class _Sums:
    """What does not depend on the resample, once."""

    def __init__(self, probabilities, labels):
        self.probabilities, self.labels = probabilities, labels
        images, self.classes = probabilities.shape
        rows = np.arange(images)
        predicted = probabilities.argmax(axis=1)
        correct = predicted == labels
        confidence = np.minimum(probabilities.max(axis=1), 1.0)
        gap = correct - confidence
        true = probabilities[rows, labels]
        others = np.square(probabilities).sum(axis=1) - true**2
        self.means = np.stack(
            [correct, -np.log(np.maximum(true, PROBABILITY_FLOOR)), others + (1 - true) ** 2]
        )
        self.support = _indicator(labels, self.classes)
        self.predicted = _indicator(predicted, self.classes)
        self.right = _indicator(labels, self.classes, correct)
        width, mass = bin_index(confidence), equal_mass_index(confidence)
        self.count, self.gap = _indicator(width, BINS), _indicator(width, BINS, gap)
        self.mass_count = _indicator(mass, BINS)
        self.mass_gap = _indicator(mass, BINS, gap)
        self.mass_correct = _indicator(mass, BINS, correct)
        groups = np.array_split(np.argsort(confidence, kind="stable"), BINS)
        place = np.empty(images, np.int64)
        place[np.concatenate(groups)] = np.repeat(np.arange(BINS), [len(group) for group in groups])
        self.adaptive_gap = _indicator(place, BINS, gap)
        self.higher = self._higher_bins()
        classes = np.arange(self.classes) * BINS
        self.expected = {
            "gap": _bin_mean(width, confidence, BINS),
            "adaptive_gap": _bin_mean(place, confidence, BINS),
            "mass_gap": _bin_mean(mass, confidence, BINS),
            "classwise_gap": _bin_mean(
                (classes + bin_index(probabilities)).ravel(),
                probabilities.ravel(),
                BINS * self.classes,
            ),
        }

    def _higher_bins(self):
        """Return class-wise gaps above the first bin; few probabilities are, however many classes.

        The first bin is what they leave of the sum over all bins.
        """
        place = bin_index(self.probabilities)
        rows, classes = np.nonzero(place)
        gaps = (self.labels[rows] == classes) - self.probabilities[rows, classes]
        index = classes * BINS + place[rows, classes]
        shape = (self.classes * BINS, len(self.labels))
        return sparse.csr_matrix((gaps, (index, rows)), shape=shape)

    def of(self, counts, ranked):
        """Return all measures, by name; `ranked` are the counts for the costly ones."""
        weights = counts.astype(np.float64)
        images = len(self.labels)
        accuracy, nll, brier = self.means @ weights / images
        support, predicted = self.support @ weights, self.predicted @ weights
        right = self.right @ weights
        areas, precisions = self._ranking(ranked)
        return {
            "accuracy": accuracy,
            "nll": nll,
            "brier": brier,
            "balanced_accuracy": _mean_ratio(right, support),
            "macro_f1": _mean_ratio(2 * right, support + predicted),
            "gap": self.gap @ weights,
            "count": self.count @ weights,
            "adaptive_gap": self.adaptive_gap @ weights,
            "classwise_gap": self._classwise(weights, support),
            "mass_gap": self.mass_gap @ weights,
            "mass_count": self.mass_count @ weights,
            "mass_correct": self.mass_correct @ weights,
            "auroc": areas,
            "average_precision": precisions,
        }

    def _classwise(self, weights, support):
        gaps = (self.higher @ weights).reshape(self.classes, BINS, -1)
        gaps[:, 0] = support - self.probabilities.T @ weights - gaps.sum(axis=1)
        return gaps.reshape(self.classes * BINS, -1)

    def _ranking(self, counts):
        pairs = [
            rank_weighted(self.probabilities[:, k], self.labels == k, counts)
            for k in range(self.classes if counts.shape[1] else 0)
        ]
        if not pairs:
            return (np.zeros((self.classes, 0)),) * 2
        return tuple(np.stack(part) for part in zip(*pairs, strict=True))


def _indicator(index, rows, values=None):
    """Return the sparse matrix whose row r times the weights is the sum over images of index r."""
    columns = np.arange(len(index))
    values = np.ones(len(index)) if values is None else np.asarray(values, np.float64)
    return sparse.csr_matrix((values, (index, columns)), shape=(rows, len(index)))


def _bin_mean(index, values, bins):
    return np.bincount(index, values, bins) / np.maximum(np.bincount(index, minlength=bins), 1)


def _mean_ratio(part, whole):
    """Return the mean over classes of part / whole, those with no images left out."""
    defined = whole > 0
    ratio = np.divide(part, whole, out=np.zeros_like(part), where=defined)
    return ratio.sum(axis=0) / defined.sum(axis=0)


def _ranked(images, classes, resamples):
    affordable = min(resamples, int(_RANKING_BUDGET / (images * classes)))
    return affordable if affordable >= min(resamples, _FEWEST_RESAMPLES) else 0
