"""Reading PyTorch's files without PyTorch, and without running any code that is in them.

`torch.save` writes a pickle that describes the tensors, and the raw numbers apart from it: since
version 1.6 as the members of a zip archive, before that one after the other ("legacy"). A pickle
can name any function for the reader to call. Here only what describes tensors may be named, and
each of these names stands for a small harmless thing of this module; everything else is refused
before anything is built.
"""

import io
import os
import pickle
import pickletools
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from recipes.errors import ConfigError

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_ZIP_MAGIC = b"PK\x03\x04"

# What a training script calls the weights in a larger checkpoint, in the order of preference.
_STATE_KEYS = ("model_ema", "state_dict", "model_state_dict", "model", "net", "network")
# What wrappers put before every name.
_WRAPPERS = ("module.", "_orig_mod.")
# What an average of weights (`torch.optim.swa_utils.AveragedModel`) has beside those.
_COUNTER = "n_averaged"

_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}

# Opcodes that only build values, take them apart or remember them, and those whose targets
# `_Unpickler` checks. Left out: extensions, buffers outside the file, and calls of old protocols.
_OPCODES = """
PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1
LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE
BINUNICODE8 BINBYTES SHORT_BINBYTES EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND
APPENDS EMPTY_DICT DICT SETITEM SETITEMS EMPTY_SET ADDITEMS FROZENSET PUT BINPUT LONG_BINPUT
MEMOIZE GET BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BUILD NEWOBJ BINPERSID
"""
_ALLOWED = frozenset(_OPCODES.split())


# What a file that is damaged, or a pickle that makes no sense, can end in.
_NONSENSE = (
    OSError,
    EOFError,
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


def read_torch(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Return the tensors of a file written by `torch.save`, without PyTorch.

    Takes a state dict, or a checkpoint that holds one under a usual name ("state_dict", "model",
    ...). A "module." before every name, left by a parallel wrapper or an average of weights, is
    dropped, and so are the counter of such an average and what is not a tensor. bfloat16 becomes
    float32, which NumPy has.

    Args:
        path: A `.pth` or `.pt` file, in the zip format or the legacy one.

    Returns:
        Arrays by name, in PyTorch's layout.

    Raises:
        ConfigError: If the file is missing, truncated, or no such file, or if its pickle names
            anything but tensors and plain containers: what it names is in the message, and is
            neither imported nor called.
    """
    path = Path(os.fspath(path))
    if not path.is_file():
        raise ConfigError(f"weights file not found: {path}")
    try:
        with path.open("rb") as file:
            start = file.read(4)
            file.seek(0)
            tree, storages = _read_zip(file) if start == _ZIP_MAGIC else _read_legacy(file)
        state = _strip_wrappers(_find_state(tree))
        return {name: _array(tensor, storages) for name, tensor in state.items()}
    except ConfigError as error:
        raise ConfigError(f"weights of {path} cannot be read: {error}") from None
    except _NONSENSE as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ConfigError(
            f"weights of {path} cannot be read: it is truncated or no PyTorch file ({reason})"
        ) from error


class _Dict(dict):
    """Stands for `collections.OrderedDict`, without the attributes that a pickle may set."""

    __slots__ = ()

    def __setstate__(self, state):
        """Ignore them; PyTorch keeps the versions of the modules there."""


class _Storage(NamedTuple):
    """The numbers of one or more tensors, not yet read."""

    key: str
    dtype: str
    count: int


class _Tensor(NamedTuple):
    """A view of a storage."""

    storage: Any
    offset: Any
    shape: Any
    strides: Any


class _RebuildTensor:
    """Stands for `torch._utils._rebuild_tensor_v2`: notes the view, computes nothing."""

    # Without a dict, a pickle cannot change it.
    __slots__ = ()

    def __call__(self, storage, offset, shape, strides, *_):
        return _Tensor(storage, offset, shape, strides)


class _RebuildParameter:
    """Stands for `torch._utils._rebuild_parameter`: gives the tensor of the parameter."""

    __slots__ = ()

    def __call__(self, tensor, *_):
        return tensor


class _Name(NamedTuple):
    """Stands for a type of PyTorch, such as that of a storage or of the numbers."""

    name: str


class _Unpickler(pickle.Unpickler):
    """Builds plain containers and descriptions of tensors; everything else is refused."""

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return _Dict
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return _RebuildTensor()
        if module == "torch._utils" and name == "_rebuild_parameter":
            return _RebuildParameter()
        if (module, name) == ("torch", "Size"):
            return tuple
        if module == "torch" and (name in _STORAGES or name in _STORAGES.values()):
            return _Name(name)
        if module.startswith("__torch__"):
            raise ConfigError("it is a TorchScript program; save its state_dict() instead")
        raise ConfigError(
            f"its pickle asks to run {module}.{name}, which is refused: a file of weights needs "
            "nothing but tensors (save model.state_dict() instead of the model)"
        )

    def persistent_load(self, pid):
        kind, storage, key, _, count, *view = pid
        if kind != "storage" or view not in ([], [None]):
            raise ConfigError(f"it refers to something that is no storage: {str(pid)[:80]}")
        dtype = _STORAGES.get(getattr(storage, "name", None))
        if dtype is None:
            raise ConfigError(f"it holds a storage of unknown type: {str(storage)[:80]}")
        return _Storage(str(key), dtype, int(count))


def _unpickle(file: BinaryIO) -> Any:
    """Read one pickle from where `file` is, and leave it behind the pickle."""
    start = file.tell()
    for index, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if opcode.name not in _ALLOWED:
            raise ConfigError(f"its pickle has the opcode {opcode.name}, which is refused")
        if opcode.name in ("PUT", "LONG_BINPUT") and argument > index:
            # The reader would make room for as many values.
            raise ConfigError(f"its pickle numbers a value {argument} that cannot be there")
    stop = file.tell()
    file.seek(start)
    value = _Unpickler(io.BytesIO(file.read(stop - start)), encoding="utf-8").load()
    file.seek(stop)
    return value


def _read_legacy(file):
    """Return what the pickle describes, and the arrays of the storages."""
    start = file.read(512)
    if start[257:262] == b"ustar":
        raise ConfigError("it has the tar format of PyTorch before 0.1.10; save it anew")
    file.seek(0)
    if start[:1] != b"\x80" or _unpickle(file) != _LEGACY_MAGIC:
        raise ConfigError("it is no PyTorch file")
    if _unpickle(file) != _LEGACY_PROTOCOL:
        raise ConfigError("it has an unknown version of the legacy format")
    system = _unpickle(file)
    if not isinstance(system, dict) or not system.get("little_endian", True):
        raise ConfigError("it was written on a big-endian machine")
    tree, keys = _unpickle(file), _unpickle(file)
    described = {storage.key: storage for storage in _storages(tree)}
    if not isinstance(keys, list) or not set(described) <= {str(key) for key in keys}:
        raise ConfigError("it lacks the numbers of some tensors")
    arrays = {}
    for key in map(str, keys):
        if key not in described:
            raise ConfigError(f"it holds numbers that no tensor describes, under {key!r}")
        count = struct.unpack("<q", _exactly(file, 8))[0]
        if count != described[key].count:
            raise ConfigError(
                f"storage {key} should have {described[key].count} numbers, the file says {count}"
            )
        arrays[key] = _numbers(file, described[key])
    return tree, arrays


def _read_zip(file):
    """Return what the pickle describes, and the arrays of the storages."""
    with zipfile.ZipFile(file) as archive:
        members = {member.filename: member for member in archive.infolist()}
        pickles = [name for name in members if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ConfigError("it is a zip archive, but not one of PyTorch")
        folder = pickles[0].removesuffix("data.pkl")
        order = members.get(f"{folder}byteorder")
        if order is not None and archive.read(order) != b"little":
            raise ConfigError("it was written on a big-endian machine")
        tree = _unpickle(io.BytesIO(archive.read(pickles[0])))
        arrays = {}
        for storage in _storages(tree):
            member = members.get(f"{folder}data/{storage.key}")
            if member is None:
                raise ConfigError(f"it lacks the numbers of storage {storage.key}")
            if member.compress_type != zipfile.ZIP_STORED:
                raise ConfigError("its numbers are compressed, which PyTorch does not do")
            if storage.key not in arrays:
                with archive.open(member) as numbers:
                    arrays[storage.key] = _numbers(numbers, storage, member.file_size)
    return tree, arrays


def _storages(tree):
    """Give the storages of all tensors in nested containers; a container is entered once."""
    pending, seen = [tree], set()
    while pending:
        value = pending.pop()
        if isinstance(value, _Tensor):
            if not isinstance(value.storage, _Storage):
                raise ConfigError("it holds a tensor without numbers")
            yield value.storage
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            pending += value.values() if isinstance(value, dict) else value


def _numbers(file, storage, available=None):
    """Read the numbers of a storage; there must be as many as it says."""
    dtype = np.dtype("uint16" if storage.dtype == "bfloat16" else storage.dtype).newbyteorder("<")
    size = storage.count * dtype.itemsize
    if available is None:
        here = file.tell()
        available = file.seek(0, os.SEEK_END) - here
        file.seek(here)
        available = min(available, size)
    if storage.count < 0 or available != size:
        raise ConfigError(
            f"storage {storage.key} should have {size} bytes, the file holds {available}"
        )
    array = np.frombuffer(bytearray(_exactly(file, size)), dtype).astype(dtype.newbyteorder("="))
    if storage.dtype == "bfloat16":
        return (array.astype("uint32") << 16).view("float32")
    return array


def _exactly(file, size):
    data = file.read(size)
    if len(data) != size:
        raise ConfigError("it is truncated")
    return data


def _find_state(tree):
    """Return the dict of tensors in what was saved, without what is not a tensor."""
    if isinstance(tree, dict):
        # A checkpoint may have tensors beside its state dict, such as the best accuracy so far.
        for key in _STATE_KEYS:
            if _tensors(tree.get(key)):
                return _find_state(tree[key])
        tensors = _tensors(tree)
        if tensors:
            if not all(isinstance(key, str) for key in tensors):
                raise ConfigError("its tensors have no names")
            return tensors
        # One level deeper: what holds the state dict holds no tensor itself.
        for key in _STATE_KEYS:
            if isinstance(tree.get(key), dict):
                return _find_state(tree[key])
    found = list(tree)[:8] if isinstance(tree, dict) else type(tree).__name__
    raise ConfigError(f"it should hold a state dict, tensors by name, but holds {found}")


def _tensors(tree):
    """Return the tensors of a dict; its buffers and the like may be something else."""
    if not isinstance(tree, dict):
        return {}
    return {key: value for key, value in tree.items() if isinstance(value, _Tensor)}


def _strip_wrappers(state):
    names = [name for name in state if name != _COUNTER]
    for wrapper in _WRAPPERS:
        if names and all(name.startswith(wrapper) for name in names):
            return _strip_wrappers({name.removeprefix(wrapper): state[name] for name in names})
    return state


def _array(tensor, storages):
    """Return the array that `tensor` describes, after checking that it lies in its storage."""
    numbers, offset = storages[tensor.storage.key], tensor.offset
    shape, strides = tensor.shape, tensor.strides
    sizes = [offset, *shape, *strides]
    if len(shape) != len(strides) or not all(isinstance(n, int) and n >= 0 for n in sizes):
        raise ConfigError(f"it holds a tensor of impossible shape {shape} and strides {strides}")
    count = int(np.prod([int(n) for n in shape], dtype=object))
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if count > len(numbers) or (count and last >= len(numbers)):
        raise ConfigError(f"it holds a tensor of shape {shape} that its numbers do not fill")
    bytes_apart = [step * numbers.itemsize for step in strides]
    if not count:
        return np.zeros(shape, numbers.dtype)
    # A copy, since tensors may share their numbers.
    return np.array(np.lib.stride_tricks.as_strided(numbers[offset:], shape, bytes_apart))
