"""The metadata of image classifiers that TFLite's own tools read, written without those tools.

A `.tflite` file may hold a buffer named `TFLITE_METADATA`, itself a flatbuffer after the published
schema `metadata_schema.fbs`, which names the files in the zip archive at the end of the `.tflite`
file. MediaPipe Tasks (`ImageClassifier`), the TFLite Task Library, Android Studio and Netron read
them: class names by the associated file of the output, how to bring an image to the input, and
description, author and licence for people. Checked with MediaPipe 1.2.2, which classifies images by
such a file with no other information (tests/tuning/test_metadata.py).

Source:
    https://github.com/google-ai-edge/mediapipe/blob/master/mediapipe/tasks/metadata/metadata_schema.fbs
    version 1.5.0; the numbers of fields below are their places in its tables.
"""

from collections.abc import Sequence

import flatbuffers

METADATA_NAME = "TFLITE_METADATA"
_IDENTIFIER = b"M001"
# The fields used here have all been there since the first version of the schema.
_MIN_PARSER_VERSION = "1.0.0"
_TENSOR_AXIS_LABELS = 2
_FEATURE_PROPERTIES, _IMAGE_PROPERTIES = 1, 2
_NORMALIZATION_OPTIONS = 1
_RGB, _GRAYSCALE = 1, 2


def image_classifier_metadata(
    *,
    image_shape: Sequence[int],
    labels_file: str,
    name: str = "",
    description: str = "",
    version: str = "",
    author: str = "",
    license: str = "",
) -> bytes:
    """Return the metadata buffer of a classifier that takes images in `[0, 255]`.

    Args:
        image_shape: `(height, width, channels)`; one channel is gray, three are red, green, blue.
        labels_file: Name of the file with the class names, one a line, in the zip archive.
        name: Of the model; empty texts are left out, here and below.
        description: What it is for.
        version: Of the model.
        author: Who made it.
        license: Under which it may be used.

    Returns:
        A flatbuffer to be stored under `METADATA_NAME`. It states that pixels go in as they are
        (mean 0, standard deviation 1: normalisation is inside our files), that they lie in
        `[0, 255]`, and that probabilities in `[0, 1]` come out.

    Example:
        >>> image_classifier_metadata(image_shape=(8, 8, 3), labels_file="labels.txt")[4:8]
        b'M001'
    """
    writer = _Writer()
    tensors = {
        2: writer.tables([_image_tensor(writer, image_shape)]),
        3: writer.tables([_probability_tensor(writer, labels_file)]),
    }
    fields = {
        0: writer.text(name),
        1: writer.text(description),
        2: writer.text(version),
        3: writer.tables([writer.table(tensors)]),
        4: writer.text(author),
        5: writer.text(license),
        7: writer.text(_MIN_PARSER_VERSION),
    }
    return writer.finish(writer.table(fields))


def _image_tensor(writer: "_Writer", image_shape: Sequence[int]) -> int:
    height, width, channels = image_shape
    size = writer.table({}, numbers={0: width, 1: height})
    properties = writer.table(
        {1: size}, kinds={0: _GRAYSCALE if channels == 1 else _RGB if channels == 3 else 0}
    )
    scaling = writer.table({0: writer.floats([0.0] * channels), 1: writer.floats([1.0] * channels)})
    unit = writer.table({1: scaling}, kinds={0: _NORMALIZATION_OPTIONS})
    return writer.table(
        {
            0: writer.text("image"),
            1: writer.text(
                f"Image of {width} x {height} pixels and {channels} channel(s), values 0 to 255; "
                "the model normalises them itself."
            ),
            3: writer.table({1: properties}, kinds={0: _IMAGE_PROPERTIES}),
            4: writer.tables([unit]),
            5: _range(writer, 0.0, 255.0, channels),
        }
    )


def _probability_tensor(writer: "_Writer", labels_file: str) -> int:
    labels = writer.table(
        {0: writer.text(labels_file), 1: writer.text("Class names, in the order of the outputs.")},
        kinds={2: _TENSOR_AXIS_LABELS},
    )
    return writer.table(
        {
            0: writer.text("probability"),
            1: writer.text("Calibrated probability of each class."),
            3: writer.table({1: writer.table({})}, kinds={0: _FEATURE_PROPERTIES}),
            5: _range(writer, 0.0, 1.0, 1),
            6: writer.tables([labels]),
        }
    )


def _range(writer: "_Writer", low: float, high: float, count: int) -> int:
    return writer.table({0: writer.floats([high] * count), 1: writer.floats([low] * count)})


class _Writer:
    """Writes flatbuffer tables from the numbers of their fields; offsets stand for what is written.

    Children are written before their parents, as the format wants it.
    """

    def __init__(self):
        self._builder = flatbuffers.Builder(1024)

    def text(self, value: str) -> int | None:
        """Write a text, unless it is empty."""
        return self._builder.CreateString(value) if value else None

    def floats(self, values: Sequence[float]) -> int:
        """Write a list of float32 numbers."""
        self._builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self._builder.PrependFloat32(value)
        return self._builder.EndVector()

    def tables(self, offsets: Sequence[int]) -> int:
        """Write a list of tables."""
        self._builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self._builder.PrependUOffsetTRelative(offset)
        return self._builder.EndVector()

    def table(
        self,
        fields: dict[int, int | None],
        *,
        kinds: dict[int, int] | None = None,
        numbers: dict[int, int] | None = None,
    ) -> int:
        """Write a table.

        Args:
            fields: What was written before, by the place of its field; `None` is left out.
            kinds: Bytes: enumerations, and which member a union holds.
            numbers: Unsigned 32-bit numbers.
        """
        kinds, numbers = kinds or {}, numbers or {}
        self._builder.StartObject(1 + max([*fields, *kinds, *numbers], default=-1))
        for slot, offset in fields.items():
            if offset is not None:
                self._builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
        for slot, number in numbers.items():
            self._builder.PrependUint32Slot(slot, number, 0)
        for slot, kind in kinds.items():
            self._builder.PrependInt8Slot(slot, kind, 0)
        return self._builder.EndObject()

    def finish(self, root: int) -> bytes:
        """Return the whole buffer."""
        self._builder.Finish(root, file_identifier=_IDENTIFIER)
        return bytes(self._builder.Output())
