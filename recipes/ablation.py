"""What each augmentation of a recipe is worth: train without it, or with it alone, and compare."""

import itertools
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from recipes.checks import whole_number
from recipes.config import Recipe
from recipes.errors import ConfigError, DivergedError
from recipes.files import write_json
from recipes.run import refuse_among_images

if TYPE_CHECKING:
    from recipes.data import ImageData

# What switches each augmentation off.
_OFF = {
    "flip": {"augmentation.flip": "none"},
    "crop": {"augmentation.crop_padding": 0},
    "cutout": {"augmentation.cutout": 0},
    "erasing": {"augmentation.erase_probability": 0.0},
    "policy": {"augmentation.policy": None},
    "mixup": {"augmentation.mixup_alpha": 0.0},
    "cutmix": {"augmentation.cutmix_alpha": 0.0},
    "label_smoothing": {"augmentation.label_smoothing": 0.0},
}
_MODES = ("without", "alone")
_BASES = {"without": "all", "alone": "none"}


@dataclass(frozen=True)
class Effect:
    """What one variant of a recipe reached, over seeds.

    Attributes:
        variant: `"all"`, `"none"`, `"without NAME"` or `"NAME alone"`.
        accuracies: Of the validation images, one a seed, in [0, 1]; `None` where training diverged.
        mean: Of the accuracies; `None` if one of them is.
        difference: Mean over seeds of the accuracy less that of the variant it is compared with
            (`"all"` or `"none"`) at the same seed; `None` for these two, and if an accuracy is.
        interval: 95 % interval of the difference: Student's t over the seeds. It holds what comes
            from initial weights, order and augmentation, for these images; `None` with one seed.
    """

    variant: str
    accuracies: tuple[float | None, ...]
    mean: float | None
    difference: float | None
    interval: tuple[float, float] | None


def augmentations(recipe: Recipe) -> list[str]:
    """Return the names of the augmentations that a recipe has switched on.

    Example:
        >>> from recipes import get_recipe
        >>> augmentations(get_recipe("fashion-mini"))
        ['flip', 'crop', 'cutout', 'label_smoothing']
    """
    if not recipe.augmentation.mix_probability:
        recipe = recipe.override(_OFF["mixup"] | _OFF["cutmix"])
    return [name for name, off in _OFF.items() if recipe.override(off) != recipe]


def variants(
    recipe: Recipe, modes: Sequence[Literal["without", "alone"]] = ("without",)
) -> dict[str, Recipe]:
    """Return the recipes to compare, by name of the variant.

    Args:
        recipe: Its augmentations that are on are studied.
        modes: `"without"`: all of them, then all but one; `"alone"`: none, then each by itself.

    Raises:
        ConfigError: If `modes` holds something else or nothing, or no augmentation is on.
    """
    unknown = [mode for mode in modes if mode not in _MODES]
    if unknown or not modes:
        raise ConfigError(f"modes must be 'without' or 'alone' or both, received: {modes!r}")
    names = augmentations(recipe)
    if not names:
        raise ConfigError(f"recipe {recipe.name} has no augmentation switched on to study")
    chosen = {}
    if "without" in modes:
        chosen["all"] = recipe
        chosen |= {f"without {name}": recipe.override(_OFF[name]) for name in names}
    if "alone" in modes:
        chosen["none"] = _without(recipe, names)
        chosen |= {
            f"{name} alone": _without(recipe, [other for other in names if other != name])
            for name in names
        }
    return chosen


def ablate(
    recipe: "Recipe | str",
    data: "ImageData | str",
    out: str | os.PathLike,
    *,
    seeds: int = 3,
    modes: Sequence[Literal["without", "alone"]] = ("without",),
    say: Callable[[str], None] | None = None,
    progress: bool = True,
) -> list[Effect]:
    """Train every variant over several seeds; compare validation accuracies seed by seed.

    The images and their split are the same for all runs, and so is everything of the recipe but
    the augmentation in question. The validation images judge, so that the test images stay unused
    for the choice that follows. Each run is a run directory `out/VARIANT/seedN`; those that are
    finished are read and one that was interrupted goes on, so a series that was killed can be
    started again. A run that diverges has no accuracy, and the series goes on. The result is
    written to `out/ablation.json`, too.

    Args:
        recipe: A `Recipe`, or the name of one in the catalogue.
        data: From `load_data`, or a source that it takes.
        out: Folder for the runs.
        seeds: Number of seeds, at least 1: the recipe's own and those that follow it.
        modes: As for `variants`.
        say: Receives a line before each run; default: standard error.
        progress: Show the progress of each training.

    Returns:
        One `Effect` a variant, the one compared with before those compared.

    Raises:
        ConfigError: If an argument is wrong.
        DataError: If the images cannot be used.
        RunError: If `out` lies among the images, or holds a run of another recipe or other images.

    Example:
        >>> effects = ablate("fashion-mini", "fashion-mini", "runs/ablation")  # doctest: +SKIP
    """
    from recipes.data.problems import say_problems
    from recipes.training import load_recipe_data, resolve_recipe, say_to_stderr

    say = say or say_to_stderr
    recipe = resolve_recipe(recipe)
    seeds = whole_number("seeds", seeds, 1)
    chosen = variants(recipe, modes)
    refuse_among_images(out, data)
    data = load_recipe_data(recipe, data)
    say_problems(data, say)
    accuracies = {}
    for variant, changed in chosen.items():
        accuracies[variant] = []
        first = recipe.training.seed
        for seed in range(first, first + seeds):
            say(f"{variant}, seed {seed}")
            directory = Path(out, variant.replace(" ", "-"), f"seed{seed}")
            seeded = changed.override({"training.seed": seed})
            accuracies[variant].append(_accuracy(seeded, data, directory, say, progress))
    effects = _effects(accuracies)
    write_json(
        Path(out, "ablation.json"),
        {
            "recipe": recipe.to_dict(),
            "source": data.source,
            "fingerprint": data.fingerprint,
            "validation_images": len(data.splits["validation"]),
            "seeds": seeds,
            "effects": [asdict(effect) for effect in effects],
        },
    )
    return effects


def _accuracy(recipe, data, directory, say, progress):
    """Return what the run of a recipe in a folder reached: read, gone on with, or trained."""
    from recipes.training import train

    begun = (directory / "recipe.json").exists()
    try:
        run = train(recipe, data, directory, resume=begun, say=say, progress=progress)
    except DivergedError as error:
        say(str(error))
        return None
    return run.metrics["validation"]["accuracy"]


def _without(recipe, names):
    for name in names:
        recipe = recipe.override(_OFF[name])
    return recipe


def _effects(accuracies):
    effects = []
    for variant, values in accuracies.items():
        base = _BASES["alone" if variant.endswith(" alone") else "without"]
        difference = interval = None
        if variant not in _BASES.values():
            pairs = list(zip(values, accuracies[base], strict=True))
            if None not in itertools.chain(*pairs):
                differences = [one - other for one, other in pairs]
                difference, interval = statistics.mean(differences), t_interval(differences)
        mean = None if None in values else statistics.mean(values)
        effects.append(Effect(variant, tuple(values), mean, difference, interval))
    return effects


def t_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Return Student's interval of the mean of a few values, or `None` for one alone.

    Example:
        >>> low, high = t_interval([1.0, 2.0, 3.0])
        >>> round(low, 3), round(high, 3)
        (-0.484, 4.484)
    """
    from scipy import stats

    if len(values) < 2:
        return None
    error = statistics.stdev(values) / len(values) ** 0.5
    reach = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1)) * error
    mean = statistics.mean(values)
    return mean - reach, mean + reach
