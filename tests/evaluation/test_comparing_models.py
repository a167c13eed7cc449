"""`compare` of models and runs: on the same images and classes, or not at all."""

import json
import shutil
import unicodedata

import keras
import numpy as np
import pytest
from PIL import Image
from sklearn import metrics as reference

from recipes import load_data
from recipes.cli import main
from recipes.config import Recipe
from recipes.errors import DataError
from recipes.evaluation.comparison import compare
from recipes.evaluation.evaluate import evaluate
from recipes.layers import CalibratedSoftmax
from recipes.run import Run

NAMES = ["cat", "dog"]


def build(seed, side=4, names=NAMES):
    layers = keras.layers
    kernel = keras.initializers.RandomNormal(stddev=0.01, seed=seed)
    end = CalibratedSoftmax(1.0, class_names=names) if names else layers.Softmax()
    dense = layers.Dense(2, kernel_initializer=kernel)
    return keras.Sequential([layers.Input((side, side, 3)), layers.Flatten(), dense, end])


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder, generator = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name in NAMES:
        (folder / name).mkdir()
        for index in range(20):
            pixels = generator.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def runs(photos, tmp_path_factory):
    """Return runs of one folder: `b` of another split than `a`, `c` of the same in another size."""
    top, found = tmp_path_factory.mktemp("runs"), {}
    for name, seed, side in (("a", 0, 4), ("b", 1, 4), ("c", 0, 8)):
        data = load_data(photos, image_size=side, seed=seed)
        Run.create(top / name, Recipe(name="demo"), data.to_dict(), {"format_version": 1})
        build(seed, side).save(top / name / "model.keras")
        found[name] = top / name
    return found


def test_runs_of_other_splits_are_not_judged_together(runs, photos, capsys):
    message = (
        "on the same images, received those of .*photos.* as divided in .*a .* and of .*photos"
    )
    for data in (None, photos):
        with pytest.raises(DataError, match=message):
            compare(runs["a"], runs["b"], data, bootstrap=0)
        with pytest.raises(DataError, match=message):
            evaluate([runs["a"], runs["b"]], data, bootstrap=0)
    command = ["evaluate", str(runs["a"]), "--bootstrap", "0"]
    assert main([*command, "--against", str(runs["b"])]) == 2
    assert "must be judged on the same images" in capsys.readouterr().err
    assert main([*command, "--against", str(runs["c"] / "model.keras")]) == 0
    judged = [evaluate(runs["a"], split=split, bootstrap=0) for split in ("test", "validation")]
    with pytest.raises(DataError, match="the test images of .* and the validation images of"):
        compare(*judged, bootstrap=0)


def test_a_model_is_judged_on_the_images_of_the_run(runs):
    data, model = Run(runs["a"]).load_data(), build(2)
    found = compare(runs["a"], model, bootstrap=20)
    split = data.splits["test"]
    guess = np.asarray(model(split.load(range(len(split))).astype("float32"))).argmax(axis=1)
    assert found.second["accuracy"] == (guess == split.labels).mean()
    assert found.to_dict() == compare(runs["a"], model, data, bootstrap=20).to_dict()


def test_counted_classes_are_no_names():
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), np.uint8)
    data = images, np.arange(20) % 2
    for pair in ((build(1), build(2, names=None)), (build(2, names=None), build(1))):
        found = compare(*pair, data, bootstrap=0)
        assert [row.name for row in found.per_class] == NAMES
    with pytest.raises(DataError, match=r"same classes in the same order.*2 \(dog, cat"):
        compare(build(1), build(1, names=NAMES[::-1]), data, bootstrap=0)


def test_a_source_is_judged_whole_but_the_own_one_of_a_run(runs, photos, tmp_path, capsys):
    assert evaluate(build(1), photos, bootstrap=0).images == 40
    for split in ("train", "test"):
        shutil.copytree(photos, tmp_path / "photos" / split)
    with pytest.raises(DataError, match="has no validation images"):
        evaluate(build(1), tmp_path / "photos", split="validation", bootstrap=0)
    own = Run(runs["b"]).load_data()
    for model in (runs["b"], runs["b"] / "model.keras"):
        judged = evaluate(model, photos, bootstrap=0).predictions
        assert judged.data.fingerprint == own.fingerprint
        np.testing.assert_array_equal(judged.labels, own.splits["test"].labels)
    # All on the test images of the run, also those that would take all, whichever comes first.
    kept = len(own.splits["test"])
    assert compare(runs["b"], build(1), photos, bootstrap=0).images == kept
    assert compare(build(1, side=8), runs["b"], photos, bootstrap=0).images == kept
    assert evaluate([build(1), runs["b"]], photos, bootstrap=0).images == kept
    build(1).save(tmp_path / "other.keras")
    command = ["evaluate", str(tmp_path / "other.keras"), str(photos), "--bootstrap", "0", "--json"]
    assert main([*command, "--against", str(runs["b"])]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == found["comparison"]["images"] == kept


def test_classes_are_found_by_name():
    known = ["ça", "dog", "owl"]
    layers = keras.layers
    dense = layers.Dense(3, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01, seed=0))
    end = CalibratedSoftmax(1.0, class_names=known)
    model = keras.Sequential([layers.Input((4, 4, 3)), layers.Flatten(), dense, end])
    images = np.random.default_rng(0).integers(0, 256, (30, 4, 4, 3), np.uint8)
    labels = np.arange(30) % 3

    def judge(images, labels, names=None):
        data = load_data((images, labels), labels=names, validation=0.0, test=0.0)
        return evaluate(model, data, split="train", bootstrap=0)

    def count(chosen):
        guess = np.asarray(model(images[chosen].astype("float32"))).argmax(axis=1)
        return reference.confusion_matrix(labels[chosen], guess, labels=range(3)).tolist()

    every, two = np.full(30, True), labels != 1
    decomposed = unicodedata.normalize("NFD", "ça")
    assert decomposed != "ça"
    found = judge(images, np.array([1, 2, 0])[labels], ["owl", decomposed, "dog"])
    assert found["confusion"] == count(every)
    assert found.class_names == tuple(known)
    found = judge(images[two], np.array(["ça", "", "owl"])[labels[two]])
    assert found["confusion"] == count(two), "of some of the classes"
    assert judge(images, labels)["confusion"] == count(every), "numbers are no names"
    with pytest.raises(DataError, match="knows the classes ça, dog, owl, but not emu"):
        judge(images, labels, ["ça", "dog", "emu"])
    with pytest.raises(DataError, match="but not 0, 1, 2, 3 of the images"):
        judge(images, np.arange(30) % 4)
    end.class_names = ["1", "2", "3"]
    with pytest.raises(DataError, match="knows the classes 1, 2, 3, but not 0 of the images"):
        judge(images, labels)
