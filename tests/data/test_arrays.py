"""Arrays a user hands over: what is taken, and each refusal's line."""

import numpy as np
import pytest

from recipes.data import load_data
from recipes.data.arrays import check_images
from recipes.errors import DataError

RNG = np.random.default_rng(3)
RGB = RNG.integers(0, 256, (30, 6, 7, 3), np.uint8)
GREY = RGB[..., 0]
LABELS = np.arange(30) % 3


def by_image(data):
    """Return a dictionary from pixels to class name."""
    return {
        image.tobytes(): data.class_names[label]
        for split in data.splits.values()
        for image, label in zip(split.images, split.labels, strict=True)
    }


TAKEN = {
    "rgb": (RGB, RGB),
    "grey without channels": (GREY, GREY[..., None]),
    "grey": (GREY[..., None], GREY[..., None]),
    "grey shown in rgb": (np.repeat(GREY[..., None], 3, axis=3), GREY[..., None]),
    "int64": (RGB.astype(np.int64), RGB),
    "float": (RGB.astype(np.float32), RGB),
    "float, rounded": (np.clip(RGB + 0.3, 0, 255), RGB),
    "opaque": (np.concatenate([RGB, np.full((30, 6, 7, 1), 255, np.uint8)], axis=3), RGB),
    "list of arrays": (list(RGB), RGB),
}


@pytest.mark.parametrize("case", TAKEN)
def test_taken(case):
    images, expected = TAKEN[case]
    data = load_data((images, LABELS))
    assert data.image_shape == expected.shape[1:]
    assert data.color == ("grayscale" if expected.shape[-1] == 1 else "rgb")
    names = "0", "1", "2"
    assert data.class_names == names
    assert by_image(data) == {
        image.tobytes(): names[label] for image, label in zip(expected, LABELS, strict=True)
    }
    assert data.counts == {"train": [8] * 3, "validation": [1] * 3, "test": [1] * 3}


def test_alpha_is_laid_over_white():
    clear = np.zeros((2, 3, 3, 4), np.uint8)
    assert (check_images(clear, "train") == 255).all()
    half = np.full((1, 1, 1, 4), 128, np.uint8)
    # 128 * 128 / 255 + 255 * 127 / 255 = 191.25
    assert check_images(half, "train").tolist() == [[[[191] * 3]]]


@pytest.mark.parametrize("color", ["rgb", "grayscale"])
def test_color(color):
    for images in (RGB, GREY):
        data = load_data(
            {"train": (images, LABELS), "test": (images[:3] // 2, LABELS[:3])}, color=color
        )
        test = data.splits["test"].images
        if color == "grayscale" and images.ndim == 4:
            expected = (images[:3] // 2) @ [0.299, 0.587, 0.114]
            np.testing.assert_allclose(test[..., 0], expected, atol=0.51)
        else:
            expected = (images[:3] // 2).reshape(3, 6, 7, -1)
            np.testing.assert_array_equal(test, np.broadcast_to(expected, test.shape))
        assert data.image_shape[2] == (3 if color == "rgb" else 1)


def test_one_color_image_makes_all_rgb():
    images = np.repeat(GREY[..., None], 3, axis=3)
    images[17, 0, 0, 0] ^= 1
    assert load_data((images, LABELS)).image_shape[2] == 3


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (LABELS, ("0", "1", "2")),
        (LABELS[:, None].astype(np.uint8), ("0", "1", "2")),
        (np.eye(3)[LABELS], ("0", "1", "2")),
        (np.array(["cat", "ant", "dog"])[LABELS], ("ant", "cat", "dog")),
        (np.array(["cat", "ant", "dog"], object)[LABELS], ("ant", "cat", "dog")),
        (np.array([b"cat", b"ant", b"dog"])[LABELS], ("ant", "cat", "dog")),
        (LABELS.tolist(), ("0", "1", "2")),
    ],
)
def test_labels(labels, names):
    data = load_data((RGB, labels))
    assert data.class_names == names
    words = ["cat", "ant", "dog"] if "cat" in names else ["0", "1", "2"]
    assert by_image(data) == {
        image.tobytes(): words[label] for image, label in zip(RGB, LABELS, strict=True)
    }


def test_given_splits_and_names():
    data = load_data(
        {"train": (RGB[:20], LABELS[:20]), "val": (RGB[20:], LABELS[20:])},
        labels=(name for name in "xyz"),
        test=0,
    )
    assert data.class_names == ("x", "y", "z")
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 20,
        "validation": 10,
        "test": 0,
    }
    np.testing.assert_array_equal(data.splits["validation"].images, RGB[20:])


SCALED = RGB / 255.0
NAN = np.where(np.arange(30 * 6 * 7 * 3).reshape(RGB.shape) == 9, np.nan, RGB)
REFUSED = {
    "unit floats": ((SCALED, LABELS), {}, "values from 0 to 1; .* multiply them by 255"),
    "NaN": ((NAN, LABELS), {}, "not finite"),
    "infinite": ((np.where(np.isnan(NAN), np.inf, NAN), LABELS), {}, "not finite"),
    "negative": ((RGB.astype(int) - 1, LABELS), {}, "values from -1 to 254; expected 0 to 255"),
    "16-bit": ((RGB.astype(np.uint16) * 257, LABELS), {}, "divide 16-bit values by 257"),
    "Boolean": ((RGB > 9, LABELS), {}, "Boolean; multiply"),
    "strings": ((RGB.astype(str), LABELS), {}, "expected numbers"),
    "five channels": ((np.zeros((4, 2, 2, 5)), [0, 1, 0, 1]), {}, "have shape .4, 2, 2, 5."),
    "one image": ((RGB[0, ..., 0], LABELS), {}, "have shape .6, 7."),
    "fewer labels": ((RGB, LABELS[:-1]), {}, "there are 30 train images but 29 labels"),
    "float labels": ((RGB, LABELS * 1.0), {}, "labels have type float64"),
    "negative labels": ((RGB, LABELS - 1), {}, "labels go down to -1"),
    "soft labels": ((RGB, np.full((30, 3), 1 / 3)), {}, "not one-hot"),
    "two ones": ((RGB, np.ones((30, 3), int)), {}, "not one-hot"),
    "labels of rank 3": ((RGB, np.zeros((30, 3, 3), int)), {}, "labels have shape"),
    "high label": ((RGB, LABELS * 100), {}, "highest label is 200, but there are only 30 images"),
    "gap": ((RGB, LABELS * 2), {}, "the classes 1, 3 have no images to train on"),
    "one class": ((RGB, LABELS * 0), {}, "there is only one class .0.; expected two or more"),
    "unnamed": ((RGB, LABELS), {"labels": ["a"]}, "highest label is 2, but there are 1 names"),
    "foreign": (
        (RGB, np.array(["a", "b", "c"])[LABELS]),
        {"labels": ["a", "b"]},
        "'c', which is not among",
    ),
    "same names": ((RGB, LABELS), {"labels": ["a", "a", "b"]}, "must be distinct"),
    "label array": ((RGB, LABELS), {"labels": LABELS}, "labels are the class names"),
    "number of names": ((RGB, LABELS), {"labels": 3}, "labels are the class names.*received: 3"),
    "bare images": (RGB, {}, "train is a ndarray"),
    "no train": ({"test": (RGB, LABELS)}, {}, "the splits test hold no train"),
    "odd split": ({"trian": (RGB, LABELS)}, {}, "unknown split 'trian'.*did you mean 'train'"),
    "twice": ({"val": (RGB, LABELS), "validation": (RGB, LABELS)}, {}, "given twice"),
    "mixed labels": (
        {"train": (RGB, LABELS), "test": (RGB, np.array(["a", "b", "c"])[LABELS])},
        {},
        "others have numbers",
    ),
    "no images": ((RGB[:0], LABELS[:0]), {}, "no images"),
    "too large": ((RGB, LABELS), {"image_size": 64, "memory_limit": 9999}, "memory limit of 9999"),
    "size": ((RGB, LABELS), {"image_size": 0}, "image_size must be a positive"),
    "size of three": ((RGB, LABELS), {"image_size": (1, 2, 3)}, "image_size must be"),
    "color": ((RGB, LABELS), {"color": "blue"}, "color must be one of auto, rgb, grayscale"),
    "fit": ((RGB, LABELS), {"fit": "zoom"}, "fit must be one of"),
    "corrupt": ((RGB, LABELS), {"corrupt": "ignore"}, "corrupt must be one of refuse, skip"),
    "validation": ((RGB, LABELS), {"validation": 1.0}, "validation must be a share"),
    "sum": ((RGB, LABELS), {"validation": 0.5, "test": 0.5}, "nothing is left to train on"),
    "seed": ((RGB, LABELS), {"seed": -1}, "seed must be a whole number from 0"),
    "batch": ((RGB, LABELS), {"batch_size": 0}, "batch_size must be a whole number of at least 1"),
    "nothing": (None, {}, "a source is a name, a folder"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    source, arguments, message = REFUSED[case]
    with pytest.raises(DataError, match=message) as caught:
        load_data(source, **arguments)
    assert "\n" not in str(caught.value)


def test_images_of_several_sizes():
    images = [RGB[0], RGB[1][:4], *RGB[2:]]
    data = load_data((images, LABELS), image_size=(6, 7))
    assert data.image_shape == (6, 7, 3)
    assert RGB[0].tobytes() in by_image(data)
    with pytest.raises(DataError, match="multiply them by 255"):
        load_data(([image / 255 for image in images], LABELS))
