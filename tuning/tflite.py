"""Keras classifier in, one checked `.tflite` file out."""

import io
import json
import logging
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from recipes.errors import ConfigError, RecipesError, RunError, nearest
from recipes.evaluation.classifier import KerasClassifier
from recipes.evaluation.litert import FACTS_FILE, LABELS_FILE
from recipes.files import atomic_path
from tuning.conversion import check_calibration, convert
from tuning.flatbuffer import (
    flex_operations,
    input_quantization,
    with_byte_input,
    with_integer_ends,
    with_metadata,
)
from tuning.metadata import METADATA_NAME, image_classifier_metadata
from tuning.verification import verify_tflite

_LOG = logging.getLogger("keras_recipes.export")
PRECISIONS = (
    "float32",
    "float16",
    "dynamic",
    "weight-only-int8",
    "weight-only-int4",
    "int8",
    "int8-only",
    "16x8",
)
# Ranges of activations have to be known for these.
CALIBRATED = ("int8", "int8-only", "16x8")
# They may hold operations of TensorFlow.
FLEXIBLE = ("float32", "float16")
_BY_LITERT_QUANTIZER = ("dynamic", "weight-only-int8", "weight-only-int4", "16x8")
_CHECKED_IMAGES = 32


def export_tflite(
    model,
    path: str | os.PathLike,
    *,
    precision: str = "float32",
    calibration_images: np.ndarray | None = None,
    contract: dict[str, Any] | None = None,
    check_images: np.ndarray | None = None,
    allow_flex: bool = False,
) -> Path:
    """Write a Keras classifier as a `.tflite` file that needs nothing but the LiteRT interpreter.

    Normalisation and temperature are inside the file (the temperature in the weights of the last
    layer, without an operation of its own). Class names, input contract and provenance travel in
    it: a small zip archive at its end holds `labels.txt` and `keras_recipes.json`
    (`unzip -p model.tflite labels.txt`; interpreters ignore it), and TFLite's metadata buffer
    points to the labels, so that MediaPipe and other TFLite tools find them (`tuning.metadata`).

    The file gets its name only after the interpreter has run it and its probabilities were
    compared with those of `model`; the tolerances are in `tuning.verification`. The same model and
    calibration images give the same bytes. Flex operations are not written unless asked for: the
    LiteRT interpreter has no kernels for them.

    Precisions (figures of each in `benchmarks/RESULTS.md`, by `benchmarks/precisions.py`):

    - `"float32"`: all in float32.
    - `"float16"`: half-precision weights, half the bytes, float32 arithmetic.
    - `"dynamic"`: int8 weights; convolutions and dense layers quantize activations as they run.
      Needs no calibration.
    - `"weight-only-int8"`, `"weight-only-int4"`: integer weights, float32 arithmetic; a quarter and
      an eighth of the bytes, not faster than float32 (4 bits: far slower).
    - `"int8"`: integer weights and arithmetic, about a quarter of the bytes, fastest on CPUs. Takes
      uint8 images (scale 1, zero point 0: the bytes as they are), gives float32 probabilities; its
      one float operation is the final softmax. Made by the converter, see
      `tuning.litert_quantizer` for why.
    - `"int8-only"`: the same, for accelerators without float arithmetic: int8 in (scale 1, zero
      point -128: byte minus 128) and int8 probabilities out, in steps of 1/256.
    - `"16x8"`: int16 activations, int8 weights: nearly the accuracy of float32; most processors
      have no fast kernels for it.

    Args:
        model: Built Keras model: one input of images `(None, H, W, C)` in `[0, 255]`, one output of
            probabilities `(None, classes)`. Mixed-precision models are exported in float32.
        path: Where to write, ending in `.tflite`; an existing file is replaced.
        precision: One of `PRECISIONS`, as above.
        calibration_images: For `"int8"`, `"int8-only"` and `"16x8"`: 200 to 500 *training* images,
            shape `(n, H, W, C)`, values in `[0, 255]`; they fix the ranges of all intermediate
            results.
        contract: JSON-like facts to travel in the file beside those that the model's
            `CalibratedSoftmax` carries; `"class_names"` and `"provenance"` may be among them, and
            `"description"`, `"author"`, `"license"` and `"version"` go into TFLite's metadata, too.
        check_images: Real images to compare file and model on. Without them the first calibration
            images serve, or else noise.
        allow_flex: Leave operations that TFLite has no kernel for to TensorFlow's own ("Flex"), in
            `"float32"` and `"float16"`. Such a file needs an interpreter with the Flex delegate
            (as on Android, `tensorflow-lite-select-tf-ops`): neither `ai_edge_litert` nor
            `tf.lite.Interpreter` of TensorFlow 2.21 can load it. **So it is written unchecked**,
            with a warning, and its facts say so: `"verified": false` and, by name,
            `"flex_operations"`. A model without such operations gives the same file as ever.

    Returns:
        `path`.

    Raises:
        ConfigError: If `precision` or the suffix of `path` is unknown, it needs
            `litert-quantizer` and that is not installed, or `allow_flex` does not go with it.
        DataError: If `calibration_images` are missing, empty, or of another shape or range.
        RecipesError: If the model cannot be converted, or the file computes something else than
            the model.
        RunError: If `path` cannot be written.

    Example:
        >>> export_tflite(model, "model.tflite", precision="int8",
        ...               calibration_images=images[:300])  # doctest: +SKIP
    """
    precision = known_precision(precision)
    if allow_flex and precision not in FLEXIBLE:
        raise ConfigError(
            f"allow_flex goes with precision {' or '.join(FLEXIBLE)}: operations of TensorFlow "
            f"compute in float, received: {precision!r}"
        )
    path = check_path(path)
    shape = image_shape(model)
    classifier = KerasClassifier(in_float32(model))
    images = None
    if precision in CALIBRATED or calibration_images is not None:
        images = check_calibration(calibration_images, shape)
    facts = collect_facts(classifier, precision, contract, 0 if images is None else len(images))
    if check_images is None:
        check_images = images_to_check(images, shape)
    comparison = Comparison(classifier, check_images)
    try:
        content = convert(classifier.model, None)
    except RecipesError:
        if not allow_flex:
            raise
        return _write_flexible(path, classifier.model, precision, facts)
    if precision != "float32":
        # What is wrong in float32 already is found there: on numbers that are not finite the
        # converter's calibration can end the whole process.
        with tempfile.TemporaryDirectory() as scratch:
            float_path = Path(scratch) / "float32.tflite"
            float_path.write_bytes(content)
            comparison.check(float_path, "float32")
        content = _quantized(classifier.model, content, precision, images)
    return write_checked(path, content, facts, lambda file: comparison.check(file, precision))


def _write_flexible(path: Path, model, precision: str, facts: dict[str, Any]) -> Path:
    """Write a file with operations of TensorFlow, which nothing here can run."""
    content = convert(model, None if precision == "float32" else precision, allow_flex=True)
    flex = flex_operations(content)
    _LOG.warning(
        "%s is not checked: no interpreter here has the operations of TensorFlow in it, %s",
        *(path, ", ".join(flex)),
    )
    facts = {**facts, "flex_operations": flex, "verified": False}
    return write_checked(path, content, facts, lambda file: None)


def known_precision(precision: str) -> str:
    """Return the name; `ConfigError` for an unknown one."""
    if precision not in PRECISIONS:
        raise ConfigError(
            f"precision must be one of {', '.join(PRECISIONS)}, received: {precision!r}"
            + nearest(str(precision), PRECISIONS)
        )
    return precision


def _quantized(model, content: bytes, precision: str, images: np.ndarray | None) -> bytes:
    """Return the file in one of the other precisions; `content` is the float32 file."""
    if precision in _BY_LITERT_QUANTIZER:
        from tuning import litert_quantizer

        if precision == "dynamic":
            return litert_quantizer.quantize_dynamic(content)
        if precision == "16x8":
            return litert_quantizer.quantize_static(
                content, images, activation_bits=16, input_type="float32"
            )
        return litert_quantizer.quantize_weights(content, 4 if precision.endswith("4") else 8)
    if precision == "float16":
        return convert(model, "float16")
    content = with_byte_input(convert(model, "int8", images))
    if precision == "int8-only":
        content = with_integer_ends(content)
    wanted = (1.0, 0) if precision == "int8" else (1.0, -128)
    if input_quantization(content) != wanted:
        raise RecipesError(
            f"the input of the {precision} file must have scale and zero point {wanted}, "
            f"it has {input_quantization(content)}; not written"
        )
    return content


def check_path(path: str | os.PathLike) -> Path:
    """Return where a file is to be written, or say why it cannot be."""
    path = Path(path)
    if path.suffix != ".tflite":
        raise ConfigError(f"path must end in .tflite, received: {path}")
    if not path.parent.is_dir():
        raise RunError(f"cannot write {path}: there is no folder {path.parent}")
    return path


def write_checked(
    path: Path, content: bytes, facts: dict[str, Any], check: Callable[[Path], None]
) -> Path:
    """Write a file with the facts in it, under its name only after `check` has let it pass."""
    content = with_metadata(content, METADATA_NAME, _metadata(facts))
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(content + _archive(facts, len(content)))
            check(temporary)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def image_shape(model) -> tuple[int, int, int]:
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
        config = {**layer.get_config(), "dtype": "float32"}
        if isinstance(layer, keras.layers.Wrapper):
            inner = config["layer"]
            config["layer"] = {**inner, "config": {**inner["config"], "dtype": "float32"}}
        return layer.__class__.from_config(config)

    # Not compiled: cloning compiles the clone, and cannot with a loss of the user's own.
    view = keras.Model(model.inputs, model.outputs, name=model.name)
    policy = keras.config.dtype_policy()
    # What layers make inside of them takes that of the process.
    keras.config.set_dtype_policy("float32")
    try:
        copy = keras.models.clone_model(view, clone_function=converted, recursive=True)
    finally:
        keras.config.set_dtype_policy(policy)
    copy.set_weights(view.get_weights())
    for layer in _layers(copy):
        # What it adapted to lies in its weights; it computes with numbers derived from them.
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
    return copy


def _layers(model) -> Iterator[Any]:
    """Go over all layers, those of nested models included."""
    for layer in model.layers:
        yield layer
        if hasattr(layer, "layers"):
            yield from _layers(layer)


def collect_facts(
    classifier: KerasClassifier,
    precision: str,
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
    if precision in _BY_LITERT_QUANTIZER:
        provenance["export_versions"]["litert-quantizer"] = _version("litert-quantizer")
    if precision in CALIBRATED:
        provenance["calibration_images"] = calibration_images
    class_names = [str(name) for name in given.pop("class_names", classifier.class_names)]
    if len(class_names) != len(classifier.class_names):
        raise RecipesError(
            f"the model has {len(classifier.class_names)} outputs, "
            f"received {len(class_names)} class names"
        )
    contract = {**classifier.contract, **given}
    contract.pop("provenance", None)
    shape = list(image_shape(classifier.model))
    if list(contract["image_shape"]) != shape:
        stated = list(contract["image_shape"])
        raise RecipesError(f"the contract states images of shape {stated}, the model takes {shape}")
    return {
        "format_version": 1,
        "class_names": class_names,
        "contract": contract,
        "temperature": classifier.temperature,
        "quantization": precision,
        "provenance": provenance,
    }


def versions() -> dict[str, str]:
    """Return the versions of the packages that make a file."""
    return {package: _version(package) for package in ("keras-recipes", "keras", "tensorflow")}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # Used from a checkout.
        return "not installed"


def _metadata(facts: dict[str, Any]) -> bytes:
    """Return TFLite's own metadata: what of the facts it has fields for."""
    names, contract = facts["class_names"], facts["contract"]
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    return image_classifier_metadata(
        image_shape=contract["image_shape"],
        labels_file=LABELS_FILE,
        name=facts["provenance"]["model"],
        description=str(
            contract.get("description") or f"Classifies images into {len(names)} classes: {shown}"
        ),
        version=str(contract.get("version") or ""),
        author=str(contract.get("author") or ""),
        license=str(contract.get("license") or ""),
    )


def _archive(facts: dict[str, Any], offset: int) -> bytes:
    """Return the zip archive to append to a file of `offset` bytes, the same at any hour."""
    try:
        text = json.dumps(facts, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    except (TypeError, ValueError) as error:
        raise RecipesError(f"contract must hold what JSON can: {error}") from error
    labels = "".join(" ".join(name.splitlines()) + "\n" for name in facts["class_names"])
    # zipfile writes the positions of its entries as they will be in the whole file. They are
    # stored as they are: MediaPipe refuses a file with a compressed archive.
    stream = io.BytesIO(b"\0" * offset)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, content in ((LABELS_FILE, labels), (FACTS_FILE, text)):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content.encode("utf-8"))
    return stream.getvalue()[offset:]


def images_to_check(images: np.ndarray | None, shape: tuple[int, int, int]) -> np.ndarray:
    """Return images to compare file and model on: calibration images, or else noise."""
    if images is not None:
        return images[:_CHECKED_IMAGES]
    return np.random.default_rng(0).integers(0, 256, (_CHECKED_IMAGES // 2, *shape), np.uint8)


class Comparison:
    """What the Keras model makes of some images, to hold files against."""

    def __init__(self, classifier: KerasClassifier, images: np.ndarray):
        self._classifier = classifier
        self._images = images
        self._expected = classifier.predict(images)

    def check(self, path: Path, precision: str) -> None:
        """Run the file and raise `RecipesError` unless it computes what the model computes."""
        verify_tflite(
            path, self._classifier, self._images, precision=precision, expected=self._expected
        )
