"""Weights from packages: found, converted once, checked, rebuilt; without a network."""

import concurrent.futures
import dataclasses
import hashlib
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from recipes.errors import ConfigError
from recipes.weights import cache_folder, pretrained, read_safetensors
from recipes.weights.safetensors_file import encode_safetensors

# The package has a function of the name of the module.
module = sys.modules["recipes.weights.pretrained"]
FILE = Path(__file__).parent / "torch_files" / "checkpoint.pth"
NUMBERS = np.arange(108, dtype="float32").reshape(4, 3, 3, 3) / 4
# What scripts/make_torch_files.py stored, less the counter of batches.
CONTENT = {
    "0.weight": NUMBERS,
    "0.bias": None,
    "1.weight": np.ones(4, "float32"),
    "1.bias": np.zeros(4, "float32"),
    "1.running_mean": np.zeros(4, "float32"),
    "1.running_var": np.ones(4, "float32"),
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Install a package of weights for this test alone; return its folder."""
    site = tmp_path / "site"
    information = site / "tiny_weights-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n"
    )
    (site / "tiny_weights").mkdir()
    # Importing it would fail.
    (site / "tiny_weights" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    shutil.copy(FILE, site / "tiny_weights" / "tiny.pth")
    monkeypatch.syspath_prepend(str(site))
    entry = dataclasses.replace(
        module._PACKAGES["efficientnet_lite0"],
        distribution="tiny_weights",
        file="tiny_weights/tiny.pth",
        sha256=hashlib.sha256(FILE.read_bytes()).hexdigest(),
    )
    arrays = {name: array for name, array in module.read_torch(FILE).items() if array.ndim}
    digest = hashlib.sha256(encode_safetensors(arrays)).hexdigest()
    monkeypatch.setitem(
        module._PACKAGES, "tiny", dataclasses.replace(entry, converted_sha256=digest)
    )
    return site


def test_conversion(package, tmp_path):
    found = pretrained("tiny")
    assert found.name == "the ImageNet weights of tiny"
    assert found.path.parent == tmp_path / "cache"
    assert found.normalization.mean == (127.0,) * 3
    assert found.normalization.deviation == (128.0,) * 3
    arrays = read_safetensors(found.path)
    assert list(arrays) == list(CONTENT)
    for name, expected in CONTENT.items():
        assert expected is None or (arrays[name] == expected).all()
    assert [path.name for path in found.path.parent.iterdir()] == [found.path.name]


def test_the_cache_does_without_the_package(package):
    path = pretrained("tiny").path
    written = path.stat().st_mtime_ns
    shutil.rmtree(package)
    assert pretrained("tiny").path.stat().st_mtime_ns == written


@pytest.mark.parametrize("damage", ["truncated", "changed", "empty"])
def test_a_damaged_cache_is_made_anew(package, damage):
    path = pretrained("tiny").path
    good = path.read_bytes()
    bad = {"truncated": good[:-9], "changed": good[:-9] + bytes([good[-9] ^ 1]) + good[-8:]}
    path.write_bytes(bad.get(damage, b""))
    assert pretrained("tiny").path.read_bytes() == good


def test_a_damaged_cache_without_the_package_is_an_error(package):
    path = pretrained("tiny").path
    path.write_bytes(b"")
    shutil.rmtree(package)
    with pytest.raises(ConfigError, match="in a package that is not installed"):
        pretrained("tiny")


def test_another_file_than_the_published_one(package, tmp_path):
    with (package / "tiny_weights" / "tiny.pth").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ConfigError, match=r"tiny.pth is not the file .* reinstall the package"):
        pretrained("tiny")
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written(package, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KERAS_RECIPES_HOME", str(tmp_path / "file" / "cache"))
    with pytest.raises(ConfigError, match="cannot be cached: .*; set KERAS_RECIPES_HOME"):
        pretrained("tiny")


def test_several_at_once(package, tmp_path):
    """Threads write as processes do: each its own temporary file, which is then renamed."""
    gate = threading.Barrier(8)

    def convert(_):
        gate.wait()
        return pretrained("tiny").path.read_bytes()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        contents = set(pool.map(convert, range(8)))
    assert len(contents) == 1
    assert [path.read_bytes() for path in (tmp_path / "cache").iterdir()] == list(contents)


def test_where_the_cache_is(monkeypatch):
    monkeypatch.delenv("KERAS_RECIPES_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder() == Path("/home/someone/.cache/keras-recipes")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet50", "give the path of torchvision's file, resnet50-11ad3fa6.pth"),
        ("efficientnet_lite3", r"only for efficientnet_lite0, efficientnet_lite1, .*: give the"),
        ("resnet20", "no packaged ImageNet weights for resnet20 .* give the path of a file"),
    ],
)
def test_networks_without_a_package(name, message):
    with pytest.raises(ConfigError, match=message):
        pretrained(name)


def test_a_package_that_is_not_installed(monkeypatch):
    entry = dataclasses.replace(module._PACKAGES["efficientnet_lite1"], distribution="no-such")
    monkeypatch.setitem(module._PACKAGES, "efficientnet_lite1", entry)
    with pytest.raises(ConfigError, match=r"pip install 'keras-recipes\[pretrained\]', or pip ins"):
        pretrained("efficientnet_lite1")
