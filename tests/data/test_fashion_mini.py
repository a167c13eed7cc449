"""The bundled data set, and the script that makes it."""

import gzip
import importlib.util
import struct
from pathlib import Path

import numpy as np
import pytest

import recipes.data
from recipes.data import check_data, load_data
from recipes.errors import DataError

FOLDER = Path(recipes.data.__file__).parent / "fashion_mini"


@pytest.fixture(scope="module")
def script():
    path = Path(__file__).parents[2] / "scripts" / "make_fashion_mini.py"
    spec = importlib.util.spec_from_file_location("make_fashion_mini", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_contents():
    data = load_data("fashion-mini")
    assert data.counts == {"train": [540] * 10, "validation": [60] * 10, "test": [100] * 10}
    assert data.image_shape == (28, 28, 1)
    assert data.class_names[0] == "T-shirt/top"
    assert data.class_names[9] == "Ankle boot"
    assert data.problems == ()
    # Of the whole Fashion-MNIST: mean 72.94, standard deviation 90.02 (0.2860 and 0.3530).
    mean, variance = data.statistics()
    assert abs(mean[0] - 72.94) < 1
    assert abs(variance[0] ** 0.5 - 90.02) < 1


def test_report():
    report = check_data("fashion-mini")
    assert report.ok
    assert report.counts == {"train": [600] * 10, "test": [100] * 10}


def test_size_and_papers():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 4_000_000
    assert "Zalando" in (FOLDER / "LICENSE").read_text()
    assert "make_fashion_mini.py" in (FOLDER / "PROVENANCE.md").read_text()


def test_script_refuses_other_files(script, tmp_path):
    header = struct.pack(">4BI", 0, 0, 8, 1, 3)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(header + b"abc"))
    with pytest.raises(DataError, match="cannot read"):
        script.make(tmp_path, tmp_path / "out")
    assert script.main([str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    header = struct.pack(">4B3I", 0, 0, 8, 3, 1, 1, 1)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + b"a"))
    with pytest.raises(DataError, match="is not the file of Fashion-MNIST"):
        script.make(tmp_path, tmp_path / "out")


def test_pack_is_deterministic_and_readable(script):
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    packed = script.pack(values)
    assert packed == script.pack(values)
    assert packed[4:8] == bytes(4)  # no time stamp
    content = gzip.decompress(packed)
    assert content == bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4]) + values.tobytes()


@pytest.mark.slow
def test_script_makes_the_bundled_files(script, tmp_path):
    folder = Path("/usr/share/datasets/fashion-mnist")
    if not folder.exists():
        pytest.skip("needs the Debian package dataset-fashion-mnist")
    for path in script.make(folder, tmp_path):
        # Compare the content: another zlib may pack it in other bytes.
        bundled = (FOLDER / path.name).read_bytes()
        assert gzip.decompress(path.read_bytes()) == gzip.decompress(bundled), path.name
