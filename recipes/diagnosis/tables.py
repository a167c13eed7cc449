"""Activations and gradients by layer, as a table for people."""

from collections.abc import Sequence


def layer_table(layers: Sequence, title: str | None = None):
    """Return a `rich` table of what each layer put out.

    Args:
        layers: `LayerStatistics`, such as `Preflight.layers`.
        title: Above the table.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", title=title)
    for name in ("layer", "kind"):
        table.add_column(name)
    for name in ("root mean square", "spread over images", "dead units"):
        table.add_column(name, justify="right")
    for layer in layers:
        dead = "" if layer.dead is None else f"{100 * layer.dead:.0f} %"
        figures = (f"{layer.rms:.3g}", f"{layer.spread:.3g}", dead)
        table.add_row(*(Text(cell) for cell in (layer.name, layer.kind, *figures)))
    return table
