"""Keras classifier in, one checked `.tflite` file out."""

import io
import json
import logging
import os
import tempfile
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from recipes.errors import ConfigError, RecipesError, RunError, nearest
from recipes.evaluation.classifier import KerasClassifier, LiteRTClassifier
from recipes.evaluation.litert import FACTS_FILE, LABELS_FILE
from recipes.files import atomic_path
from tuning.conversion import check_calibration, convert

_LOG = logging.getLogger("keras_recipes.export")
QUANTIZATIONS = ("float32", "float16", "int8")
# How far the probabilities of a file may lie from those of the Keras model. float32 differs by the
# order of additions alone, float16 by the rounding of weights to 11 bits. For int8 the mean total
# variation distance counts: single images near a class border may move, not the whole.
_LARGEST_DIFFERENCE = {None: 1e-4, "float16": 5e-2}
_LARGEST_INT8_DISTANCE = 0.25
_CHECKED_IMAGES = 32


def export_tflite(
    model,
    path: str | os.PathLike,
    *,
    quantization: str | None = None,
    calibration_images: np.ndarray | None = None,
    contract: dict[str, Any] | None = None,
) -> Path:
    """Write a Keras classifier as a `.tflite` file that needs nothing but the LiteRT interpreter.

    Normalisation and temperature are inside the file, and class names, input contract and
    provenance travel in it: a small zip archive at its end holds `labels.txt` and
    `keras_recipes.json` (`unzip -p model.tflite labels.txt`; interpreters ignore it).

    The file gets its name only after the interpreter has run it and its probabilities were
    compared with those of `model`. The same model and calibration images give the same bytes.

    Args:
        model: Built Keras model: one input of images `(None, H, W, C)` in `[0, 255]`, one output of
            probabilities `(None, classes)`. Mixed-precision models are exported in float32.
        path: Where to write, ending in `.tflite`; an existing file is replaced.
        quantization: `None` or `"float32"`; `"float16"`: half-precision weights, half the bytes,
            float32 arithmetic; `"int8"`: integer weights and arithmetic, about a quarter of the
            bytes. An int8 file takes uint8 images (scale 1, zero point 0: the bytes as they are)
            and gives float32 probabilities; its one float operation is the final softmax.
        calibration_images: For `"int8"`: 200 to 500 *training* images, shape `(n, H, W, C)`,
            values in `[0, 255]`; they fix the ranges of all intermediate results.
        contract: JSON-like facts to travel in the file beside those that the model's
            `CalibratedSoftmax` carries; `"class_names"` and `"provenance"` may be among them.

    Returns:
        `path`.

    Raises:
        ConfigError: If `quantization` or the suffix of `path` is unknown.
        DataError: If `calibration_images` are missing, empty, or of another shape or range.
        RecipesError: If the model cannot be converted, or the file computes something else than
            the model.
        RunError: If `path` cannot be written.

    Example:
        >>> export_tflite(model, "model.tflite", quantization="int8",
        ...               calibration_images=images[:300])  # doctest: +SKIP
    """
    path = Path(path)
    quantization = known_quantization(quantization)
    if path.suffix != ".tflite":
        raise ConfigError(f"path must end in .tflite, received: {path}")
    if not path.parent.is_dir():
        raise RunError(f"cannot write {path}: there is no folder {path.parent}")
    shape = _image_shape(model)
    classifier = KerasClassifier(in_float32(model))
    images = None
    if quantization == "int8" or calibration_images is not None:
        images = check_calibration(calibration_images, shape)
    facts = _facts(classifier, quantization, contract, 0 if images is None else len(images))
    comparison = _Comparison(classifier, _check_images(images, shape))
    content = convert(classifier.model, None)
    if quantization is not None:
        # What is wrong in float32 already is found there: on numbers that are not finite the
        # converter's calibration can end the whole process.
        with tempfile.TemporaryDirectory() as scratch:
            float_path = Path(scratch) / "float32.tflite"
            float_path.write_bytes(content)
            comparison.check(float_path, None)
        content = convert(classifier.model, quantization, images)
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(content + _archive(facts, len(content)))
            comparison.check(temporary, quantization)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def known_quantization(quantization: str | None) -> str | None:
    """Return the name the converter uses, `None` for float32; `ConfigError` for an unknown one."""
    if quantization is not None and quantization not in QUANTIZATIONS:
        raise ConfigError(
            f"quantization must be one of {', '.join(QUANTIZATIONS)}, received: {quantization!r}"
            + nearest(str(quantization), QUANTIZATIONS)
        )
    return None if quantization == "float32" else quantization


def _image_shape(model) -> tuple[int, int, int]:
    """Return `(H, W, C)` of a model that can be exported; say what is wrong with any other."""
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ConfigError(
            f"export to TFLite needs Keras on TensorFlow, it runs on {keras.backend.backend()!r}: "
            "set KERAS_BACKEND=tensorflow"
        )
    inputs = getattr(model, "inputs", None)
    if not inputs:
        raise RecipesError(
            "only functional and built sequential models can be exported: "
            f"{type(model).__name__} {getattr(model, 'name', '')!r} states no inputs"
        )
    shape = tuple(inputs[0].shape[1:])
    if None in shape:
        raise RecipesError(
            f"model {model.name!r} takes images of any size, {shape}: "
            "rebuild it with a fixed input_shape to export it"
        )
    return shape


def in_float32(model):
    """Return the model itself, or a float32 copy of one that computes in half precision."""
    import keras

    if all(layer.compute_dtype in (None, "float32") for layer in _layers(model)):
        return model

    def converted(layer):
        return layer.__class__.from_config({**layer.get_config(), "dtype": "float32"})

    copy = keras.models.clone_model(model, clone_function=converted, recursive=True)
    copy.set_weights(model.get_weights())
    return copy


def _layers(model) -> Iterator[Any]:
    """Go over all layers, those of nested models included."""
    for layer in model.layers:
        yield layer
        if hasattr(layer, "layers"):
            yield from _layers(layer)


def _facts(
    classifier: KerasClassifier,
    quantization: str | None,
    contract: dict[str, Any] | None,
    calibration_images: int,
) -> dict[str, Any]:
    """Collect what travels in the file."""
    given = dict(contract or {})
    provenance = {
        **classifier.contract.get("provenance", {}),
        **given.pop("provenance", {}),
        "model": classifier.model.name,
        "parameters": classifier.model.count_params(),
        "export_versions": versions(),
    }
    if quantization == "int8":
        provenance["calibration_images"] = calibration_images
    class_names = [str(name) for name in given.pop("class_names", classifier.class_names)]
    if len(class_names) != len(classifier.class_names):
        raise RecipesError(
            f"the model has {len(classifier.class_names)} outputs, "
            f"received {len(class_names)} class names"
        )
    contract = {**classifier.contract, **given}
    contract.pop("provenance", None)
    shape = list(_image_shape(classifier.model))
    if list(contract["image_shape"]) != shape:
        stated = list(contract["image_shape"])
        raise RecipesError(f"the contract states images of shape {stated}, the model takes {shape}")
    return {
        "format_version": 1,
        "class_names": class_names,
        "contract": contract,
        "temperature": classifier.temperature,
        "quantization": quantization or "float32",
        "provenance": provenance,
    }


def versions() -> dict[str, str]:
    """Return the versions of the packages that make a file."""
    versions = {}
    for package in ("keras-recipes", "keras", "tensorflow"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # Used from a checkout.
            versions[package] = "not installed"
    return versions


def _archive(facts: dict[str, Any], offset: int) -> bytes:
    """Return the zip archive to append to a file of `offset` bytes, the same at any hour."""
    try:
        text = json.dumps(facts, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    except (TypeError, ValueError) as error:
        raise RecipesError(f"contract must hold what JSON can: {error}") from error
    labels = "".join(" ".join(name.splitlines()) + "\n" for name in facts["class_names"])
    # zipfile writes the positions of its entries as they will be in the whole file.
    stream = io.BytesIO(b"\0" * offset)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, content in ((LABELS_FILE, labels), (FACTS_FILE, text)):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content.encode("utf-8"))
    return stream.getvalue()[offset:]


def _check_images(images: np.ndarray | None, shape: tuple[int, int, int]) -> np.ndarray:
    """Return images to compare file and model on: calibration images, or else noise."""
    if images is not None:
        return images[:_CHECKED_IMAGES]
    return np.random.default_rng(0).integers(0, 256, (_CHECKED_IMAGES // 2, *shape), np.uint8)


class _Comparison:
    """What the Keras model makes of some images, to hold files against."""

    def __init__(self, classifier: KerasClassifier, images: np.ndarray):
        self._images = images
        self._expected = classifier.predict(images)

    def check(self, path: Path, quantization: str | None) -> None:
        """Run the file and raise `RecipesError` unless it computes what the model computes."""
        name = quantization or "float32"
        try:
            received = LiteRTClassifier(path).predict(self._images)
        except RecipesError as error:
            reason = str(error).replace(str(path), "it")
            raise RecipesError(f"the {name} TFLite file of the model is wrong: {reason}") from error
        difference = float(np.abs(self._expected - received).max())
        distance = float(np.abs(self._expected - received).sum(axis=1).mean() / 2)
        same = self._expected.argmax(axis=1) == received.argmax(axis=1)
        _LOG.info(
            "%s file against the Keras model on %d images: largest difference %.2g, agreement %.3f",
            *(name, len(self._images), difference, same.mean()),
        )
        limit = _LARGEST_DIFFERENCE.get(quantization, np.inf)
        if difference > limit:
            raise RecipesError(
                f"the {name} TFLite file differs from the model by {difference:.2g} in a "
                f"probability, more than {limit:g}; not written"
            )
        if quantization == "int8" and distance > _LARGEST_INT8_DISTANCE:
            raise RecipesError(
                "the int8 TFLite file does not compute what the model does: total variation "
                f"distance of the probabilities {distance:.2f}, more than "
                f"{_LARGEST_INT8_DISTANCE}, top-1 agreement {same.mean():.2f}; not written. "
                "Are the calibration images like the training images?"
            )
