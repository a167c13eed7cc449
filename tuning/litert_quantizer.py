"""Quantizing `.tflite` files with the LiteRT quantizer: no TensorFlow, and operation by operation.

It takes a float file (`tuning.export_tflite(..., precision="float32")`) and gives another one.
`operations` lists what can be quantized, `quantize_static` quantizes all but the operations named,
and re-uses its calibration, so that trying each layer in turn takes milliseconds a trial.

Which path makes which file, by measurement (a ResNet-9 of 465,000 parameters, 3,000 test images of
Fashion-MNIST; signal to noise of the probabilities against float32):

- `"int8"`: the converter. 44.6 dB and one float operation; here 44.3 dB and two, since there is no
  integer kernel for REDUCE_MAX (nor for LEAKY_RELU, PRELU, ELU, ...); bytes and latency are equal.
  Where operations have to stay float by name, only this way exists.
- `"dynamic"`, `"weight-only-int8"`, `"weight-only-int4"`, `"16x8"`: here. The converter's own
  quantization is deprecated, has no weight-only and no 4-bit files.

Defaults of the package that are overridden: ranges are the smallest and the largest value seen, not
a moving average of them (which clipped: 16.6 dB against 34.4 dB in a squeeze-and-excite network),
the input spans exactly 0 to 255, and the final softmax and the output stay float.
"""

import contextlib
import hashlib
import re
import warnings
from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from recipes.errors import ConfigError, RecipesError, nearest
from tuning._capture import captured_output
from tuning.conversion import check_calibration
from tuning.flatbuffer import operation_names, read_model, with_unique_names

_BATCH = 32
_NOT = "no_quantize"
_ACTIVATION_BITS = (8, 16)
_INPUT_TYPES = ("uint8", "int8", "float32")


@dataclass(frozen=True)
class Operation:
    """One operation of a `.tflite` file that `quantize_static` can quantize.

    Attributes:
        index: Its place among all operations of the file.
        name: The name of its output, the same at each call and for each export of the same model.
        kind: Such as `"CONV_2D"`.
        parameters: Number of its weights and biases, 0 for an operation without.
    """

    index: int
    name: str
    kind: str
    parameters: int


def operations(content: bytes) -> tuple[Operation, ...]:
    """List the operations of a float file that `quantize_static` can make integer, in order.

    The final softmax is not among them: it stays float always.

    Args:
        content: A float32 `.tflite` file.

    Raises:
        ConfigError: If `litert-quantizer` is not installed.
        RecipesError: If it is not a `.tflite` file.

    Example:
        >>> [operation.kind for operation in operations(float_bytes)]  # doctest: +SKIP
        ['CONV_2D', 'CONV_2D', 'ADD', 'FULLY_CONNECTED']
    """
    package = _package()
    model = read_model(with_unique_names(content))
    graph = model.subgraphs[0]
    found = []
    for index, (operator, kind) in enumerate(
        zip(graph.operators, operation_names(model), strict=True)
    ):
        if _has_integer_kernel(package, kind) and not _gives_output(graph, operator, kind):
            found.append(Operation(index, _name(graph, operator), kind, _weights(model, operator)))
    return tuple(found)


def quantize_static(
    content: bytes,
    calibration_images: np.ndarray,
    *,
    skip: Iterable[str | int] = (),
    activation_bits: int = 8,
    input_type: str = "uint8",
    cache: MutableMapping[str, Any] | None = None,
) -> bytes:
    """Make a float file compute in integers, but for the operations in `skip`.

    Weights become int8, a scale a channel; activations int8 (or int16, symmetric), a scale a
    tensor, from the smallest and largest values seen. The probabilities come out in float32.

    Args:
        content: A float32 `.tflite` file that takes images in `[0, 255]`.
        calibration_images: Training images, shape `(n, H, W, C)`, values in `[0, 255]`.
        skip: Names or indices of `operations` that stay float.
        activation_bits: 8 or 16. 16 is far more accurate and far slower on most processors.
        input_type: `"uint8"` (scale 1, zero point 0: the bytes of an image), `"int8"` (scale 1,
            zero point -128) or `"float32"`; with 16 bits float32 alone.
        cache: An empty dictionary that keeps the calibration for the next call with the same file
            and images; `None` calibrates at each call.

    Returns:
        The quantized `.tflite` file.

    Raises:
        ConfigError: If `skip` names what is not there, an option is unknown, or `litert-quantizer`
            is not installed.
        DataError: If `calibration_images` are missing, empty, or of another shape or range.
        RecipesError: If the file cannot be quantized.

    Example:
        >>> cache = {}                                                  # doctest: +SKIP
        >>> for operation in operations(float_bytes):                   # doctest: +SKIP
        ...     quantize_static(float_bytes, images, skip=[operation.name], cache=cache)
    """
    package = _package()
    if activation_bits not in _ACTIVATION_BITS:
        raise ConfigError(f"activation_bits must be 8 or 16, received: {activation_bits!r}")
    if input_type not in _INPUT_TYPES:
        raise ConfigError(
            f"input_type must be one of {', '.join(_INPUT_TYPES)}, received: {input_type!r}"
            + nearest(str(input_type), _INPUT_TYPES)
        )
    if activation_bits == 16 and input_type != "float32":
        raise ConfigError(f"with activation_bits=16 the input stays float32, not {input_type}")
    content = with_unique_names(content)
    left_out = _chosen(operations(content), skip)
    ranges = _calibrated(package, content, calibration_images, cache)
    recipe = package.recipe_manager.RecipeManager()
    kinds = package.qtyping.TFLOperationName
    recipe.add_static_config(".*", kinds.ALL_SUPPORTED, activation_bits, 8)
    if input_type == "uint8":
        recipe.add_quantization_config(".*", kinds.INPUT, _byte_input(package.qtyping))
    elif input_type == "float32":
        _leave(recipe, ".*", kinds.INPUT)
    _leave(recipe, ".*", kinds.OUTPUT)
    model = read_model(content)
    graph = model.subgraphs[0]
    for operator, kind in zip(graph.operators, operation_names(model), strict=True):
        if _gives_output(graph, operator, kind):
            _leave(recipe, _exactly(_name(graph, operator)), kinds.ALL_SUPPORTED)
    for operation in left_out:
        _leave(recipe, _exactly(operation.name), kinds.ALL_SUPPORTED)
    return _quantize(package, content, recipe, ranges)


def quantize_dynamic(content: bytes) -> bytes:
    """Make the weights of a float file int8; kernels quantize activations as they run.

    Needs no calibration. Convolutions and dense layers compute in integers, the rest in float.

    Args:
        content: A float32 `.tflite` file.

    Raises:
        ConfigError: If `litert-quantizer` is not installed.
        RecipesError: If the file cannot be quantized.
    """
    package = _package()
    recipe = package.recipe_manager.RecipeManager()
    recipe.add_dynamic_config(".*", package.qtyping.TFLOperationName.ALL_SUPPORTED, 8)
    return _quantize(package, with_unique_names(content), recipe, None)


def quantize_weights(content: bytes, bits: int = 8) -> bytes:
    """Store the weights of a float file as integers; all arithmetic stays float.

    Args:
        content: A float32 `.tflite` file.
        bits: 8 or 4. With 4 bits, kernels that cannot read them (depthwise and transposed
            convolutions) keep 8.

    Raises:
        ConfigError: If `bits` is another number, or `litert-quantizer` is not installed.
        RecipesError: If the file cannot be quantized.
    """
    if bits not in (4, 8):
        raise ConfigError(f"bits must be 4 or 8, received: {bits!r}")
    package = _package()
    kinds = package.qtyping.TFLOperationName
    recipe = package.recipe_manager.RecipeManager()
    recipe.add_weight_only_config(".*", kinds.ALL_SUPPORTED, 8)
    if bits == 4:
        for kind in (kinds.CONV_2D, kinds.FULLY_CONNECTED):
            recipe.add_weight_only_config(".*", kind, 4)
    return _quantize(package, with_unique_names(content), recipe, None)


@dataclass(frozen=True)
class _Package:
    """The modules of litert-quantizer that are used here."""

    calibrator: Any
    qtyping: Any
    quantizer: Any
    recipe_manager: Any
    qsv_utils: Any


def _package() -> _Package:
    """Import litert-quantizer when it is first needed."""
    try:
        from litert_quantizer import (
            calibrator,
            qtyping,
            quantizer,
            recipe_manager,
        )
        from litert_quantizer.utils import qsv_utils
    except ImportError as error:
        raise ConfigError(
            "this precision needs the package litert-quantizer: "
            "pip install 'keras-recipes[compress]'"
        ) from error
    return _Package(calibrator, qtyping, quantizer, recipe_manager, qsv_utils)


def _has_integer_kernel(package: _Package, kind: str) -> bool:
    """Whether the package can make this kind of operation integer."""
    try:
        kind = package.qtyping.TFLOperationName(kind)
    except ValueError:
        return False
    recipe = package.recipe_manager.RecipeManager()
    recipe.add_static_config(".*", package.qtyping.TFLOperationName.ALL_SUPPORTED, 8, 8)
    algorithm, _ = recipe.get_quantization_configs(kind, "")
    return algorithm != _NOT


def _chosen(available: tuple[Operation, ...], skip: Iterable[str | int]) -> list[Operation]:
    """Find the operations that are to stay float."""
    if isinstance(skip, (str, int)):
        skip = (skip,)
    by_name = {operation.name: operation for operation in available}
    by_index = {operation.index: operation for operation in available}
    found = []
    for wanted in skip:
        operation = by_name.get(wanted) if isinstance(wanted, str) else by_index.get(wanted)
        if operation is None:
            raise ConfigError(
                "skip: expected names or indices of operations that can be quantized "
                f"({len(available)} of them, see operations()), received: {wanted!r}"
                + nearest(str(wanted), by_name)
            )
        found.append(operation)
    return found


def _calibrated(
    package: _Package,
    content: bytes,
    images: np.ndarray,
    cache: MutableMapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the range of each tensor, from `cache` if it is there."""
    model = read_model(content)
    tensor = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]
    images = check_calibration(images, tuple(int(size) for size in tensor.shape[1:]))
    digest = hashlib.sha256(content)
    digest.update(f"{images.dtype} {images.shape}".encode())
    digest.update(np.ascontiguousarray(images))
    key = digest.hexdigest()
    if cache is not None and key in cache:
        return cache[key]
    recipe = package.recipe_manager.RecipeManager()
    recipe.add_static_config(".*", package.qtyping.TFLOperationName.ALL_SUPPORTED, 8, 8)
    samples = _samples(model, images)
    with _quiet("calibrated"):
        calibrator = package.calibrator.Calibrator(
            content, num_threads=1, qsv_update_func=package.qsv_utils.min_max_update
        )
        calibrator.calibrate(samples, recipe)
    ranges = calibrator.get_model_qsvs()
    # What images can hold is known, whatever the calibration images happen to reach.
    extent = {"min": np.zeros((1,) * 4, np.float32), "max": np.full((1,) * 4, 255, np.float32)}
    ranges[tensor.name.decode()] = extent
    if cache is not None:
        cache[key] = ranges
    return ranges


def _samples(model: schema.ModelT, images: np.ndarray) -> dict[str, list]:
    """Return the images in batches, as the package wants them: a list, not an iterator."""
    if not model.signatureDefs:
        raise RecipesError("the file has no signature: export it with export_tflite")
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    shape = graph.tensors[graph.inputs[0]].shapeSignature
    size = _BATCH if shape is not None and shape[0] == -1 else 1
    batches = [
        {signature.inputs[0].name.decode(): images[start : start + size].astype(np.float32)}
        for start in range(0, len(images), size)
    ]
    return {signature.signatureKey.decode(): batches}


def _byte_input(types: Any) -> Any:
    """Return the setting for an input of uint8."""
    return types.OpQuantizationConfig(
        activation_tensor_config=types.TensorQuantizationConfig(
            8, symmetric=False, dtype=types.TensorDataType.UINT
        ),
        weight_tensor_config=types.TensorQuantizationConfig(8),
        compute_precision=types.ComputePrecision.INTEGER,
    )


def _leave(recipe: Any, pattern: str, kind: Any) -> None:
    recipe.add_quantization_config(pattern, kind, None, _NOT)


def _exactly(name: str) -> str:
    # The package writes a semicolon behind the name of each output.
    return f"^{re.escape(name)};?$"


def _quantize(package: _Package, content: bytes, recipe: Any, ranges: Any) -> bytes:
    with _quiet("quantized"):
        quantizer = package.quantizer.Quantizer(content, recipe.get_quantization_recipe())
        result = quantizer.quantize(ranges, enable_progress_report=False)
    return bytes(result.quantized_model)


@contextlib.contextmanager
def _quiet(doing: str) -> Iterator[None]:
    """Hold back progress bars and warnings; make the many kinds of errors one line."""
    try:
        with captured_output(understood=Exception), warnings.catch_warnings():
            # Calibration has to keep all tensors; the interpreter warns that this takes memory.
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0][:300] if lines else type(error).__name__
        raise RecipesError(f"the file cannot be {doing} by litert-quantizer: {reason}") from error


def _gives_output(graph: schema.SubGraphT, operator: schema.OperatorT, kind: str) -> bool:
    """Whether this is the softmax at the end; it stays float, see `with_float_softmax`."""
    return kind in ("SOFTMAX", "LOGISTIC") and set(operator.outputs) <= set(graph.outputs)


def _name(graph: schema.SubGraphT, operator: schema.OperatorT) -> str:
    return ";".join(graph.tensors[index].name.decode() for index in operator.outputs)


def _weights(model: schema.ModelT, operator: schema.OperatorT) -> int:
    """Count the constants that an operation multiplies with: its second input and further ones."""
    tensors = [model.subgraphs[0].tensors[index] for index in operator.inputs[1:] if index >= 0]
    return sum(
        int(np.prod(tensor.shape))
        for tensor in tensors
        if tensor.type == schema.TensorType.FLOAT32 and _has_data(model.buffers[tensor.buffer])
    )


def _has_data(buffer: schema.BufferT) -> bool:
    return buffer.data is not None and len(buffer.data) > 0
