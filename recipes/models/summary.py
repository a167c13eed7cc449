"""A summary of a model that is worth printing: stages, shapes, costs and receptive fields."""

import io

from rich.console import Console

from recipes.models._stages import stages
from recipes.models._text import in_short, shape_text
from recipes.models.analysis import analyze
from recipes.models.info import as_model, info_of

_COLUMNS = ("layer", "operation", "output", "parameters", "MAdds", "%", "field", "stride")
_TEXT = ("layer", "operation", "output")
# Left out one after the other on a narrow terminal.
_DROPPED = ("stride", "%", "operation", "field", "parameters")
# The names of the layers give way to the numbers, down to this.
_SHORTEST_NAME = 16
_GAP = 2


def summarize(name_or_model, input_shape=None, *, layers=True, console=None) -> None:
    """Print a table of a model, layer by layer and stage by stage, and what it comes to.

    One line a layer with its output, parameters, multiply-adds and their share of the whole, and
    receptive field; a line above each stage with the sums of its layers. On a narrow terminal
    columns are left out; in a file or a pipe it is plain text of 100 columns.

    Args:
        name_or_model: As for `model_info`.
        input_shape: As for `model_info`.
        layers: Whether to show the layers, not only the stages.
        console: A `rich.console.Console` to print to; default the standard output.

    Raises:
        ConfigError: As `model_info`.

    Example:
        >>> summarize("resnet20", layers=False)  # doctest: +NORMALIZE_WHITESPACE, +ELLIPSIS
        resnet20: 271,098 parameters, 40.6 M multiply-adds, receptive field 81...
    """
    model = as_model(name_or_model, input_shape)
    table = analyze(model, input_shape)
    console = console or _default_console()
    console.print(_title(table), style="bold", highlight=False, markup=False, soft_wrap=True)
    _print_table(table, console, layers)
    console.print()
    # The first line of the text is the name, which the title has said.
    for line in str(info_of(model, table)).splitlines()[1:]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def summary_text(name_or_model, input_shape=None, *, layers=True, width=100) -> str:
    """Return what `summarize` prints, as plain text.

    Args:
        name_or_model: As for `model_info`.
        input_shape: As for `model_info`.
        layers: As for `summarize`.
        width: Columns of the text, at least 40.

    Example:
        >>> summary_text("resnet20").splitlines()[0]
        'resnet20: 271,098 parameters, 40.6 M multiply-adds, receptive field 81'
    """
    file = io.StringIO()
    console = Console(file=file, width=width, color_system=None, force_terminal=False)
    summarize(name_or_model, input_shape, layers=layers, console=console)
    return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())


def _default_console():
    console = Console()
    # A pipe has no width; rich would take 80 columns, which cuts the table.
    return console if console.is_terminal else Console(width=100, color_system=None)


def _title(table):
    text = (
        f"{table.name}: {table.parameters:,} parameters, "
        f"{in_short(table.multiply_adds)} multiply-adds"
    )
    return text if table.field is None else f"{text}, receptive field {int(table.field.size)}"


def _print_table(table, console, layers):
    rows = []
    for stage in stages(table):
        members = [table.layers[place] for place in stage.layers]
        rows.append((_stage_cells(table, stage, members), "bold" if layers else None))
        rows.extend((_layer_cells(table, row), None) for row in members if layers)
    widths = _column_widths([cells for cells, _ in rows], console.width, layers)
    console.print(_line({name: name for name in widths}, widths), style="dim", highlight=False)
    for cells, style in rows:
        console.print(_line(cells, widths), style=style, highlight=False, markup=False)


def _line(cells, widths):
    parts = []
    for name, width in widths.items():
        text = cells[name]
        if len(text) > width:
            text = text[: width - 1] + "…"
        parts.append(text.ljust(width) if name in _TEXT else text.rjust(width))
    return (" " * _GAP).join(parts).rstrip()


def _column_widths(rows, width, layers):
    """Return the width of each column that fits, by its name."""
    widths = {
        name: max(len(name), *(len(cells[name]) for cells in rows))
        for name in _COLUMNS
        if layers or name != "operation"
    }
    for dropped in _DROPPED:
        if _least(widths) <= width:
            break
        widths.pop(dropped, None)
    widths["layer"] -= max(0, _total(widths) - width)
    widths["layer"] = max(widths["layer"], len("layer"))
    return widths


def _least(widths):
    name = min(widths["layer"], _SHORTEST_NAME)
    return _total({**widths, "layer": name})


def _total(widths):
    return sum(widths.values()) + _GAP * (len(widths) - 1)


def _stage_cells(table, stage, rows):
    last = table.layers[_exit(table, stage)]
    adds = sum(row.multiply_adds or 0 for row in rows)
    return {
        "layer": stage.name,
        "operation": "",
        "output": shape_text(last.output_shape[1:]),
        "parameters": f"{sum(row.parameters for row in rows):,}",
        "MAdds": in_short(adds),
        "%": _share(adds, table),
        "field": _field(last),
        "stride": _number(last.stride),
    }


def _exit(table, stage):
    """Return the position of the layer whose output goes on to the next stage."""
    local = [
        place
        for place in stage.layers
        if table.layers[place].receptive_field is not None and table.layers[place].label != "pad"
    ]
    return (local or stage.layers)[-1]


def _layer_cells(table, row):
    return {
        "layer": f"  {row.name}",
        "operation": row.label,
        "output": shape_text(row.output_shape[1:]),
        "parameters": f"{row.parameters:,}" if row.parameters else "",
        "MAdds": "?" if row.multiply_adds is None else _nonzero(row.multiply_adds),
        "%": _share(row.multiply_adds, table) if row.multiply_adds else "",
        "field": _field(row),
        "stride": _number(row.stride),
    }


def _nonzero(number):
    return in_short(number) if number else ""


def _share(adds, table):
    return f"{100 * adds / table.multiply_adds:.1f}" if table.multiply_adds else ""


def _field(row):
    return "all" if row.receptive_field is None else str(row.receptive_field)


def _number(value):
    return "" if value is None else f"{value:g}"
