"""The safetensors format, written here by hand from its description."""

import json
import struct

import numpy as np
import pytest

from recipes.errors import ConfigError
from recipes.weights import read_safetensors, write_safetensors


def content(header, numbers=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


EXAMPLE = content(
    {
        "__metadata__": {"format": "pt"},
        "b": entry("BF16", (1, 2), (8, 12)),
        "a": entry(),
        "scalar": entry("I64", (), (12, 20)),
        "empty": entry("U8", (0, 3), (20, 20)),
        "truth": entry("BOOL", (2,), (20, 22)),
    },
    # 1.5 and -2; bfloat16 1.0 and -2.0 are the upper halves of their float32.
    struct.pack("<ff", 1.5, -2.0)
    + bytes([0x80, 0x3F, 0x00, 0xC0])
    + struct.pack("<q", -5)
    + b"\1\0",
)


def test_reading(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(EXAMPLE)
    arrays = read_safetensors(tmp_path / "x.safetensors")
    assert list(arrays) == ["b", "a", "scalar", "empty", "truth"]
    np.testing.assert_array_equal(arrays["a"], np.array([1.5, -2.0], "float32"))
    np.testing.assert_array_equal(arrays["b"], np.array([[1.0, -2.0]], "float32"))
    assert arrays["b"].dtype == "float32"
    assert arrays["scalar"].shape == ()
    assert arrays["scalar"] == -5
    assert arrays["empty"].shape == (0, 3)
    np.testing.assert_array_equal(arrays["truth"], [True, False])


def test_writing(tmp_path):
    path = tmp_path / "x.safetensors"
    arrays = {"x": np.arange(6, dtype=">i4").reshape(2, 3).T, "y": np.float16(2.5)}
    write_safetensors(path, arrays)
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    assert (8 + size) % 8 == 0
    header = json.loads(data[8 : 8 + size])
    assert header == {
        "x": entry("I32", (3, 2), (0, 24)),
        "y": entry("F16", (), (24, 26)),
    }
    assert struct.unpack("<6ie", data[8 + size :]) == (0, 3, 1, 4, 2, 5, 2.5)
    for name, array in read_safetensors(path).items():
        np.testing.assert_array_equal(array, arrays[name])
    with pytest.raises(ConfigError, match="'x' has the type complex64"):
        write_safetensors(path, {"x": np.zeros(2, "complex64")})
    assert path.read_bytes() == data


def test_truncated_anywhere(tmp_path):
    path = tmp_path / "x.safetensors"
    for length in range(len(EXAMPLE)):
        path.write_bytes(EXAMPLE[:length])
        with pytest.raises(ConfigError, match=r"weights of .*x.safetensors cannot be read: \w"):
            read_safetensors(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (content({"a": entry(offsets=(4, 12))}, bytes(12)), "not where they should be"),
        (content({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12)), "not where they should"),
        (content({"a": entry(offsets=(0, 80))}, bytes(8)), "not where they should be"),
        (content({"a": entry(offsets=(8, 0))}, bytes(8)), "not where they should be"),
        (content({"a": entry(shape=(3,))}, bytes(8)), "does not fill 8 bytes"),
        (content({"a": entry(shape=(-2, -1))}, bytes(8)), "does not fill"),
        (content({"a": entry(dtype="F8")}, bytes(8)), "'a' has the type 'F8'"),
        (content({"a": entry()}, bytes(9)), "1 bytes that belong to no array"),
        (content({"a": 3}), "header is broken"),
        (content({"a": {"data_offsets": [0]}}), "header is broken"),
        (content([1]), "header is broken"),
        (content(b"{no json"), "header is broken"),
        (content(b"[" * 100_000), "header is broken"),
        (struct.pack("<Q", 2**62) + b"{}", "truncated or no safetensors file"),
        (b"PK\3\4", "truncated or no safetensors file"),
    ],
)
def test_broken_files(tmp_path, data, message):
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(ConfigError, match=message):
        read_safetensors(tmp_path / "x.safetensors")


def test_missing(tmp_path):
    with pytest.raises(ConfigError, match="not found"):
        read_safetensors(tmp_path / "x.safetensors")
