"""SavedModel and ONNX: what they compute, what lies beside them, and what fails leaves nothing."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from recipes.errors import ConfigError, RecipesError, RunError
from tuning import export_onnx, export_saved_model

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), dtype=np.uint8)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.Dense(3, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, x)


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_saved_model_gives_the_probabilities_and_names(model, tmp_path):
    contract = {"class_names": ["a", "b", "c"], "license": "MIT"}
    path = export_saved_model(model, tmp_path / "served", contract=contract)
    loaded = tf.saved_model.load(str(path))
    received = loaded.serve(IMAGES.astype(np.float32))
    np.testing.assert_allclose(received, model.predict(IMAGES, verbose=0), atol=1e-6)
    facts = json.loads((tmp_path / "served.json").read_text())
    assert facts["class_names"] == ["a", "b", "c"]
    assert facts["contract"]["license"] == "MIT"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["served", "served.json"]
    before = listing(tmp_path)
    with pytest.raises(RunError, match="exists already"):
        export_saved_model(model, path)
    assert listing(tmp_path) == before


def test_onnx_gives_the_probabilities(model, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    path = export_onnx(model, tmp_path / "model.onnx", contract={"class_names": ["a", "b", "c"]})
    session = onnxruntime.InferenceSession(str(path))
    name = session.get_inputs()[0].name
    received = session.run(None, {name: IMAGES.astype(np.float32)})[0]
    np.testing.assert_allclose(received, model.predict(IMAGES, verbose=0), atol=1e-5)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["model.onnx", "model.onnx.json"]


def test_what_onnx_needs_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match="needs onnxruntime: pip install tf2onnx onnxruntime"):
        export_onnx(model, tmp_path / "model.onnx")
    with pytest.raises(ConfigError, match="must end in .onnx"):
        export_onnx(model, tmp_path / "model.tflite")
    assert listing(tmp_path) == []


def test_failures_leave_nothing(model, tmp_path, monkeypatch):
    import tuning.saved_model

    with pytest.raises(RunError, match="there is no folder"):
        export_saved_model(model, tmp_path / "no" / "served")
    with pytest.raises(RecipesError, match="3 outputs, received 1"):
        export_saved_model(model, tmp_path / "served", contract={"class_names": ["a"]})
    with pytest.raises(RecipesError, match="what JSON can"):
        export_saved_model(model, tmp_path / "served", contract={"thing": object()})

    def confused(path):
        return lambda images: np.full((len(images), 3), 1 / 3, np.float32)

    monkeypatch.setattr(tuning.saved_model, "_load_saved_model", confused)
    with pytest.raises(RecipesError, match="differs from the model"):
        export_saved_model(model, tmp_path / "served")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.undo()
    monkeypatch.setattr(tuning.saved_model, "_place", full)
    with pytest.raises(RunError, match="No space left on device"):
        export_saved_model(model, tmp_path / "served")
    assert listing(tmp_path) == []
