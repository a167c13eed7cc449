"""Walks over the layers of a model, nested models and composite layers opened."""

import collections
from collections.abc import Iterable, Iterator

import keras


def walk(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """Yield `layer` and every layer inside it, each before what it holds, each once."""
    seen = set()
    # A stack, not recursion: what is inside a layer follows it directly.
    waiting = [layer]
    while waiting:
        current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting.extend(reversed(list(sublayers(current))))


def sublayers(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """Yield the layers of a model in order, or those that another layer has as attributes."""
    if isinstance(layer, keras.Model):
        yield from layer.layers
        return
    for value in vars(layer).values():
        if isinstance(value, dict):
            leaves = list(value.values())
        else:
            leaves = value if isinstance(value, list | tuple) else [value]
        for leaf in leaves:
            if isinstance(leaf, keras.layers.Layer):
                yield leaf


def frozen_weights(model: keras.Model) -> set[int]:
    """Return the `id` of each weight that no training step can change.

    Those are the weights of layers with `trainable=False`, but for single ones that were made
    trainable. A moving statistic of a trainable layer is not among them: it is not trained, but
    it moves.
    """
    frozen, moving = set(), set()
    for layer in walk(model):
        children = list(sublayers(layer))
        inner = {id(weight) for child in children for weight in child.weights}
        own = [weight for weight in layer.weights if id(weight) not in inner]
        for weight in own:
            still = not layer.trainable and not weight.trainable
            (frozen if still else moving).add(id(weight))
    return frozen - moving


def numbered(names: Iterable[str]) -> list[str]:
    """Return names of which one that comes again has its number behind it.

    Layers of different branches may have one path.

    Example:
        >>> numbered(["dense", "conv", "dense"])
        ['dense', 'conv', 'dense#2']
    """
    seen = collections.Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return found
