"""Search spaces: read from text, checked against the recipe, to KerasTuner and back."""

import json

import numpy as np
import pytest

from recipes import ConfigError, Recipe, get_recipe
from tuning.spaces import Choices, Range, Space, default_space

TEXT = """
# rates first
optimizer.learning_rate: log 1e-3..1      # a factor of 1000
model.width: 16, 32, 64
model.dropout: none, 0.1, 0.2
training.batch_size: int 32..256 step 32
data.class_weights: bool
optimizer.name: sgd, adamw
augmentation.policy: none, randaugment(n=2, m=9)
schedule.warmup: 0..0.4 step 0.1
"""


def test_every_form_of_text():
    assert Space.parse(TEXT).dimensions == {
        "optimizer.learning_rate": Range(0.001, 1.0, log=True),
        "model.width": Choices((16, 32, 64)),
        "model.dropout": Choices((None, 0.1, 0.2)),
        "training.batch_size": Range(32, 256, integer=True, step=32),
        "data.class_weights": Choices((False, True)),
        "optimizer.name": Choices(("sgd", "adamw")),
        "augmentation.policy": Choices((None, "randaugment(n=2, m=9)")),
        "schedule.warmup": Range(0.0, 0.4, step=0.1),
    }


def test_the_numbers_0_and_1_are_not_false_and_true():
    space = Space({"augmentation.mixup_alpha": [0, 1]})
    assert str(space) == "augmentation.mixup_alpha: 0.0, 1.0"
    pytest.importorskip("keras_tuner")
    (declared,) = space.to_hyperparameters().space
    assert (type(declared).__name__, list(declared.values)) == ("Choice", [0.0, 1.0])
    assert {type(value) for value in declared.values} == {float}


def test_text_and_json_bring_it_back(tmp_path):
    space = Space.parse(TEXT)
    assert Space.parse(str(space)) == space
    (tmp_path / "space.json").write_text(json.dumps(space.to_dict()))
    (tmp_path / "space.txt").write_text(TEXT)
    assert Space.from_file(tmp_path / "space.json") == space
    assert Space.from_file(tmp_path / "space.txt") == space


def test_a_range_of_a_whole_number_field_is_whole_without_being_told():
    space = Space({"training.batch_size": "log 16..256"})
    assert space.dimensions["training.batch_size"] == Range(16, 256, log=True, integer=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer.learnin_rate: log 1e-3..1", "did you mean 'optimizer.learning_rate'"),
        ("learnin_rate: log 1e-3..1", "unknown field 'learnin_rate'; did you mean 'learning_rate'"),
        ("augment.strenght: 0..2", "did you mean 'augmentation.strength'"),
        ("data: 1, 2", "unknown field 'data'"),
        ("", "at least one field"),
        ("optimizer.learning_rate", "FIELD: VALUES"),
        ("optimizer.learning_rate:", "optimizer.learning_rate: expected log"),
        ("optimizer.learning_rate: log 1..1e-3", "low below high, received: log 1..0.001"),
        ("optimizer.learning_rate: 1..1", "low below high"),
        ("optimizer.learning_rate: log 0..1", "must begin above 0"),
        ("optimizer.learning_rate: log 1e-3..1 step 2", "takes no step"),
        ("optimizer.learning_rate: 0.1..1 step 2", "step must be above 0 and at most 0.9"),
        ("optimizer.learning_rate: 0.1..inf", "must be finite"),
        ("optimizer.learning_rate: 0.1..fast", "expected log"),
        ("optimizer.learning_rate: 0..1", "optimizer.learning_rate must be a positive number"),
        ("model.dropout: 0..1", "model.dropout must be at least 0 and below 1, received: 1.0"),
        ("training.batch_size: 32..64.5", "whole numbers, received: int 32..64.5"),
        ("model.width: 16, wide", "model.width must be a whole number or none"),
        ("model.width: 16, 16", "choices must differ"),
        ("optimizer.name: sgd, adam", "must be 'sgd' or 'adamw', received: 'adam'"),
        ("model.name: a..b", "model.name: expected"),
        ("model.name: 1..2", "model.name: takes no range"),
        ("model.dropout: bool", "takes no bool"),
        ("training.epochs: 1, 2", "the search sets it"),
        ("epochs: 1, 2", "the search sets it"),
        ("model.width: 16\nmodel.width: 32", "names model.width twice"),
        ("width: 16\nmodel.width: 32", "names model.width twice"),
        ("depth: 20..32", "model.depth: takes no range"),
        ("depth: 0, 20", "model.depth must be a whole number above 0, received: '0'"),
        ("depth: 20, 32\nmodel: resnet20, vgg16", "both choose the network"),
        ("strength: -1..1", "augmentation.strength must be a number of 0 or more"),
        ("strength: much", "augmentation.strength must be a number of 0 or more"),
        ("strength: bool", "takes no bool"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text, message):
    with pytest.raises(ConfigError) as caught:
        Space.parse(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


NAMED_SHORT = """
learning_rate: log 1e-4..1e-1
optimizer: sgd, adamw
weight_decay: log 1e-5..1e-2
augment.strength: 0..2
model.depth: 20, 32
width: 16, 32
dropout: 0..0.5
label_smoothing: 0, 0.1
batch_size: 64, 128
policy: none, trivialaugment
"""


def test_short_names_mean_the_only_field_of_that_name(tmp_path):
    (tmp_path / "space.txt").write_text(NAMED_SHORT)
    space = Space.from_file(tmp_path / "space.txt")
    assert list(space.dimensions) == [
        "optimizer.learning_rate",
        "optimizer.name",
        "optimizer.weight_decay",
        "augmentation.strength",
        "model.depth",
        "model.width",
        "model.dropout",
        "augmentation.label_smoothing",
        "training.batch_size",
        "augmentation.policy",
    ]
    assert Space.from_dict(space.to_dict()) == space
    recipe = get_recipe("cifar-resnet20")
    space.check(recipe)
    start = space.start(recipe)
    assert (start["model.depth"], start["augmentation.strength"]) == (20, 1.0)
    # The recipe as it is, but for a width and a dropout of which it has none of its own.
    own = {"model.width": 16, "model.dropout": 0.25, "training.batch_size": 128}
    assert space.recipe(recipe, start) == recipe.override(own)


@pytest.mark.parametrize(
    ("name", "depth", "expected"),
    [
        ("resnet20_v2", 56, "resnet56_v2"),
        ("se_resnet18", 50, "se_resnet50"),
        ("wide_resnet28_10", 16, "wide_resnet16_10"),
        ("vgg16_bn", 11, "vgg11_bn"),
        ("keras:DenseNet121", 201, "keras:DenseNet201"),
    ],
)
def test_a_depth_is_a_network_of_the_same_family(name, depth, expected):
    recipe = Recipe(name="mine").override({"model.name": name})
    space = Space({"model.depth": [depth]})
    space.check(recipe)
    assert space.recipe(recipe, {"model.depth": depth}).model.name == expected


@pytest.mark.parametrize(
    ("name", "depth", "message"),
    [
        ("resnet20", 21, "no resnet21; there are 9, 18, 20"),
        ("wide_resnet28_10", 40, "no wide_resnet40_10; there are 16, 28"),
        ("googlenet", 20, "googlenet has no depth in its name"),
    ],
)
def test_a_depth_that_there_is_not(name, depth, message):
    recipe = Recipe(name="mine").override({"model.name": name})
    with pytest.raises(ConfigError, match=f"^model.depth: {message}"):
        Space({"model.depth": [depth]}).check(recipe)


def test_strength_scales_what_a_recipe_does_to_images():
    settings = {
        "crop_padding": 4,
        "cutout": 8,
        "erase_probability": 0.25,
        "cutmix_alpha": 1.0,
        "mix_probability": 0.5,
        "policy": "randaugment(n=2, m=10)",
        "label_smoothing": 0.1,
    }
    recipe = Recipe(name="mine").override({f"augmentation.{k}": v for k, v in settings.items()})
    space = Space({"augmentation.strength": "0..4"})
    scaled = {
        strength: space.recipe(recipe, {"augmentation.strength": strength}).augmentation
        for strength in (0.0, 1.0, 1.5, 4.0)
    }
    assert scaled[1.0] == recipe.augmentation
    none, more, most = scaled[0.0], scaled[1.5], scaled[4.0]
    assert (none.crop_padding, none.cutout, none.erase_probability) == (0, 0, 0.0)
    # RandAugment of magnitude 0 would still change images; a flip is not more or less.
    assert (none.mix_probability, none.policy, none.flip) == (0.0, None, "horizontal")
    assert (more.crop_padding, more.cutout, more.erase_probability) == (6, 12, 0.375)
    assert (more.mix_probability, more.policy) == (0.75, "randaugment(n=2, m=15)")
    # No chance is above 1, and no magnitude above the table's; the parameter of CutMix stays.
    assert (most.erase_probability, most.mix_probability) == (1.0, 1.0)
    assert (most.policy, most.cutmix_alpha) == ("randaugment(n=2, m=30)", 1.0)
    assert {one.label_smoothing for one in scaled.values()} == {0.1}


def test_strength_of_nothing_is_refused():
    recipe = Recipe(name="mine").override({"augmentation.policy": "trivialaugment"})
    with pytest.raises(ConfigError, match="augmentation.strength has nothing to scale in mine"):
        Space({"strength": "0..2"}).check(recipe)
    # Unless the space brings it.
    Space({"strength": "0..2", "cutout": [0, 8]}).check(recipe)


@pytest.mark.parametrize("values", [[], {"model.width": []}, {"model.width": [[1]]}, 3])
def test_what_is_no_space_at_all(values):
    with pytest.raises(ConfigError):
        Space(values)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="cannot read space"):
        Space.from_file(tmp_path / "none.txt")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ConfigError, match="is not JSON"):
        Space.from_file(tmp_path / "bad.json")
    text = "model.width: 8, 16  # größer"
    (tmp_path / "latin.txt").write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match=r"cannot read space .*latin.txt: it is not UTF-8"):
        Space.from_file(tmp_path / "latin.txt")
    (tmp_path / "marked.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert Space.from_file(tmp_path / "marked.txt").dimensions["model.width"] == Choices((8, 16))


def test_the_start_is_the_recipe_where_the_space_holds_it():
    recipe = Recipe(name="mine").override({"optimizer.learning_rate": 0.05, "model.width": 24})
    space = Space({"optimizer.learning_rate": "log 1e-3..1", "model.width": [16, 32]})
    assert space.start(recipe) == {"optimizer.learning_rate": 0.05, "model.width": 16}
    outside = recipe.override({"optimizer.learning_rate": 10.0})
    assert space.start(outside)["optimizer.learning_rate"] == pytest.approx(np.sqrt(1e-3))


def test_narrowing_takes_the_scale_into_account():
    space = Space(
        {
            "optimizer.learning_rate": "log 1e-4..1",
            "model.dropout": "0..0.8",
            "model.width": [8, 16, 32],
            "training.batch_size": "int 32..256 step 32",
        }
    )
    points = [
        {
            "optimizer.learning_rate": rate,
            "model.dropout": dropout,
            "model.width": width,
            "training.batch_size": batch,
        }
        for rate, dropout, width, batch in ((0.01, 0.1, 32, 64), (0.1, 0.3, 8, 64))
    ]
    small = space.narrow(points).dimensions
    # A quarter of the decade that they span at either end.
    rates = small["optimizer.learning_rate"]
    assert (rates.low, rates.high) == pytest.approx((10**-2.25, 10**-0.75), rel=1e-5)
    assert (small["model.dropout"].low, small["model.dropout"].high) == pytest.approx((0.05, 0.35))
    assert small["model.width"] == Choices((8, 32))
    # A tenth of 224 is less than a step, so one value is left.
    assert small["training.batch_size"] == Choices((64,))
    # Not beyond what was searched.
    edge = space.narrow([{**points[0], "model.dropout": 0.0}]).dimensions["model.dropout"]
    assert edge.low == 0.0


def test_steps_reach_the_upper_end_and_outlive_narrowing():
    space = Space({"schedule.warmup": "0..0.5 step 0.1"})
    points = [{"schedule.warmup": value} for value in (0.3, 0.4)]
    assert space.narrow(points).dimensions["schedule.warmup"] == Range(0.3, 0.4, step=0.1)
    # 0.3 - 0.2 is less than 0.1.
    assert str(Range(0.2, 0.3, step=0.1)) == "0.2..0.3 step 0.1"
    pytest.importorskip("keras_tuner")
    for last in (3, 5, 7):
        text = f"0..0.{last} step 0.1"
        space = Space({"schedule.warmup": text})
        (declared,) = space.to_hyperparameters().space
        found = [
            space.from_hyperparameters({"schedule.warmup": value})["schedule.warmup"]
            for value in declared.values
        ]
        assert found == [float(f"0.{tenth}") for tenth in range(last + 1)]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("fashion-mini", {"augmentation.label_smoothing": 0.15, "schedule.warmup": 0.5}),
        ("photos", {"model.dropout": 0.7}),
        ("cifar-resnet20", {}),
        ("transfer", {"transfer.rate_decay": 0.2}),
    ],
)
def test_the_default_space_holds_the_recipe(name, changes):
    recipe = get_recipe(name).override(changes)
    space = default_space(recipe)
    assert space.recipe(recipe, space.start(recipe)) == recipe


def test_to_kerastuner_and_back():
    keras_tuner = pytest.importorskip("keras_tuner")
    recipe = Recipe(name="mine").override({"optimizer.learning_rate": 0.05})
    space = Space.parse(TEXT)
    declared = {hp.name: hp for hp in space.to_hyperparameters(recipe).space}
    rate = declared["optimizer.learning_rate"]
    assert (rate.min_value, rate.max_value, rate.sampling) == (0.001, 1.0, "log")
    assert rate.default == 0.05
    batch = declared["training.batch_size"]
    assert sorted(batch.values) == list(range(32, 257, 32))
    assert batch.default == 128
    kinds = {name: type(hp).__name__ for name, hp in declared.items()}
    assert kinds["data.class_weights"] == "Boolean"
    assert list(declared["model.width"].values) == [16, 32, 64]

    # Values that KerasTuner draws become a recipe, with the types of its fields.
    oracle = keras_tuner.oracles.RandomSearchOracle(
        objective=keras_tuner.Objective("val_accuracy", "max"),
        max_trials=50,
        seed=1,
        hyperparameters=space.to_hyperparameters(),
    )
    drawn = [space.from_hyperparameters(oracle.populate_space(n)["values"]) for n in range(50)]
    recipes = [space.recipe(recipe, values) for values in drawn]
    for field, values in space.dimensions.items():
        section, name = field.split(".")
        found = [getattr(getattr(one, section), name) for one in recipes]
        assert all(value in values for value in found)
        if isinstance(values, Choices):
            assert set(found) == set(values.values)
    rates = np.log10([one.optimizer.learning_rate for one in recipes])
    # Even on the logarithmic scale: half of the draws below the middle of three decades.
    assert abs(np.median(rates) + 1.5) < 0.5
