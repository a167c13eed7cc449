"""Splits: counts by class, seeds, and copies that stay together."""

import numpy as np
import pytest

from recipes.data.splitting import split_indices

FRACTIONS = {"validation": 0.1, "test": 0.1}

# images of the class: expected (train, validation, test)
COUNTS = {
    100: (80, 10, 10),
    14: (12, 1, 1),  # 1.4 rounds to 1
    15: (11, 2, 2),  # 1.5 rounds up
    4: (2, 1, 1),  # 0.4 rounds to 0, but each split gets one
    3: (1, 1, 1),
    2: (1, 1, 0),
    1: (1, 0, 0),
}


def test_counts_of_each_class():
    labels = np.repeat(np.arange(len(COUNTS)), list(COUNTS))
    parts = split_indices(labels, FRACTIONS, seed=5)
    assert list(parts) == ["train", "validation", "test"]
    together = np.concatenate(list(parts.values()))
    np.testing.assert_array_equal(np.sort(together), np.arange(len(labels)))
    for label, expected in enumerate(COUNTS.values()):
        assert tuple((labels[part] == label).sum() for part in parts.values()) == expected


@pytest.mark.parametrize(("validation", "test"), [(0.8, 0.19), (0.0, 0.3), (0.5, 0.0), (0.0, 0.0)])
def test_other_fractions(validation, test):
    labels = np.repeat([0, 1], 10)
    parts = split_indices(labels, {"validation": validation, "test": test}, seed=0)
    for label in (0, 1):
        counts = {name: int((labels[part] == label).sum()) for name, part in parts.items()}
        expected = {"validation": int(10 * validation), "test": int(10 * test + 0.5)}
        if test == 0.19:
            expected["test"] = 1  # Train keeps one.
        for name, count in expected.items():
            assert counts.get(name, 0) == count
        assert sum(counts.values()) == 10


def test_seed():
    labels = np.repeat(np.arange(5), 40)
    one, again, other = (split_indices(labels, FRACTIONS, seed=seed) for seed in (1, 1, 2))
    for name in one:
        np.testing.assert_array_equal(one[name], again[name])
    assert not np.array_equal(one["test"], other["test"])


def test_another_class_leaves_the_others_alone():
    labels = np.repeat(np.arange(3), 20)
    more = np.concatenate([labels, np.full(20, 3)])
    small, large = (split_indices(value, FRACTIONS, seed=0)["test"] for value in (labels, more))
    np.testing.assert_array_equal(small, large[large < 60])


def test_every_image_is_equally_likely_to_be_held_out():
    labels = np.zeros(20, int)
    times = np.zeros(20)
    for seed in range(400):
        times[split_indices(labels, {"test": 0.25}, seed=seed)["test"]] += 1
    # Binomial(400, 1/4): mean 100, standard deviation 8.7; five of these.
    assert abs(times - 100).max() < 44


@pytest.mark.parametrize("seed", range(20))
def test_copies_stay_together(seed):
    generator = np.random.default_rng(seed)
    groups = generator.integers(0, 60, 150)
    labels = groups % 3
    parts = split_indices(labels, FRACTIONS, seed=seed, groups=groups.tolist())
    homes = {name: set(groups[part]) for name, part in parts.items()}
    assert not homes["train"] & homes["validation"]
    assert not homes["train"] & homes["test"]
    assert not homes["validation"] & homes["test"]
    assert sum(map(len, parts.values())) == 150
    for label in range(3):
        images = (labels == label).sum()
        for name in ("validation", "test"):
            count = (labels[parts[name]] == label).sum()
            assert 1 <= count <= max(1, round(images * 0.1 + 0.01)), (name, label)


def test_large_groups():
    # Three groups of ten copies: more than a tenth each, yet each split gets one.
    groups = np.repeat([0, 1, 2], 10).tolist()
    parts = split_indices(np.zeros(30, int), FRACTIONS, seed=0, groups=groups)
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 10,
        "validation": 10,
        "test": 10,
    }
    # One image many times: it cannot be in two splits.
    parts = split_indices(np.zeros(30, int), FRACTIONS, seed=0, groups=[0] * 30)
    assert len(parts["train"]) == 30
