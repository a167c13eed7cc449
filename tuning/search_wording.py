"""How values of a search are written in its report."""

from typing import Any


def show(objective: str, value: float | None, *, signed: bool = False) -> str:
    """Return a value of an objective as people read it: an accuracy in percent.

    Example:
        >>> show("val_accuracy", 0.8512), show("val_loss", 0.43219), show("val_loss", None)
        ('85.1%', '0.4322', '–')
        >>> show("val_accuracy", -0.0123, signed=True)
        '−1.2 points'
    """
    if value is None:
        return "–"
    if "accuracy" in objective:
        words = f"{100 * value:+.1f} points" if signed else f"{100 * value:.1f}%"
    else:
        words = f"{value:+.4f}" if signed else f"{value:.4f}"
    return words.replace("-", "−")


def text_of(value: Any) -> str:
    """Return a value as it is written in a report.

    Example:
        >>> text_of(0.00031622), text_of(1e-05), text_of(None), text_of(3.0)
        ('0.000316', '1e-5', 'none', '3')
    """
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    return str(value)
