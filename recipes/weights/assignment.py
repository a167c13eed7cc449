"""Giving a model its weights all at once, or, if something does not fit, not at all."""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping

import keras
import numpy as np

from recipes.errors import ConfigError, nearest
from recipes.weights.report import WeightsReport
from recipes.weights.stem import adapt_channels, find_stem


@dataclasses.dataclass(frozen=True)
class Offer:
    """An array for one variable of a model.

    Attributes:
        name: What the file calls it.
        array: The values in Keras' layout, or `None` if the file does not have it.
        stored_shape: The shape in the file where that has another layout, for messages.
    """

    name: str
    array: np.ndarray | None
    stored_shape: tuple[int, ...] | None = None


def weighted_layers(model) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Give the layers of `model` that have weights, each with its name.

    The layers of a nested model come one by one, named `outer/inner`. A layer that is used twice
    comes once.
    """
    seen = set()

    def walk(current, prefix):
        for layer in current.layers:
            if isinstance(layer, keras.Model):
                yield from walk(layer, f"{prefix}{layer.name}/")
            elif layer.weights and id(layer) not in seen:
                seen.add(id(layer))
                yield prefix + layer.name, layer

    return walk(model, "")


def variables(layer) -> dict[str, keras.Variable]:
    """Return the variables of a layer by name: `kernel`, or `inner/kernel` in a composite."""
    names = [_name_in(layer, weight) for weight in layer.weights]
    if len(set(names)) < len(names):
        names = [f"{name}:{index}" for index, name in enumerate(names)]
    return dict(zip(names, layer.weights, strict=True))


def _name_in(layer, weight):
    """Return the path of a weight from its layer on."""
    if layer.path and weight.path.startswith(f"{layer.path}/"):
        return weight.path.removeprefix(f"{layer.path}/")
    # Made elsewhere, as by a composite that builds its parts beforehand.
    before, _, behind = f"/{weight.path}".partition(f"/{layer.name}/")
    return behind or before[1:]


def check_built(model) -> None:
    """Raise `ConfigError` unless all weights of `model` are there, and in layers."""
    known = {id(weight) for _, layer in weighted_layers(model) for weight in layer.weights}
    if not known:
        raise ConfigError(f"{model.name} has no weights; build it first, or call it once")
    for weight in model.weights:
        if id(weight) not in known:
            raise ConfigError(f"{model.name} has a weight outside of its layers: {weight.path}")


def check_names(model) -> None:
    """Raise `ConfigError` if two layers of `model` have one name, which tells them not apart."""
    names = [name for name, _ in weighted_layers(model)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(
            f"{model.name} has {names.count(twice)} layers with weights called {twice!r}: weights "
            "go by name, give each layer a name of its own"
        )


def has_automatic_names(model) -> bool:
    """Return whether Keras made up the name of some layer with weights, such as `conv2d_3`.

    Such a name counts what was built before, and so tells nothing about the place of the layer.
    """

    def automatic(layer):
        stem = re.sub(r"_\d+$", "", layer.name)
        return stem.replace("_", "") == type(layer).__name__.lower()

    return any(
        automatic(layer) or (isinstance(layer, keras.Model) and has_automatic_names(layer))
        for layer in model.layers
        if layer.weights
    )


def assign(
    model,
    offers: Mapping[str, Mapping[str, Offer]],
    available: Iterable[str],
    *,
    source: str,
    skip_mismatched: bool = False,
    channels: str = "adapt",
) -> WeightsReport:
    """Check all offers against the model, then set the variables.

    A layer is set as a whole: if one of its arrays does not fit, none of them is used.

    Args:
        model: A built model.
        offers: For each layer, the offer for each of its variables. Offers under other keys are
            of arrays that the file has for the layer, but the layer has no variable for.
        available: Every name in the file, for finding near ones and those that were not used.
        source: What to call the file in messages.
        skip_mismatched: Whether layers that do not fit keep their values; otherwise they are an
            error.
        channels: "adapt" or "exact": what happens to a stem made for other channels.

    Returns:
        The report. Nothing has changed if an error is raised.

    Raises:
        ConfigError: If a layer does not fit and `skip_mismatched` is false, or nothing fits, or
            the model is not built, or two of its layers have one name.
    """
    check_channels(channels)
    check_built(model)
    check_names(model)
    available = list(available)
    stem = find_stem(model) if channels == "adapt" else None
    used = {offer.name for offered in offers.values() for offer in offered.values()}
    spare = set(available) - _wanted_names(model, offers)
    chosen, skipped, notes = {}, {}, []
    for name, layer in weighted_layers(model):
        wanted = variables(layer)
        offered = dict(offers.get(name, {}))
        if stem is not None:
            notes += _adapt_stem(name, stem, wanted, offered)
        problem = _problem(name, wanted, offered, spare)
        if problem is None:
            chosen[name] = [(wanted[key], offered[key].array) for key in wanted]
        else:
            skipped[name] = problem
    if skipped and not (skip_mismatched and chosen):
        raise ConfigError(_refusal(model, source, skipped, chosen))
    for pairs in chosen.values():
        for variable, array in pairs:
            variable.assign(array)
    unused = tuple(name for name in available if name not in used)
    reasons = {name: reason.removeprefix(f"{name} ") for name, reason in skipped.items()}
    return WeightsReport(source, tuple(chosen), reasons, unused, tuple(notes))


def check_channels(channels: str) -> None:
    """Raise `ConfigError` unless `channels` is "adapt" or "exact"."""
    if channels not in ("adapt", "exact"):
        raise ConfigError(f"channels must be 'adapt' or 'exact', received: {channels!r}")


def _wanted_names(model, offers):
    """Return the names that some layer asks for, whether they are there or not."""
    return {
        offers[name][key].name
        for name, layer in weighted_layers(model)
        for key in variables(layer)
        if key in offers.get(name, {})
    }


def _adapt_stem(name, stem, wanted, offered):
    """Change what is offered for the stem's kernel to the model's channels; return notes on it."""
    for key, offer in offered.items():
        if wanted.get(key) is not stem.kernel or offer.array is None:
            continue
        adapted, how = adapt_channels(offer.array, tuple(stem.kernel.shape))
        if how is not None:
            offered[key] = dataclasses.replace(offer, array=adapted)
            return [f"{name}: {how}"]
    return []


def _problem(name, wanted, offered, spare):
    """Return what keeps a layer from taking its offers, or `None`.

    `spare` are the names that nothing asks for; a missing one may be among them, misspelt.
    """
    missing = [offer for key in wanted if (offer := offered.get(key)) and offer.array is None]
    extra = [offer.name for key, offer in offered.items() if key not in wanted]
    if len(offered) != len(wanted) or missing or extra:
        present = sum(offer.array is not None for offer in offered.values())
        arrays = "array" if len(wanted) == 1 else "arrays"
        problem = f"{name} takes {len(wanted)} {arrays}, the file holds {present}"
        if missing:
            return f"{problem} (no {missing[0].name!r}{nearest(missing[0].name, spare)})"
        return f"{problem} ({extra[0]!r} has no place)" if extra else problem
    for key, variable in wanted.items():
        offer, shape = offered[key], tuple(variable.shape)
        if tuple(offer.array.shape) != shape:
            stored = tuple(offer.array.shape) if offer.stored_shape is None else offer.stored_shape
            where = "" if offer.stored_shape is None else f" as {offer.name!r}"
            return f"{name} takes the shape {shape}, the file holds {stored}{where}"
        if not (np.issubdtype(offer.array.dtype, np.number) or offer.array.dtype == bool):
            return f"{name} takes numbers, the file holds {offer.array.dtype}"
    return None


def _refusal(model, source, skipped, chosen):
    """Return the message about layers that do not fit: the first, and how many more."""
    first, *others = skipped.values()
    more = {0: "", 1: "; 1 more layer does not fit"}.get(
        len(others), f"; {len(others)} more layers do not fit"
    )
    hint = "load_weights with skip_mismatched=True sets the others" if chosen else "nothing fits"
    return f"weights of {source} do not fit {model.name}: {first}{more} ({hint})"
