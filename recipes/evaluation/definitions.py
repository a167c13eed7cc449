"""The numbers of metrics.json: their names, how they are written, what they mean."""

from typing import NamedTuple

from recipes.evaluation.wording import decimals, percent


class Definition(NamedTuple):
    """A number of metrics.json.

    Attributes:
        key: Its key.
        name: What people call it.
        digits: Decimals to show, or `None` for a percentage.
        meaning: Its definition, in words.
    """

    key: str
    name: str
    digits: int | None
    meaning: str

    def show(self, metrics: dict | None) -> str:
        """Return the number as text, a dash where it is not there."""
        value = (metrics or {}).get(self.key)
        return percent(value) if self.digits is None else decimals(value, self.digits)


DEFINITIONS = (
    Definition(
        "accuracy",
        "Accuracy",
        None,
        "Share of the images whose most probable class is the true one. Its interval is Wilson's, "
        "at 95% confidence.",
    ),
    Definition(
        "top5_accuracy",
        "Top-5 accuracy",
        None,
        "Share of the images whose true class is among the five most probable.",
    ),
    Definition(
        "balanced_accuracy",
        "Balanced accuracy",
        None,
        "Mean recall of the classes; each counts the same however many images it has.",
    ),
    Definition(
        "macro_f1",
        "Macro F1",
        4,
        "Mean over the classes of F1, the harmonic mean of precision and recall.",
    ),
    Definition(
        "nll",
        "Negative log-likelihood",
        4,
        "Mean of −ln(probability given to the true class), in nats; 0 is perfect, ln(classes) is "
        "guessing.",
    ),
    Definition(
        "brier",
        "Brier score",
        4,
        "Mean squared distance between the probabilities and the truth, summed over the classes; "
        "0 is perfect, 2 the worst.",
    ),
    Definition(
        "ece",
        "Expected calibration error (ECE)",
        4,
        "Mean gap between confidence and accuracy over 15 equal bins of confidence, weighted by "
        "their images.",
    ),
    Definition(
        "mce",
        "Maximum calibration error",
        4,
        "The largest such gap of a bin; one with few images can decide it.",
    ),
    Definition(
        "adaptive_ece",
        "Adaptive calibration error",
        4,
        "The same mean gap over 15 bins that hold equally many images.",
    ),
    Definition(
        "classwise_ece",
        "Class-wise calibration error",
        4,
        "Mean over the classes of the calibration error of that class's own probability.",
    ),
)
IMAGES_MEANING = "How many images the column is measured on."
NOISE_MEANING = (
    "The ECE of a perfectly calibrated model with the same confidences: mean and 95% quantile over "
    "200 simulated outcomes. A measured ECE up to the quantile may be chance."
)
