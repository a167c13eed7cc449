"""PyTorch's files, written by PyTorch itself and by hand, read without it."""

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from recipes.errors import ConfigError
from recipes.weights import read_torch

FILES = Path(__file__).parent / "torch_files"
FOUR = np.array([1.0, 2.0, 3.0, 4.0], "<f4").tobytes()

_NUMBERS = np.arange(24, dtype="float32") / 8
# What scripts/make_torch_files.py put into the files.
EXPECTED = {
    "plain": _NUMBERS.reshape(2, 3, 4),
    "transposed": _NUMBERS.reshape(4, 6).T,
    "slice": _NUMBERS[5:9],
    "every_other": _NUMBERS[::2],
    "parameter": _NUMBERS[:4].reshape(2, 2),
    "scalar": np.array(7),
    "empty": np.zeros((0, 3), "float32"),
    "float64": _NUMBERS[:3].astype("float64"),
    "float16": _NUMBERS[:3].astype("float16"),
    "bfloat16": _NUMBERS[:3],
    "int64": np.array([-(2**40), 3]),
    "int32": np.array([-70000, 3], "int32"),
    "int16": np.array([-300, 3], "int16"),
    "int8": np.array([-3, 3], "int8"),
    "uint8": np.array([200, 3], "uint8"),
    "bool": np.array([True, False]),
}


def read(path, content):
    path.write_bytes(content)
    return read_torch(path)


@pytest.mark.parametrize("file", ["zip2.pt", "zip4.pt", "legacy2.pth", "legacy4.pth"])
def test_tensors_of_every_kind(file):
    arrays = read_torch(FILES / file)
    assert list(arrays) == list(EXPECTED)
    for name, expected in EXPECTED.items():
        assert arrays[name].dtype == expected.dtype, name
        assert arrays[name].shape == expected.shape, name
        np.testing.assert_array_equal(arrays[name], expected)
        # Nobody's values change when they are written to.
        arrays[name][...] = 0
    np.testing.assert_array_equal(read_torch(FILES / file)["plain"], EXPECTED["plain"])


def test_a_checkpoint_of_a_wrapped_network():
    arrays = read_torch(FILES / "checkpoint.pth")
    assert list(arrays) == [
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
        "1.running_mean",
        "1.running_var",
        "1.num_batches_tracked",
    ]
    np.testing.assert_array_equal(arrays["0.weight"], np.arange(108).reshape(4, 3, 3, 3) / 4)


@pytest.mark.parametrize("form", ["legacy_file", "zip_file"])
def test_files_by_hand(torch_bytes, tmp_path, form):
    content = getattr(torch_bytes, form)(torch_bytes.state(), FOUR)
    np.testing.assert_array_equal(read(tmp_path / "x.pt", content)["weight"], [[1, 2], [3, 4]])


def test_an_average_of_weights(torch_bytes, tmp_path):
    """What `torch.optim.swa_utils.AveragedModel` saves, alone and in a compiled wrapper."""
    for outer in ("", "_orig_mod."):
        raw = torch_bytes.Raw().op(b"}").put(f"{outer}n_averaged")
        torch_bytes.tensor(raw, shape=(), strides=()).op(b"s").put(f"{outer}module.conv.weight")
        content = torch_bytes.tensor(raw).op(b"s").end()
        arrays = read(tmp_path / "x.pt", torch_bytes.zip_file(content, FOUR))
        assert list(arrays) == ["conv.weight"]
        np.testing.assert_array_equal(arrays["conv.weight"], [[1, 2], [3, 4]])


def wants_to_run(torch_bytes, marker):
    """Give pickles that run code in a common unpickler, and what the error must name."""
    raw = torch_bytes.Raw

    class Payload:
        def __reduce__(self):
            return os.system, (f"touch {marker}",)

    for protocol in (2, 4):
        yield pickle.dumps({"weight": Payload()}, protocol=protocol), f"{os.name}.system"
    code = f"open({str(marker)!r}, 'w')"
    for module in ("builtins", "__builtin__"):
        yield raw().global_(module, "eval").op(b"(").put(code).op(b"tR").end(), f"{module}.eval"
    # Named, but not called.
    yield raw().global_("subprocess", "Popen").end(), "subprocess.Popen"
    # From the packages that are known for other names.
    yield raw().global_("torch", "load").end(), "torch.load"
    yield raw().global_("torch._utils", "_import_dotted_name").end(), "torch._utils._import"
    yield raw().global_("collections", "namedtuple").end(), "collections.namedtuple"
    yield raw(4).put("os").put("system").op(b"\x93").end(), "os.system"
    # Names with dots reach into attributes.
    yield raw(4).put("collections").put("OrderedDict.fromkeys").op(b"\x93").end(), "fromkeys"
    # Calls of protocol 0, and numbers that stand for names.
    yield b"(S'true'\nios\nsystem\n.", "the opcode INST"
    yield raw().op(b"\x82\x01").end(), "the opcode EXT1"


@pytest.mark.parametrize("form", ["legacy_file", "zip_file"])
def test_code_is_refused_and_named(torch_bytes, tmp_path, form):
    marker = tmp_path / "it-ran"
    for content, named in wants_to_run(torch_bytes, marker):
        with pytest.raises(ConfigError, match="refused|no PyTorch") as caught:
            read(tmp_path / "x.pt", getattr(torch_bytes, form)(content))
        assert named in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not marker.exists()


def test_code_in_any_pickle_of_a_legacy_file(torch_bytes, tmp_path):
    """Also the header and the list of keys are pickles."""
    marker = tmp_path / "it-ran"
    bad = next(wants_to_run(torch_bytes, marker))[0]
    whole = torch_bytes.legacy_file(torch_bytes.state(), FOUR)
    ends = [index + 1 for index in range(len(whole)) if whole[index : index + 2] == b".\x80"]
    assert len(ends) == 4
    for start in (0, *ends):
        with pytest.raises(ConfigError, match=r"asks to run posix.system"):
            read(tmp_path / "x.pt", whole[:start] + bad)
    assert not marker.exists()


def test_the_readers_own_parts_cannot_be_changed_by_a_pickle(torch_bytes, tmp_path):
    for build in (
        lambda raw: raw.global_("torch._utils", "_rebuild_tensor_v2"),
        lambda raw: raw.global_("torch", "FloatStorage"),
        lambda raw: raw.global_("collections", "OrderedDict"),
        lambda raw: torch_bytes.tensor(raw),
    ):
        for change in ({"__call__": 1, "name": 2}, (None, {"storage": 3, "update": 4})):
            content = build(torch_bytes.Raw()).put(change).op(b"b").end()
            with pytest.raises(ConfigError, match="cannot be read"):
                read(tmp_path / "x.pt", torch_bytes.zip_file(content, FOUR))
    test_files_by_hand(torch_bytes, tmp_path, "zip_file")


def test_attributes_of_a_state_dict_are_ignored(torch_bytes, tmp_path):
    """PyTorch keeps versions in `_metadata`; a pickle could put anything there."""
    raw = torch_bytes.Raw().global_("collections", "OrderedDict").op(b")R").put("weight")
    content = torch_bytes.tensor(raw).op(b"s").put({"items": 1, "_metadata": {}}).op(b"b").end()
    arrays = read(tmp_path / "x.pt", torch_bytes.zip_file(content, FOUR))
    np.testing.assert_array_equal(arrays["weight"], [[1, 2], [3, 4]])


@pytest.mark.parametrize("file", ["zip2.pt", "legacy2.pth", "checkpoint.pth"])
def test_truncated_anywhere(tmp_path, file):
    whole = (FILES / file).read_bytes()
    path = tmp_path / "truncated.pt"
    for length in range(0, len(whole), max(1, len(whole) // 60)):
        with pytest.raises(ConfigError, match=r"weights of .*truncated.pt cannot be read: \w"):
            read(path, whole[:length])


@pytest.mark.parametrize("file", ["zip2.pt", "zip4.pt", "legacy2.pth", "legacy4.pth"])
def test_a_damaged_byte_is_an_error_or_a_value(tmp_path, file):
    whole = (FILES / file).read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for place in random.choice(len(whole), 150, replace=False):
        damaged = bytearray(whole)
        damaged[place] ^= int(random.integers(1, 256))
        try:
            arrays = read(tmp_path / "damaged.pt", bytes(damaged))
        except ConfigError:
            refused += 1
        else:
            assert all(isinstance(array, np.ndarray) for array in arrays.values())
    assert refused > 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (2, 3), "strides": (3, 1)}, "that its numbers do not fill"),
        ({"offset": 1}, "that its numbers do not fill"),
        ({"shape": (10**9,), "strides": (0,)}, "that its numbers do not fill"),
        ({"shape": (2, 2), "strides": (-2, -1)}, "impossible shape"),
        ({"shape": (2, 2), "strides": (1,)}, "impossible shape"),
        ({"shape": ("2",), "strides": (1,)}, "impossible shape"),
        ({"shape": 4}, "cannot be read"),
        ({"count": 5}, "should have 20 bytes, the file holds 16|should have 5 numbers"),
        ({"count": 10**15}, "should have"),
        ({"count": -1}, "should have"),
        ({"key": "7"}, "lacks the numbers"),
        ({"key": "../version"}, "lacks the numbers|should have"),
        ({"kind": "QInt8Storage"}, "asks to run torch.QInt8Storage"),
        ({"kind": "float32"}, "storage of unknown type"),
    ],
)
@pytest.mark.parametrize("form", ["legacy_file", "zip_file"])
def test_tensors_that_cannot_be(torch_bytes, tmp_path, form, arguments, message):
    content = getattr(torch_bytes, form)(torch_bytes.state(**arguments), FOUR)
    with pytest.raises(ConfigError, match=message):
        read(tmp_path / "x.pt", content)


def test_a_pickle_that_asks_for_memory(torch_bytes, tmp_path):
    content = torch_bytes.Raw().put(1).op(b"r\xff\xff\xff\x7f").end()
    with pytest.raises(ConfigError, match="numbers a value 2147483647"):
        read(tmp_path / "x.pt", torch_bytes.zip_file(content))


def test_other_files(torch_bytes, tmp_path):
    state, path = torch_bytes.state(), tmp_path / "x.pt"
    tar = bytearray(600)
    tar[257:262] = b"ustar"
    for content, message in (
        (b"", "no PyTorch file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "no PyTorch file"),
        (pickle.dumps([1, 2]), "no PyTorch file"),
        (bytes(tar), "tar format"),
        (torch_bytes.zip_file(state, FOUR, byteorder=b"big"), "big-endian"),
        (torch_bytes.zip_file(state, FOUR, compression=zipfile.ZIP_DEFLATED), "are compressed"),
        (torch_bytes.legacy_file(state, FOUR, keys=("0", "1")), "no tensor describes"),
        (torch_bytes.zip_file(pickle.dumps([1.5], 2)), "should hold a state dict, .* holds list"),
        (torch_bytes.zip_file(pickle.dumps({"a": 1}, 2)), r"state dict, .* holds \['a'\]"),
        (torch_bytes.zip_file(pickle.dumps({}, 2)), r"state dict, .* holds \[\]"),
    ):
        with pytest.raises(ConfigError, match=message):
            read(path, content)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "")
    with pytest.raises(ConfigError, match="a zip archive, but not one of PyTorch"):
        read_torch(path)
    with pytest.raises(ConfigError, match="not found: .*missing.pth"):
        read_torch(tmp_path / "missing.pth")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("whole_model.pt", r"torch.nn.modules.container.Sequential, .* .save model.state_dict\(\)"),
        ("torchscript.pt", r"TorchScript program; save its state_dict\(\)"),
    ],
)
def test_whole_models_are_refused(file, message):
    with pytest.raises(ConfigError, match=message):
        read_torch(FILES / file)
