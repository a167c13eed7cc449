"""Look after training: what do the curves say, and what is to be done?"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from recipes.diagnosis.curves import Curves, read_curves
from recipes.diagnosis.findings import Finding, Findings, plain
from recipes.diagnosis.rules import FEWEST, RULES

if TYPE_CHECKING:
    import keras

    from recipes.data import ImageData
    from recipes.run import Run


class Diagnosis(Findings):
    """What `diagnose` found; prints as a table.

    Attributes:
        findings: The worst first; none for a healthy training.
        figures: Last and best values of each curve.
        checks: Names of the rules that were applied.
        skipped: Name of each rule that could not be to the reason.
    """


def diagnose(
    source: "keras.callbacks.History | Mapping | Run | str | os.PathLike",
    *,
    classes: int | None = None,
    data: "ImageData | None" = None,
) -> Diagnosis:
    """Say what the curves of a training show, with advice.

    Looks for over-fit, under-fit, training that ended too early, diverged or jumped, validation
    that is better than it can be, a learning rate that does nothing more, and a calibration error
    that grows. Each rule is a pure function in `recipes.diagnosis.rules`, with its thresholds.

    Args:
        source: What `fit` returned, or its `history`: a list an epoch by name; or the path or
            `Run` of a run directory, which tells most, since it says how it was trained.
        classes: Number of classes, where the source does not tell; without it under-fit and a
            learning rate that does nothing more are not looked for.
        data: The images of the run; then training images are looked for among those of validation
            and test.

    Returns:
        A `Diagnosis`.

    Raises:
        RunError: If a directory holds no run, or a run without epochs.
        RecipesError: If the source is none of these, or has no training loss.

    Example:
        >>> history = {"loss": [1.0, 0.6, 0.4, 0.2, 0.1], "val_loss": [1.0, 0.8, 0.9, 1.2, 1.5]}
        >>> found = diagnose(history)
        >>> print(found["overfit"].message)
        val_loss is lowest in epoch 2 (0.8), then rises by 50 % while the training loss falls

    Source:
        Prechelt, "Early stopping - but when?", 1998, for the generalization loss; the other rules
        and all thresholds are this project's own.
    """
    curves = read_curves(source, classes)
    findings = [finding for rule in RULES if (finding := _apply(rule, curves))]
    checks, skipped = [rule.__name__ for rule in RULES], _skipped(curves)
    if data is not None:
        checks.append("copies")
        findings += copies(data)
    return Diagnosis(
        tuple(findings),
        _figures(curves),
        tuple(name for name in checks if name not in skipped),
        skipped,
    )


def _apply(rule, curves):
    # Curves with holes have diverged; nothing else can be said of them.
    return rule(curves) if _are_finite(curves) or rule.__name__ == "diverged" else None


def _are_finite(curves):
    losses = (curves.loss, curves.val_loss)
    return all(loss is None or np.isfinite(loss).all() for loss in losses)


def _skipped(curves: Curves) -> dict[str, str]:
    reasons = {}
    if curves.val_loss is None:
        reasons["overfit"] = reasons["leaking"] = "no val_loss"
    elif curves.accuracy is None or curves.val_accuracy is None:
        reasons["leaking"] = "no accuracy of training and validation"
    if curves.val_ece is None:
        reasons["calibration_drift"] = "no val_ece"
    if curves.learning_rate is None:
        reasons["plateaued"] = "no learning_rate"
    if curves.classes is None:
        reasons["underfit"] = reasons["plateaued"] = "the number of classes is not known"
    if len(curves) < 2 * FEWEST:
        reasons |= dict.fromkeys(("noisy", "plateaued"), f"fewer than {2 * FEWEST} epochs")
    others = [rule.__name__ for rule in RULES if rule.__name__ != "diverged"]
    if len(curves) < FEWEST:
        reasons |= dict.fromkeys(others, f"fewer than {FEWEST} epochs")
    if not _are_finite(curves):
        reasons |= dict.fromkeys(others, "the losses are not finite")
    return reasons


def _figures(curves):
    figures = {"epochs": len(curves), "classes": curves.classes, "loss_floor": curves.floor}
    for name in ("loss", "val_loss", "accuracy", "val_accuracy", "val_ece", "learning_rate"):
        values = getattr(curves, name)
        if values is not None:
            figures[f"last_{name}"] = float(values[-1])
    if curves.val_loss is not None and np.isfinite(curves.val_loss).any():
        figures["best_epoch"] = int(np.nanargmin(curves.val_loss)) + 1
    return plain(figures)


def copies(data: "ImageData") -> list[Finding]:
    """Return a finding for each held-out split that has exact copies of training images.

    Args:
        data: With a split named train.
    """
    train, found = _digests(data.splits["train"]), []
    for name, split in data.splits.items():
        if name == "train" or not len(split):
            continue
        known = set(train)
        shared = sum(digest in known for digest in _digests(split))
        if shared:
            found.append(
                Finding(
                    "leaking_copies",
                    "error" if shared > 0.05 * len(split) else "warning",
                    f"{shared} of {len(split)} {name} images are exact copies of training images",
                    "remove them from one of the two (check_data names them), then train again",
                    {"split": name, "copies": shared, "images": len(split)},
                )
            )
    return found


def _digests(split, chunk=512):
    import hashlib

    digests = []
    for start in range(0, len(split), chunk):
        images = split.load(np.arange(start, min(start + chunk, len(split))))
        digests += [hashlib.sha1(np.ascontiguousarray(image)).digest() for image in images]
    return digests
