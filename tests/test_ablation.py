import dataclasses
import json
import types

import numpy as np
import pytest
from scipy import stats

from recipes import ablation, load_data
from recipes.ablation import Effect, ablate, augmentations, t_interval, variants
from recipes.cli import main
from recipes.config import AugmentationConfig
from recipes.errors import ConfigError, RunError


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


def test_seeds_begin_at_that_of_the_recipe(small, tiny_source, tmp_path, monkeypatch):
    asked = []

    def finished(recipe, data, directory, say, progress):
        asked.append((directory.name, recipe.training.seed))
        return types.SimpleNamespace(metrics={"validation": {"accuracy": 0.5}})

    monkeypatch.setattr(ablation, "_finished", finished)
    recipe = small.override({"training.seed": 5})
    ablate(recipe, tiny_source, tmp_path, seeds=2, say=lambda line: None)
    assert set(asked) == {("seed5", 5), ("seed6", 6)}
    assert json.loads((tmp_path / "ablation.json").read_text())["recipe"]["training"]["seed"] == 5


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
