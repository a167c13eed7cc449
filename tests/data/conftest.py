"""Tiny images and folders made for each test."""

import numpy as np
import pytest
from PIL import Image


def noise(seed, height=12, width=12, channels=3):
    """Return random uint8 pixels; one seed, one image."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.fixture
def make_folder(tmp_path):
    """Return a function that writes a folder of class folders of distinct PNG images."""

    def make(counts, root="photos", size=(12, 12), channels=3, first_seed=0):
        seed = first_seed
        for name, count in counts.items():
            folder = tmp_path / root / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = noise(seed, *size, channels)
                Image.fromarray(pixels).save(folder / f"{number:03d}.png")
                seed += 1
        return tmp_path / root

    return make
