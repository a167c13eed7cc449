"""What a comparison of runs says in words and written numbers, for the page and for Markdown."""

from typing import Any

from recipes.evaluation.definitions import DEFINITIONS, RUN_DEFINITIONS, written_interval
from recipes.evaluation.summary import Verdict
from recipes.evaluation.wording import decimals, points, points_interval, probability, signed
from recipes.wording import counted

# More classes than this make a matrix nobody can read; the largest changes are listed instead.
LARGEST_MATRIX = 30
_MOST_CHANGES = 10
# Below this an adjusted p-value is called a difference.
_LEVEL = 0.05
CURVES = (
    ("val_loss", "Validation loss", None),
    ("loss", "Training loss", None),
    ("val_accuracy", "Validation accuracy", 1),
    ("accuracy", "Training accuracy", 1),
    ("val_ece", "Validation calibration error (ECE)", None),
    ("learning_rate", "Learning rate", None),
)
DIFFERENCE_NOTE = (
    "The run minus the other, on the same images. Only images that exactly one of the two has "
    "right tell which is better: p is how often chance would divide those so unequally (exact "
    "McNemar test), “p, Holm” the same adjusted for the number of pairs here. With a difference "
    "stands its 95% interval; of NLL and Brier score less is better."
)
_DEFINITIONS = {definition.key: definition for definition in (*DEFINITIONS, *RUN_DEFINITIONS)}


def verdicts(content: dict[str, Any]) -> list[Verdict]:
    """Return what the comparison means, in sentences."""
    found = []
    tests = sum(pair["paired"] for pair in content["pairs"]["rows"])
    for pair in content["pairs"]["rows"]:
        if not pair["paired"]:
            found.append(
                Verdict(
                    "warn", f"{_capital(pair['reason'])}; their numbers are shown but not paired."
                )
            )
        elif pair["reference"] == content["runs"][0]["label"]:
            found.append(_difference(pair, tests))
    if tests:
        found.append(
            Verdict(
                "info",
                "The intervals speak of other images like these, not of another training: a run "
                "with another seed may move by more.",
            )
        )
    for run in content["runs"]:
        if not run["finished"]:
            found.append(Verdict("warn", f"{run['label']} is unfinished: it has curves only."))
    return found


def _difference(pair, tests):
    test = pair["differences"]["accuracy"]
    run, reference = pair["run"], pair["reference"]
    p = probability(test["p_adjusted"])
    p = f"p {p}" if p.startswith("<") else f"p = {p}"
    if tests > 1:
        p += f", adjusted for {tests} pairs"
    how = (
        f"{points(test['difference'])} points ({points_interval(test['interval'])}, 95% "
        f"confidence) on the same {counted(pair['n'], 'test image')}; {test['only_run']:,} only "
        f"it has right, {test['only_reference']:,} only the other ({p})."
    )
    if test["p_adjusted"] >= _LEVEL:
        text = f"No difference in accuracy is shown between {run} and {reference}: {how}"
        return Verdict("info", text)
    better = test["difference"] > 0
    text = f"{run} is {'more' if better else 'less'} accurate than {reference}: {how}"
    return Verdict("good" if better else "warn", text)


def difference_rows(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row of written values for each pair of runs; pairs of numbers are with interval."""
    rows = []
    for pair in content["pairs"]["rows"]:
        if not pair["paired"]:
            rows.append({key: pair[key] for key in ("run", "reference", "reason")})
            continue
        found = pair["differences"]
        accuracy = found["accuracy"]
        rows.append(
            {
                "run": pair["run"],
                "reference": pair["reference"],
                "n": pair["n"],
                "accuracy": (points(accuracy["difference"]), points_interval(accuracy["interval"])),
                "only_run": f"{accuracy['only_run']:,}",
                "only_reference": f"{accuracy['only_reference']:,}",
                "p": probability(accuracy["p_value"]),
                "p_adjusted": probability(accuracy["p_adjusted"]),
                "nll": _signed(found["nll"]),
                "brier": _signed(found["brier"]),
            }
        )
    return rows


def largest_changes(shares: list[list[float]], names: list[str]) -> list[tuple[str, str, float]]:
    """Return (true class, given class, change of its share), largest change first.

    Example:
        >>> largest_changes([[0.1, -0.1], [0.0, 0.0]], ["cat", "dog"])
        [('cat', 'cat', 0.1), ('cat', 'dog', -0.1)]
    """
    found = [
        (names[i], names[j], share)
        for i, row in enumerate(shares)
        for j, share in enumerate(row)
        if share
    ]
    return sorted(found, key=lambda change: -abs(change[2]))[:_MOST_CHANGES]


def show(key: str, value: float | None) -> str | None:
    """Return a number of the table of final figures as text."""
    if value is None:
        return None
    definition = _DEFINITIONS.get(key)
    return definition.show({key: value}) if definition else decimals(value, 4)


def show_interval(key: str, bounds) -> str | None:
    """Return its interval as text."""
    return None if bounds is None else written_interval(_DEFINITIONS[key], bounds)


def plain(value: Any) -> str:
    """Return a setting as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)


def _signed(found):
    bounds = found["interval"]
    below = bounds and f"{signed(bounds[0], 4)} to {signed(bounds[1], 4)}"
    return signed(found["difference"], 4), below


def _capital(text):
    return f"{text[0].upper()}{text[1:]}"
