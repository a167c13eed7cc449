"""Keras classifier in, a TensorFlow SavedModel or an ONNX file out: Keras' own exporters, checked.

Where they work, with Keras 3.15.1 and TensorFlow 2.21: SavedModel where Keras runs on TensorFlow.
ONNX needs the packages tf2onnx and onnxruntime beside it (tf2onnx 1.17 and onnxruntime 1.31 did);
operations that tf2onnx does not know are refused, as is what onnxruntime computes otherwise. Both
hold float32 alone; for quantized files see `tuning.export_tflite`.
"""

import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from recipes.errors import ConfigError, RecipesError, RunError
from recipes.evaluation.classifier import KerasClassifier
from recipes.files import atomic_path, write_json
from tuning._capture import captured_output
from tuning.tflite import collect_facts, image_shape, images_to_check, in_float32
from tuning.verification import LARGEST_DIFFERENCE, compare_probabilities


def export_saved_model(
    model,
    path: str | os.PathLike,
    *,
    contract: dict[str, Any] | None = None,
    check_images: np.ndarray | None = None,
) -> Path:
    """Write a Keras classifier as a TensorFlow SavedModel, for TensorFlow Serving and the like.

    The folder gets its name only after it was loaded again and gave the probabilities of `model`.
    Its signature `serve` takes float32 images `(n, H, W, C)` in `[0, 255]`. Class names, input
    contract and provenance lie beside it in `<path>.json`.

    Args:
        model: Built Keras model: one input of images, one output of probabilities.
        path: New folder.
        contract: As in `tuning.export_tflite`.
        check_images: Real images to compare on, shape `(n, H, W, C)`; default: noise.

    Returns:
        `path`.

    Raises:
        ConfigError: If Keras does not run on TensorFlow.
        RecipesError: If the model cannot be exported, or the result computes something else.
        RunError: If `path` exists already or cannot be written.

    Example:
        >>> export_saved_model(model, "saved_model")  # doctest: +SKIP
    """
    return _export(model, Path(path), contract, check_images, "tf_saved_model", _load_saved_model)


def export_onnx(
    model,
    path: str | os.PathLike,
    *,
    contract: dict[str, Any] | None = None,
    check_images: np.ndarray | None = None,
) -> Path:
    """Write a Keras classifier as an ONNX file, for ONNX Runtime and what builds on it.

    The file gets its name only after ONNX Runtime has run it and it gave the probabilities of
    `model`. It takes float32 images `(n, H, W, C)` in `[0, 255]`. Class names, input contract and
    provenance lie beside it in `<path>.json`.

    Args:
        model: Built Keras model: one input of images, one output of probabilities.
        path: Where to write, ending in `.onnx`; an existing file is replaced.
        contract: As in `tuning.export_tflite`.
        check_images: Real images to compare on, shape `(n, H, W, C)`; default: noise.

    Returns:
        `path`.

    Raises:
        ConfigError: If `path` ends otherwise, or `tf2onnx` or `onnxruntime` is not installed.
        RecipesError: If the model cannot be exported, or the result computes something else.
        RunError: If `path` cannot be written.

    Example:
        >>> export_onnx(model, "model.onnx")  # doctest: +SKIP
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise ConfigError(f"path must end in .onnx, received: {path}")
    try:
        import onnxruntime  # noqa: F401
        import tf2onnx  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"export to ONNX needs {error.name}: pip install tf2onnx onnxruntime"
        ) from error
    return _export(model, path, contract, check_images, "onnx", _load_onnx)


def _export(
    model,
    path: Path,
    contract: dict[str, Any] | None,
    images: np.ndarray | None,
    kind: str,
    load: Callable[[Path], Callable[[np.ndarray], np.ndarray]],
) -> Path:
    """Write, load and compare under a temporary name; then rename."""
    is_folder = kind == "tf_saved_model"
    shape = image_shape(model)
    if not path.parent.is_dir():
        raise RunError(f"cannot write {path}: there is no folder {path.parent}")
    if path.exists() and (is_folder or path.is_dir()):
        raise RunError(f"cannot write {path}: it exists already")
    classifier = KerasClassifier(in_float32(model))
    facts = collect_facts(classifier, "float32", contract, 0)
    images = images_to_check(None, shape) if images is None else images
    expected = classifier.predict(images)
    beside = path.with_name(f"{path.name}.json")
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
            made = Path(scratch) / path.name
            _run_exporter(classifier.model, made, kind, shape)
            _check(load(made), images, expected, kind)
            try:
                write_json(beside, facts)
            except (TypeError, ValueError) as error:
                raise RecipesError(f"contract must hold what JSON can: {error}") from error
            try:
                _place(made, path, is_folder)
            except OSError:
                beside.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def _place(made: Path, path: Path, is_folder: bool) -> None:
    if is_folder:
        made.rename(path)
    else:
        with atomic_path(path) as temporary:
            shutil.copyfile(made, temporary)


def _run_exporter(model, path: Path, kind: str, shape: tuple[int, int, int]) -> None:
    import keras

    signature = [keras.InputSpec(shape=(None, *shape), dtype="float32", name="images")]
    try:
        with captured_output(understood=Exception), warnings.catch_warnings():
            # tf2onnx asks NumPy for names that it no longer has.
            warnings.simplefilter("ignore")
            model.export(str(path), format=kind, verbose=False, input_signature=signature)
    except OSError:
        raise
    except Exception as error:  # The exporters raise many kinds, all about the model.
        raise RecipesError(
            f"model {model.name!r} cannot be exported as {kind}: {_reason(error)}"
        ) from error


def _check(
    run: Callable[[np.ndarray], np.ndarray], images: np.ndarray, expected: np.ndarray, kind: str
) -> None:
    """Raise `RecipesError` unless the result computes what the model computes."""
    try:
        received = run(np.asarray(images, np.float32))
    except Exception as error:
        raise RecipesError(f"what was exported as {kind} does not run: {_reason(error)}") from error
    found = compare_probabilities(received, expected)
    limit = LARGEST_DIFFERENCE["float32"]
    if not found.max_difference <= limit:  # Also catches NaN.
        raise RecipesError(
            f"what was exported as {kind} differs from the model by {found.max_difference:.2g} in "
            f"a probability, more than {limit:g}; not written"
        )


def _load_saved_model(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    return lambda images: loaded.serve(images).numpy()


def _load_onnx(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
