import dataclasses
import functools
import json
import types

import numpy as np
import pytest
from scipy import stats

from recipes import ablation, load_data, training
from recipes.ablation import Effect, ablate, augmentations, t_interval, variants
from recipes.cli import main
from recipes.config import AugmentationConfig
from recipes.data.problems import say_problems
from recipes.errors import ConfigError, DivergedError, RunError
from tuning import search


@pytest.fixture(scope="module")
def small(tiny_recipe):
    """A recipe of one epoch, with three augmentations switched on."""
    return dataclasses.replace(
        tiny_recipe,
        augmentation=AugmentationConfig(crop_padding=2, mixup_alpha=0.2, mix_probability=0.5),
    ).override({"training.epochs": 1, "training.batch_size": 64})


@pytest.fixture(scope="module")
def series(small, tiny_source, tmp_path_factory):
    """The finished ablation of the small recipe: folder, effects, lines said."""
    out, lines = tmp_path_factory.mktemp("ablation"), []
    effects = ablate(
        small.override({"augmentation.crop_padding": 0}),
        tiny_source,
        out,
        seeds=2,
        modes=("without", "alone"),
        say=lines.append,
        progress=False,
    )
    return out, effects, lines


def test_every_augmentation_of_a_recipe_can_be_switched_off():
    everything = AugmentationConfig(
        flip="both",
        crop_padding=2,
        cutout=4,
        erase_probability=0.5,
        policy="randaugment",
        mixup_alpha=0.2,
        cutmix_alpha=1.0,
        label_smoothing=0.1,
    )
    fields = {field.name for field in dataclasses.fields(AugmentationConfig)}
    switched = {path.split(".")[1] for off in ablation._OFF.values() for path in off}
    # The other two say how, not whether.
    assert fields - switched == {"crop_fill", "mix_probability"}
    off = {path: value for change in ablation._OFF.values() for path, value in change.items()}
    for path, value in off.items():
        assert getattr(everything, path.split(".")[1]) != value


def test_variants(small):
    assert augmentations(small) == ["flip", "crop", "mixup"]
    never = small.override({"augmentation.mix_probability": 0.0})
    assert augmentations(never) == ["flip", "crop"]
    chosen = variants(small, ("without", "alone"))
    on = {name: augmentations(recipe) for name, recipe in chosen.items()}
    assert on == {
        "all": ["flip", "crop", "mixup"],
        "without flip": ["crop", "mixup"],
        "without crop": ["flip", "mixup"],
        "without mixup": ["flip", "crop"],
        "none": [],
        "flip alone": ["flip"],
        "crop alone": ["crop"],
        "mixup alone": ["mixup"],
    }
    assert list(variants(small)) == list(on)[:4]
    assert chosen["without crop"].training == small.training


def _ablate_at_no_cost(recipe, data, out, monkeypatch, accuracy):
    """Return what `ablate` gives and says if a run reaches `accuracy(variant, seed)`."""
    lines = []

    def train(recipe, data, directory, *, resume, say, progress):
        assert directory.name == f"seed{recipe.training.seed}"
        say_problems(data, say)
        found = accuracy(directory.parent.name, recipe.training.seed)
        return types.SimpleNamespace(metrics={"validation": {"accuracy": found}})

    monkeypatch.setattr(training, "train", train)
    return ablate(recipe, data, out, seeds=2, say=lines.append), lines


def test_seeds_begin_at_that_of_the_recipe(small, tiny_source, tmp_path, monkeypatch):
    asked = []
    recipe = small.override({"training.seed": 5})
    _ablate_at_no_cost(
        recipe, tiny_source, tmp_path, monkeypatch, lambda _, seed: asked.append(seed) or 0.5
    )
    assert set(asked) == {5, 6}
    assert json.loads((tmp_path / "ablation.json").read_text())["recipe"]["training"]["seed"] == 5


@pytest.mark.parametrize("lost", ["without-crop", "all"])
def test_a_variant_that_diverges_does_not_end_the_series(lost, small, tmp_path, monkeypatch):
    """What is wrong with the images is said once, too."""

    def accuracy(variant, seed):
        if (variant, seed) == (lost, 1):
            raise DivergedError("training diverged: val_loss was never finite")
        return {"all": 0.75, "without-flip": 0.5}.get(variant, 0.25)

    data = load_data((np.zeros((20, 8, 8), np.uint8), np.arange(20) % 2))
    effects, lines = _ablate_at_no_cost(small, data, tmp_path, monkeypatch, accuracy)
    found = {effect.variant: (effect.accuracies, effect.difference) for effect in effects}
    if lost == "all":
        assert found["all"] == ((0.75, None), None)
        assert found["without flip"] == ((0.5, 0.5), None)
    else:
        assert found["without flip"] == ((0.5, 0.5), -0.25)
        assert found["without crop"] == ((0.25, None), None)
    assert found["without mixup"][0] == (0.25, 0.25)
    assert {effect.variant for effect in effects if effect.mean is None} == {lost.replace("-", " ")}
    assert json.loads((tmp_path / "ablation.json").read_text())["effects"][0]["variant"] == "all"
    assert lines.count("training diverged: val_loss was never finite") == 1
    assert sum(line.startswith("warning: 1 image with copies under another") for line in lines) == 1


@pytest.mark.slow
def test_effects_are_paired_by_seed(series):
    out, effects, _ = series
    by_name = {effect.variant: effect for effect in effects}
    assert next(iter(by_name)) == "all"
    for name, base in (("without flip", "all"), ("mixup alone", "none")):
        effect = by_name[name]
        found = [
            json.loads((out / name.replace(" ", "-") / f"seed{seed}/metrics.json").read_text())
            for seed in range(2)
        ]
        assert effect.accuracies == tuple(run["validation"]["accuracy"] for run in found)
        pairs = np.subtract(effect.accuracies, by_name[base].accuracies)
        assert effect.difference == pytest.approx(pairs.mean())
        assert effect.interval == pytest.approx(
            stats.t.interval(0.95, 1, pairs.mean(), stats.sem(pairs))
            if pairs.std()
            else (pairs.mean(), pairs.mean())
        )
    assert by_name["all"].difference is None
    seeds = json.loads((out / "all/seed1/recipe.json").read_text())["training"]["seed"]
    assert seeds == 1
    stored = json.loads((out / "ablation.json").read_text())
    assert stored["effects"][1]["variant"] == "without flip"
    assert stored["validation_images"] == 30


@pytest.mark.slow
def test_finished_runs_are_read_and_interrupted_ones_go_on(series, small, tiny_source):
    out, effects, _ = series
    written = {path: path.stat().st_mtime_ns for path in out.glob("*/*/model.keras")}
    lost = next(path for path in written if "flip-alone/seed1" in path.as_posix()).parent
    for name in ("metrics.json", "model.keras"):
        (lost / name).unlink()
    recipe = small.override({"augmentation.crop_padding": 0})
    arguments = {"seeds": 2, "modes": ("without", "alone"), "progress": False}
    again = ablate(recipe, tiny_source, out, say=lambda line: None, **arguments)
    assert again == effects
    for path, time in written.items():
        assert (path.stat().st_mtime_ns == time) == (path.parent != lost)


@pytest.mark.slow
def test_another_recipe_or_other_images_in_the_folder(series, small, tiny_source):
    out, _, _ = series
    with pytest.raises(RunError, match="all/seed0 is a run of another recipe"):
        ablate(small, tiny_source, out, seeds=1, progress=False)
    recipe = small.override({"augmentation.crop_padding": 0})
    other = load_data(tiny_source, validation=0.2)
    with pytest.raises(RunError, match="all/seed0 is a run of other images"):
        ablate(recipe, other, out, seeds=1, progress=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seeds": 0}, "seeds must be an integer of at least 1, received: 0"),
        ({"modes": ("with",)}, "modes must be 'without' or 'alone'"),
        ({"modes": ()}, "modes must be"),
    ],
)
def test_bad_arguments(small, tiny_source, tmp_path, arguments, message):
    with pytest.raises(ConfigError, match=message):
        ablate(small, tiny_source, tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_runs_among_the_images_are_refused_before_these_are_read(small, tmp_path):
    for use in (ablate, functools.partial(search, trials=1)):
        with pytest.raises(RunError, match="lies in the folder of images"):
            use(small, tmp_path, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_recipe_without_augmentation(small, tiny_source, tmp_path):
    bare = dataclasses.replace(small, augmentation=AugmentationConfig(flip="none"))
    with pytest.raises(ConfigError, match="no augmentation switched on"):
        ablate(bare, tiny_source, tmp_path / "out")


def test_interval_is_students():
    values = [0.3, 0.5, 0.1, 0.2]
    expected = stats.t.interval(0.9, 3, np.mean(values), stats.sem(values))
    assert t_interval(values, 0.9) == pytest.approx(expected)
    assert t_interval([1.0]) is None


@pytest.mark.slow
def test_command(series, small, tiny_source, capsys, tmp_path):
    out, effects, _ = series
    recipe = tmp_path / "recipe.json"
    changed = small.override({"augmentation.crop_padding": 0})
    recipe.write_text(json.dumps(changed.to_dict()))
    command = ["ablate", str(recipe), tiny_source, "--out", str(out), "--seeds", "2"]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [Effect(**{**row, "accuracies": tuple(row["accuracies"])}).mean for row in found] == [
        effect.mean for effect in effects[:3]
    ]
    assert main(command) == 0
    table = capsys.readouterr().out
    assert "without mixup" in table
    assert f"{100 * effects[0].mean:.1f} %" in table
    assert main([*command, "--seeds", "0"]) == 2
    assert "seeds must be" in capsys.readouterr().err
