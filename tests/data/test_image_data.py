"""What ImageData tells of itself: statistics, weights, fingerprint, description, fit datasets."""

import json

import keras
import numpy as np
import pytest

from recipes.data import image_data, load_data, reload_arguments
from recipes.errors import DataError

RNG = np.random.default_rng(11)
IMAGES = RNG.integers(0, 256, (40, 6, 5, 3), np.uint8)
LABELS = np.repeat([0, 1, 2], [20, 12, 8])


@pytest.fixture
def data():
    return load_data((IMAGES, LABELS), labels=["a", "b", "c"], batch_size=8)


def test_statistics(data):
    mean, variance = data.statistics()
    pixels = data.splits["train"].images.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(variance, pixels.var(axis=0), rtol=1e-12)
    assert all(type(value) is float for value in mean + variance)


def test_statistics_of_a_sample(data, monkeypatch):
    monkeypatch.setattr(image_data, "_STATISTICS_VALUES", 30 * 16)
    mean, _ = data.statistics()
    train = data.splits["train"].images
    chosen = train[np.linspace(0, len(train) - 1, 16).astype(int)]
    np.testing.assert_allclose(mean, chosen.reshape(-1, 3).mean(axis=0))


def test_class_weights(data):
    counts = np.array(data.counts["train"])
    weights = data.class_weights()
    assert weights.dtype == np.float64
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights * counts, (weights * counts)[0])


def test_contract_and_description(data):
    assert data.input_contract() == {
        "image_shape": [6, 5, 3],
        "dtype": "uint8",
        "value_range": [0, 255],
        "color": "rgb",
        "fit": "crop",
    }
    described = json.loads(json.dumps(data.to_dict(), allow_nan=False))
    assert described["source"] == "arrays"
    assert described["class_names"] == ["a", "b", "c"]
    assert described["counts"] == data.counts
    assert described["fingerprint"] == data.fingerprint
    assert described["seed"] == 0
    with pytest.raises(DataError, match="came from arrays in memory"):
        reload_arguments(described)


def test_reload_gives_the_same_data(make_folder):
    folder = make_folder({"ant": 12, "bee": 9}, size=(20, 24))
    settings = {"image_size": 16, "color": "grayscale", "fit": "pad", "seed": 3, "test": 0.2}
    first = load_data(folder, memory_limit=np.int64(21 * 256), **settings)
    again = load_data(**reload_arguments(json.loads(json.dumps(first.to_dict()))))
    assert again.fingerprint == first.fingerprint
    assert again.input_contract() == first.input_contract()
    for name, split in first.splits.items():
        np.testing.assert_array_equal(again.splits[name].images, split.images)
    small = load_data(folder, memory_limit=1, **settings)
    assert load_data(**reload_arguments(small.to_dict())).images_on_disk


def test_white_space_around_the_name_of_a_class_folder_stays(make_folder):
    first = load_data(make_folder({"ant ": 12, "bee": 9}))
    again = load_data(**reload_arguments(json.loads(json.dumps(first.to_dict()))))
    assert first.class_names == again.class_names == ("ant ", "bee")


def fingerprint(images=IMAGES, labels=LABELS, names=("a", "b", "c"), **more):
    return load_data((images, labels), labels=names, **more).fingerprint


def test_fingerprint_of_arrays():
    changed = IMAGES.copy()
    changed[7, 2, 2, 1] ^= 1
    swapped = LABELS.copy()
    swapped[[0, 39]] = swapped[[39, 0]]
    prints = [
        fingerprint(),
        fingerprint(images=changed),
        fingerprint(labels=swapped),
        fingerprint(names=("a", "b", "d")),
        fingerprint(seed=1),
        fingerprint(validation=0.2),
    ]
    assert len(set(prints)) == len(prints)
    assert fingerprint() == prints[0]
    assert fingerprint(batch_size=3) == prints[0]
    assert len(prints[0]) == 64


def test_fingerprint_of_files(make_folder, tmp_path):
    import os
    import shutil

    folder = make_folder({"ant": 6, "bee": 6})
    first = load_data(folder).fingerprint
    moved = tmp_path / "elsewhere" / "deep"
    shutil.copytree(folder, moved)
    for path in moved.rglob("*.png"):
        os.utime(path, (1, 1))
    assert load_data(moved).fingerprint == first
    (moved / "bee").rename(moved / "wasp")
    assert load_data(moved).fingerprint != first
    (folder / "ant" / "000.png").rename(folder / "bee" / "999.png")
    assert load_data(folder).fingerprint != first


def test_train_differs_each_pass_and_repeats_each_run(data):
    def passes():
        dataset = data.train
        assert int(dataset.cardinality()) == 4
        return [
            b"".join(images.tobytes() for images, _ in dataset.as_numpy_iterator())
            for _ in range(3)
        ]

    first = passes()
    assert len(set(first)) == 3
    assert first == passes()
    for images, labels in data.train.as_numpy_iterator():
        assert images.dtype == np.uint8
        assert labels.dtype == np.int32
        for image, label in zip(images, labels, strict=True):
            place = (image == IMAGES).all(axis=(1, 2, 3))
            assert LABELS[place] == [label]


def test_goes_straight_into_fit(data):
    model = keras.Sequential(
        [
            keras.Input(data.image_shape),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    # shuffle=False: else Keras 3.15 warns that it leaves the order to the dataset.
    history = model.fit(
        data.train, validation_data=data.validation, epochs=2, shuffle=False, verbose=0
    )
    assert len(history.history["val_loss"]) == 2
    assert model.predict(data.test, verbose=0).shape == (len(data.splits["test"]), 3)


def test_images_cannot_be_written(data):
    with pytest.raises(ValueError, match="read-only"):
        data.splits["train"].images[0] = 0
