"""`evaluate`: any model on any labelled images, and one clear error for each bad input."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn import metrics as reference

from recipes import load_classifier, load_data
from recipes.cli import main
from recipes.errors import ConfigError, DataError, RecipesError, RunError
from recipes.evaluation.classifier import KerasClassifier
from recipes.evaluation.ensemble import EnsembleClassifier
from recipes.evaluation.evaluate import evaluate
from recipes.evaluation.evaluation import MEASURES, Evaluation, evaluate_predictions
from recipes.evaluation.labelled import Predictions
from recipes.layers import CalibratedSoftmax
from tuning import export_tflite

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

NAMES = ["cat", "dog", "owl"]
COUNT = 120


def build(end, seed=0):
    """Return a model whose class depends on the colour of an image."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.Rescaling(1 / 64)(keras.layers.GlobalAveragePooling2D()(inputs))
    weights = np.eye(3) + 0.2 * np.random.default_rng(seed).normal(size=(3, 3))
    dense = keras.layers.Dense(3)
    model = keras.Model(inputs, end(dense(x)), name="colours")
    dense.set_weights([weights, np.zeros(3)])
    return model


def normalised(outputs):
    """Return float32 probabilities in float64; scikit-learn minds sums off by their rounding."""
    outputs = outputs.numpy().astype(np.float64)
    return outputs / outputs.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def images():
    generator = np.random.default_rng(1)
    return generator.integers(0, 256, (COUNT, 1, 1, 3), np.uint8) * np.ones((1, 4, 4, 1), np.uint8)


@pytest.fixture(scope="module")
def labels(images):
    noisy = images[:, 0, 0] + np.random.default_rng(2).normal(0, 40, (COUNT, 3))
    return noisy.argmax(axis=1)


@pytest.fixture(scope="module")
def logits_model():
    return build(lambda logits: logits)


@pytest.fixture(scope="module")
def model():
    return build(CalibratedSoftmax(1.0, NAMES))


@pytest.fixture(scope="module")
def files(model, images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    model.save(folder / "model.keras")
    export_tflite(model, folder / "model.tflite")
    return folder


@pytest.fixture(scope="module")
def expected(model, images):
    return normalised(model(images.astype(np.float32), training=False))


@pytest.fixture(scope="module")
def folder(images, labels, tmp_path_factory):
    """Return image files of three sizes, split into folders by class."""
    top = tmp_path_factory.mktemp("photos")
    for split in ("train", "test"):
        for name in NAMES:
            (top / split / name).mkdir(parents=True)
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            side = (8, 12, 16)[index % 3]
            # Train and test must not be copies.
            colour = tuple(int(value) ^ (split == "train") for value in image[0, 0])
            path = top / split / NAMES[label] / f"{index}.png"
            Image.new("RGB", (side + 4, side), colour).save(path)
    return top


@pytest.fixture(scope="module")
def evaluation(model, images, labels):
    return evaluate(model, (images, labels), bootstrap=200, slices="class")


def test_numbers_equal_scikit_learn(evaluation, expected, labels):
    guess = expected.argmax(axis=1)
    truth = np.eye(3)[labels]
    for name, value in {
        "accuracy": reference.accuracy_score(labels, guess),
        "balanced_accuracy": reference.balanced_accuracy_score(labels, guess),
        "macro_f1": reference.f1_score(labels, guess, average="macro"),
        "macro_auroc": reference.roc_auc_score(labels, expected, multi_class="ovr"),
        "macro_average_precision": reference.average_precision_score(truth, expected),
        "nll": reference.log_loss(labels, expected),
        "brier": np.mean(np.sum((expected - truth) ** 2, axis=1)),
    }.items():
        estimate = getattr(evaluation, name)
        assert estimate.value == pytest.approx(value, abs=1e-5), name
        assert evaluation[name] == estimate.value
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.n == COUNT
    for index, scores in enumerate(evaluation.per_class):
        area = reference.roc_auc_score(labels == index, expected[:, index])
        assert scores.auroc.value == pytest.approx(area, abs=1e-12)
        assert scores.auroc.low <= area <= scores.auroc.high
        assert scores.recall.n == scores.support == np.sum(labels == index)
        assert scores.precision.n == np.sum(guess == index)
    assert evaluation.top5_accuracy.value is None
    assert (evaluation.images, evaluation.split) == (COUNT, "given")
    assert evaluation.class_names == tuple(NAMES)
    assert {part.value for part in evaluation.slices} == set(NAMES)


@pytest.mark.parametrize(
    "form",
    ["file", "tflite", "classifier", "folder", "logits", "logits classifier", "logits ensemble"],
)
def test_every_form_of_a_model(form, files, images, labels, logits_model, evaluation):
    given = {
        "file": files / "model.keras",
        "tflite": str(files / "model.tflite"),
        "classifier": load_classifier(files / "model.tflite"),
        "folder": files,
        "logits": logits_model,
        "logits classifier": KerasClassifier(logits_model),
        "logits ensemble": EnsembleClassifier([KerasClassifier(logits_model)] * 2),
    }[form]
    logits = form.startswith("logits")
    found = evaluate(given, (images, labels), bootstrap=0, from_logits=logits)
    assert found["accuracy"] == evaluation["accuracy"]
    assert found["nll"] == pytest.approx(evaluation["nll"], abs=1e-4)
    assert found.class_names == (("0", "1", "2") if logits else tuple(NAMES))


def test_ensemble_is_the_mean_of_probabilities(model, files, images, labels, expected):
    other = build(keras.layers.Softmax(), seed=3)
    mean = (expected + normalised(other(images.astype(np.float32), training=False))) / 2
    found = evaluate([files / "model.tflite", other], (images, labels), bootstrap=0)
    np.testing.assert_allclose(found.predictions.probabilities, mean, atol=1e-5)
    assert found["nll"] == pytest.approx(reference.log_loss(labels, mean), abs=1e-5)
    assert found.class_names == tuple(NAMES)
    with pytest.raises(RunError, match="an ensemble needs two models or more, received 1"):
        evaluate([model], (images, labels))
    wide = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten()])
    wide = keras.Sequential([wide, keras.layers.Dense(4, activation="softmax")])
    with pytest.raises(RunError, match="must know the same classes"):
        evaluate([model, wide], (images, labels))


@pytest.mark.parametrize("form", ["batches", "single", "dictionary", "one-hot", "names"])
def test_every_form_of_data_in_memory(form, model, images, labels, evaluation):
    dataset = tf.data.Dataset.from_tensor_slices((images, labels))
    data = {
        "batches": dataset.batch(50),
        "single": dataset,
        "dictionary": dataset.map(lambda x, y: {"image": x, "label": y}).batch(50),
        "one-hot": (images, np.eye(3)[labels]),
        "names": (images, [NAMES[label] for label in labels]),
    }[form]
    found = evaluate(model, data, bootstrap=0)
    assert found.confusion == evaluation.confusion
    assert found["nll"] == pytest.approx(evaluation["nll"], abs=1e-6)


def test_files_and_their_sizes(model, files, folder, evaluation):
    by_source = evaluate(model, str(folder), bootstrap=0, slices=["size", "class"])
    assert by_source.split == "test"
    assert by_source.confusion == evaluation.confusion
    sizes = {part.value: part.accuracy.n for part in by_source.slices if part.column == "size"}
    assert sizes == {"8": 40, "12": 40, "16": 40}
    data = load_data(folder, image_size=4, fit="crop")
    assert evaluate(model, data, bootstrap=0).confusion == evaluation.confusion
    assert evaluate(model, data, split="train", bootstrap=0).split == "train"
    without = dataclasses.replace(data, splits={"train": data.splits["train"]})
    with pytest.raises(DataError, match="has no validation images"):
        evaluate(model, without, split="validation")


def test_json_and_back(evaluation):
    plain = evaluation.to_dict()
    again = Evaluation.from_dict(json.loads(json.dumps(plain, allow_nan=False)))
    assert again.to_dict() == plain
    assert again == evaluation, "as mappings"
    assert again.ece == evaluation.ece
    assert again.predictions is None


def test_it_reads_as_the_dictionary_it_was(evaluation):
    assert dict(evaluation) == evaluation.to_dict()
    assert {"split", "images", "accuracy", "accuracy_interval", "per_class"} <= set(evaluation)
    assert evaluation.get("nothing") is None
    assert "top5_accuracy" not in evaluation


def test_text_names_every_measure(evaluation):
    text = str(evaluation)
    for words in ("balanced accuracy", "AUROC", "debiased", "owl", "Holm", "noise alone"):
        assert words in text
    assert max(map(len, text.splitlines())) <= 120


def test_six_classes_have_a_top5_accuracy():
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(6), 80)
    labels = generator.integers(0, 6, 80)
    found = evaluate_predictions(Predictions(probabilities, labels, tuple("abcdef"), None))
    expected = reference.top_k_accuracy_score(labels, probabilities, k=5)
    assert found.top5_accuracy.value == pytest.approx(expected)
    assert found["intervals"]["top5_accuracy"]["method"] == "wilson"
    assert set(found["intervals"]) == set(MEASURES)


def test_seed_decides_the_intervals(model, images, labels, evaluation):
    again = evaluate(model, (images, labels), bootstrap=200, slices="class")
    assert again.to_dict() == evaluation.to_dict()
    other = evaluate(model, (images, labels), bootstrap=200, seed=1)
    assert other.nll.value == evaluation.nll.value
    assert other.nll.interval != evaluation.nll.interval


def test_one_class_only_says_what_is_undefined(model, images):
    found = evaluate(model, (images, np.zeros(COUNT, int)), bootstrap=100)
    assert found.macro_auroc.value is None
    assert found.per_class[0].auroc.value is None
    assert found.per_class[1].recall.value is None
    assert found.per_class[0].recall.value == found.accuracy.value
    assert found.undefined[0] == (
        "all images are of cat: AUROC and average precision are undefined"
    )
    assert "no image of dog, owl" in found.undefined[1]
    assert json.dumps(found.to_dict(), allow_nan=False)
    assert "all images are of cat" in str(found)


def test_one_image_has_no_bootstrap(model, images, labels):
    found = evaluate(model, (images[:1], labels[:1]))
    assert found.nll.interval is None
    assert found.accuracy.interval is not None


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x, y: (x[:, :3], y), DataError, r"expected a batch of shape \(N, 4, 4, 3\)"),
        (lambda x, y: (x[0], y[:4]), DataError, "received one array of shape"),
        (lambda x, y: (x[:0], y[:0]), DataError, "there are no images to evaluate the model on"),
        (lambda x, y: (x, y[:-1]), DataError, "there are 120 images but 119 labels"),
        (lambda x, y: (x, y + 1), DataError, "the highest label is 3, but there are 3 names"),
        (lambda x, y: (x, y - 1), DataError, "labels go down to -1"),
        (lambda x, y: (x, y + 0.5), DataError, "whole numbers"),
        (lambda x, y: (x / 255.0, y), DataError, r"received values in \[0, 1\]"),
        (lambda x, y: (np.full(x.shape, np.nan), y), DataError, "received values from nan"),
        (lambda x, y: None, RunError, "no images to evaluate the model on; name a source"),
        (
            lambda x, y: tf.data.Dataset.from_tensor_slices(x).batch(9),
            DataError,
            r"expected \(images, labels\)",
        ),
        (
            lambda x, y: tf.data.Dataset.from_tensor_slices((x, y)).repeat(),
            DataError,
            r"infinite; end it with .take\(n\)",
        ),
        (
            lambda x, y: tf.data.Dataset.from_tensor_slices((x, y)).take(0).batch(2),
            DataError,
            "there are no images",
        ),
    ],
)
def test_data_that_cannot_be_used(model, images, labels, change, error, message):
    with pytest.raises(error, match=message) as raised:
        evaluate(model, change(images, labels), bootstrap=0)
    assert "\n" not in str(raised.value)


def test_models_that_cannot_be_judged(model, logits_model, images, labels):
    data = (images, labels)
    with pytest.raises(RecipesError, match="does it end in logits.*from_logits=True"):
        evaluate(logits_model, data)
    with pytest.raises(RecipesError, match="already gives probabilities"):
        evaluate(model, data, from_logits=True)
    spoilt = build(keras.layers.Softmax())
    spoilt.layers[-2].set_weights([np.full((3, 3), np.nan), np.zeros(3)])
    with pytest.raises(RecipesError, match="not finite numbers for 120 of 120 images"):
        evaluate(spoilt, data)
    halved = build(lambda logits: keras.layers.Rescaling(0.5)(keras.layers.Softmax()(logits)))
    with pytest.raises(RecipesError, match="not probabilities .rows sum to 0.5"):
        evaluate(halved, data)
    with pytest.raises(RunError, match="expected a keras.Model, .* received: int"):
        evaluate(3, data)
    with pytest.raises(ConfigError, match="bootstrap must be a whole number, 0 or more"):
        evaluate(model, data, bootstrap=0.5)
    with pytest.raises(DataError, match="slices by size need images in files"):
        evaluate(model, data, slices="size")


def test_classes_of_model_and_data_must_agree(model, folder, tmp_path):
    data = load_data(folder, image_size=4)
    unnamed = build(lambda x: keras.layers.Softmax()(keras.layers.Dense(2)(x)))
    with pytest.raises(DataError, match="has 2 classes, the images have 3: cat, dog, owl"):
        evaluate(unnamed, data)
    with pytest.raises(DataError, match="split must be train, validation or test"):
        evaluate(model, data, split="tests")


def test_command_line(files, folder, capsys):
    arguments = ["evaluate", str(files / "model.tflite"), str(folder), "--bootstrap", "50"]
    assert main([*arguments, "--slices", "class,size", "--against", str(files), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert {part["column"] for part in result["slices"]} == {"class", "size"}
    assert result["bootstrap"]["resamples"] == 50
    assert result["comparison"]["images"] == result["images"] == COUNT
    assert result["comparison"]["only_first"] == []
    assert main(arguments) == 0
    assert "balanced accuracy" in capsys.readouterr().out
    assert main([*arguments, "--slices", "clas"]) == 2
    assert "unknown slice 'clas'" in capsys.readouterr().err
