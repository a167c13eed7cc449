"""Loading finished classifiers and asking them for probabilities."""

import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from augment import TestTimeAugment, View
from recipes.errors import DataError, RecipesError, RunError
from recipes.evaluation.classifier import KerasClassifier, LiteRTClassifier, load_classifier
from recipes.evaluation.litert import measure_latency, read_facts, runtime_name
from recipes.evaluation.predict import predict
from recipes.layers import CalibratedSoftmax, FusedBatchNormalization
from tuning import export_tflite

# Keras 3.15 reads its variables by NumPy's old protocol whenever it saves weights.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

NAMES = ["cat", "dog", "owl"]
IMAGES = np.random.default_rng(0).integers(0, 256, (9, 8, 6, 3), dtype=np.uint8)


def build(outputs, channels=3):
    """Return a small classifier; `outputs` makes its end from the logits."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 6, channels))
    x = FusedBatchNormalization()(keras.layers.Conv2D(4, 3)(inputs))
    logits = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, outputs(logits), name="small")


@pytest.fixture(scope="module")
def model():
    contract = {
        "image_shape": [8, 6, 3],
        "fit": "stretch",
        "provenance": {"recipe": "none"},
    }
    return build(CalibratedSoftmax(20.0, NAMES, contract))


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    """Return a folder with model.keras, model.tflite and float32.tflite."""
    folder = tmp_path_factory.mktemp("run")
    model.save(folder / "model.keras")
    export_tflite(model, folder / "model.tflite", precision="int8", calibration_images=IMAGES)
    export_tflite(model, folder / "float32.tflite")
    return folder


@pytest.mark.parametrize(
    ("name", "kind", "tolerance"),
    [
        ("", "keras", 1e-6),
        ("model.keras", "keras", 1e-6),
        ("model.tflite", "tflite", 0.05),
        ("float32.tflite", "tflite", 1e-5),
    ],
)
def test_every_form_of_a_classifier(model, run, name, kind, tolerance):
    classifier = load_classifier(run / name)
    assert classifier.kind == kind
    assert classifier.class_names == tuple(NAMES)
    assert classifier.temperature == 20.0
    provenance = classifier.contract["provenance"]
    assert provenance["recipe"] == "none"
    assert classifier.contract == {
        "image_shape": [8, 6, 3],
        "dtype": "uint8",
        "value_range": [0, 255],
        "color": "rgb",
        "fit": "stretch",
        "provenance": provenance,
    }
    expected = model(IMAGES.astype(np.float32), training=False).numpy()
    for images in (IMAGES, IMAGES.astype(np.float64), IMAGES.astype(np.int64)):
        probabilities = classifier.predict(images, batch_size=4)
        assert probabilities.dtype == np.float32
        np.testing.assert_allclose(probabilities, expected, atol=tolerance)
    assert classifier.predict(IMAGES[:0]).shape == (0, 3)


def test_a_run_with_a_tflite_file_alone(run, tmp_path):
    (tmp_path / "model.tflite").write_bytes((run / "model.tflite").read_bytes())
    assert load_classifier(str(tmp_path)).kind == "tflite"


def test_threads(run):
    expected = LiteRTClassifier(run / "float32.tflite").predict(IMAGES)
    received = LiteRTClassifier(run / "float32.tflite", threads=2).predict(IMAGES)
    np.testing.assert_allclose(received, expected, atol=1e-6)
    with pytest.raises(ValueError, match="threads must be at least 1"):
        LiteRTClassifier(run / "float32.tflite", threads=0)


def test_tflite_files_run_without_tensorflow(run):
    code = (
        "import sys, numpy as np\n"
        "from recipes.evaluation.classifier import load_classifier\n"
        f"classifier = load_classifier({str(run / 'model.tflite')!r})\n"
        "print(classifier.predict(np.zeros((1, 8, 6, 3), np.uint8)).shape)\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.stdout, result.stderr, result.returncode) == ("(1, 3)\n", "", 0)


def test_models_made_elsewhere():
    classifier = KerasClassifier(build(keras.layers.Softmax(), channels=1))
    assert classifier.class_names == ("0", "1", "2")
    assert classifier.temperature == 1.0
    assert classifier.contract == {
        "image_shape": [8, 6, 1],
        "dtype": "uint8",
        "value_range": [0, 255],
        "color": "grayscale",
        "fit": "crop",
    }
    np.testing.assert_allclose(classifier.predict(IMAGES[..., :1]).sum(axis=1), 1, atol=1e-6)


def test_the_shape_is_that_of_the_model_not_that_of_a_model_inside(model):
    classifier = KerasClassifier(TestTimeAugment(model, [View(size=8)], image_size=(16, 12)))
    assert classifier.contract["image_shape"] == [16, 12, 3]
    assert classifier.contract["fit"] == "stretch"


def test_predict_takes_a_path_or_any_number_of_them(run, tmp_path):
    paths = [tmp_path / "cat.png", tmp_path / "dog.png"]
    for path, pixels in zip(paths, IMAGES, strict=False):
        Image.fromarray(pixels).save(path)
    file = run / "float32.tflite"
    expected = load_classifier(file).predict(IMAGES[:2])
    found = predict(file, (path for path in paths), top=3)
    assert [row["file"] for row in found] == [str(path) for path in paths]
    for row, probabilities in zip(found, expected, strict=True):
        assert {guess["class"]: guess["probability"] for guess in row["top"]} == pytest.approx(
            dict(zip(NAMES, probabilities, strict=True)), abs=1e-6
        )
    assert predict(file, str(paths[0]), top=3) == found[:1]
    assert predict(file, []) == []


def test_tensorflow_does_not_warn_of_many_models_in_turn(monkeypatch, caplog):
    monkeypatch.setattr(tf.get_logger(), "propagate", True)
    for _ in range(6):
        KerasClassifier(build(keras.layers.Softmax())).predict(IMAGES)
    assert "retracing" not in caplog.text


def test_outputs_that_are_not_probabilities():
    for end, message in (
        (keras.layers.Identity(), "does it end in logits"),
        # Each about 1/2.
        (lambda x: keras.ops.sigmoid(x * 1e-3), r"rows sum to 1\.\d+.* end in sigmoids"),
        (lambda x: keras.ops.sigmoid(x[:, :1]), r"one number an image; .* make \[1 - p, p\]"),
        (keras.layers.Rescaling(np.inf), "not finite"),
    ):
        with pytest.raises(RecipesError, match=message):
            KerasClassifier(build(end)).predict(IMAGES)


def foreign(path, *, batch=None, labels=None, unit=1.0, images=IMAGES, **settings):
    """Write a .tflite file as others do, by TensorFlow's converter alone.

    A step of a pixel is `unit` for the model. Return what it computes of the images, which are
    those for calibration, too.
    """
    from tuning._capture import captured_output

    kernel = np.random.default_rng(1).normal(size=(8 * 6 * 3, 3)).astype(np.float32) / 2000

    def function(images):
        return tf.nn.softmax(tf.reshape(images, (batch or -1, 8 * 6 * 3)) @ (kernel / unit))

    signature = [tf.TensorSpec((batch, 8, 6, 3), tf.float32)]
    concrete = tf.function(function, input_signature=signature).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module())
    if settings:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        examples = np.float32(unit) * images.astype(np.float32)[:, np.newaxis]
        converter.representative_dataset = lambda: ([image] for image in examples)
        for name, value in settings.items():
            setattr(converter, name, value)
    with captured_output():
        path.write_bytes(converter.convert())
    if labels:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("labels.txt", labels)
    logits = images.reshape(9, -1).astype(np.float64) @ kernel
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        ({}, 1e-5),
        ({"batch": 1}, 1e-5),
        ({"batch": 4}, 1e-5),
        ({"inference_input_type": tf.uint8, "inference_output_type": tf.uint8}, 0.02),
        ({"inference_input_type": tf.uint8, "unit": 1 / 128}, 0.02),
        ({"inference_input_type": tf.int8, "inference_output_type": tf.int8}, 0.02),
        ({"inference_input_type": tf.int8, "inference_output_type": tf.float32}, 0.02),
        ({"inference_input_type": tf.int8, "unit": 1 / 128}, 0.02),
        ({"inference_input_type": tf.int8, "images": IMAGES // 2}, 0.02),
    ],
)
def test_tflite_files_made_elsewhere(tmp_path, settings, tolerance):
    expected = foreign(tmp_path / "m.tflite", **settings)
    images = settings.get("images", IMAGES)
    classifier = LiteRTClassifier(tmp_path / "m.tflite")
    assert classifier.class_names == ("0", "1", "2")
    assert classifier.temperature == 1.0
    for batch_size in (1, 4, 64):
        probabilities = classifier.predict(images, batch_size=batch_size)
        np.testing.assert_allclose(probabilities, expected, atol=tolerance)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-4)
    floats = images.astype(np.float32)
    np.testing.assert_allclose(classifier.predict(floats), expected, atol=tolerance)
    assert measure_latency(tmp_path / "m.tflite", runs=2)["median"] > 0


def test_labels_of_tflite_files_made_elsewhere(tmp_path):
    foreign(tmp_path / "m.tflite", labels="cat\ndog\nowl\n")
    assert read_facts(tmp_path / "m.tflite") == {"class_names": NAMES}
    assert load_classifier(tmp_path / "m.tflite").class_names == tuple(NAMES)
    foreign(tmp_path / "m.tflite", labels="cat\ndog\n")
    with pytest.raises(RunError, match="3 outputs but 2 class names"):
        load_classifier(tmp_path / "m.tflite")


@pytest.mark.parametrize("name", ["model.keras", "model.tflite"])
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES[0], r"expected a batch of shape \(N, 8, 6, 3\).*image\[np.newaxis\]"),
        (IMAGES[..., :1], r"received shape \(9, 8, 6, 1\)"),
        (IMAGES[:, :6], r"received shape \(9, 6, 6, 3\)"),
        (IMAGES[np.newaxis], r"received shape \(1, 9, 8, 6, 3\)"),
        (IMAGES / 255.0, r"received values in \[0, 1\]"),
        (IMAGES.astype(np.int16) - 1, "received values from -1 to 254"),
        (IMAGES.astype(np.int16) + 1, "received values from 1 to 256"),
        (IMAGES * np.nan, "received values from nan to nan"),
        (IMAGES.astype(complex), "received complex128"),
        (IMAGES.astype(str), "received <U"),
    ],
)
def test_wrong_images(run, name, images, message):
    with pytest.raises(DataError, match=message) as caught:
        load_classifier(run / name).predict(images)
    assert "\n" not in str(caught.value)


def test_black_and_nearly_black_images_are_images(run):
    classifier = load_classifier(run / "float32.tflite")
    for images in (np.zeros((1, 8, 6, 3)), np.ones((1, 8, 6, 3))):
        assert classifier.predict(images).shape == (1, 3)


def test_grey_images_without_a_channel_axis():
    classifier = KerasClassifier(build(keras.layers.Softmax(), channels=1))
    with pytest.raises(DataError, match="a last axis of size 1"):
        classifier.predict(IMAGES[..., 0])


def test_wrong_batch_size(run):
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        load_classifier(run / "model.tflite").predict(IMAGES, batch_size=0)


def test_paths_that_are_no_classifier(run, tmp_path):
    def fails(path, message):
        with pytest.raises(RunError, match=message) as caught:
            load_classifier(path)
        assert "\n" not in str(caught.value)

    fails(tmp_path / "missing", "no such file or run directory")
    fails(tmp_path / "missing.keras", "no such file or run directory")
    fails(tmp_path, "not a run directory")
    (tmp_path / "recipe.json").write_text("{}")
    fails(tmp_path, "did not finish.*--resume")
    (tmp_path / "model.h5").write_text("x")
    fails(tmp_path / "model.h5", r"expected a run directory, a \.keras or a \.tflite file")
    content = (run / "model.tflite").read_bytes()
    for kept in (0, 3, 100, len(content) // 2):
        (tmp_path / "cut.tflite").write_bytes(content[:kept])
        fails(tmp_path / "cut.tflite", "cannot load .* as a TFLite file")
    for content in (b"", b"text", (run / "model.keras").read_bytes()[:2000]):
        (tmp_path / "cut.keras").write_bytes(content)
        fails(tmp_path / "cut.keras", "cannot load .* as a Keras model")


def test_unknown_layers_are_named(tmp_path):
    class Unknown(keras.layers.Layer):
        def call(self, inputs):
            return keras.ops.softmax(inputs)

    build(Unknown()).save(tmp_path / "model.keras")
    with pytest.raises(RunError, match="Could not locate class 'Unknown'"):
        load_classifier(tmp_path)


def test_models_of_another_form(tmp_path):
    text = keras.Input((10,))
    keras.Model(text, keras.layers.Dense(2)(text)).save(tmp_path / "text.keras")
    with pytest.raises(
        RunError, match=r"must take one batch of images, it takes: \[\(None, 10\)\]"
    ):
        load_classifier(tmp_path / "text.keras")
    image = keras.Input((8, 6, 3))
    keras.Model(image, keras.layers.Conv2D(2, 1)(image)).save(tmp_path / "map.keras")
    with pytest.raises(RunError, match="must give one row of classes an image"):
        load_classifier(tmp_path / "map.keras")
    image = keras.Input((None, None, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    keras.Model(image, keras.layers.Softmax()(pooled)).save(tmp_path / "any.keras")
    with pytest.raises(RunError, match="takes images of any size and does not say which"):
        predict(tmp_path / "any.keras", ["cat.jpg"])


def test_latency(run):
    result = measure_latency(run / "model.tflite", runs=7, warmup=1, threads=2)
    assert set(result) == {"median", "p90", "threads", "runs"}
    assert 0 < result["median"] <= result["p90"] < 1000
    assert (result["threads"], result["runs"]) == (2, 7)
    with pytest.raises(ValueError, match="runs must be at least 1"):
        measure_latency(run / "model.tflite", runs=0)
    assert runtime_name().split()[0] in ("ai-edge-litert", "tensorflow")
