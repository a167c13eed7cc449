"""The example that compares initialisations, against what theory says of their growth."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest


def test_activations_grow_as_theory_says(program, capsys, tmp_path):
    drawing = tmp_path / "activations.svg"
    arguments = ["--json", "--depth", "10", "--width", "256", "--out", str(drawing)]
    assert program.main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    for name, deviation in (("normal 0.01", 0.01), ("normal 0.05", 0.05), ("Kaiming", None)):
        sizes = np.array(result["sizes"][name])
        assert len(sizes) == 10
        growth = (sizes[-1] / sizes[0]) ** (1 / 9)
        factor = np.sqrt(2 / 256) if deviation is None else deviation
        assert growth == pytest.approx(factor * np.sqrt(256 / 2), rel=0.1)
    names = {name: [one["name"] for one in found] for name, found in result["findings"].items()}
    assert "activations_collapsed" in names["normal 0.01"]
    assert not names["Kaiming"]
    root = ElementTree.fromstring(drawing.read_text())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(root.findall(".//{*}polyline")) == 2


@pytest.mark.slow
def test_it_prints_a_table(program, capsys):
    assert program.main(["--depth", "20"]) == 0
    out = capsys.readouterr().out
    assert "activations" not in out.split("Kaiming: healthy")[1]
    assert "by theory" in out


def test_mistakes_are_one_line(program, capsys, tmp_path):
    assert program.main(["--out", str(tmp_path / "none" / "x.svg")]) == 2
    assert capsys.readouterr().err.startswith("preflight: the folder of --out must exist: ")
    assert program.main(["--depth", "1"]) == 2
    error = capsys.readouterr().err
    assert error == "preflight: --depth must be at least 2 and --width at least 1\n"
