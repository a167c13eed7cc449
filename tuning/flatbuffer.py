"""Reading and editing `.tflite` files below the interpreter: operations, their kinds, the head."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from recipes.errors import RecipesError, RunError

_IDENTIFIER = b"TFL3"
_FLOAT = (schema.TensorType.FLOAT32, schema.TensorType.FLOAT16, schema.TensorType.BFLOAT16)
_CHANGES_OF_TYPE = (schema.BuiltinOperator.QUANTIZE, schema.BuiltinOperator.DEQUANTIZE)
_BUILTIN_NAMES = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")
}


def inspect_tflite(path: str | os.PathLike) -> dict[str, Any]:
    """Count the operations of a `.tflite` file by what they compute in.

    Args:
        path: The file.

    Returns:
        `"operations"`: number of all operations; `"float_operations"`: how many of them give
        floating-point tensors, `QUANTIZE` and `DEQUANTIZE` apart, since these only change the type;
        `"float_operation_names"`: these by name, `{"SOFTMAX": 1}`; `"flex_operations"`: how many
        need TensorFlow itself at run time.

    Raises:
        RunError: If it is not a `.tflite` file.

    Example:
        >>> inspect_tflite("runs/fashion/model.tflite")["float_operation_names"]  # doctest: +SKIP
        {'SOFTMAX': 1}
    """
    content = Path(path).read_bytes()
    if content[4:8] != _IDENTIFIER:
        raise RunError(f"not a TFLite file: {path}")
    model = read_model(content)
    codes = [_code(entry) for entry in model.operatorCodes]
    names = [_operation_name(entry) for entry in model.operatorCodes]
    operations, flex, floats = 0, 0, Counter()
    for graph in model.subgraphs:
        for operator in graph.operators:
            operations += 1
            flex += names[operator.opcodeIndex].startswith("Flex")
            gives_float = any(graph.tensors[index].type in _FLOAT for index in operator.outputs)
            if gives_float and codes[operator.opcodeIndex] not in _CHANGES_OF_TYPE:
                floats[names[operator.opcodeIndex]] += 1
    return {
        "operations": operations,
        "float_operations": sum(floats.values()),
        "float_operation_names": dict(sorted(floats.items())),
        "flex_operations": flex,
    }


def flex_operations(content: bytes) -> dict[str, int]:
    """Return how many operations of each kind a file leaves to TensorFlow; `{}` for most files.

    Example:
        >>> flex_operations(Path("odd.tflite").read_bytes())  # doctest: +SKIP
        {'FlexSinh': 1}
    """
    model = read_model(content)
    names = operation_names(model)
    return dict(sorted(Counter(name for name in names if name.startswith("Flex")).items()))


def with_float_softmax(content: bytes) -> bytes:
    """Let the final softmax of an int8 file run in float32.

    The converter ends a quantised classifier with `logits -> SOFTMAX (int8) -> DEQUANTIZE`. An int8
    softmax has 256 levels of 1/256: a probability below 0.002 becomes 0, so the log-likelihood of
    a mistake can be infinite, and 0.998 and 0.9999 are the same. Exchanging the last two
    operations, `logits -> DEQUANTIZE -> SOFTMAX (float32)`, costs no measurable time and keeps the
    probabilities as fine as the logits: on the 10,000 test images of Fashion-MNIST a ResNet-9 had
    a negative log-likelihood of 0.341 in float32, 0.396 with the int8 and 0.340 with the float
    softmax.

    Args:
        content: A `.tflite` file with one graph.

    Returns:
        The edited file, or `content` itself if it does not end that way.
    """
    model = read_model(content)
    graph = model.subgraphs[0]
    if not _can_be_packed(model) or len(graph.operators) < 2:
        return content
    softmax, dequantize = graph.operators[-2:]
    ending = [_code(model.operatorCodes[end.opcodeIndex]) for end in (softmax, dequantize)]
    expected = [schema.BuiltinOperator.SOFTMAX, schema.BuiltinOperator.DEQUANTIZE]
    chained = list(softmax.outputs) == list(dequantize.inputs)
    if ending != expected or not chained or list(dequantize.outputs) != list(graph.outputs):
        return content
    # The tensor between the two held int8 probabilities; now it holds float32 logits.
    between = softmax.outputs[0]
    graph.tensors[between].type = schema.TensorType.FLOAT32
    graph.tensors[between].quantization = None
    graph.tensors[between].name = b"logits"
    dequantize.inputs, dequantize.outputs = softmax.inputs, [between]
    softmax.inputs, softmax.outputs = [between], list(graph.outputs)
    graph.operators[-2:] = [dequantize, softmax]
    return _pack(model)


def with_integer_ends(content: bytes) -> bytes:
    """Let an int8 file of the exporter take int8 images and give int8 probabilities.

    The operations that only change the type, at the two ends, go: `QUANTIZE (uint8 to int8)` and
    `DEQUANTIZE -> SOFTMAX (float32)`, which becomes an int8 softmax. No float operation is left if
    there was none between, as accelerators without float arithmetic want it.

    Args:
        content: A `.tflite` file as `with_float_softmax` and `with_byte_input` leave it.

    Raises:
        RecipesError: If it does not begin and end that way.
    """
    model = read_model(content)
    graph = model.subgraphs[0]
    kinds = operation_names(model)
    if not _can_be_packed(model) or kinds[-2:] != ["DEQUANTIZE", "SOFTMAX"]:
        raise RecipesError(
            "only classifiers that end in a softmax can be integer throughout, "
            f"this one ends in {' -> '.join(kinds[-2:])}"
        )
    quantize = _input_quantize(graph, kinds)
    _change_input(model, quantize.outputs[0])
    graph.operators.remove(quantize)
    dequantize, softmax = graph.operators[-2:]
    softmax.inputs = dequantize.inputs
    graph.operators.remove(dequantize)
    probabilities = graph.tensors[softmax.outputs[0]]
    probabilities.type = schema.TensorType.INT8
    # The specification fixes these for an int8 softmax.
    probabilities.quantization = _quantization(1 / 256, -128)
    return _pack(model)


def with_byte_input(content: bytes) -> bytes:
    """Let an int8 file take the bytes of images as they are: input scale 1, zero point 0.

    Calibration images that do not reach 0 and 255, or a calibrator that reads a tensor after an
    in-place kernel has overwritten it, give the input another scale. Its first operation, QUANTIZE
    from uint8 to int8, changes scales as well as types: the input gets (1, 0), it does the rest.

    Args:
        content: A `.tflite` file with uint8 images as its input.

    Returns:
        The edited file, or `content` itself if the input is right already.

    Raises:
        RecipesError: If the input goes anywhere but into one QUANTIZE.
    """
    model = read_model(content)
    graph = model.subgraphs[0]
    tensor = graph.tensors[graph.inputs[0]]
    scales, zeros = tensor.quantization.scale, tensor.quantization.zeroPoint
    if np.array_equal(scales, [1.0]) and np.array_equal(zeros, [0]):
        return content
    _input_quantize(graph, operation_names(model))
    tensor.quantization = _quantization(1.0, 0)
    return _pack(model)


def input_quantization(content: bytes) -> tuple[float, int]:
    """Return scale and zero point of the input of a file, `(0.0, 0)` for a float input."""
    graph = read_model(content).subgraphs[0]
    found = graph.tensors[graph.inputs[0]].quantization
    if found is None or found.scale is None or not len(found.scale):
        return 0.0, 0
    return float(found.scale[0]), int(found.zeroPoint[0])


def with_metadata(content: bytes, name: str, data: bytes) -> bytes:
    """Add a named buffer to the metadata of a file; one of the same name is replaced."""
    model = read_model(content)
    if not _can_be_packed(model):
        raise RecipesError("files over 2 GB, or with several graphs, cannot take metadata")
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(data, np.uint8)
    model.metadata = [
        entry for entry in model.metadata or [] if entry.name not in (name, name.encode())
    ]
    entry = schema.MetadataT()
    entry.name, entry.buffer = name, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata.append(entry)
    return _pack(model)


def with_unique_names(content: bytes) -> bytes:
    """Give tensors of one and the same name different ones, in order; mostly `content` itself."""
    model = read_model(content)
    seen = Counter()
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            seen[tensor.name] += 1
            if seen[tensor.name] > 1:
                tensor.name = tensor.name + f"#{seen[tensor.name]}".encode()
    if all(count == 1 for count in seen.values()) or not _can_be_packed(model):
        return content
    return _pack(model)


def read_model(content: bytes) -> schema.ModelT:
    """Return the objects of a file, its weights as views.

    Raises:
        RecipesError: If it is not a `.tflite` file.
    """
    if bytes(content[4:8]) != _IDENTIFIER:
        raise RecipesError("expected the bytes of a .tflite file, received something else")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for buffer in model.buffers:
        # litert-quantizer puts weights behind the flatbuffer; packing puts them back inside, where
        # interpreters of before 2024 find them, too.
        if buffer.offset:
            data = np.frombuffer(content, np.uint8, count=buffer.size, offset=buffer.offset)
            buffer.data, buffer.offset, buffer.size = data, 0, 0
    return model


def operation_names(model: schema.ModelT) -> list[str]:
    """Return the kinds of the operations of the first graph, such as `"CONV_2D"`, in order."""
    names = [_operation_name(entry) for entry in model.operatorCodes]
    return [names[operator.opcodeIndex] for operator in model.subgraphs[0].operators]


def _can_be_packed(model: schema.ModelT) -> bool:
    # A flatbuffer holds 2 GB at most; a little is left for all that is not a weight.
    held = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    options = any(entry.largeCustomOptionsOffset for entry in model.subgraphs[0].operators)
    return len(model.subgraphs) == 1 and held < 2**31 - 2**24 and not options


def _input_quantize(graph: schema.SubGraphT, kinds: list[str]) -> schema.OperatorT:
    """Return the operation that alone takes the images, which must be QUANTIZE."""
    takers = [
        (operator, kind)
        for operator, kind in zip(graph.operators, kinds, strict=True)
        if graph.inputs[0] in operator.inputs
    ]
    if [kind for _, kind in takers] != ["QUANTIZE"]:
        received = ", ".join(kind for _, kind in takers) or "nothing"
        raise RecipesError(
            f"the input of the int8 file must go into one QUANTIZE, it goes into {received}"
        )
    return takers[0][0]


def _change_input(model: schema.ModelT, index: int) -> None:
    """Make another tensor the input of the graph, under the same name."""
    graph = model.subgraphs[0]
    old, graph.tensors[index].name = graph.inputs[0], graph.tensors[graph.inputs[0]].name
    graph.tensors[old].name = b"unused_" + graph.tensors[old].name
    graph.inputs = [index]
    for signature in model.signatureDefs or []:
        for entry in signature.inputs:
            if entry.tensorIndex == old:
                entry.tensorIndex = index


def _quantization(scale: float, zero_point: int) -> schema.QuantizationParametersT:
    parameters = schema.QuantizationParametersT()
    parameters.scale = np.array([scale], np.float32)
    parameters.zeroPoint = np.array([zero_point], np.int64)
    return parameters


class _Builder(flatbuffers.Builder):
    """Puts byte vectors on 16-byte boundaries, and vectors of the same numbers once.

    The TFLite schema asks for the boundaries: the Python code generated from it ignores
    `force_align`; the weights would lie on 4-byte boundaries, and kernels may read them as wider
    numbers. An int8 file holds a zero point of 8 bytes for each channel of each kernel and of each
    bias, all 0: a tenth of the file of a MobileNetV2. The format lets tables refer to one and the
    same vector.
    """

    def __init__(self, initialSize):
        super().__init__(initialSize)
        self._written = {}

    def StartVector(self, elemSize, numElems, alignment):
        return super().StartVector(elemSize, numElems, 16 if elemSize == 1 else alignment)

    def CreateNumpyVector(self, x):
        if x.itemsize == 1:
            return super().CreateNumpyVector(x)
        numbers = x.dtype.str, x.tobytes()
        if numbers not in self._written:
            self._written[numbers] = super().CreateNumpyVector(x)
        return self._written[numbers]


def _pack(model: schema.ModelT) -> bytes:
    builder = _Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def _code(entry: schema.OperatorCodeT) -> int:
    # Old files hold codes below 128 in the deprecated field alone.
    return max(entry.builtinCode, entry.deprecatedBuiltinCode)


def _operation_name(entry: schema.OperatorCodeT) -> str:
    if entry.customCode:
        return entry.customCode.decode("utf-8")
    return _BUILTIN_NAMES.get(_code(entry), str(_code(entry)))
