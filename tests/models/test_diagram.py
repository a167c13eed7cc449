"""The picture of a model: it shows every layer once, within its frame, and nothing overlaps."""

import itertools
import re
import xml.etree.ElementTree as ElementTree

import keras
import pytest

from recipes import build_model
from recipes.models._units import make_segments, make_units
from recipes.models.analysis import analyze
from recipes.models.diagram import diagram

SVG = "{http://www.w3.org/2000/svg}"

MODELS = {
    "resnet20": lambda: build_model("resnet20"),
    "resnet20_v2": lambda: build_model("resnet20_v2"),
    "resnet50": lambda: build_model("resnet50"),
    "googlenet": lambda: build_model("googlenet", auxiliary=True),
    "mobilenet_v2": lambda: build_model("mobilenet_v2"),
    "vgg11": lambda: build_model("vgg11", include_top=False),
    "cbam_resnet18": lambda: build_model("cbam_resnet18"),
    "keras:MobileNetV3Small": lambda: keras.applications.MobileNetV3Small(
        (64, 64, 3), weights=None
    ),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return MODELS[request.param]()


def texts(root):
    return [element.text for element in root.iter(f"{SVG}text")]


def boxes(root):
    """Return the boxes and circles of layers, `(left, top, right, bottom)`."""
    for group in root.iter(f"{SVG}g"):
        for rect in group.findall(f"{SVG}rect"):
            x, y, width, height = (float(rect.get(key)) for key in ("x", "y", "width", "height"))
            yield x, y, x + width, y + height
        for circle in group.findall(f"{SVG}circle"):
            x, y, radius = (float(circle.get(key)) for key in ("cx", "cy", "r"))
            yield x - radius, y - radius, x + radius, y + radius


def panels(root):
    for rect in root.findall(f"{SVG}rect"):
        if rect.get("rx") == "10":
            x, y, width, height = (float(rect.get(key)) for key in ("x", "y", "width", "height"))
            yield x, y, x + width, y + height


def corners(path):
    numbers = [float(number) for number in re.findall(r"-?\d+\.?\d*", path.get("d"))]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


@pytest.mark.sampled(2)
def test_every_layer_is_in_one_box(model):
    root = ElementTree.fromstring(diagram(model, fold=False))
    shown = "\n".join(group.find(f"{SVG}title").text for group in root.iter(f"{SVG}g"))
    names = [line.partition(": ")[0] for line in shown.splitlines()]
    assert sorted(names) == sorted(layer.name for layer in analyze(model).layers)


def test_boxes_stand_apart_within_their_panel(model):
    root = ElementTree.fromstring(diagram(model))
    width, height = float(root.get("width")), float(root.get("height"))
    frames = list(panels(root))
    assert all(0 <= left < right <= width for left, _, right, _ in frames)
    assert all(0 <= top < bottom <= height for _, top, _, bottom in frames)
    found = list(boxes(root))
    for left, top, right, bottom in found:
        assert any(
            frame[0] <= left and frame[1] <= top and right <= frame[2] and bottom <= frame[3]
            for frame in frames
        )
    for one, other in itertools.combinations(found, 2):
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart, (one, other)


def test_no_line_runs_through_a_box(model):
    root = ElementTree.fromstring(diagram(model))
    found = list(boxes(root))
    for path in root.iter(f"{SVG}path"):
        for (x0, y0), (x1, y1) in itertools.pairwise(corners(path)):
            for left, top, right, bottom in found:
                # A line may touch the border of the box that it leads to.
                inside_x = min(x0, x1) < right - 1 and max(x0, x1) > left + 1
                inside_y = min(y0, y1) < bottom - 1 and max(y0, y1) > top + 1
                assert not (inside_x and inside_y), (path.get("d"), (left, top, right, bottom))


def test_residual_connections_and_folding():
    table = analyze(build_model("resnet50"))
    units = make_units(table)
    segments = make_segments(table, units)
    # He et al. (2016), table 1: 3, 4, 6 and 3 blocks, of which the first of each stage differs.
    blocks = [segment.repeats for segment in segments if len(segment.units) > 1]
    assert blocks == [1, 2, 1, 3, 1, 5, 1, 2]
    assert sum(segment.repeats for segment in make_segments(table, units, fold=False)) == len(
        make_segments(table, units, fold=False)
    )
    root = ElementTree.fromstring(diagram(build_model("resnet50")))
    shortcuts = [path for path in root.iter(f"{SVG}path") if path.get("stroke") == "#d97706"]
    # Four identities; four projections, each a line to its box and one from there.
    assert len(shortcuts) == 4 + 4 * 2
    assert [text for text in texts(root) if text.startswith("×") and text != "×"] == [
        "×2",
        "×3",
        "×5",
        "×2",
    ]


def test_texts_say_what_the_layers_are():
    root = ElementTree.fromstring(diagram("resnet20"))
    shown = texts(root)
    for text in ("resnet20", "stage2", "16x16x32", "3x3 conv, 32 /2", "BN · relu", "dense, 10"):
        assert text in shown
    assert "51.5 k parameters, 13.0 M MAdds" in shown
    assert "field 81" in shown


def test_names_are_escaped():
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3, name="a<b&c")], name="x<y>"
    )
    root = ElementTree.fromstring(diagram(model))
    assert "x<y>" in texts(root)
    assert any("a<b&c" in title.text for title in root.iter(f"{SVG}title"))


def test_a_graph_without_places_that_all_must_pass():
    inputs = keras.Input((8, 8, 3))
    left = keras.layers.Conv2D(4, 3, padding="same")(inputs)
    right = keras.layers.Conv2D(4, 1)(inputs)
    crossed = [left + right, left * right]
    model = keras.Model(inputs, [keras.layers.Conv2D(2, 1)(each) for each in crossed])
    root = ElementTree.fromstring(diagram(model))
    assert len(list(boxes(root))) == 6
