"""Importing the packages and asking the command for help load no TensorFlow."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

_HEAVY = "{'tensorflow', 'keras', 'matplotlib', 'scipy', 'PIL'}"
_LIGHT_COMMANDS = [
    "import recipes, augment, callbacks, tuning",
    "import recipes; recipes.list_recipes(); recipes.get_recipe('fashion-mini')",
    "import recipes.training, recipes.run, tuning.pipeline",
    "from recipes.cli import main; main(['list'])",
    "from recipes.cli import main; main(['list', '--models'])",
    "from recipes.cli import main; main(['show', 'fashion-mini', '--json'])",
    "from recipes.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
]


@pytest.mark.parametrize("code", _LIGHT_COMMANDS)
def test_loads_no_tensorflow(code):
    program = (
        f"{code}\nimport sys\nassert not {_HEAVY} & set(sys.modules), {_HEAVY} & set(sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("package", ["augment", "callbacks", "recipes", "tuning"])
def test_every_public_name_resolves(package):
    module = importlib.import_module(package)
    assert module.__all__
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = module.no_such_name


@pytest.mark.parametrize("name", ["recipes", "augment", "callbacks", "tuning"])
def test_no_module_bears_the_name_of_what_is_public(name):
    """Importing `tuning.search` would put the module in the place of a function `tuning.search`."""
    package = importlib.import_module(name)
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert not modules & set(package.__all__)


def run(program):
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )


def test_tensorflow_start_up_is_quiet_but_warnings_pass():
    program = (
        "import os\n"
        "from recipes._quiet import filtered_stderr, import_tensorflow\n"
        "import_tensorflow()\n"
        "with filtered_stderr():\n"
        "    os.write(2, b'I0000 oneDNN custom operations are on.\\n')\n"
        "    os.write(2, b'W0000 a real warning\\n')\n"
    )
    answer = run(program)
    assert answer.returncode == 0
    assert answer.stderr == "W0000 a real warning\n"


def test_loading_a_model_is_quiet_where_nothing_imported_tensorflow_before():
    program = (
        "from recipes.errors import RunError\n"
        "from recipes.evaluation.classifier import load_keras_model\n"
        "try:\n"
        "    load_keras_model('lost.keras')\n"
        "except RunError:\n"
        "    print('refused')\n"
    )
    answer = run(program)
    assert (answer.stdout, answer.stderr) == ("refused\n", "")


def test_retracing_is_told_of_functions_but_not_of_models_in_turn():
    program = (
        "from recipes._quiet import import_tensorflow\n"
        "import_tensorflow()\n"
        "import keras, numpy, tensorflow\n"
        "for _ in range(8):\n"
        "    model = keras.Sequential([keras.layers.Dense(1)])\n"
        "    model.predict(numpy.zeros((2, 3)), verbose=0)\n"
        "print('predicted')\n"
        "own = tensorflow.function(lambda number: number)\n"
        "for number in range(8):\n"
        "    own(number)\n"
    )
    answer = run(program)
    assert answer.stdout == "predicted\n"
    assert "<lambda>" in answer.stderr
    assert "TensorFlowTrainer" not in answer.stderr
