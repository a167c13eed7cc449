"""Recipes as values: overriding, checking, JSON and back."""

import json

import pytest

from recipes.catalog import get_recipe, list_recipes, recipe_notes
from recipes.config import Recipe, parse_settings
from recipes.errors import ConfigError
from recipes.models import list_models

_GOOD = [
    ("optimizer.learning_rate", "1", ("optimizer", "learning_rate"), 1.0),
    ("optimizer.clip_norm", "none", ("optimizer", "clip_norm"), None),
    ("optimizer.name", "adamw", ("optimizer", "name"), "adamw"),
    ("training.patience", "7", ("training", "patience"), 7),
    ("training.patience", "None", ("training", "patience"), None),
    ("data.class_weights", "true", ("data", "class_weights"), True),
    ("augmentation.flip", "both", ("augmentation", "flip"), "both"),
    ("model.width", "48", ("model", "width"), 48),
    ("transfer.weights", "imagenet", ("transfer", "weights"), "imagenet"),
    ("transfer.weights", "none", ("transfer", "weights"), None),
    ("transfer.linear_probe", "true", ("transfer", "linear_probe"), True),
]
_BAD = [
    ({"optimizer.learning_rat": "1"}, r"unknown field .*did you mean 'optimizer.learning_rate'"),
    ({"learning_rate": "1"}, r"unknown field .*did you mean 'optimizer.learning_rate'"),
    ({"training.epochs": "1.5"}, r"training.epochs must be a whole number, received: '1.5'"),
    ({"training.epochs": "0"}, r"training.epochs must be a positive number, received: 0"),
    ({"training.epochs": True}, r"training.epochs must be a whole number, received: True"),
    ({"optimizer.learning_rate": "nan"}, r"must be a positive number, received: nan"),
    ({"optimizer.learning_rate": "-1"}, r"must be a positive number, received: -1"),
    ({"optimizer.name": "adam"}, r"must be 'sgd' or 'adamw', received: 'adam'"),
    ({"training.monitor": "val_los"}, r"training.monitor must be 'val_loss' or .*'val_los'"),
    ({"training.ema": "1"}, r"training.ema must be at least 0 and below 1"),
    ({"data.validation": "0"}, r"data.validation must be above 0"),
    ({"transfer.batch_norm": "on"}, r"transfer.batch_norm must be 'frozen' or .*'on'"),
    ({"transfer.head_epochs": "-1"}, r"transfer.head_epochs must be 0 or more, received: -1"),
    ({"transfer.rate_decay": "0"}, r"transfer.rate_decay must be above 0 and at most 1"),
    ({"transfer.weights": "imagenet", "transfer.head_epochs": "30"}, r"below training.epochs, 30"),
    ({"data.class_weights": "yes"}, r"data.class_weights must be true or false"),
    ({"data.class_weights": "true", "data.sampling": "balanced"}, r"twice"),
]


@pytest.mark.parametrize(("field", "text", "path", "expected"), _GOOD)
def test_override_reads_text_by_the_type_of_the_field(field, text, path, expected):
    recipe = Recipe(name="x").override({field: text})
    value = getattr(getattr(recipe, path[0]), path[1])
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(("settings", "message"), _BAD)
def test_a_wrong_field_or_value_is_one_clear_line(settings, message):
    with pytest.raises(ConfigError, match=message) as caught:
        Recipe(name="x").override(settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_is_complete(name):
    recipe = get_recipe(name)
    assert recipe.name == name
    assert recipe.summary
    assert recipe.model.name in list_models()
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert "easured" in recipe_notes(name), "the docstring states its measured result, or none"


def test_transfer_is_off_unless_weights_are_given():
    with_weights = {name for name in list_recipes() if get_recipe(name).transfer.weights}
    assert with_weights == {"transfer"}
    recipe = get_recipe("transfer").override({"transfer.weights": "none"})
    assert recipe.transfer.weights is None, "the same network from scratch"


def test_unknown_recipe_suggests_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'fashion-mini'"):
        get_recipe("fashion-min")


def test_recipe_from_a_file(tmp_path):
    recipe = get_recipe("fashion-mini").override({"training.epochs": 3})
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(recipe.to_dict()))
    assert get_recipe(str(path)) == recipe
    path.write_text('{"name": "x", "modell": {}}')
    with pytest.raises(ConfigError, match="did you mean 'model'"):
        get_recipe(str(path))
    path.write_text("{")
    with pytest.raises(ConfigError, match="not JSON"):
        get_recipe(str(path))
    with pytest.raises(ConfigError, match="cannot read"):
        get_recipe(str(tmp_path / "none.json"))


def test_parse_settings():
    assert parse_settings(["a.b=c=d", " e = f "]) == {"a.b": "c=d", "e": "f"}
    with pytest.raises(ConfigError, match="FIELD=VALUE"):
        parse_settings(["a.b"])
