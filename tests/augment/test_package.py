import subprocess
import sys

import pytest

import augment


def test_importing_loads_no_tensorflow():
    code = "import augment, sys; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_every_public_name_resolves():
    for name in augment.__all__:
        assert getattr(augment, name).__name__ == name
        assert name in dir(augment)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = augment.nothing
