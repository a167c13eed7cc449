"""The examples are programs, not modules: a test gets the one whose name it bears."""

import importlib.util
from pathlib import Path

import pytest


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
