"""tf.data, TensorFlow Datasets and keras.datasets as sources, without a network."""

import gzip
import os
import struct
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from recipes.data import load_data
from recipes.errors import DataError

RNG = np.random.default_rng(5)
IMAGES = RNG.integers(0, 256, (24, 6, 6, 3), np.uint8)
LABELS = (np.arange(24) % 2).astype(np.int64)
DATASET = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS))


def pairs(data):
    return {
        (image.tobytes(), int(label))
        for split in data.splits.values()
        for image, label in zip(split.images, split.labels, strict=True)
    }


EXPECTED = {(image.tobytes(), int(label)) for image, label in zip(IMAGES, LABELS, strict=True)}
ONE_HOT = tf.data.Dataset.from_tensor_slices((IMAGES, np.eye(2)[LABELS]))
TAKEN = {
    "images": DATASET,
    "batches": DATASET.batch(7),
    "floats": DATASET.map(lambda image, label: (tf.cast(image, tf.float32), label)),
    "dictionaries": DATASET.map(lambda image, label: {"image": image, "label": label}),
    "batched dictionaries": DATASET.batch(5).map(lambda x, y: {"image": x, "label": y}),
    "one-hot": ONE_HOT,
    "one-hot batches": ONE_HOT.batch(24),
}


@pytest.mark.parametrize("case", TAKEN)
def test_tf_data(case):
    data = load_data(TAKEN[case])
    assert data.source == "tf.data"
    assert data.image_shape == (6, 6, 3)
    assert pairs(data) == EXPECTED


def test_tf_data_of_grey_batches_strings_and_splits():
    names = np.array(["no", "yes"])[LABELS]
    grey = tf.data.Dataset.from_tensor_slices((IMAGES[..., 0], names))
    data = load_data({"train": grey.batch(8), "validation": grey.take(4), "test": grey.skip(20)})
    assert data.class_names == ("no", "yes")
    assert data.image_shape == (6, 6, 1)
    np.testing.assert_array_equal(data.splits["validation"].images[..., 0], IMAGES[:4, ..., 0])
    assert [problem.kind for problem in data.problems] == ["leakage", "tiny"]


@pytest.mark.parametrize("size", [7, 8, 24])
def test_tf_data_of_grey_batches_with_one_hot_labels(size):
    rows = np.eye(2, dtype="float32")[LABELS]
    dataset = tf.data.Dataset.from_tensor_slices((IMAGES[..., 0], rows)).batch(size)
    found = load_data(dataset, validation=0.0, test=0.0).splits["train"]
    order = np.lexsort(found.images.reshape(len(found), -1).T)
    expected = np.lexsort(IMAGES[..., 0].reshape(len(IMAGES), -1).T)
    np.testing.assert_array_equal(found.images[order, ..., 0], IMAGES[expected, ..., 0])
    np.testing.assert_array_equal(found.labels[order], LABELS[expected])


def test_tf_data_of_several_sizes():
    def images():
        for index in range(12):
            yield IMAGES[index][: 4 + index % 3], index % 2

    signature = (tf.TensorSpec((None, 6, 3), tf.uint8), tf.TensorSpec((), tf.int64))
    dataset = tf.data.Dataset.from_generator(images, output_signature=signature)
    assert load_data(dataset, image_size=5).image_shape == (5, 5, 3)


@pytest.mark.parametrize(
    ("dataset", "arguments", "message"),
    [
        (DATASET.repeat(), {}, "train dataset is infinite"),
        (DATASET, {"memory_limit": 500}, "more than the memory limit of 500 bytes"),
        (DATASET.map(lambda image, label: image), {}, "expected .image, label."),
        (DATASET.map(lambda image, label: (label, label)), {}, "have 0 dimensions"),
        (DATASET.map(lambda x, y: (tf.cast(x, tf.float32) / 255, y)), {}, "multiply them by 255"),
        (DATASET.take(0), {}, "holds no images|no images"),
        (DATASET.filter(lambda image, label: label == 1), {}, "class 0 has no images"),
    ],
)
def test_tf_data_refused(dataset, arguments, message):
    with pytest.raises(DataError, match=message):
        load_data(dataset, **arguments)


NAMES = {
    "mnist": (10, "0", "9"),
    "fashion_mnist": (10, "T-shirt/top", "Ankle boot"),
    "cifar10": (10, "airplane", "truck"),
    "cifar100": (100, "apple", "worm"),
}


@pytest.mark.parametrize("name", NAMES)
def test_keras(name, monkeypatch):
    classes, first, last = NAMES[name]
    images = RNG.integers(0, 256, (3 * classes, 10, 10, 3), np.uint8)
    labels = np.tile(np.arange(classes, dtype=np.uint8), 3)[:, None]
    module = getattr(keras.datasets, name)
    monkeypatch.setattr(module, "load_data", lambda: ((images, labels), (images[:0], labels[:0])))
    data = load_data(f"keras:{name}")
    assert data.source == f"keras:{name}"
    assert len(data.class_names) == len(set(data.class_names)) == classes
    assert (data.class_names[0], data.class_names[-1]) == (first, last)
    assert data.counts["train"] == [2] * classes
    assert data.to_dict()["reload"]["source"] == f"keras:{name}"


_READ_FASHION = """
from recipes.data import load_data
data = load_data("keras:fashion_mnist", validation=0.5)
print(len(data.splits["test"]), data.class_names[1], data.splits["test"].images[3, 27, 27, 0])
"""


@pytest.mark.slow
def test_keras_reads_its_cache(tmp_path):
    folder = tmp_path / "datasets" / "fashion-mnist"
    folder.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8)
    labels = np.arange(20, dtype=np.uint8) % 10
    for prefix in ("train", "t10k"):
        for kind, values, dimensions in (("images", images, 3), ("labels", labels, 1)):
            header = struct.pack(f">4B{dimensions}I", 0, 0, 8, dimensions, *values.shape)
            path = folder / f"{prefix}-{kind}-idx{dimensions}-ubyte.gz"
            path.write_bytes(gzip.compress(header + values.tobytes()))
    output = subprocess.run(
        [sys.executable, "-c", _READ_FASHION],
        env={**os.environ, "KERAS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert output.split() == ["20", "Trouser", str(images[3, 27, 27])]


def test_keras_refused(monkeypatch):
    with pytest.raises(DataError, match="unknown source keras:cifar11.*did you mean 'cifar10'"):
        load_data("keras:cifar11")

    def fail():
        raise Exception("URL fetch failure on https://example.org")

    monkeypatch.setattr(keras.datasets.cifar10, "load_data", fail)
    with pytest.raises(DataError, match="cannot load keras:cifar10: URL fetch failure"):
        load_data("keras:cifar10")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Prepare two tiny datasets where tensorflow_datasets.load looks for them."""
    tfds = pytest.importorskip("tensorflow_datasets")

    class _Tiny(tfds.core.GeneratorBasedBuilder):
        # TFDS 4.9.10 wants importlib_resources, which it does not install, to find the code of a
        # class in a package; it does not look for the code of a script.
        __module__ = "__main__"
        VERSION = tfds.core.Version("1.0.0")
        keys = ("image", "label")
        limits = (("train", 0, 16), ("validation", 16, 20), ("test", 20, 24))

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(6, 6, 3)),
                "label": tfds.features.ClassLabel(names=["circle", "square"]),
            }
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                supervised_keys=self.keys,
            )

        def _split_generators(self, manager):
            return {name: self._generate_examples(start, stop) for name, start, stop in self.limits}

        def _generate_examples(self, start, stop):
            for index in range(start, stop):
                yield index, {"image": IMAGES[index], "label": int(LABELS[index])}

    class RecipesTestShapes(_Tiny):
        __module__ = "__main__"

    class RecipesTestUnsupervised(_Tiny):
        __module__ = "__main__"
        keys = None

    class RecipesTestTestOnly(_Tiny):
        __module__ = "__main__"
        limits = (("test", 0, 4),)

    folder = tmp_path_factory.mktemp("tfds")
    for builder in (RecipesTestShapes, RecipesTestUnsupervised, RecipesTestTestOnly):
        builder(data_dir=folder).download_and_prepare()
    tfds.core.add_data_dir(folder)


def test_tfds(prepared):
    data = load_data("tfds:recipes_test_shapes")
    assert data.source == "tfds:recipes_test_shapes"
    assert data.class_names == ("circle", "square")
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 16,
        "validation": 4,
        "test": 4,
    }
    assert pairs(data) == EXPECTED
    # TFDS stores records in an order of its own; it is the same each time.
    assert load_data("tfds:recipes_test_shapes").fingerprint == data.fingerprint


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("recipes_test_unsupervised", "cannot load tfds:recipes_test_unsupervised: .*supervised"),
        ("recipes_test_test_only", "has the splits test, but no train"),
        ("recipes_test_shapes:9.9.9", "cannot load tfds:recipes_test_shapes:9.9.9"),
    ],
)
def test_tfds_refused(prepared, name, message):
    with pytest.raises(DataError, match=message) as caught:
        load_data(f"tfds:{name}")
    assert "\n" not in str(caught.value)


def test_tfds_that_needs_another_package(monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")

    def load(name, **arguments):
        raise ModuleNotFoundError("No module named 'scipy_extra'", name="scipy_extra")

    monkeypatch.setattr(tfds, "load", load)
    with pytest.raises(DataError, match="needs the package scipy_extra: pip install scipy_extra"):
        load_data("tfds:mnist")


def test_tfds_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(DataError, match=r'pip install "keras-recipes\[tfds\]"'):
        load_data("tfds:mnist")
