"""The IDX reader: what it reads, and what it refuses in one line."""

import gzip
import struct

import numpy as np
import pytest

from recipes.data import load_data
from recipes.data.idx import read_idx
from recipes.errors import DataError


def idx(values):
    values = np.asarray(values, np.uint8)
    return (
        struct.pack(">BBBB", 0, 0, 8, values.ndim)
        + b"".join(struct.pack(">I", size) for size in values.shape)
        + values.tobytes()
    )


IMAGES = np.random.default_rng(0).integers(0, 256, (40, 5, 4), np.uint8)
LABELS = np.arange(40, dtype=np.uint8) % 4
TEST = np.random.default_rng(1).integers(0, 256, (8, 5, 4), np.uint8)


def write(folder, packed=False, separator="-", test="t10k", labels=LABELS):
    folder.mkdir(exist_ok=True)
    for prefix, images, values in (("train", IMAGES, labels), (test, TEST, LABELS[:8])):
        for kind, data in (("images", idx(images)), ("labels", idx(values))):
            if data is None:
                continue
            name = f"{prefix}-{kind}{separator}idx{3 if kind == 'images' else 1}-ubyte"
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(data))
            else:
                (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("separator", ["-", "."])
@pytest.mark.parametrize("test", ["t10k", "test"])
def test_reads_a_folder(tmp_path, packed, separator, test):
    folder = write(tmp_path, packed, separator, test)
    data = load_data(f"idx:{folder}", validation=0.2)
    assert data.class_names == ("0", "1", "2", "3")
    assert data.image_shape == (5, 4, 1)
    np.testing.assert_array_equal(data.splits["test"].images[..., 0], TEST)
    assert data.counts["train"] == [8, 8, 8, 8]
    assert data.counts["validation"] == [2, 2, 2, 2]
    # Nothing is lost, and labels stay with their images.
    known = {image.tobytes(): label for image, label in zip(IMAGES, LABELS, strict=True)}
    for name in ("train", "validation"):
        split = data.splits[name]
        for image, label in zip(split.images, split.labels, strict=True):
            assert known.pop(image.tobytes()) == label
    assert not known


def test_class_names(tmp_path):
    folder = write(tmp_path)
    (folder / "class_names.txt").write_text("a\nb b\nc\nd\n\n")
    assert load_data(f"idx:{folder}").class_names == ("a", "b b", "c", "d")
    assert load_data(f"idx:{folder}", labels=list("wxyz")).class_names == tuple("wxyz")
    names = tmp_path / "other.txt"
    # A mark that Windows writes before the text is no part of the first name.
    names.write_bytes(b"\xef\xbb\xbfp\r\nq\r\nr\r\ns")
    assert load_data(f"idx:{folder}", labels=names).class_names == tuple("pqrs")
    with pytest.raises(DataError, match="highest label is 3, but there are 2 names"):
        load_data(f"idx:{folder}", labels=["a", "b"])


GOOD = idx(IMAGES)
BROKEN = {
    "empty": (b"", "is not an IDX file"),
    "another magic": (b"\x00\x00\x0d" + GOOD[3:], "expected it to begin with 00000803"),
    "labels for images": (idx(LABELS), "begins with 00000801"),
    "text": (b"hello world, this is text", "is not an IDX file"),
    "short": (GOOD[:-1], "truncated"),
    "header only": (GOOD[:16], "truncated"),
    "long": (GOOD + b"x", "too long"),
    "forged size": (GOOD[:4] + b"\xff" * 12 + GOOD[16:], "truncated"),
    "truncated gzip": (gzip.compress(GOOD)[:-20], "damaged gzip"),
    "damaged gzip": (gzip.compress(GOOD)[:30] + b"\0" * 50, "damaged gzip"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_refuses(case, tmp_path):
    content, message = BROKEN[case]
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path, 3)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unequal_counts_and_missing_files(tmp_path):
    folder = write(tmp_path / "a", labels=LABELS[:-1])
    with pytest.raises(DataError, match=r"holds 40 images but .* holds 39 labels"):
        load_data(f"idx:{folder}")
    folder = write(tmp_path / "b")
    (folder / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="has no file of labels beside it"):
        load_data(f"idx:{folder}")
    (tmp_path / "c").mkdir()
    with pytest.raises(DataError, match="has no train-images-idx3-ubyte"):
        load_data(f"idx:{tmp_path / 'c'}")
    with pytest.raises(DataError, match="does not exist"):
        load_data(f"idx:{tmp_path / 'none'}")
    with pytest.raises(DataError, match="is a file; expected a folder of IDX files"):
        load_data(f"idx:{folder / 't10k-labels-idx1-ubyte'}")
