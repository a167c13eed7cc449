"""Keras model in, the bytes of a `.tflite` file out: the only place that calls the converter."""

import re
from typing import Any

import numpy as np

from recipes.errors import DataError, RecipesError
from tuning._capture import captured_output
from tuning.flatbuffer import with_float_softmax


def convert(
    model,
    quantization: str | None,
    calibration_images: np.ndarray | None = None,
    *,
    allow_flex: bool = False,
) -> bytes:
    """Convert a float32 Keras classifier with TensorFlow's converter.

    Args:
        model: Keras model with one image input `(None, H, W, C)`.
        quantization: `None` (float32), `"float16"` (weights) or `"int8"` (everything that has an
            integer kernel, but the final softmax; `inspect_tflite` counts what stays float).
        calibration_images: For `"int8"`: uint8 or float, shape `(n, H, W, C)`, in `[0, 255]`.
        allow_flex: Whether operations without a kernel in TFLite may be left to TensorFlow's own;
            not with `"int8"`.

    Returns:
        A `.tflite` file: input `images`, output `probabilities`.

    Raises:
        RecipesError: If an operation of the model has no built-in kernel in TFLite; the message
            names it.
    """
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [_frozen_function(model)], tf.Module()
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if allow_flex:
        converter.target_spec.supported_ops += [tf.lite.OpsSet.SELECT_TF_OPS]
    if quantization == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    if quantization == "int8":
        examples = _full_range(calibration_images)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: ([image] for image in examples)
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.float32
    content = _run_quietly(converter, model.name)
    return with_float_softmax(content) if quantization == "int8" else content


def convert_rounded(function, model, name: str) -> bytes:
    """Convert a function that says itself how its results are rounded, as training left it.

    Args:
        function: Concrete function of images to `{"probabilities": ...}` with fake quantization,
            that of its images from 0 to 255.
        model: What holds its variables.
        name: Of the Keras model, for messages.

    Returns:
        A `.tflite` file: input `images`, uint8 with scale 1 and zero point 0; output
        `probabilities`, float32. What the function does not round stays float.

    Raises:
        RecipesError: As `convert`.
    """
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.float32
    return with_float_softmax(_run_quietly(converter, name))


def _run_quietly(converter, name) -> bytes:
    try:
        with captured_output(understood=RecipesError):
            return _run(converter, name)
    except RecipesError:
        raise
    except Exception as error:  # The converter raises many kinds, all about the model.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0][:300] if lines else type(error).__name__
        raise RecipesError(f"{_failure(name)}: {reason}") from error


def _frozen_function(model) -> Any:
    """Trace the model in inference mode with its weights as constants.

    Constants let the converter fold batch normalisation, normalisation and temperature into the
    neighbouring kernels; with variables it leaves hundreds of operations in the file.

    The batch size stays open: files with a fixed batch of 1 run no faster (a small network took
    0.061 ms either way, its int8 file 0.022 ms), open ones can be evaluated on whole batches by
    `resize_tensor_input`, and an interpreter that does not resize sees a batch of 1 in both.
    """
    import tensorflow as tf

    trainable = [np.asarray(variable) for variable in model.trainable_variables]
    others = [np.asarray(variable) for variable in model.non_trainable_variables]

    def probabilities(images):
        outputs, _ = model.stateless_call(
            [tf.constant(value) for value in trainable],
            [tf.constant(value) for value in others],
            images,
            training=False,
        )
        return {"probabilities": outputs}

    shape = [None, *model.inputs[0].shape[1:]]
    signature = [tf.TensorSpec(shape, tf.float32, name="images")]
    function = tf.function(probabilities, input_signature=signature, autograph=False)
    return function.get_concrete_function()


def _full_range(images: np.ndarray) -> list[np.ndarray]:
    """Return batches of one float32 image that span exactly 0 to 255.

    Calibration fixes the scale of the input at (largest - smallest) / 255. With both ends present
    it is 1 and the zero point 0, so the bytes of an image go in as they are. Images that do not
    reach both ends get them: one value each of the first image is replaced.
    """
    examples = [np.array(image, np.float32)[np.newaxis] for image in images]
    if min(example.min() for example in examples) > 0:
        examples[0].flat[0] = 0.0
    if max(example.max() for example in examples) < 255:
        examples[0].flat[-1] = 255.0
    return examples


def _run(converter, name) -> bytes:
    try:
        return converter.convert()
    except Exception as error:
        missing = re.findall(r"'tf\.(\w+)' op is neither a custom op nor a flex op", str(error))
        if not missing:
            raise
        flexible = any("SELECT" in str(each) for each in converter.target_spec.supported_ops)
        raise RecipesError(
            f"{_failure(name)}: TFLite has no kernel for {', '.join(sorted(set(missing)))}, "
            + (
                "nor has the Flex delegate"
                if flexible
                else "only TensorFlow has (Flex operations are written if asked for alone: "
                "export_tflite(..., allow_flex=True))"
            )
        ) from error


def _failure(name) -> str:
    return f"model {name!r} cannot become a TFLite file"


def check_calibration(images: np.ndarray | None, shape: tuple[int, int, int]) -> np.ndarray:
    """Return the calibration images, or raise `DataError` saying what is wrong with them."""
    expected = f"images of shape (n, {', '.join(map(str, shape))}) with values in [0, 255]"
    if images is None:
        raise DataError(f"int8 needs calibration_images: a few hundred training {expected}")
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[1:] != tuple(shape):
        raise DataError(f"calibration_images: expected {expected}, received {images.shape}")
    if len(images) == 0:
        raise DataError(f"calibration_images is empty: expected {expected}")
    numeric = np.issubdtype(images.dtype, np.number) and np.isrealobj(images)
    if not numeric or not (images.min() >= 0 and images.max() <= 255):
        raise DataError(
            f"calibration_images: expected {expected}, received {images.dtype}"
            + (f" from {images.min():g} to {images.max():g}" if numeric else "")
        )
    if 0 < images.max() <= 1:
        raise DataError(
            "calibration_images: expected values in [0, 255], received [0, 1]: "
            "do not rescale them, the model does"
        )
    return images
