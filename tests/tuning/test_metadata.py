"""TFLite's metadata, read by the published schema and by MediaPipe, not by our own code."""

import zipfile

import flatbuffers
import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from flatbuffers.number_types import Float32Flags, Int8Flags, Uint32Flags, UOffsetTFlags

from recipes.errors import RecipesError
from recipes.evaluation.classifier import LiteRTClassifier
from recipes.evaluation.litert import read_facts
from tuning import export_tflite
from tuning.flatbuffer import with_metadata

# The order of the fields in metadata_schema.fbs, version 1.5.0.
FIELDS = {
    "ModelMetadata": "name description version subgraph_metadata author license associated_files "
    "min_parser_version",
    "SubGraphMetadata": "name description input_tensor_metadata output_tensor_metadata",
    "TensorMetadata": "name description dimension_names content process_units stats "
    "associated_files",
    "Content": "content_properties_type content_properties range",
    "ImageProperties": "color_space default_size",
    "ImageSize": "width height",
    "ProcessUnit": "options_type options",
    "NormalizationOptions": "mean std",
    "Stats": "max min",
    "AssociatedFile": "name description type locale version",
}


class Table:
    """A table of the schema, its fields by name."""

    def __init__(self, kind, buffer, position):
        self._names = FIELDS[kind].split()
        self._table = flatbuffers.table.Table(buffer, position)

    def _place(self, name):
        return self._table.Offset(4 + 2 * self._names.index(name))

    def has(self, name):
        return self._place(name) != 0

    def text(self, name):
        return self._table.String(self._place(name) + self._table.Pos).decode()

    def number(self, name, flags):
        return self._table.Get(flags, self._place(name) + self._table.Pos)

    def floats(self, name):
        start = self._table.Vector(self._place(name))
        length = self._table.VectorLen(self._place(name))
        return [self._table.Get(Float32Flags, start + 4 * index) for index in range(length)]

    def child(self, name, kind):
        position = self._table.Indirect(self._place(name) + self._table.Pos)
        return Table(kind, self._table.Bytes, position)

    def children(self, name, kind):
        start = self._table.Vector(self._place(name))
        length = self._table.VectorLen(self._place(name))
        places = [self._table.Indirect(start + 4 * index) for index in range(length)]
        return [Table(kind, self._table.Bytes, place) for place in places]


def metadata_of(path):
    """Find the buffer named TFLITE_METADATA."""
    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    entries = [model.Metadata(index) for index in range(model.MetadataLength())]
    [entry] = [entry for entry in entries if entry.Name() == b"TFLITE_METADATA"]
    buffer = model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
    assert buffer[4:8] == b"M001"
    root = flatbuffers.encode.Get(UOffsetTFlags.packer_type, buffer, 0)
    return Table("ModelMetadata", bytearray(buffer), root)


@pytest.fixture(scope="module")
def color_model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 16, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.Dense(4, activation="softmax")(keras.layers.Flatten()(x))
    return keras.Model(inputs, x, name="colors")


CONTRACT = {
    "class_names": ["red", "green", "blue", "ü"],
    "description": "Names colours.",
    "author": "A. Painter",
    "license": "MIT",
    "version": "3",
}
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 12, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def color_files(color_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("colors")
    return {
        precision: export_tflite(
            color_model,
            folder / f"{precision}.tflite",
            precision=precision,
            calibration_images=IMAGES,
            contract=CONTRACT,
        )
        for precision in ("float32", "int8")
    }


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_metadata_by_the_published_schema(color_files, precision):
    path = color_files[precision]
    model = metadata_of(path)
    assert model.text("name") == "colors"
    for field in ("description", "author", "license", "version"):
        assert model.text(field) == CONTRACT[field]
    assert model.text("min_parser_version") == "1.0.0"
    [graph] = model.children("subgraph_metadata", "SubGraphMetadata")
    [image] = graph.children("input_tensor_metadata", "TensorMetadata")
    content = image.child("content", "Content")
    assert content.number("content_properties_type", Int8Flags) == 2  # ImageProperties
    properties = content.child("content_properties", "ImageProperties")
    assert properties.number("color_space", Int8Flags) == 1  # RGB
    size = properties.child("default_size", "ImageSize")
    assert (size.number("width", Uint32Flags), size.number("height", Uint32Flags)) == (16, 12)
    [unit] = image.children("process_units", "ProcessUnit")
    assert unit.number("options_type", Int8Flags) == 1  # NormalizationOptions
    scaling = unit.child("options", "NormalizationOptions")
    assert (scaling.floats("mean"), scaling.floats("std")) == ([0] * 3, [1] * 3)
    assert image.child("stats", "Stats").floats("max") == [255] * 3
    [scores] = graph.children("output_tensor_metadata", "TensorMetadata")
    [labels] = scores.children("associated_files", "AssociatedFile")
    assert labels.number("type", Int8Flags) == 2  # TENSOR_AXIS_LABELS
    with zipfile.ZipFile(path) as archive:
        names = archive.read(labels.text("name")).decode().splitlines()
        # MediaPipe reads stored entries only.
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
    assert names == CONTRACT["class_names"]
    assert read_facts(path)["contract"]["license"] == "MIT"


def test_gray_images_and_what_is_not_given(exported):
    model = metadata_of(exported["int8"])
    assert not model.has("author")
    assert not model.has("license")
    assert "10 classes: digit 0, digit 1" in model.text("description")
    [graph] = model.children("subgraph_metadata", "SubGraphMetadata")
    [image] = graph.children("input_tensor_metadata", "TensorMetadata")
    properties = image.child("content", "Content").child("content_properties", "ImageProperties")
    assert properties.number("color_space", Int8Flags) == 2  # GRAYSCALE


def test_metadata_is_replaced_not_added(color_files):
    content = color_files["float32"].read_bytes()
    changed = with_metadata(content, "TFLITE_METADATA", b"other")
    model = schema.Model.GetRootAs(changed, 0)
    names = [model.Metadata(index).Name() for index in range(model.MetadataLength())]
    assert names.count(b"TFLITE_METADATA") == 1
    with pytest.raises(RecipesError, match="bytes of a .tflite file"):
        with_metadata(b"nothing of the kind", "TFLITE_METADATA", b"")


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_mediapipe_classifies_with_the_file_alone(color_files, precision):
    mediapipe = pytest.importorskip("mediapipe")
    from mediapipe.tasks.python import BaseOptions, vision

    path = color_files[precision]
    expected = LiteRTClassifier(path).predict(IMAGES)
    options = vision.ImageClassifierOptions(
        base_options=BaseOptions(model_asset_path=str(path)),
    )
    with vision.ImageClassifier.create_from_options(options) as classifier:
        for pixels, row in zip(IMAGES, expected, strict=True):
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
            [result] = classifier.classify(image).classifications
            found = {category.category_name: category.score for category in result.categories}
            wanted = dict(zip(CONTRACT["class_names"], row, strict=True))
            assert found == pytest.approx(wanted, abs=1e-6)
