"""Contact sheets: the pixels on them, what is written below, files, mistakes."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import augment
from augment import sheet as sheet_module

NAMES = ("cat", "dog", "a name much too long to be written below a small image")


def places_of(sheet, image):
    """Return where an image (height, width, 3) is on a sheet, as (left, top), in rows."""
    sheet = np.asarray(sheet)
    windows = np.lib.stride_tricks.sliding_window_view(sheet, image.shape)[:, :, 0]
    corners = np.argwhere((windows[..., 0, 0, :] == image[0, 0]).all(axis=-1))
    return [(x, y) for y, x in corners if np.array_equal(windows[y, x], image)]


def as_rgb(image):
    return np.broadcast_to(image, (*image.shape[:2], 3))


@pytest.fixture
def drawn(monkeypatch):
    """Return a list of what `show` hands to the drawing: rows, column titles, title, scale."""
    calls = []

    def draw_sheet(*arguments):
        calls.append(arguments)
        return Image.new("RGB", (4, 4))

    monkeypatch.setattr(sheet_module, "draw_sheet", draw_sheet)
    return calls


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["function", "layer", "pipeline", "list", "operation"])
@pytest.mark.sampled(2)
def test_each_column_is_what_its_seed_gives(random_images, kind, channels):
    images = random_images(3, 9, 10, channels)
    function = functools.partial(augment.random_flip, vertical=True)
    layer = augment.RandomFlip(vertical=True, seed=99)
    augmentation = {
        "function": function,
        "layer": layer,
        "pipeline": augment.Pipeline([layer], seed=98),
        "list": [layer],
        "operation": augment.random_flip.operation(vertical=True),
    }[kind]
    sheet = augment.show(augmentation, images, columns=2, seed=5, scale=1)
    assert sheet.mode == "RGB"
    lefts, tops = [], []
    for row in range(3):
        results = [images[row], *(function(images, [5, j])[row].numpy() for j in (0, 1))]
        for column, result in enumerate(results):
            (left, top), *_ = [
                place
                for place in places_of(sheet, as_rgb(result))
                if not lefts or column == 0 or place[0] > lefts[-1]
            ]
            lefts.append(left)
            tops.append(top)
    lefts, tops = np.reshape(lefts, (3, 3)), np.reshape(tops, (3, 3))
    assert (lefts == lefts[0]).all()
    assert (np.diff(lefts[0]) > 10).all()
    assert (np.diff(tops[:, 0]) > 9).all()
    assert (tops == tops[:, :1]).all()


def test_looking_changes_nothing(random_images):
    images = random_images(2)
    for layer in (augment.RandomFlip(seed=3), keras.layers.RandomFlip(seed=3)):
        twin = type(layer).from_config(layer.get_config())
        augment.show(layer, images)
        np.testing.assert_array_equal(layer(images, training=True), twin(images, training=True))


@pytest.mark.parametrize(
    ("dtype", "low", "high", "slack"),
    # bfloat16 has 8 bits, spread over both signs of the last range.
    [("float32", 0, 255, 0), ("float32", 0, 1, 0), ("float16", -1, 1, 1), ("bfloat16", -1, 1, 2)],
)
@pytest.mark.sampled(1)
def test_float_images(random_images, drawn, dtype, low, high, slack):
    whole = random_images(2, channels=3)
    images = tf.cast(low + whole * ((high - low) / 255.0), dtype)
    flip = functools.partial(augment.random_flip, probability=1.0)
    augment.show(flip, images, value_range=(low, high))
    layer = augment.RandomFlip(probability=1.0, value_range=(low, high))
    augment.show(layer, images)
    for rows, *_ in drawn:
        for row, expected in zip(rows, whole, strict=True):
            assert row[0].image.dtype == np.uint8
            assert np.abs(row[0].image.astype(int) - expected).max() <= slack
            assert np.abs(row[1].image.astype(int) - expected[:, ::-1]).max() <= slack


def test_whole_numbers_as_floats(drawn):
    """uint8 images go on being 0 to 255, whatever the range of float images is."""
    steps = [augment.RandomInvert(probability=0.0)]
    pipeline = augment.Pipeline(steps, value_range=(0, 1), output_dtype="float32")
    augment.show(pipeline, np.full((1, 4, 4, 1), 100, np.uint8), columns=1)
    for tile in drawn[-1][0][0]:
        np.testing.assert_array_equal(tile.image, 100)


def test_pillow_images_and_transparency(drawn):
    grey = [Image.new("L", (6, 4), level) for level in (10, 200)]
    augment.show(augment.random_flip, grey)
    assert drawn[-1][0][1][0].image.shape == (4, 6, 1)
    clear = np.zeros((1, 6, 6, 4), np.uint8)
    clear[:, :3, :, 3], clear[:, 3:, :, 3] = 255, 0
    augment.show(augment.random_flip, clear)
    assert drawn[-1][0][0][0].image.shape == (6, 6, 4)


def test_transparency_is_laid_over_white():
    clear = np.full((1, 6, 6, 4), (10, 20, 30, 255), np.uint8)
    clear[:, 3:, :, 3] = 0
    sheet = augment.show(augment.random_flip, clear, columns=1, scale=1)
    expected = np.full((6, 6, 3), 255, np.uint8)
    expected[:3] = (10, 20, 30)
    assert len(places_of(sheet, expected)) >= 2


WHOLE, COLUMN = [0, 1, 0], np.array([[0], [1], [0]], np.int32)
ROWS, WIDE_ROWS = (np.eye(classes, dtype=np.float32)[WHOLE] for classes in (2, 3))


@pytest.mark.parametrize(
    ("kind", "labels", "classes"),
    [
        ("function", WHOLE, None),
        ("function", COLUMN, 3),
        ("layer", ROWS, None),
        ("layer", WIDE_ROWS, 3),
        ("pipeline", COLUMN, None),
        ("pipeline", WHOLE, 3),
    ],
)
@pytest.mark.sampled(1)
def test_mixes_are_labelled_with_their_shares(random_images, drawn, kind, labels, classes):
    images = random_images(3, 10, 10)
    layer = augment.CutMix(classes=classes)
    augmentation = {
        "function": functools.partial(augment.cutmix, classes=classes),
        "layer": layer,
        "pipeline": augment.Pipeline([layer]),
    }[kind]
    augment.show(augmentation, images, labels, columns=3, class_names=NAMES)
    seen = 0
    (rows, titles, *_), owners = drawn[-1], [0, 1, 0]
    assert titles == ["before", "seed 0, 0", "seed 0, 1", "seed 0, 2"]
    for owner, row in zip(owners, rows, strict=True):
        assert row[0].caption == NAMES[owner]
        for tile in row[1:]:
            shares = dict(
                reversed(line.split(" ")) if " " in line else (line, "1")
                for line in tile.caption.splitlines()
            )
            assert sum(map(float, shares.values())) == pytest.approx(1, abs=0.021)
            # Random images of 300 different pixels: equal ones are the image's own.
            own = (tile.image == row[0].image).all(axis=-1).mean()
            if len(shares) == 2:
                assert float(shares[NAMES[owner]]) == pytest.approx(own, abs=0.011)
                seen += 1
    assert seen > 2


def test_labels_without_names_and_augmentations_that_keep_them(random_images, drawn):
    augment.show(augment.random_flip, random_images(2), [7, 11])
    rows = drawn[-1][0]
    assert [[tile.caption for tile in row] for row in rows] == [["7", *[""] * 4], ["11", *[""] * 4]]
    soft = [[0.3, 0.7, 0.0], [0.005, 0.995, 0.0]]
    augment.show(augment.random_flip, random_images(2), soft, class_names=NAMES)
    assert [row[0].caption for row in drawn[-1][0]] == ["0.70 dog\n0.30 cat", "dog"]


def test_functions_of_images_labels_and_seed(random_images, drawn):
    images = random_images(2)

    def swap(images, labels, seed):
        return images[::-1], tf.one_hot(labels, 3)[::-1], tf.ones(2)

    augment.show(swap, images, [0, 2], class_names=NAMES)
    rows, _, title, _ = drawn[-1]
    assert title == "swap()"
    np.testing.assert_array_equal(rows[0][1].image, images[1])
    assert [row[1].caption for row in rows] == [NAMES[2], NAMES[0]]
    transform = augment.training_transform(classes=3, flip="horizontal", mixup_alpha=1.0)
    augment.show(transform, images, [0, 2], title="mine")
    assert drawn[-1][2] == "mine"
    assert len(drawn[-1][0][0][1].caption.splitlines()) == 2


@pytest.mark.parametrize(("side", "expected"), [(8, 128), (28, 140), (90, 90), (400, 256)])
def test_small_images_are_enlarged_and_large_ones_reduced(side, expected):
    image = np.zeros((1, side, side, 1), np.uint8)
    sheet = augment.show(augment.random_flip, image, columns=1)
    black = (np.asarray(sheet) == 0).all(axis=-1)
    assert black.any(axis=0).sum() == 2 * expected


def test_pixels_are_enlarged_without_smoothing(random_images):
    images = random_images(1, 4, 4)
    sheet = augment.show(augment.random_flip, images, columns=1, scale=5)
    assert places_of(sheet, images[0].repeat(5, axis=0).repeat(5, axis=1))


def test_results_of_another_size(random_images):
    def halve(images, seed):
        return images[:, :4, :6]

    images = random_images(2)
    sheet = augment.show(halve, images, columns=1, scale=1)
    assert places_of(sheet, images[1, :4, :6])

    def cut(images, seed):
        return images[:, :4, :4]

    # Where no scale is asked for, as large on the sheet as the image it was made of.
    sheet = augment.show(cut, images, columns=1)
    assert places_of(sheet, images[1].repeat(16, axis=0).repeat(16, axis=1))
    assert places_of(sheet, images[1, :4, :4].repeat(32, axis=0).repeat(32, axis=1))


def test_files(random_images, tmp_path, monkeypatch):
    images = random_images(1)
    path = tmp_path / "sheet.png"
    sheet = augment.show(augment.random_flip, images, path=path)
    with Image.open(path) as written:
        np.testing.assert_array_equal(written, sheet)
    before = path.read_bytes()

    def fail(self, name, **arguments):
        with open(name, "wb") as file:
            file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        augment.show(augment.random_flip, images, path=path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["sheet.png"]


IMAGES = np.full((2, 8, 8, 3), 9, np.uint8)
BAD = [
    ({"images": IMAGES[0]}, ValueError, "batch them first"),
    ({"images": IMAGES[..., :2]}, ValueError, "images must have 1, 3 or 4 channels"),
    ({"images": [IMAGES[0], IMAGES[0, :4]]}, ValueError, "images must be of one size, received:"),
    ({"images": []}, ValueError, "images must be of one size, received: none"),
    ({"images": IMAGES[:0]}, ValueError, "images must be at least one, received: none"),
    ({"images": IMAGES / 255}, TypeError, "received: float64"),
    ({"images": np.float32(IMAGES / 255)}, ValueError, r"say value_range=\(0, 1\)"),
    ({"augmentation": 3}, TypeError, "a function of .images, seed., received: 3"),
    ({"augmentation": augment.mixup}, ValueError, "labels must be given: mixup"),
    ({"augmentation": augment.MixUp()}, ValueError, "labels must be given: MixUp"),
    ({"labels": [1]}, ValueError, "labels must be 2, one an image, received: 1"),
    ({"labels": [0.5, 1]}, ValueError, "labels must be whole numbers"),
    ({"labels": [0, 3], "class_names": "ab"}, ValueError, "class_names must be at least 4"),
    ({"columns": 0}, ValueError, "columns must be an integer of at least 1"),
    ({"seed": -1}, ValueError, "seed must be an integer of at least 0"),
    ({"scale": 0}, ValueError, "scale must be a number"),
    ({"path": "sheet.txt"}, ValueError, "path must end in .png, .jpg or .webp"),
    ({"path": "nowhere/sheet.png"}, FileNotFoundError, "there is no folder nowhere"),
    (
        {"augmentation": augment.RandomFlip(), "value_range": (0, 1)},
        ValueError,
        "value_range must be that of the augmentation",
    ),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD)
def test_mistakes(arguments, error, message):
    arguments = {"augmentation": augment.random_flip, "images": IMAGES, **arguments}
    with pytest.raises(error, match=message) as caught:
        augment.show(**arguments)
    assert "\n" not in str(caught.value)
