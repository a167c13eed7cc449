"""`Evaluation`: every number that `evaluate` measures, each with its interval and its n."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from recipes.evaluation.estimates import (
    CALIBRATION_ERRORS,
    Estimate,
    calibration_estimate,
    f1_estimate,
    percentile_estimate,
    proportion,
)
from recipes.evaluation.labelled import Predictions
from recipes.evaluation.metrics import CONFIDENCE_LEVEL, classification_metrics
from recipes.evaluation.resampling import observed, resample
from recipes.evaluation.slices import Slice

MEASURES = (
    "accuracy",
    "top5_accuracy",
    "balanced_accuracy",
    "macro_f1",
    "macro_auroc",
    "macro_average_precision",
    "nll",
    "brier",
    *CALIBRATION_ERRORS,
)
CLASS_MEASURES = ("precision", "recall", "f1", "auroc", "average_precision")


@dataclasses.dataclass(frozen=True)
class ClassScores:
    """How a classifier does on one class, the class against the rest.

    Attributes:
        name: Of the class.
        support: Images of the class.
        precision: Of the images predicted to be of the class, the share that is; their number is
            its `n`.
        recall: Of the images of the class, the share predicted to be.
        f1: Harmonic mean of the two.
        auroc: Area under the ROC curve of the probability of the class.
        average_precision: Area under its precision-recall curve.
    """

    name: str
    support: int
    precision: Estimate
    recall: Estimate
    f1: Estimate
    auroc: Estimate
    average_precision: Estimate


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation(Mapping):
    """What a classifier is worth on labelled images.

    As a mapping it is what `to_dict` gives: `evaluation["accuracy"]` is a plain number, while
    `evaluation.accuracy` is an `Estimate` with interval and n.

    Attributes:
        split: `"train"`, `"validation"`, `"test"`, or `"given"` for images that are no split.
        class_names: One name a class.
        images: Their number.
        accuracy, top5_accuracy, balanced_accuracy, macro_f1, macro_auroc, macro_average_precision,
            nll, brier, ece, mce, adaptive_ece, classwise_ece, debiased_ece: Estimates, as defined
            in `classification_metrics`; `top5_accuracy` has no value with five classes or fewer.
        ece_noise_floor: `"mean"` and `"upper"`: the ECE that chance gives a perfectly calibrated
            model of these confidences.
        per_class: A `ClassScores` a class.
        confusion: Counts, rows are true classes, columns predicted ones.
        reliability: Lists `lower`, `upper`, `count`, `confidence`, `accuracy`, one entry a bin.
        bootstrap: `"resamples"`, `"ranking_resamples"` (fewer where classes and images are very
            many), `"seed"` and `"level"`.
        undefined: What could not be measured, and why; a sentence each.
        slices: Parts of the images, the surely worst first.
        predictions: Probabilities and labels, for comparisons; not in `to_dict`.
    """

    split: str
    class_names: tuple[str, ...]
    images: int
    accuracy: Estimate
    top5_accuracy: Estimate
    balanced_accuracy: Estimate
    macro_f1: Estimate
    macro_auroc: Estimate
    macro_average_precision: Estimate
    nll: Estimate
    brier: Estimate
    ece: Estimate
    mce: Estimate
    adaptive_ece: Estimate
    classwise_ece: Estimate
    debiased_ece: Estimate
    ece_noise_floor: dict[str, float]
    per_class: tuple[ClassScores, ...]
    confusion: list[list[int]]
    reliability: dict[str, list]
    bootstrap: dict[str, Any]
    undefined: tuple[str, ...] = ()
    slices: tuple[Slice, ...] = ()
    predictions: Predictions | None = dataclasses.field(default=None, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain numbers, lists and strings, ready for JSON.

        The keys of `classification_metrics`, `split`, `intervals` (measure to `low`, `high`, `n`
        and `method`; in `per_class` likewise), `bootstrap`, `undefined` and `slices`.
        """
        accuracy = self.accuracy
        plain: dict[str, Any] = {
            "split": self.split,
            "images": self.images,
            "accuracy_interval": [accuracy.low, accuracy.high],
        }
        intervals = {}
        for name in MEASURES:
            estimate = getattr(self, name)
            if name != "top5_accuracy" or estimate.value is not None:
                plain[name] = estimate.value
                intervals[name] = estimate.interval_dict()
        return {
            **plain,
            "ece_noise_floor": dict(self.ece_noise_floor),
            "class_names": list(self.class_names),
            "per_class": [_class_dict(scores) for scores in self.per_class],
            "confusion": self.confusion,
            "reliability": self.reliability,
            "intervals": intervals,
            "bootstrap": dict(self.bootstrap),
            "undefined": list(self.undefined),
            "slices": [part.to_dict() for part in self.slices],
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Evaluation":
        """Return what `to_dict` was called on, without the predictions."""
        intervals = plain["intervals"]
        estimates = {
            name: Estimate(plain.get(name), **intervals.get(name, {})) for name in MEASURES
        }
        kept = ("split", "images", "ece_noise_floor", "confusion", "reliability", "bootstrap")
        return cls(
            **{name: plain[name] for name in kept},
            **estimates,
            class_names=tuple(plain["class_names"]),
            per_class=tuple(_class_from_dict(row) for row in plain["per_class"]),
            undefined=tuple(plain["undefined"]),
            slices=tuple(Slice.from_dict(row) for row in plain["slices"]),
        )

    def __getitem__(self, name: str) -> Any:
        return self.to_dict()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_dict())

    def __len__(self) -> int:
        return len(self.to_dict())

    def __str__(self) -> str:
        from recipes.evaluation.tables import as_text, evaluation_tables

        return as_text(evaluation_tables(self))

    def __rich__(self):
        from rich.console import Group

        from recipes.evaluation.tables import evaluation_tables

        return Group(*evaluation_tables(self))


def evaluate_predictions(
    predictions: Predictions,
    *,
    split: str = "given",
    bootstrap: int = 1000,
    seed: int = 0,
    slices: tuple[Slice, ...] = (),
) -> Evaluation:
    """Measure predictions.

    Args:
        predictions: Probabilities and labels.
        split: Name for the result.
        bootstrap: Resamples for the intervals; 0: only Wilson's.
        seed: Of the resamples.
        slices: For the result.

    Raises:
        ValueError: If the probabilities or labels cannot be used.
    """
    probabilities, labels = predictions.probabilities, predictions.labels
    metrics = classification_metrics(probabilities, labels, predictions.class_names)
    resampled = resample(probabilities, labels, bootstrap, seed) if bootstrap else None
    images = metrics["images"]
    confusion = np.array(metrics["confusion"])
    once = observed(probabilities, labels)
    per_class = _class_scores(metrics["per_class"], confusion, resampled)
    kept = ("ece_noise_floor", "confusion", "reliability")
    return Evaluation(
        split=split,
        class_names=tuple(map(str, predictions.class_names)),
        images=images,
        per_class=per_class,
        bootstrap={
            "resamples": bootstrap,
            "ranking_resamples": resampled.auroc.shape[1] if resampled else 0,
            "seed": seed,
            "level": CONFIDENCE_LEVEL,
        },
        undefined=_undefined(metrics["per_class"]),
        slices=slices,
        predictions=predictions,
        **{name: metrics[name] for name in kept},
        **_overall(metrics, confusion, resampled),
        **{
            name: calibration_estimate(name, metrics[name], *once, resampled)
            for name in CALIBRATION_ERRORS
        },
    )


def _overall(metrics, confusion, resampled):
    """Return the estimates over all classes, but for the calibration errors."""
    images = metrics["images"]
    top5 = metrics.get("top5_accuracy")
    macros = {"macro_auroc": None, "macro_average_precision": None}
    if resampled:
        macros = {
            "macro_auroc": _class_mean(resampled.auroc),
            "macro_average_precision": _class_mean(resampled.average_precision),
        }
    # The rarest class has the most say in a mean over classes, for an image.
    support = confusion.sum(axis=1)
    rarest = int(support[support > 0].min())
    estimates = {
        "accuracy": proportion(int(np.trace(confusion)), images),
        "top5_accuracy": Estimate(None)
        if top5 is None
        else proportion(round(top5 * images), images),
    }
    for name in ("balanced_accuracy", "macro_f1", "nll", "brier"):
        values = getattr(resampled, name) if resampled else None
        extreme = rarest if name in ("balanced_accuracy", "macro_f1") else None
        estimates[name] = percentile_estimate(metrics[name], values, images, extreme)
    for name, values in macros.items():
        estimates[name] = percentile_estimate(metrics[name], values, images, rarest)
    return estimates


def _class_mean(values):
    """Return the mean over the classes that are defined, NaN where none is."""
    defined = ~np.isnan(values)
    total = np.where(defined, values, 0.0).sum(axis=0)
    count = defined.sum(axis=0)
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)


def _class_scores(rows, confusion, resampled):
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    total = int(support.sum())
    scores = []
    for index, row in enumerate(rows):
        right, here, claimed = confusion[index, index], support[index], predicted[index]
        fewest = int(min(here, total - here))
        ranking = {
            name: percentile_estimate(
                row[name], getattr(resampled, name)[index] if resampled else None, here, fewest
            )
            for name in ("auroc", "average_precision")
        }
        scores.append(
            ClassScores(
                row["name"],
                row["support"],
                proportion(right, claimed),
                proportion(right, here),
                f1_estimate(right, claimed, here),
                **{name: dataclasses.replace(e, n=int(here)) for name, e in ranking.items()},
            )
        )
    return tuple(scores)


def _undefined(rows):
    """Say which measures have no value, and why."""
    absent = [row["name"] for row in rows if not row["support"]]
    unclaimed = [row["name"] for row in rows if row["precision"] is None]
    sentences = []
    if len(absent) == len(rows) - 1:
        only = next(row["name"] for row in rows if row["support"])
        sentences.append(f"all images are of {only}: AUROC and average precision are undefined")
    if absent:
        sentences.append(
            f"no image of {_some(absent)}: recall, AUROC and average precision are undefined, and "
            "left out of the means over classes"
        )
    if unclaimed:
        sentences.append(f"no image is predicted to be of {_some(unclaimed)}: no precision")
    return tuple(sentences)


def _some(names, limit=6):
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _class_dict(scores):
    estimates = {name: getattr(scores, name) for name in CLASS_MEASURES}
    return {
        "name": scores.name,
        "support": scores.support,
        **{name: estimate.value for name, estimate in estimates.items()},
        "intervals": {name: estimate.interval_dict() for name, estimate in estimates.items()},
    }


def _class_from_dict(row):
    estimates = {name: Estimate(row[name], **row["intervals"][name]) for name in CLASS_MEASURES}
    return ClassScores(row["name"], row["support"], **estimates)
