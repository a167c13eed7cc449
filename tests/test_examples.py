"""Every example runs, as a program of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
_ARGUMENTS = {
    "plain_fit.py": (["--epochs", "1"], "test accuracy"),
    "folder_to_phone.py": (["--epochs", "2"], "model.tflite"),
}


def test_every_example_is_in_the_table_or_has_tests_of_its_own():
    own = Path(__file__).parent / "examples"
    others = {
        path.name for path in EXAMPLES.glob("*.py") if not (own / f"test_{path.name}").exists()
    }
    assert others == set(_ARGUMENTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(_ARGUMENTS))
def test_it_runs(name, tmp_path):
    arguments, expected = _ARGUMENTS[name]
    answer = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
    )
    assert answer.returncode == 0, answer.stderr
    assert expected in answer.stdout
