"""A small network with every kind of weight, and PyTorch files written byte by byte."""

import io
import pickle
import struct
import types
import zipfile

import keras
import numpy as np
import pytest

from recipes.layers import ChannelNormalization, FusedBatchNormalization


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    """Keep every test off the user's cache."""
    monkeypatch.setenv("KERAS_RECIPES_HOME", str(tmp_path / "cache"))


def make_network(
    *, channels=3, classes=5, top=True, normalization=FusedBatchNormalization, mean=100.0, seed=0
):
    """Return a network of 8x8 images with random weights."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8, 8, channels), name="images")
    x = ChannelNormalization([mean] * channels, [2500.0] * channels, name="normalization")(inputs)
    x = keras.layers.Conv2D(6, 3, padding="same", use_bias=False, name="stem_conv")(x)
    x = normalization(name="stem_bn")(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same", name="stage1_conv")(x)
    x = keras.layers.GlobalAveragePooling2D(name="head_pool")(x)
    if top:
        x = keras.layers.Dense(classes, name="logits")(x)
    model = keras.Model(inputs, x, name="network")
    random = np.random.default_rng(seed)
    model.set_weights([random.uniform(0.5, 1.5, value.shape) for value in model.get_weights()])
    return model


@pytest.fixture
def network():
    """Return `make_network`, and `values`: a copy of the weights by name."""

    def values(model):
        return {weight.path: np.array(weight) for weight in model.weights}

    return types.SimpleNamespace(make=make_network, values=values)


class Raw:
    """A pickle opcode by opcode, so that it can say what no library would write."""

    def __init__(self, protocol=2):
        self.bytes = b"\x80" + bytes([protocol])

    def global_(self, module, name):
        self.bytes += b"c" + f"{module}\n{name}\n".encode()
        return self

    def put(self, value):
        """Put a plain value on the stack."""
        self.bytes += pickle.dumps(value, protocol=2)[2:-1]
        return self

    def op(self, code):
        self.bytes += code
        return self

    def end(self):
        return self.bytes + b"."


def tensor(raw, key="0", count=4, shape=(2, 2), strides=(2, 1), offset=0, kind="FloatStorage"):
    """Put a tensor on the stack of `raw`, as `torch.save` does."""
    raw.global_("torch._utils", "_rebuild_tensor_v2").op(b"((").put("storage")
    raw.global_("torch", kind).put(key).put("cpu").put(count).op(b"tQ")
    return raw.put(offset).put(shape).put(strides).put(False).put({}).op(b"tR")


def state(**arguments):
    """Return the pickle of a state dict with one tensor, "weight"."""
    raw = Raw().op(b"}").put("weight")
    return tensor(raw, **arguments).op(b"s").end()


def legacy_file(tree, numbers=b"", *, keys=("0",), count=4):
    """Return the bytes of a legacy file around the pickle `tree`."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    parts = [pickle.dumps(part, protocol=2) for part in (0x1950A86A20F9469CFC6C, 1001, system)]
    parts += [tree, pickle.dumps(list(keys), protocol=2)]
    return b"".join(parts) + b"".join(struct.pack("<q", count) + numbers for _ in keys)


def zip_file(tree, numbers=b"", *, key="0", byteorder=b"little", compression=zipfile.ZIP_STORED):
    """Return the bytes of a file in the zip format around the pickle `tree`."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("weights/data.pkl", tree)
        archive.writestr("weights/byteorder", byteorder)
        archive.writestr(f"weights/data/{key}", numbers)
        archive.writestr("weights/version", "3\n")
    return file.getvalue()


@pytest.fixture
def torch_bytes():
    """Return what writes PyTorch files byte by byte."""
    return types.SimpleNamespace(
        Raw=Raw, tensor=tensor, state=state, legacy_file=legacy_file, zip_file=zip_file
    )
