"""The example of searching compares a grid with random draws, and leaves a recipe."""

import json

import pytest

from recipes import RecipesError

pytest.importorskip("keras_tuner")


@pytest.mark.slow
def test_grid_against_random(program, tiny_recipe, tiny_source, tmp_path, capsys):
    recipe = tiny_recipe.override({"training.epochs": 2, "model.width": 4})
    (tmp_path / "recipe.json").write_text(json.dumps(recipe.to_dict()))
    arguments = [str(tmp_path / "recipe.json"), tiny_source, "--trials", "4", "--epochs", "1"]
    assert program.main([*arguments, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    # The point of it: as many trials see twice as many learning rates.
    assert "grid: 2 learning rates in 4 trials" in printed
    assert "random: 4 learning rates in 4 trials" in printed
    best = json.loads((tmp_path / "out" / "best.json").read_text())
    assert best["name"] == "tiny-tuned"
    assert best["training"]["epochs"] == 2


def test_images_are_read_as_the_recipe_says(program, tiny_recipe, monkeypatch, tmp_path):
    recipe = tiny_recipe.override({"data.image_size": 8})
    (tmp_path / "recipe.json").write_text(json.dumps(recipe.to_dict()))
    shapes = []

    def note(recipe, data, *arguments, **options):
        shapes.append(data.image_shape)
        raise RecipesError("enough")

    monkeypatch.setattr(program, "search", note)
    assert program.main([str(tmp_path / "recipe.json"), "fashion-mini"]) == 2
    assert shapes == [(8, 8, 1)]


def test_mistakes_are_one_line(program, tmp_path, capsys):
    assert program.main(["fashion-minj", "fashion-mini", "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("search: unknown recipe")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
