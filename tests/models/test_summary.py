"""The printed summary: its sums, and that it fits every width."""

import io
import re

import keras
import pytest
from rich.console import Console

from recipes import build_model
from recipes.errors import ConfigError
from recipes.models._stages import stages
from recipes.models._text import in_bytes, in_short, shape_text
from recipes.models.analysis import analyze
from recipes.models.summary import summarize, summary_text


@pytest.fixture(scope="module")
def resnet20():
    return build_model("resnet20")


def cells(line):
    return re.split(r"\s{2,}", line.strip())


def test_stages_sum_up(resnet20):
    lines = summary_text(resnet20, layers=False).splitlines()
    assert lines[0] == "resnet20: 271,098 parameters, 40.6 M multiply-adds, receptive field 81"
    assert cells(lines[1]) == ["layer", "output", "parameters", "MAdds", "%", "field", "stride"]
    rows = {cells(line)[0]: cells(line) for line in lines[2:7]}
    assert list(rows) == ["stem", "stage1", "stage2", "stage3", "head"]
    # Six convolutions of 3x3x16x16 on 32x32 pixels, and their batch norms.
    assert rows["stage1"][1:4] == ["32x32x16", f"{6 * (2304 + 64):,}", "14.2 M"]
    assert sum(int(row[2].replace(",", "")) for row in rows.values()) == resnet20.count_params()
    assert sum(float(row[4]) for row in rows.values()) == pytest.approx(100, abs=0.2)
    assert rows["head"][-1] == "all"
    assert rows["stage3"][-2:] == ["81", "4"]
    assert "int8 on TFLite  yes" in lines[-1]


def test_layers_are_listed_under_their_stage(resnet20):
    lines = summary_text(resnet20, width=120).splitlines()
    names = [cells(line)[0] for line in lines[2:] if line]
    for stage, layer in (
        ("stem", "stem_conv"),
        ("stage2", "stage2_block1_conv1"),
        ("head", "logits"),
    ):
        assert names.index(stage) < names.index(layer)
    row = next(cells(line) for line in lines if "stage2_block1_conv1 " in line)
    assert row[1:] == ["3x3 conv /2", "16x16x32", "4,608", "1.18 M", "2.9", "17", "2"]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_every_width(resnet20, width):
    lines = summary_text(resnet20, width=width).splitlines()
    table = lines[1 : lines.index("")]
    assert max(map(len, table)) <= width
    assert cells(table[0])[0] == "layer"
    assert "MAdds" in table[0]
    # Names give way, numbers never.
    assert not any("…" in cell for line in table for cell in cells(line)[1:])
    assert ("operation" in table[0]) == (width >= 80)


def test_colors_on_a_terminal_and_plain_text_in_a_pipe(resnet20, capsys):
    file = io.StringIO()
    console = Console(file=file, width=100, force_terminal=True, color_system="standard")
    summarize(resnet20, layers=False, console=console)
    assert "\x1b[" in file.getvalue()
    summarize(resnet20, layers=False)
    assert "\x1b[" not in capsys.readouterr().out


def test_models_with_other_names():
    """Stages by stride, gates with the map that they belong to; a name that looks like markup."""
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", name="[red]odd")(inputs)
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = x * keras.layers.Conv2D(8, 1, activation="sigmoid", name="gate")(gate)
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same")(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(x)), name="my[red]net")
    table = analyze(model)
    found = stages(table)
    assert [stage.name for stage in found] == ["stride 2", "stride 4", "head"]
    assert "gate" in [table.layers[place].name for place in found[0].layers]
    assert sorted(place for stage in found for place in stage.layers) == list(
        range(len(table.layers))
    )
    text = summary_text(model)
    assert text.startswith("my[red]net: ")
    assert "[red]odd" in text
    assert "1x1 conv, sigmoid" in text


def test_bad_input():
    with pytest.raises(ConfigError, match="unknown model"):
        summarize("resnet2000")


def test_numbers_as_text():
    assert [in_short(number) for number in (0, 999, 999.6, 9_994, 9_996, 99_960, 4e12)] == [
        "0",
        "999",
        "1.00 k",
        "9.99 k",
        "10.0 k",
        "100 k",
        "4.00 T",
    ]
    assert [in_bytes(number) for number in (1, 1023, 1024**2, 5 * 1024**3)] == [
        "1 B",
        "1.00 KiB",
        "1.00 MiB",
        "5.00 GiB",
    ]
    assert shape_text(()) == "scalar"
