"""The examples are programs, not modules: a test gets the one whose name it bears."""

import importlib.util
import types
from pathlib import Path

import numpy as np
import pytest

from recipes import RecipesError, load_data
from recipes.config import Recipe


@pytest.fixture(scope="module")
def program(request):
    """Return the example that `test_NAME.py` tests, loaded anew."""
    name = request.path.stem.removeprefix("test_")
    path = Path(__file__).parents[2] / "examples" / f"{name}.py"
    # Another name than that of a function it may import, such as `compress`.
    spec = importlib.util.spec_from_file_location(f"example_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def trained_on_ten(tmp_path, monkeypatch):
    """Return a function that lets a program work on a run of ten images.

    It gives the arguments of the program's `trainer`, which is where the work ends.
    """

    def received(program, trainer, **options):
        images = np.zeros((10, 8, 8, 1), np.uint8)
        held_out = (images[:2], [0, 1])
        data = load_data({"train": (images, np.arange(10) % 2), "validation": held_out})
        run = types.SimpleNamespace(
            load_data=lambda: data, path=tmp_path.joinpath, recipe=Recipe("mine")
        )
        assert run.recipe.training.batch_size > 10
        given = {}

        def train(model, batches, **arguments):
            given.update(arguments, batches=batches)
            raise RecipesError("seen")

        monkeypatch.setattr(program, trainer, train)
        with pytest.raises(RecipesError, match="seen"):
            program.work(run, tmp_path, types.SimpleNamespace(epochs=1, steps=None, **options))
        return given

    return received
