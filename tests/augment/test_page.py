"""docs/augment.md says what the docstrings say, and has a sheet of every operation."""

import importlib.util
import inspect
import re
from pathlib import Path

import pytest
from PIL import Image

import augment

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("sheets", ROOT / "scripts" / "augment_sheets.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page():
    return (ROOT / "docs" / "augment.md").read_text(encoding="utf-8")


def test_the_page_is_that_of_the_code(script, page):
    assert page == script.page(), "run: python scripts/augment_sheets.py (--page for text alone)"


def test_every_public_name_is_on_the_page(page):
    for name in augment.__all__:
        assert f"`{name}`" in page or f"### {name}\n" in page, name


def test_every_operation_and_policy_has_its_section_and_sheet(page):
    names = [name for name in augment.__all__ if name.startswith("random_")]
    assert len(names) > 25
    for name in [*names, "mixup", "cutmix", "cutout", "rand_augment"]:
        assert f"\n### {name}\n" in page, name
        assert f"![{name}](augment/{name}.jpg)" in page, name
    for name in augment.policy_names():
        assert f"\n### policy {name}\n" in page, name


def test_what_the_page_says_of_the_arguments_of_mixes(script, page):
    assert "`augment.NAME(images, labels, seed, ...)`" in page
    for name in ("mixup", "cutmix", "mixup_or_cutmix"):
        section = page.split(f"\n### {name}\n")[1].split("\n##")[0]
        first, *own = inspect.signature(getattr(augment, name)).parameters
        assert (first, *own[:2]) == ("images", "labels", "seed")
        for argument in own[2:]:
            assert f"\n- `{argument}=" in section, (name, argument)
    for name, function in script.operations().items():
        is_mix = hasattr(function, "mix")
        assert ("value_range" in inspect.signature(function).parameters) is not is_mix, name


def test_the_sheets_are_there_and_small(script, page):
    linked = set(re.findall(r"\]\(augment/([^)]+)\)", page))
    found = {path.name for path in (ROOT / "docs" / "augment").iterdir()}
    assert linked == found == script.sheet_files()
    sizes = [(ROOT / "docs" / "augment" / name).stat().st_size for name in found]
    assert max(sizes) < 65_000
    assert sum(sizes) < 2_500_000
    for name in found:
        with Image.open(ROOT / "docs" / "augment" / name) as sheet:
            assert sheet.width > 600


def test_arguments_of_a_docstring(script):
    parts = script._arguments(
        """
        images: Shared, so left out.
        first: Said in
            two lines.
        second: `x: y`.
        """
    )
    assert parts == {"first": "Said in two lines.", "second": "`x: y`."}
