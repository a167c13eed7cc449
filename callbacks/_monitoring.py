"""What the callbacks that watch a measure have in common: its direction, and whether it exists."""

import difflib
import re
from collections.abc import Iterable, Mapping

from callbacks._measure_names import CALIBRATION_NAMES, VALIDATION_NAMES

# A metric whose name holds one of these words grows, or shrinks, as the model gets better.
_GROWING = frozenset(
    (
        *("acc", "accuracy", "auc", "precision", "recall", "f1", "fbeta", "r2", "kappa"),
        *("iou", "miou", "meaniou"),
    )
)
_SHRINKING = frozenset(
    (
        *("loss", "logloss", "error", "entropy", "crossentropy", "divergence", "hinge", "poisson"),
        *("ece", "mce", "nll", "brier", "mse", "mae", "mape", "rmse"),
    )
)
# What other callbacks of this package add to the logs of an epoch.
_CALIBRATION = tuple(f"val_{name}" for name in CALIBRATION_NAMES)
_ADDED = (
    *VALIDATION_NAMES,
    *_CALIBRATION,
    *("gradient_norm", "gradient_norm_max", "learning_rate"),
)
# And of which names begin so, with that of a layer behind.
_ADDED_BY_LAYER = "gradient_norm/"


def better_direction(monitor: str) -> str:
    """Return `"max"` or `"min"` from the words in the name of a metric.

    Numbers after a word, as in `auc_2` and `acc5`, do not matter.

    Raises:
        ValueError: If the name does not tell.

    Example:
        >>> better_direction("val_accuracy"), better_direction("val_loss")
        ('max', 'min')
    """
    # In camel case, too; but IoU is one word.
    parted = re.sub("([a-z0-9])([A-Z])", r"\1 \2", monitor)
    words = re.findall("[a-z]+[0-9]*", f"{parted} {monitor}".lower())
    words += [word.rstrip("0123456789") for word in words]
    if not _SHRINKING.isdisjoint(words):
        return "min"
    if not _GROWING.isdisjoint(words):
        return "max"
    raise ValueError(
        f"cannot tell from its name whether {monitor!r} grows or shrinks as the model gets better: "
        f"say mode='max' or mode='min'{_nearest(monitor, _ADDED)}"
    )


class Monitored:
    """The names that a callback looks for in the logs.

    Args:
        who: Name of the callback, for messages.
        names: What it looks for.
        added: Names that callbacks of the user's own add to the logs of an epoch.
    """

    def __init__(self, who: str, names: Iterable[str], added: Iterable[str] = ()):
        self._who = who
        self._names = tuple(names)
        self._added = tuple(added)
        self._checked = False

    def check(self, logs: Mapping | None) -> None:
        """Raise, after the first batch, if the logs of an epoch will not have a name.

        Args:
            logs: Of a batch. The epoch's also hold what is measured on validation data, and what
                callbacks add.
        """
        if self._checked or not logs:
            return
        self._checked = True
        known = {*logs, *(f"val_{name}" for name in logs), *_ADDED, *self._added}
        for name in self._names:
            if name not in known and not name.startswith(_ADDED_BY_LAYER):
                raise ValueError(f"{self._unknown(name, logs)}; added=[...] names what is yours")

    def value(self, name: str, logs: Mapping) -> float:
        """Return what the logs of an epoch say; raise if they say nothing."""
        if name not in logs:
            raise ValueError(self._unknown(name, logs))
        return float(logs[name])

    def _unknown(self, name, logs):
        known = sorted(logs)
        return (
            f"{self._who} monitors {name!r}, which training does not report "
            f"(it reports {', '.join(known)}){_remedy(name, known)}"
        )


def _remedy(name, known):
    ways = []
    if name.startswith("val_") and name.removeprefix("val_") in known:
        ways.append("give fit validation_data (validation_freq must be 1)")
    if name in VALIDATION_NAMES:
        ways.append("name Validation before this callback")
    elif name in _CALIBRATION:
        ways.append("name CalibrationMonitor before this callback")
    elif name in _ADDED:
        ways.append("name the callback that adds it before this one")
    return f"; {', or '.join(ways)}" if ways else _nearest(name, [*known, *_ADDED])


def _nearest(name, known):
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
