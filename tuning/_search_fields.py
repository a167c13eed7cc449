"""What a space may name: the fields of a recipe, short names for them, and two that stand for more.

`model.depth` chooses the network of the recipe's family that has so many layers.
`augmentation.strength` multiplies how much the augmentations of a recipe do: 0 for none of them but
flips, which have no more or less, 1 for the recipe as it is.
"""

import dataclasses
import re
import typing
from collections.abc import Mapping
from typing import Any

from recipes.config import Recipe
from recipes.errors import ConfigError, nearest

DEPTH, STRENGTH = "model.depth", "augmentation.strength"
# Type of the fields that stand for others.
DERIVED = {DEPTH: int, STRENGTH: float}
# A section alone means what it is named after.
_SECTIONS = {"optimizer": "optimizer.name", "schedule": "schedule.name", "model": "model.name"}
_SCALED = ("crop_padding", "cutout", "erase_probability", "mix_probability", "policy")
# The largest magnitude of RandAugment's tables, and the one that it has by itself.
_LARGEST_MAGNITUDES = {"torchvision": 30, "timm": 10}
_MAGNITUDE = 9


def full_name(field: str) -> str:
    """Return the field that a name in a space means.

    Args:
        field: `"optimizer.learning_rate"`, or short `"learning_rate"` where only one section has
            it; `"optimizer"` for its name; `"augment."` for `"augmentation."`.

    Raises:
        ConfigError: If there is none, with the nearest.

    Example:
        >>> full_name("batch_size"), full_name("optimizer"), full_name("augment.strength")
        ('training.batch_size', 'optimizer.name', 'augmentation.strength')
    """
    known = _known()
    name = re.sub(r"^augment\.", "augmentation.", str(field))
    if name in known:
        return name
    found = [full for full in known if full.partition(".")[2] == name]
    if name in _SECTIONS or len(found) == 1:
        return _SECTIONS.get(name) or found[0]
    if found:
        raise ConfigError(f"{field!r} may be {' or '.join(found)}: name one of them")
    short = [full.partition(".")[2] for full in known]
    raise ConfigError(
        f"unknown field {field!r}{nearest(name, known if '.' in name else [*known, *short])}"
    )


def _known() -> list[str]:
    sections = typing.get_type_hints(Recipe)
    fields = [
        f"{section}.{name}"
        for section, kind in sections.items()
        if dataclasses.is_dataclass(kind)
        for name in typing.get_type_hints(kind)
    ]
    # Those that cannot be varied either: the space says why.
    plain = [name for name, kind in sections.items() if not dataclasses.is_dataclass(kind)]
    return [*fields, *plain, *DERIVED]


def own_value(recipe: Recipe, field: str) -> Any:
    """Return what a recipe has in a field; of a network without a depth in its name, `None`."""
    if field == STRENGTH:
        return 1.0
    if field == DEPTH:
        parts = _name_parts(recipe.model.name)
        return int(parts[1]) if parts else None
    section, name = field.split(".")
    return getattr(getattr(recipe, section), name)


def derived_value(field: str, value: Any) -> Any:
    """Return a value of `model.depth` or `augmentation.strength`, or refuse it."""
    words = {DEPTH: "a whole number above 0", STRENGTH: "a number of 0 or more"}
    try:
        found = DERIVED[field](value) if isinstance(value, str) else value
    except ValueError:
        found = None
    is_number = isinstance(found, (int, float)) and not isinstance(found, bool)
    if not is_number or found < (1 if field == DEPTH else 0) or found != DERIVED[field](found):
        raise ConfigError(f"{field} must be {words[field]}, received: {value!r}")
    return DERIVED[field](found)


def with_values(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """Return a recipe with some fields changed, those that stand for others last.

    Raises:
        ConfigError: As `Recipe.override`; if there is no network of a depth.
    """
    found = recipe.override({name: value for name, value in values.items() if name not in DERIVED})
    if DEPTH in values:
        found = found.override({"model.name": _of_depth(found.model.name, values[DEPTH])})
    if STRENGTH in values:
        found = found.override(_scaled(found, values[STRENGTH]))
    return found


def check_derived(recipe: Recipe, dimensions: Mapping[str, Any]) -> None:
    """Refuse a depth that a recipe's family has not, or a strength of nothing.

    Raises:
        ConfigError: If so.
    """
    if DEPTH in dimensions:
        for depth in dimensions[DEPTH].values:
            _of_depth(recipe.model.name, depth)
    varied = any(f"augmentation.{name}" in dimensions for name in _SCALED)
    if STRENGTH in dimensions and not varied and not _scaled(recipe, 2.0):
        raise ConfigError(
            f"{STRENGTH} has nothing to scale in {recipe.name}: it has no crop_padding, cutout, "
            "erase_probability, mixup, cutmix or randaugment"
        )


def _name_parts(name: str) -> tuple[str, str, str] | None:
    """Return what is before the depth in the name of a network, the depth and what is after.

    Example:
        >>> _name_parts("wide_resnet28_10")
        ('wide_resnet', '28', '_10')
    """
    match = re.fullmatch(r"(\D*?[a-zA-Z])(\d+)(.*)", name)
    return match.groups() if match else None


def _of_depth(name: str, depth: int) -> str:
    from recipes.models import list_models

    parts = _name_parts(name)
    if parts is None:
        raise ConfigError(f"{DEPTH}: {name} has no depth in its name; vary model.name")
    known = {}
    for other in list_models():
        of_other = _name_parts(other)
        if of_other and (of_other[0], of_other[2]) == (parts[0], parts[2]):
            known[int(of_other[1])] = other
    if depth not in known:
        raise ConfigError(
            f"{DEPTH}: no {parts[0]}{depth}{parts[2]}; there are "
            f"{', '.join(map(str, sorted(known))) or 'none'}"
        )
    return known[depth]


def _scaled(recipe: Recipe, strength: float) -> dict[str, Any]:
    """Return the fields of a recipe's augmentation that a strength changes."""
    chosen = recipe.augmentation
    found: dict[str, Any] = {
        name: round(getattr(chosen, name) * strength)
        for name in ("crop_padding", "cutout")
        if getattr(chosen, name)
    }
    if chosen.erase_probability:
        found["erase_probability"] = min(1.0, chosen.erase_probability * strength)
    if chosen.mixup_alpha or chosen.cutmix_alpha:
        found["mix_probability"] = min(1.0, chosen.mix_probability * strength)
    policy = _scaled_policy(chosen.policy, strength)
    if policy is not None:
        # At a magnitude of 0 RandAugment still posterizes, equalizes and the like.
        found["policy"] = policy if strength else None
    return {f"augmentation.{name}": value for name, value in found.items()}


def _scaled_policy(policy: str | None, strength: float) -> str | None:
    """Return RandAugment of another magnitude; `None` for a policy that has none.

    Example:
        >>> _scaled_policy("randaugment(n=2, m=9)", 1.5), _scaled_policy("randaugment", 0.5)
        ('randaugment(n=2, m=14)', 'randaugment(m=4)')
    """
    match = re.fullmatch(r"\s*randaugment\s*(?:\((.*)\))?\s*", policy or "")
    if match is None:
        return None
    inside = match.group(1) or ""
    table = "timm" if re.search(r"\btable\s*=\s*['\"]timm", inside) else "torchvision"
    given = re.search(r"\bm\s*=\s*([\d.]+)", inside)
    own = float(given.group(1)) if given else _MAGNITUDE
    text = f"m={min(round(own * strength), _LARGEST_MAGNITUDES[table])}"
    if given:
        inside = inside[: given.start()] + text + inside[given.end() :]
    else:
        inside = ", ".join(part for part in (inside.strip(), text) if part)
    return f"randaugment({inside})"
