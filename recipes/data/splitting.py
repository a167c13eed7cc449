"""Seeded, stratified splits that never part two copies of one image."""

from collections.abc import Sequence

import numpy as np


def split_indices(
    labels: np.ndarray,
    fractions: dict[str, float],
    *,
    seed: int,
    groups: Sequence[object] | None = None,
) -> dict[str, np.ndarray]:
    """Part images into `"train"` and the named splits, class by class.

    Rounding: of a class with `n` images a split with fraction `f` gets `floor(n f + 1/2)`, but at
    least one if the class has at least as many different images as there are splits, train
    included; train keeps the rest and at least one. A class with fewer images than splits fills
    train first, then the splits in the order given. Images of one group go to one side together,
    as a group no larger than what is still wanted, so counts may fall short where groups are
    large. Each class draws from its own stream, `PCG64([seed, class])`: adding a class after
    the others leaves their splits as they were.

    Args:
        labels: Integers `(n,)`, the class of each image.
        fractions: Split name to fraction of all images, each in [0, 1), with a sum under 1.
        seed: Not negative.
        groups: A key an image; images with equal keys stay together. A group with two labels
            follows its first. None: each image is alone.

    Returns:
        Split name to sorted indices, int64; `"train"` first. Together they are all indices.

    Example:
        >>> parts = split_indices(np.repeat([0, 1], 50), {"test": 0.1}, seed=0)
        >>> [len(part) for part in parts.values()]
        [90, 10]
    """
    fractions = {name: fraction for name, fraction in fractions.items() if fraction > 0}
    members: dict[object, list[int]] = {}
    for index in range(len(labels)):
        members.setdefault(index if groups is None else groups[index], []).append(index)
    by_class: dict[int, list[list[int]]] = {}
    for group in members.values():
        by_class.setdefault(int(labels[group[0]]), []).append(group)

    chosen: dict[str, list[int]] = {"train": [], **{name: [] for name in fractions}}
    for label in sorted(by_class):
        generator = np.random.Generator(np.random.PCG64([seed, label]))
        order = generator.permutation(len(by_class[label]))
        parts = _split_class([by_class[label][position] for position in order], fractions)
        for name, part in parts.items():
            for group in part:
                chosen[name].extend(group)
    return {name: np.array(sorted(indices), np.int64) for name, indices in chosen.items()}


def _split_class(
    groups: list[list[int]], fractions: dict[str, float]
) -> dict[str, list[list[int]]]:
    """Part the shuffled groups of one class."""
    images = sum(map(len, groups))
    spare = len(groups) - 1  # Train keeps at least one group.
    parts: dict[str, list[list[int]]] = {}
    rest = groups
    for position, (name, fraction) in enumerate(fractions.items()):
        # Leave a group for each split that is still to come, where there are enough.
        later = len(fractions) - position - 1
        allowed = max(spare - later, min(spare, 1))
        wanted = int(np.floor(images * fraction + 0.5))
        taken, rest = _take(rest, max(wanted, 1), allowed)
        parts[name] = taken
        spare -= len(taken)
    return {"train": rest, **parts}


def _take(
    groups: list[list[int]], wanted: int, allowed: int
) -> tuple[list[list[int]], list[list[int]]]:
    """Take groups in order until `wanted` images are taken, at most `allowed` groups."""
    taken: list[list[int]] = []
    rest: list[list[int]] = []
    for group in groups:
        if len(taken) < allowed and len(group) <= wanted:
            taken.append(group)
            wanted -= len(group)
        else:
            rest.append(group)
    if not taken and allowed > 0:
        # Every group is larger than what was wanted: the smallest is nearest.
        smallest = min(range(len(rest)), key=lambda position: len(rest[position]))
        taken.append(rest.pop(smallest))
    return taken, rest
