"""Write docs/augment.md and the contact sheets in docs/augment: every augmentation, drawn.

    python scripts/augment_sheets.py                     the page and all sheets
    python scripts/augment_sheets.py random_hue mixup    the page and these sheets
    python scripts/augment_sheets.py --page              the page alone

The page is made of the docstrings, and a test compares the two: run this after changing one. The
sheets need scikit-learn, for its two photographs.
"""

import functools
import inspect
import re
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "docs"
SHEETS = FOLDER / "augment"
_SIDE = 112
_SEED = 9
_COLUMNS = 5
# The first of these JPEG qualities at which a sheet is small enough.
_QUALITIES, _MOST_BYTES = (80, 70, 60, 50), 60_000
_NAMES = ("temple", "flower")

# What is shown of each augmentation, where its defaults show too little (or it has none).
SHOWN = {
    "cutout": {"size": 24},
    "random_brightness": {"factor": 0.6},
    "random_contrast": {"factor": 0.8},
    "random_saturation": {"factor": 1.0},
    "random_brightness_shift": {"delta": 0.4},
    "random_hue": {"turns": 0.5},
    "random_hue_linear": {"turns": 0.5},
    "random_lighting": {"deviation": 0.5},
    "random_grayscale": {"probability": 0.5},
    "random_crop": {"padding": 16, "fill": "reflect"},
    "random_erasing": {"probability": 1.0},
    "random_flip": {"vertical": True},
    "random_rotation": {"degrees": 30},
    "random_translation": {"horizontal": 0.3, "vertical": 0.3},
    "random_zoom": {"factor": (0.6, 1.8)},
    "random_resized_crop": {"size": 112},
    "random_multi_scale_crop": {"size": 112, "shorter_side": (128, 240)},
    "random_autocontrast": {"cutoff": 5},
    "random_posterize": {"bits": (1, 4)},
    "random_gaussian_blur": {"sigma": (0.5, 3.0)},
    "random_sharpness": {"factor": (0.0, 6.0)},
    "random_gaussian_noise": {"deviation": (10, 50)},
    "random_shot_noise": {"photons": (4, 40)},
    "random_salt_and_pepper_noise": {"share": (0.02, 0.1)},
    "random_jpeg_quality": {"quality": (5, 30)},
    "random_shear": {"horizontal": 25, "vertical": 10},
    "random_affine": {"rotation": 30, "zoom": 0.3, "shear": 10},
    "mixup": {"alpha": 1.0},
    "mixup_or_cutmix": {"mixup_alpha": 1.0},
}

# What else must be changed in a named policy for images as small as those on the sheets.
SMALLER = {"resnet": {"shorter_side": (128, 240)}}

# The named policies that are more than one of the operations above.
POLICIES = ("resnet", "torchvision-v2", "deit", "rsb-a1", "cifar-strong")

_HEADER = """\
# Augmentation, drawn

Everything in `augment` that changes images, with what it did to two pictures. This page and its
sheets are made by `python scripts/augment_sheets.py` from the docstrings of the code. Every
operation is

- a function of a batch, uint8 or float: `augment.NAME(images, seed, ...)`, or, if it mixes images
  and labels, `augment.NAME(images, labels, seed, ...)`; the same seed gives the same result in
  eager code, in `tf.data` at any parallelism and under XLA;
- a Keras layer of the same name in capitals, which acts in training alone.

Beside the arguments below all but the mixes take `value_range`, that of float images, and
`probability`, the chance that an image is changed at all (1 where nothing else is said).

What a setting does to images of your own:

```
recipes show-augment --operation random_rotation --set degrees=30 cat.jpg --out sheet.png
recipes show-augment --policy randaugment --set n=2 my_photos/ --out sheet.png
recipes show-augment --recipe photos my_photos/ --out sheet.png
```

```python
import augment

augment.show([augment.RandomRotation(30), augment.CutMix()], images, labels, path="sheet.png")
```

Each sheet has the image before, then what five seeds make of it: a photograph (red, green and blue)
and one of the bundled grey images, where the operation takes grey ones.
"""

_CREDITS = """\
## Pictures

The photographs are those that scikit-learn ships as `china.jpg` (by danielbuechele,
https://www.flickr.com/photos/danielbuechele/6061409035) and `flower.jpg` (by vultilion,
https://www.flickr.com/photos/vultilion/6056698931), both under the Creative Commons licence
Attribution 2.0 (https://creativecommons.org/licenses/by/2.0/); they were cropped, reduced and
augmented as shown. The grey images are from Fashion-MNIST, MIT licence, © 2017 Zalando SE.
"""


def main(arguments: list[str]) -> None:
    """Write the sheets that are named, or all, and the page."""
    page_alone = "--page" in arguments
    names = [name for name in arguments if name != "--page"] or list(operations())
    unknown = sorted(set(names) - set(operations()))
    if unknown:
        sys.exit(f"no operation of augment: {', '.join(unknown)}")
    (FOLDER / "augment.md").write_text(page(), encoding="utf-8")
    if page_alone:
        return
    SHEETS.mkdir(exist_ok=True)
    for name in names:
        draw(name)
    if not arguments:
        for name in POLICIES:
            draw_policy(name)
    known = sheet_files()
    for path in SHEETS.iterdir():
        if path.name not in known:
            path.unlink()
    print(f"{sum(path.stat().st_size for path in SHEETS.iterdir()):,} bytes of sheets")


def sheet_files() -> set[str]:
    """Return the names of all sheets."""
    return {f"{name}.jpg" for name in operations()} | {f"policy-{name}.jpg" for name in POLICIES}


@functools.cache
def operations():
    """Return the functions of `augment` that change images or batches, in the page's order."""
    import augment

    found = {}
    for name in augment.__all__:
        value = getattr(augment, name)
        if not isinstance(value, type) and (hasattr(value, "operation") or hasattr(value, "mix")):
            found[name] = value
    # By kind, as the modules are; each kind in the order it is defined in.
    order = list(_KINDS)
    return dict(sorted(found.items(), key=lambda item: (order.index(_kind(item[1])), item[0])))


_KINDS = {
    "Mirror, crop, erase": ("flip", "crop", "resized_crop", "erasing"),
    "Geometry": ("affine", "elastic"),
    "Colour": ("color", "jitter", "lighting"),
    "Tone": ("tone",),
    "Sharpness, blur, noise": ("filters", "noise", "degradation"),
    "Policies": ("policies",),
    "Mixes of images and labels": ("mixing",),
}


def _kind(function):
    module = function.__module__.split(".")[-1]
    for kind, modules in _KINDS.items():
        if module in modules:
            return kind
    sys.exit(f"augment/{module}.py is of no kind that the page knows: add it to _KINDS")


def page() -> str:
    """Return the whole page as Markdown."""
    parts = [_HEADER, _table()]
    kind = None
    for name, function in operations().items():
        if _kind(function) != kind:
            kind = _kind(function)
            parts.append(f"## {kind}\n")
        parts.append(_section(name, function))
    parts += [_policies(), _others(), _CREDITS]
    return "\n".join(parts)


def _table():
    lines = ["| operation | arguments | what it does | source |", "|---|---|---|---|"]
    for name, function in operations().items():
        summary, _, arguments, source = _parts(function)
        texts = [f"`{argument}{_default(function, argument)}`" for argument in arguments]
        cells = (f"[`{name}`](#{name})", ", ".join(texts), summary, _short(source))
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    return "\n".join([*lines, ""])


def _short(source):
    """Return the authors and the year of a source."""
    authors, year = source.split(", ")[0].split("; ")[0], re.search(r"\b(19|20)\d\d\b", source)
    return f"{authors}, {year[0]}" if year and year[0] not in authors else authors


def _cell(text):
    return text.replace("|", "\\|")


def _layer_of(name):
    import augment

    wanted = name.replace("_", "").lower()
    return next((other for other in augment.__all__ if other.lower() == wanted != other), None)


def _section(name, function):
    summary, body, arguments, source = _parts(function)
    lines = [f"### {name}", "", summary, ""]
    if body:
        lines += [body, ""]
    lines += [f"![{name}](augment/{name}.jpg)", "", f"Drawn: `{call_text(name)}`", ""]
    layer = _layer_of(name)
    lines += [f"As a layer: `{layer}`.", ""] if layer else []
    for argument, text in arguments.items():
        lines.append(f"- `{argument}{_default(function, argument)}`: {text}")
    if arguments:
        lines.append("")
    if source:
        lines += [f"Source: {source}", ""]
    return "\n".join(lines)


def call_text(name):
    """Return how the operation was called for its sheet."""
    shown = ", ".join(f"{key}={value!r}" for key, value in SHOWN.get(name, {}).items())
    return f"{name}({shown})"


def _default(function, argument):
    parameter = inspect.signature(function).parameters.get(argument)
    if parameter is None or parameter.default is inspect.Parameter.empty:
        return ""
    value = parameter.default
    if isinstance(value, tuple):
        text = f"({', '.join(map(_number, value))})"
    else:
        text = _number(value)
    return f"={text}"


def _number(value):
    # 3.33, not 3.3333333333333335.
    return f"{value:.4g}" if isinstance(value, float) else repr(value)


@functools.cache
def _parts(function):
    """Return summary, body, own arguments (name to text) and source of a docstring."""
    # Of mixes with the arguments that they share, which the top of the page does not explain.
    text = inspect.getdoc(inspect.unwrap(function, stop=lambda made: hasattr(made, "mix"))) or ""
    sections = re.split(r"(?m)^(Args|Returns|Raises|Example|Source):\s*$", text)
    head, named = sections[0], dict(zip(sections[1::2], sections[2::2], strict=True))
    summary, _, body = head.strip().partition("\n\n")
    return (
        _joined(summary),
        body.strip(),
        _arguments(named.get("Args", "")),
        _joined(inspect.cleandoc(named.get("Source", "").strip("\n"))),
    )


def _arguments(text):
    """Return the entries of an Args section; those that all operations share are left out."""
    found, name = {}, None
    for line in inspect.cleandoc(text.strip("\n")).splitlines():
        entry = re.match(r"(\w+): (.*)", line)
        if entry:
            name, rest = entry.groups()
            found[name] = rest
        elif name and line.strip():
            found[name] += f" {line.strip()}"
    shared = ("images", "labels", "seed", "value_range")
    return {name: text for name, text in found.items() if name not in shared}


def _joined(text):
    return " ".join(line.strip() for line in text.splitlines())


def _policies():
    """Return the section of the named policies: all that they say of themselves."""
    import augment

    lines = [
        "## Named policies",
        "",
        "`augment.policy(NAME)` returns a pipeline with all the augmentation of a published",
        "recipe, or a single policy; any argument of its steps can be changed:",
        "`augment.policy('deit', m=7)`.",
        "",
    ]
    for name in augment.policy_names():
        lines += [f"### policy {name}", ""]
        if name in POLICIES:
            lines += [f"![{name}](augment/policy-{name}.jpg)", ""]
        lines += ["```", str(augment.policy(name)), "```", ""]
    return "\n".join(lines)


def _others():
    """Return the table of what is public and no operation, nor the layer of one."""
    import augment

    layers = {_layer_of(name) for name in operations()}
    lines = ["## Around them", "", "| name | what it is |", "|---|---|"]
    for name in augment.__all__:
        if name not in operations() and name not in layers:
            text = inspect.getdoc(getattr(augment, name)) or ""
            lines.append(f"| `{name}` | {_cell(_joined(text.split(chr(10) * 2)[0]))} |")
    return "\n".join([*lines, ""])


def draw(name: str) -> None:
    """Draw the sheet of one operation and write it."""
    import augment
    from augment._drawing import draw_sheet
    from augment.sheet import sheet_rows

    function = getattr(augment, name)
    call = functools.partial(function, **SHOWN.get(name, {}))
    photos, grey = _photographs(), _grey_image()
    settings = {"columns": _COLUMNS, "seed": _SEED}
    if hasattr(function, "mix"):
        rows, titles, _ = sheet_rows(call, photos, [0, 1], class_names=_NAMES, **settings)
    else:
        # Mixes of the batch aside, an image does not know what others are in its batch.
        rows, titles, _ = sheet_rows(call, photos[:1], **settings)
        try:
            rows += sheet_rows(call, grey, **settings)[0]
        except ValueError as error:
            if "channels" not in str(error):
                raise
    _save(draw_sheet(rows, titles, call_text(name)), f"{name}.jpg")


def draw_policy(name: str) -> None:
    """Draw the sheet of a named policy and write it."""
    import augment
    from augment._drawing import draw_sheet
    from augment.presets import PRESETS
    from augment.sheet import sheet_rows

    # Made for larger images than those on the sheet.
    changes = {} if PRESETS[name].size is None else {"size": _SIDE, **SMALLER.get(name, {})}
    rows, titles, _ = sheet_rows(
        augment.policy(name, **changes),
        _photographs(),
        [0, 1],
        class_names=_NAMES,
        columns=_COLUMNS,
        seed=_SEED,
    )
    sheet = draw_sheet(rows, titles, f"policy {name}, for images of {_SIDE} pixels")
    _save(sheet, f"policy-{name}.jpg")


def _save(sheet, name):
    path = SHEETS / name
    for quality in _QUALITIES:
        sheet.save(path, quality=quality, optimize=True)
        if path.stat().st_size <= _MOST_BYTES:
            break
    print(f"{name}: {path.stat().st_size:,} bytes")


@functools.cache
def _photographs():
    """Return a temple and a flower, uint8 `(2, side, side, 3)`."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_image

    boxes = {"china.jpg": (60, 0, 487, 427), "flower.jpg": (100, 0, 527, 427)}
    size = (_SIDE, _SIDE)
    return np.stack(
        [
            Image.fromarray(load_sample_image(name)).resize(size, Image.Resampling.LANCZOS, box=box)
            for name, box in boxes.items()
        ]
    )


@functools.cache
def _grey_image():
    """Return an ankle boot, four times enlarged to the size of the photographs."""
    from recipes.data import load_data

    split = load_data("fashion-mini").splits["train"]
    index = int((split.labels == 9).nonzero()[0][0])
    return split.load([index])[:, :, :].repeat(_SIDE // 28, axis=1).repeat(_SIDE // 28, axis=2)


if __name__ == "__main__":
    main(sys.argv[1:])
