"""Every example in a docstring runs and prints what it says."""

import doctest
import importlib
import pkgutil

import keras
import numpy as np
import pytest
import tensorflow as tf

# What any reader of an example takes for granted.
KNOWN = {"keras": keras, "np": np, "tf": tf}
PACKAGES = ("augment", "callbacks", "recipes", "tuning")
# Their examples compile a program each, or build whole networks.
SLOW = ("augment.", "recipes.models.", "tuning._keras2.")


def _modules():
    for package in PACKAGES:
        yield package
        folder = importlib.import_module(package).__path__
        for module in pkgutil.walk_packages(folder, prefix=f"{package}."):
            if not module.name.endswith("__main__"):
                yield module.name


def _cases():
    for name in _modules():
        marks = [pytest.mark.slow] if name.startswith(SLOW) else []
        yield pytest.param(name, marks=marks)


@pytest.mark.parametrize("name", list(_cases()))
def test_examples(name):
    module = importlib.import_module(name)
    results = doctest.testmod(module, extraglobs=KNOWN, optionflags=doctest.ELLIPSIS)
    assert results.failed == 0
