"""The safetensors format: a JSON header with names, types and places, then the raw numbers."""

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from recipes.errors import ConfigError
from recipes.files import atomic_path

_TYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "uint16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
_CODES = {name: code for code, name in _TYPES.items() if code != "BF16"}

# The format's own limit, against headers that fill the memory.
_MAXIMUM_HEADER = 100_000_000


def read_safetensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Return the arrays of a `.safetensors` file by name; bfloat16 becomes float32.

    Raises:
        ConfigError: If the file is missing, truncated or breaks the format: each array must fill
            its bytes, and the arrays together the file, without gap or overlap.

    Source:
        https://github.com/huggingface/safetensors, section "Format".
    """
    path = Path(os.fspath(path))
    if not path.is_file():
        raise ConfigError(f"weights file not found: {path}")
    try:
        return _arrays(path.read_bytes())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = str(error) if isinstance(error, ConfigError) else f"its header is broken: {error}"
        raise ConfigError(f"weights of {path} cannot be read: {reason}") from error


def _arrays(data):
    size = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else -1
    if not 0 < size <= min(_MAXIMUM_HEADER, len(data) - 8):
        raise ConfigError("it is truncated or no safetensors file")
    header = json.loads(data[8 : 8 + size].decode("utf-8"))
    numbers = memoryview(data)[8 + size :]
    header.pop("__metadata__", None)
    arrays, reached = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        if begin != reached or not begin <= end <= len(numbers):
            raise ConfigError(f"the bytes of {name!r} are not where they should be")
        arrays[name] = _array(name, entry, numbers[begin:end])
        reached = end
    if reached != len(numbers):
        raise ConfigError(f"it has {len(numbers) - reached} bytes that belong to no array")
    return {name: arrays[name] for name in header}


def _array(name, entry, numbers):
    kind, shape = entry["dtype"], entry["shape"]
    if kind not in _TYPES:
        raise ConfigError(f"{name!r} has the type {kind!r}, expected one of {', '.join(_TYPES)}")
    dtype = np.dtype(_TYPES[kind]).newbyteorder("<")
    count = int(np.prod(shape, dtype=object)) if shape else 1
    if any(side < 0 for side in shape) or count * dtype.itemsize != len(numbers):
        raise ConfigError(f"{name!r} of shape {shape} does not fill {len(numbers)} bytes")
    array = np.frombuffer(numbers, dtype).astype(dtype.newbyteorder("="))
    if kind == "BF16":
        array = (array.astype("uint32") << 16).view("float32")
    return array.reshape(shape)


def write_safetensors(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name as a `.safetensors` file, atomically.

    Raises:
        ConfigError: If an array has a type that the format does not know.
    """
    content = encode_safetensors(arrays)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def encode_safetensors(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return what `write_safetensors` writes: for the same arrays the same bytes."""
    header, chunks, reached = {}, [], 0
    for name, array in arrays.items():
        array = np.asarray(array)
        if array.dtype.name not in _CODES:
            raise ConfigError(f"{name!r} has the type {array.dtype}, which safetensors cannot hold")
        chunk = array.astype(array.dtype.newbyteorder("<")).tobytes()
        header[name] = {
            "dtype": _CODES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [reached, reached + len(chunk)],
        }
        chunks.append(chunk)
        reached += len(chunk)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *chunks])
