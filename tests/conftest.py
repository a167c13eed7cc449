"""What all tests share: a quiet TensorFlow, and tiny images, a tiny recipe and one finished run."""

import collections
import importlib.util
import os
from pathlib import Path

# Before any test imports TensorFlow; pytest shows a failing test's output anyway.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest

from recipes.config import (
    AugmentationConfig,
    ModelConfig,
    OptimizerConfig,
    Recipe,
    TrainingConfig,
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Run by default only some cases of each test that is marked `sampled`, by its arguments.

    What is `exhaustive` is slow as well.
    """
    cases = collections.defaultdict(list)
    for item in items:
        if item.get_closest_marker("exhaustive"):
            item.add_marker(pytest.mark.slow)
        elif item.get_closest_marker("sampled"):
            cases[item.path, item.originalname, item.cls].append(item)
    for group in cases.values():
        _sample(group, *group[0].get_closest_marker("sampled").args)


def _sample(group, default, gate=None):
    """Mark all but `default` of the cases slow, and all but `gate` of these exhaustive.

    Cases that a test itself marks slow are never run by default. Without `gate` they all stay in
    the gate, and of the others every eighth.
    """
    quick = [item for item in group if not item.get_closest_marker("slow")]
    by_default = _spread(quick, default)
    rest = [item for item in quick if item not in by_default]
    if gate is None:
        in_the_gate = rest[::8]
    else:
        rest = [item for item in group if item not in by_default]
        in_the_gate = _spread(rest, gate)
    for item in rest:
        item.add_marker(pytest.mark.slow)
        if item not in in_the_gate:
            item.add_marker(pytest.mark.exhaustive)


def _spread(items, count):
    """Return so many of the items, or all if there are fewer, evenly spread."""
    return [items[round(place)] for place in np.linspace(0, len(items) - 1, min(count, len(items)))]


def write_idx(path, array):
    """Write a uint8 array as an IDX file, by the format's description."""
    header = bytes([0, 0, 8, array.ndim])
    sizes = b"".join(int(size).to_bytes(4, "big") for size in array.shape)
    path.write_bytes(header + sizes + array.astype(np.uint8).tobytes())


@pytest.fixture(scope="session")
def tiny_source(tmp_path_factory):
    """Return an `idx:` source of 300 training and 90 test images of three kinds of clothes."""
    from recipes import load_data

    folder = tmp_path_factory.mktemp("tiny-idx")
    data = load_data("fashion-mini", validation=0.1)
    for split, stem, each in (("train", "train", 100), ("test", "t10k", 30)):
        labels = data.splits[split].labels
        # Trousers, bags and ankle boots: a few steps of training tell them apart.
        chosen = np.concatenate([np.flatnonzero(labels == kind)[:each] for kind in (1, 8, 9)])
        images = data.splits[split].load(chosen)[..., 0]
        write_idx(folder / f"{stem}-images-idx3-ubyte", images)
        write_idx(folder / f"{stem}-labels-idx1-ubyte", np.repeat([0, 1, 2], each))
    (folder / "class_names.txt").write_text("Trouser\nBag\nAnkle boot\n")
    return f"idx:{folder}"


@pytest.fixture(scope="session")
def tiny_recipe():
    """Return a recipe that uses most features and trains in seconds."""
    return Recipe(
        name="tiny",
        model=ModelConfig(name="resnet9", width=8, dropout=0.1, stochastic_depth=0.1),
        optimizer=OptimizerConfig(learning_rate=0.1, clip_norm=5.0),
        augmentation=AugmentationConfig(crop_padding=2, mixup_alpha=0.2, mix_probability=0.5),
        training=TrainingConfig(epochs=4, batch_size=32, ema=0.9),
    )


def _module_beside_this(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def search_folder():
    """Return the module that writes folders of made-up searches, search_folder.py beside this."""
    return _module_beside_this("search_folder")


@pytest.fixture(scope="session")
def processes():
    """Return the module that starts, awaits and ends processes, processes.py beside this."""
    return _module_beside_this("processes")


@pytest.fixture(scope="session")
def tiny_run(tiny_recipe, tiny_source, tmp_path_factory):
    """Return a finished run with its TFLite files and report. Read only."""
    from tuning.pipeline import train_and_export

    folder = tmp_path_factory.mktemp("tiny-run") / "run"
    return train_and_export(tiny_recipe, tiny_source, folder, progress=False)
