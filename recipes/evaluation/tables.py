"""Evaluations and comparisons as tables for a terminal."""

import io

from rich.console import Console
from rich.table import Table
from rich.text import Text

from recipes.wording import counted

_NAMES = {
    "accuracy": "accuracy",
    "top5_accuracy": "top-5 accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "macro_auroc": "macro AUROC",
    "macro_average_precision": "macro average precision",
    "nll": "negative log-likelihood",
    "brier": "Brier score",
    "ece": "expected calibration error",
    "mce": "maximum calibration error",
    "adaptive_ece": "adaptive calibration error",
    "classwise_ece": "class-wise calibration error",
    "debiased_ece": "debiased calibration error (RMS)",
}
_PERCENT = ("accuracy", "top5_accuracy", "balanced_accuracy")
_NONE = "–"


def evaluation_tables(evaluation) -> list:
    """Return the tables and remarks of an `Evaluation`."""
    parts = [_measures(evaluation), _remark(_floor_remark(evaluation)), _classes(evaluation)]
    if evaluation.slices:
        parts += [_slices(evaluation.slices), _remark(_SLICES_NOTE)]
    return parts + [_remark(sentence) for sentence in evaluation.undefined]


def comparison_tables(comparison) -> list:
    """Return the tables of a `Comparison`."""
    rows = [
        (
            _NAMES[name],
            _number(name, comparison.first[name]),
            _number(name, comparison.second[name]),
            _number(name, estimate.value, sign=True),
            _interval(name, estimate, sign=True),
        )
        for name, estimate in comparison.differences.items()
    ]
    header = ("measure", "first", "second", "difference", "95 % interval")
    classes = [
        (
            row.name,
            f"{row.images:,}",
            _number("accuracy", row.first),
            _number("accuracy", row.second),
            str(row.only_first),
            str(row.only_second),
            _p(row.p_adjusted),
        )
        for row in comparison.per_class
    ]
    class_header = ("class", "images", "first", "second", "only first", "only second", "p, Holm")
    mcnemar = comparison.mcnemar
    return [
        _table(header, rows),
        _remark(
            f"only the first is right on {counted(mcnemar['only_a'], 'image')}, only the second on "
            f"{mcnemar['only_b']:,} of {comparison.images:,}; exact McNemar test: "
            f"p {_p(mcnemar['p_value'], '= ')}"
        ),
        _table(class_header, classes),
    ]


def as_text(parts: list, width: int = 120) -> str:
    """Return tables as plain text."""
    file = io.StringIO()
    console = Console(file=file, width=width, highlight=False, color_system=None)
    console.print(*parts, sep="\n")
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    return "\n".join(lines)


_SLICES_NOTE = (
    "slices: by the upper end of the interval, the surely worst first; p says whether accuracy "
    "differs from that on the rest (Fisher), adjusted by Holm's method for the number of slices"
)


def _measures(evaluation):
    rows = []
    for name, text in _NAMES.items():
        estimate = getattr(evaluation, name)
        if estimate.value is not None or name != "top5_accuracy":
            rows.append((text, _number(name, estimate.value), _interval(name, estimate)))
    header = (f"{evaluation.split}, {evaluation.images:,} images", "value", "95 % interval")
    return _table(header, rows)


def _floor_remark(evaluation):
    error, floor = evaluation.ece, evaluation.ece_noise_floor
    corrected = "" if error.corrected is None else f"; without noise {error.corrected:.4f}"
    return (
        "noise raises calibration errors as measured; their intervals are of the error without it\n"
        f"noise alone gives a perfectly calibrated model an ECE of {floor['mean']:.4f}, up to "
        f"{floor['upper']:.4f}{corrected}"
    )


def _classes(evaluation):
    rows = [
        (
            scores.name,
            f"{scores.support:,}",
            *(
                text
                for name in ("precision", "recall")
                for text in (
                    _number("accuracy", getattr(scores, name).value),
                    _interval("accuracy", getattr(scores, name)),
                )
            ),
            *(_number(name, getattr(scores, name).value) for name in ("f1", "auroc")),
            _number("average_precision", scores.average_precision.value),
        )
        for scores in evaluation.per_class
    ]
    header = ("class", "images", "precision", "95 %", "recall", "95 %", "F1", "AUROC", "AP")
    return _table(header, rows)


def _slices(slices):
    rows = [
        (
            part.column,
            part.value,
            f"{part.accuracy.n:,}",
            _number("accuracy", part.accuracy.value),
            _interval("accuracy", part.accuracy),
            _number("accuracy", part.rest),
            _p(part.p_adjusted),
            _number("ece", part.ece),
        )
        for part in slices
    ]
    header = ("slice", "value", "images", "accuracy", "95 %", "rest", "p, Holm", "ECE")
    return _table(header, rows, left=2)


def _table(header, rows, left=1):
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index < left else "right")
    for row in rows:
        # Text, not markup: a class may be called [red].
        table.add_row(*(Text(cell) for cell in row))
    return table


def _remark(sentence):
    return Text(sentence, style="dim")


def _number(name, value, sign=False):
    if value is None:
        return _NONE
    plus = "+" if sign else ""
    if name in _PERCENT:
        return f"{100 * value:{plus}.2f} %"
    return f"{value:{plus}.4f}"


def _interval(name, estimate, sign=False):
    if estimate.interval is None:
        return _NONE
    return " to ".join(_number(name, bound, sign).removesuffix(" %") for bound in estimate.interval)


def _p(value, equals=""):
    if value is None:
        return _NONE
    return "< 0.0001" if value < 0.0001 else f"{equals}{value:.4f}"
