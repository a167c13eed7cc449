"""What searches in these tests are given: small images of noise, and a recipe."""

import numpy as np
import pytest

from recipes import Recipe, load_data


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 255, (120, 8, 8, 1)).astype(np.uint8)
    return load_data((images, np.arange(120) % 3), validation=0.25)


@pytest.fixture
def recipe():
    return Recipe(name="mine").override({"training.epochs": 8, "optimizer.learning_rate": 0.5})
