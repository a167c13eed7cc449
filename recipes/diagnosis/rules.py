"""What curves say of a training: one pure function a fault, each threshold named.

"Excess" is a loss less the floor that label smoothing gives it. A training curve is a mean over
an epoch in which the model was getting better, a validation curve is taken at its end: so
validation is compared with the training of the epoch after.
"""

import numpy as np

from recipes.diagnosis.curves import Curves
from recipes.diagnosis.findings import Finding

# Epochs without which a curve has no shape.
FEWEST = 4
# Rise of the training loss over its lowest, as a share of what had been gained.
DIVERGED = 0.5
# Prechelt's generalization loss, in percent, and the accuracy gap, that are over-fit.
GENERALIZATION_LOSS = 15.0
GAP = 0.15
# Share of the excess at chance that an under-fit model keeps.
UNDERFIT = 0.5
# Fall of the excess in the last quarter that says there is more to come.
STILL_FALLING = 0.1
# The same as a share of the loss at the start: near 0 a loss may fall for ever.
WORTH = 0.01
# Slope of that fall in units of its standard error.
CERTAIN = 5.0
# Fall in the last third that says there is not.
FLAT = 0.02
# Scatter about the trend in the last half, relative to the loss.
NOISY = 0.15
# By how much validation accuracy may exceed that of training, by what makes training harder.
ALLOWED = {"dropout": 0.12, "augmentation": 0.12, "average": 0.08, "mixing": 0.3}
ALLOWED_ALONE = 0.04
ALLOWED_UNKNOWN = 0.12
# Rise of the calibration error since the best epoch.
MISCALIBRATED = 0.05


def diverged(curves: Curves) -> Finding | None:
    """Find a loss that is not finite, or training that got worse and stayed so."""
    for name, values in (("loss", curves.loss), ("val_loss", curves.val_loss)):
        if values is not None and not np.isfinite(values).all():
            epoch = int(np.flatnonzero(~np.isfinite(values))[0]) + 1
            return Finding(
                "diverged",
                "error",
                f"{name} is not finite from epoch {epoch} on",
                "lower the learning rate, clip the gradient, add warm-up; run preflight first",
                {"curve": name, "epoch": epoch},
            )
    excess = curves.loss - curves.floor
    if len(curves) < 3:
        return None
    lowest, last = excess.min(), excess[-2:].min()
    gained = max(excess[0] - lowest, 0.0)
    if last - lowest > max(DIVERGED * gained, lowest, 0.1):
        return Finding(
            "diverged",
            "error",
            f"the training loss rose from {curves.loss.min():.3g} (epoch "
            f"{excess.argmin() + 1}) to {curves.loss[-1]:.3g} and stayed there",
            "lower the learning rate, clip the gradient, add warm-up; run preflight first",
            {"lowest": float(curves.loss.min()), "last": float(curves.loss[-1])},
        )
    return None


def overfit(curves: Curves) -> Finding | None:
    """Find validation that gets worse, or stays far behind, while training gets better.

    Source:
        Prechelt, "Early stopping - but when?", 1998: the generalization loss
        `GL = 100 (E_val / E_opt - 1)`.
    """
    if curves.val_loss is None or len(curves) < FEWEST:
        return None
    excess = curves.val_loss - curves.val_floor
    best = int(excess.argmin())
    last = float(np.median(excess[-3:]))
    generalization = 100 * (last / max(excess[best], 1e-9) - 1)
    training = curves.loss - curves.floor
    fell = np.median(training[-3:]) < 0.95 * training[best]
    gap = _gap(curves)
    figures = {
        "best_epoch": best + 1,
        "lowest_val_loss": float(curves.val_loss[best]),
        "last_val_loss": float(curves.val_loss[-1]),
        "generalization_loss": generalization,
        "accuracy_gap": gap,
    }
    rising = best < len(curves) - 2 and fell and generalization > GENERALIZATION_LOSS
    behind = gap is not None and gap > GAP + 2 * _error(curves) and last > 2 * training[-1]
    if not rising and not behind:
        return None
    words = (
        f"val_loss is lowest in epoch {best + 1} ({curves.val_loss[best]:.3g}), then rises by "
        f"{generalization:.0f} % while the training loss falls"
        if rising
        else f"validation accuracy is {100 * gap:.0f} points behind that of training"
    )
    return Finding(
        "overfit",
        "warning",
        words,
        "keep the best epoch (EarlyStopping), augment more, use dropout, weight decay or more "
        "images",
        figures,
    )


def _gap(curves):
    if curves.accuracy is None or curves.val_accuracy is None:
        return None
    return float(np.median(curves.accuracy[-3:]) - np.median(curves.val_accuracy[-3:]))


def _error(curves):
    """Return the standard error of the validation accuracy; 0 where it is not known."""
    if not curves.validation_images or curves.val_accuracy is None:
        return 0.0
    share = float(np.median(curves.val_accuracy[-3:]))
    return float(np.sqrt(share * (1 - share) / curves.validation_images))


def underfit(curves: Curves) -> Finding | None:
    """Find training that stopped getting better far from what could be reached."""
    if curves.classes is None or len(curves) < FEWEST or falling(_judged(curves)) > STILL_FALLING:
        return None
    chance = np.log(curves.classes) - curves.floor
    left = float(np.median(curves.loss[-3:]) - curves.floor) / chance
    if curves.val_loss is not None:
        # Strong augmentation makes the training loss high; what counts is what was learned.
        learned = np.log(curves.classes) - curves.val_floor
        left = min(left, float(np.median(curves.val_loss[-3:]) - curves.val_floor) / learned)
    if left < UNDERFIT:
        return None
    return Finding(
        "underfit",
        "warning",
        f"the loss has stopped at {100 * left:.0f} % of that of knowing nothing",
        "use a larger model, a higher learning rate or less regularisation; check the labels",
        {"share_of_chance": left, "last_loss": float(curves.loss[-1])},
    )


def not_converged(curves: Curves) -> Finding | None:
    """Find a loss that was still falling when training ended."""
    if len(curves) < FEWEST:
        return None
    judged = _judged(curves)
    fall, certain = falling(judged), steadiness(judged)
    start = max(judged[0], np.log(curves.classes) if curves.classes else 0.0)
    small = fall <= STILL_FALLING or fall * judged[-1] <= WORTH * start
    if small or certain < CERTAIN or judged.argmin() < len(judged) - 2:
        return None
    rate = curves.learning_rate
    ended = rate is not None and rate[-1] < 0.1 * rate.max()
    name = "loss" if curves.val_loss is None else "val_loss"
    return Finding(
        "not_converged",
        "note" if ended else "warning",
        f"{name} fell by {100 * fall:.0f} % in the last quarter of the epochs",
        "train longer, with a longer schedule" if ended else "train longer",
        {"fall": fall, "epochs": len(curves), "learning_rate_ended": bool(ended)},
    )


def _judged(curves):
    if curves.val_loss is None:
        return curves.loss - curves.floor
    return curves.val_loss - curves.val_floor


def falling(values: np.ndarray, part: int = 4) -> float:
    """Return the share by which a line through the last part of a curve falls from end to end.

    Args:
        values: A loss, one an epoch.
        part: The last `1 / part` of the epochs, at least 4, is looked at.

    Example:
        >>> round(falling(np.array([4, 3.5, 3.0, 2.5, 2.0])), 3)
        0.429
    """
    tail = values[-max(4, len(values) // part) :]
    slope, start = np.polyfit(np.arange(len(tail)), tail, 1)
    return float(-slope * (len(tail) - 1) / max(start, 1e-9))


def steadiness(values: np.ndarray, part: int = 4) -> float:
    """Return by how many standard errors the slope of the last part of a curve is below 0.

    Args:
        values: As for `falling`; so is `part`.

    Example:
        >>> steadiness(np.array([4, 3, 2.1, 1, 0.1])) > 10
        True
    """
    tail = values[-max(4, len(values) // part) :]
    places = np.arange(len(tail)) - (len(tail) - 1) / 2
    slope = float(places @ tail / (places @ places))
    rest = tail - tail.mean() - slope * places
    error = np.sqrt(rest @ rest / (len(tail) - 2) / (places @ places))
    return float(-slope / max(error, 1e-12))


def noisy(curves: Curves) -> Finding | None:
    """Find curves that jump from epoch to epoch in the last half of training."""
    for name, values in (("val_loss", curves.val_loss), ("loss", curves.loss)):
        if values is None or len(values) < 2 * FEWEST:
            continue
        tail = values[len(values) // 2 :]
        places = np.arange(len(tail))
        scatter = tail - np.polyval(np.polyfit(places, tail, 1), places)
        relative = float(scatter.std(ddof=2) / tail.mean())
        turns = np.mean(np.diff(np.sign(np.diff(tail))) != 0)
        # A bend is no noise: it does not turn back and forth.
        if relative > NOISY and turns >= 0.4:
            return Finding(
                "noisy",
                "warning",
                f"{name} scatters by {100 * relative:.0f} % about its trend in the last half",
                "lower the learning rate or let it decay, use larger batches, average the weights, "
                "or validate on more images",
                {"curve": name, "scatter": relative},
            )
    return None


def leaking(curves: Curves) -> Finding | None:
    """Find validation that is better than training, beyond what regularisation explains."""
    accuracy, validated = curves.accuracy, curves.val_accuracy
    if accuracy is None or validated is None or curves.val_loss is None or len(curves) < FEWEST:
        return None
    half = len(curves) // 2
    ahead = float(np.median(validated[half - 1 : -1] - accuracy[half:]))
    lower = np.median(
        (curves.val_loss - curves.val_floor)[half - 1 : -1] - (curves.loss - curves.floor)[half:]
    )
    allowed = allowance(curves.regularization) + 2 * _error(curves)
    if ahead <= allowed or lower >= 0:
        return None
    return Finding(
        "leaking",
        "warning",
        f"validation accuracy is {100 * ahead:.0f} points above that of training; "
        f"{100 * allowed:.0f} could be explained",
        "look for training images among the validation images (check_data), and for labels that "
        "show in the images",
        {"ahead": ahead, "allowed": allowed},
    )


def allowance(regularization) -> float:
    """Return by how much validation accuracy may exceed training's, from what regularises.

    Example:
        >>> allowance(frozenset()), allowance(frozenset({"dropout"})), allowance(None)
        (0.04, 0.16, 0.12)
    """
    if regularization is None:
        return ALLOWED_UNKNOWN
    return round(ALLOWED_ALONE + sum(ALLOWED[name] for name in regularization), 4)


def plateaued(curves: Curves) -> Finding | None:
    """Find a constant learning rate at which the training loss no longer falls, far from 0."""
    rate = curves.learning_rate
    if rate is None or curves.classes is None or len(curves) < 2 * FEWEST:
        return None
    third = max(FEWEST, len(curves) // 3)
    excess = curves.loss - curves.floor
    tail, steady = excess[-third:], rate[-third:]
    constant = steady.max() > 0 and steady.max() - steady.min() < 0.01 * steady.max()
    fall = falling(excess, 3)
    if not constant or fall > FLAT or np.median(tail) < 0.1 * np.log(curves.classes):
        return None
    return Finding(
        "learning_rate_plateau",
        "warning",
        f"at a constant learning rate of {steady[-1]:.3g} the training loss stands at "
        f"{np.median(curves.loss[-third:]):.3g} for {third} epochs",
        "let the learning rate decay (WarmupDecay), or lower it now by a factor of ten",
        {"learning_rate": float(steady[-1]), "fall": fall, "epochs": third},
    )


def calibration_drift(curves: Curves) -> Finding | None:
    """Find confidence that grows away from accuracy: a calibration error that rises."""
    error = curves.val_ece
    if error is None or len(curves) < FEWEST or not np.isfinite(error).all():
        return None
    # The first epochs are calibrated by being unsure: it counts from the best epoch on.
    best = int((error if curves.val_loss is None else curves.val_loss).argmin())
    start, last = float(error[best]), float(np.median(error[-3:]))
    if last - start <= MISCALIBRATED or last < 1.5 * start:
        return None
    return Finding(
        "calibration_drift",
        "warning",
        f"the calibration error rose from {start:.3f} in the best epoch, {best + 1}, to {last:.3f}",
        "scale the temperature on held-out images (TemperatureScaling), stop earlier, or smooth "
        "the labels",
        {"best_epoch": best + 1, "then": start, "last": last},
    )


RULES = (
    diverged,
    overfit,
    underfit,
    not_converged,
    noisy,
    leaking,
    plateaued,
    calibration_drift,
)
