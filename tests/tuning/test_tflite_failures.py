"""Exports that must fail: with one clear line, and leaving nothing behind."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from recipes.errors import ConfigError, DataError, RecipesError, RunError
from recipes.evaluation.classifier import LiteRTClassifier
from recipes.evaluation.litert import read_facts
from tuning import export_tflite, inspect_tflite


def noise(count, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def failing(model, path, error, message, **arguments):
    """Check that an export fails with one line, and leaves the folder as it was."""
    before = {file: file.read_bytes() for file in path.parent.glob("**/*") if file.is_file()}
    with pytest.raises(error, match=message) as caught:
        export_tflite(model, path, **arguments)
    assert "\n" not in str(caught.value)
    after = {file: file.read_bytes() for file in path.parent.glob("**/*") if file.is_file()}
    assert after == before


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.slow
def test_operations_that_only_tensorflow_has(tiny_model, tmp_path, precision, capfd):
    (tmp_path / "m.tflite").write_text("the file that was here before")
    failing(
        odd_model(tiny_model, "erfinv"),
        tmp_path / "m.tflite",
        RecipesError,
        "TFLite has no kernel for Erfinv",
        precision=precision,
        calibration_images=noise(2, 8, 8, 1),
    )
    assert capfd.readouterr() == ("", "")


def odd_model(tiny_model, operation="sinh"):
    """Return a model with an operation that TFLite has no kernel for."""
    odd = getattr(keras.ops, operation)
    return tiny_model(keras.layers.Conv2D(2, 3), lambda x: odd(x * 1e-4))


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_operations_of_tensorflow_where_they_are_asked_for(tiny_model, tmp_path, precision, caplog):
    model = odd_model(tiny_model)
    path = export_tflite(model, tmp_path / "odd.tflite", precision=precision, allow_flex=True)
    assert inspect_tflite(path)["flex_operations"] == 1
    facts = read_facts(path)
    assert facts["flex_operations"] == {"FlexSinh": 1}
    assert facts["verified"] is False
    assert "is not checked" in caplog.text
    # What the documentation says of the interpreters, and the one line that their users see.
    with pytest.raises(RunError, match="cannot load .* Flex") as caught:
        LiteRTClassifier(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(RuntimeError, match="Flex delegate"):
        tf.lite.Interpreter(model_path=str(path)).allocate_tensors()


def test_asking_for_what_is_not_needed_changes_nothing(tiny_model, tmp_path):
    model = tiny_model(keras.layers.Conv2D(2, 3))
    plain = export_tflite(model, tmp_path / "plain.tflite").read_bytes()
    assert export_tflite(model, tmp_path / "m.tflite", allow_flex=True).read_bytes() == plain
    assert "verified" not in read_facts(tmp_path / "m.tflite")


def test_operations_that_the_flex_delegate_has_not(tiny_model, tmp_path):
    model = odd_model(tiny_model, "erfinv")
    message = "no kernel for Erfinv, nor has the Flex delegate"
    failing(model, tmp_path / "m.tflite", RecipesError, message, allow_flex=True)


def test_integers_have_no_operations_of_tensorflow(tiny_model, tmp_path):
    message = "allow_flex goes with precision float32 or float16: .* received: 'int8'"
    path = tmp_path / "m.tflite"
    failing(tiny_model(), path, ConfigError, message, precision="int8", allow_flex=True)


def test_a_file_that_computes_something_else(tiny_model, tmp_path, monkeypatch):
    """Softplus overflows in TFLite: log(1 + exp(100)) is infinite in float32."""
    model = tiny_model(lambda x: keras.ops.softplus(x))
    for precision in ("float32", "int8"):
        failing(
            model,
            tmp_path / "m.tflite",
            RecipesError,
            "float32 TFLite file of the model is wrong: it gives outputs that are not finite",
            precision=precision,
            calibration_images=noise(2, 8, 8, 1),
        )


@pytest.mark.parametrize(
    ("precision", "message"), [("float32", "differs"), ("int8", "does not compute")]
)
def test_a_file_of_another_model(tiny_model, tmp_path, monkeypatch, precision, message):
    import tuning.tflite

    model, other = tiny_model(), tiny_model()
    for network, bias in ((model, [9, 0, 0]), (other, [0, 9, 0])):
        network.layers[-2].set_weights([np.zeros((1, 3)), np.array(bias)])
    real = tuning.tflite.convert

    def confused(model, chosen, images=None, **given):
        wrong = (chosen or "float32") == precision
        return real(other if wrong else model, chosen, images, **given)

    monkeypatch.setattr(tuning.tflite, "convert", confused)
    failing(
        model,
        tmp_path / "m.tflite",
        RecipesError,
        message,
        precision=precision,
        calibration_images=noise(20, 8, 8, 1),
    )


GOOD = np.full((2, 8, 8, 1), 7, np.uint8)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (None, "int8 needs calibration_images"),
        (GOOD[:0], "is empty"),
        (GOOD[0], r"received \(8, 8, 1\)"),
        (GOOD[:, :4], r"received \(2, 4, 8, 1\)"),
        (GOOD.astype(np.float32) * 100, "from 700 to 700"),
        (GOOD.astype(np.float32) * np.nan, "from nan to nan"),
        (GOOD / 255.0, r"received \[0, 1\]"),
        (GOOD.astype(str), "received <U"),
    ],
)
def test_wrong_calibration_images(tiny_model, tmp_path, images, message):
    failing(
        tiny_model(),
        tmp_path / "m.tflite",
        DataError,
        message,
        precision="int8",
        calibration_images=images,
    )


def test_wrong_arguments(tiny_model, tmp_path):
    model = tiny_model()
    path = tmp_path / "m.tflite"
    failing(model, path, ConfigError, "did you mean 'int8'", precision="int9")
    failing(model, tmp_path / "m.onnx", ConfigError, "must end in .tflite")
    failing(model, tmp_path / "no" / "m.tflite", RunError, "there is no folder")
    failing(
        model, path, RecipesError, "3 outputs, received 2", contract={"class_names": ["a", "b"]}
    )
    failing(model, path, RecipesError, "the model takes", contract={"image_shape": [9, 9, 1]})
    failing(model, path, RecipesError, "JSON", contract={"thing": object()})


def test_models_that_cannot_be_exported(tiny_model, tmp_path):
    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    path = tmp_path / "m.tflite"
    failing(Subclassed(), path, RecipesError, "only functional and built sequential models")
    anysize = keras.Input((None, None, 1))
    probabilities = keras.layers.Dense(3, activation="softmax")(
        keras.layers.GlobalAveragePooling2D()(anysize)
    )
    failing(keras.Model(anysize, probabilities), path, RecipesError, "images of any size")
    failing(tiny_model(head=False), path, RecipesError, "are not probabilities")
    two = [keras.Input((8, 8, 1)), keras.Input((8, 8, 1))]
    probabilities = keras.layers.Softmax()(keras.layers.Flatten()(keras.layers.add(two)))
    failing(keras.Model(two, probabilities), path, RunError, "must take one batch of images")
    grid = keras.layers.Softmax()(two[0])
    failing(keras.Model(two[0], grid), path, RunError, "must give one row of classes")


def test_a_disk_that_refuses(tiny_model, tmp_path, monkeypatch):
    import tuning.tflite

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tuning.tflite, "atomic_path", full)
    failing(tiny_model(), tmp_path / "m.tflite", RunError, "No space left on device")
