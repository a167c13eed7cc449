"""Checks of images and labels: each fault provoked in arrays, and none where there is none."""

import numpy as np
import pytest

from recipes.diagnosis import data_checks

CLASSES = 4


def make(count=128, size=16, labels=None, seed=0):
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, 6, 6, 1)).astype("uint8")
    labels = generator.integers(0, CLASSES, count) if labels is None else np.asarray(labels)
    return [
        (images[start : start + size], labels[start : start + size], None)
        for start in range(0, count, size)
    ]


def every(batches, width=CLASSES, kind="sparse", input_range=(0, 255), normalized=()):
    findings = list(data_checks.check_images(batches, input_range))
    labels = list(data_checks.check_labels(batches, width, kind))
    findings += labels
    if not labels:
        findings += data_checks.check_order(batches, width)
    return findings + list(data_checks.check_batch_sizes(batches, normalized))


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_found_in_sound_data(seed):
    assert not every(make(seed=seed))


def test_nothing_is_found_in_rows_and_floats():
    batches = [
        (images / np.float32(255), np.eye(CLASSES)[labels] * 0.9 + 0.1 / CLASSES, None)
        for images, labels, _ in make()
    ]
    assert not every(batches, kind="categorical", input_range=(0, 1))


def changed(change):
    batches = [(images.astype("float32"), labels, None) for images, labels, _ in make()]
    change(batches)
    return batches


def set_nan(batches):
    batches[1][0][3, 2, 2] = np.nan


def blacken(batches):
    batches[2][0][5] = 0


def blacken_all(batches):
    for images, *_ in batches:
        images[:] = 7


def divide(batches):
    for images, *_ in batches:
        images /= 255


def stretch(batches):
    for images, *_ in batches:
        images *= 255


def repeat(batches):
    batches[4] = batches[1]


def copy(batches):
    batches[4][0][:3] = batches[1][0][:3]


def rows(function):
    def change(batches):
        batches[:] = [(images, function(np.eye(CLASSES)[k]), None) for images, k, _ in batches]

    return change


def labels(function):
    def change(batches):
        batches[:] = [(images, function(k), None) for images, k, _ in batches]

    return change


def cut(batches):
    images, labels, _ = batches[-1]
    batches[-1] = images[:1], labels[:1], None


FAULTS = [
    (set_nan, "images_not_finite", "error", "sparse"),
    (blacken, "constant_images", "warning", "sparse"),
    (blacken_all, "constant_images", "error", "sparse"),
    (divide, "input_range", "error", "sparse"),
    (stretch, "input_range", "error", "sparse"),
    (repeat, "repeated_batches", "warning", "sparse"),
    (copy, "copied_images", "warning", "sparse"),
    (labels(lambda k: k + 1), "labels_out_of_range", "error", "sparse"),
    (labels(lambda k: k - 1), "labels_out_of_range", "error", "sparse"),
    (labels(lambda k: k + 0.5), "labels_not_whole", "error", "sparse"),
    (labels(lambda k: k * np.nan), "labels_not_finite", "error", "sparse"),
    (labels(lambda k: k * 0), "one_class", "error", "sparse"),
    (labels(lambda k: k), "labels_shape", "error", "categorical"),
    (rows(lambda r: r), "labels_shape", "error", "sparse"),
    (rows(lambda r: r[:, :3]), "labels_shape", "error", "categorical"),
    (rows(lambda r: r * 0.5), "labels_do_not_sum_to_one", "error", "categorical"),
    (rows(lambda r: r * 2 - 0.5), "labels_out_of_range", "error", "categorical"),
    (cut, "last_batch_of_one", "warning", "sparse"),
]


@pytest.mark.parametrize(("change", "name", "severity", "kind"), FAULTS)
def test_a_fault_is_found_by_name(change, name, severity, kind):
    found = {finding.name: finding for finding in every(changed(change), kind=kind)}
    assert name in found
    assert found[name].severity == severity
    assert found[name].advice
    assert "\n" not in found[name].message


@pytest.mark.parametrize(
    ("order", "name", "severity"),
    [
        (np.repeat(np.arange(4), 32), "one_class_a_batch", "error"),
        # Sorted within runs of 6, so that no batch is pure.
        (np.repeat(np.arange(22) % 4, 6)[:128], "not_shuffled", "warning"),
        ([0] * 123 + [1, 2, 3, 1, 2], "one_class_a_batch", "error"),
    ],
)
def test_order(order, name, severity):
    found = {finding.name: finding for finding in every(make(labels=order))}
    assert found[name].severity == severity


@pytest.mark.parametrize(
    ("shares", "name"),
    [((0.6, 0.3, 0.08, 0.02), "imbalanced"), ((0.5, 0.3, 0.2, 0), "absent_classes")],
)
def test_balance(shares, name):
    counts = np.round(np.array(shares) * 128).astype(int)
    counts[0] += 128 - counts.sum()
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(4), counts))
    found = {finding.name: finding for finding in every(make(labels=order))}
    assert found[name].figures["counts"] == counts.tolist()


def test_a_few_images_say_nothing_of_balance():
    assert not every(make(count=8, size=8, labels=[0, 1, 0, 0, 1, 1, 0, 0]))


def test_batches_of_one_and_batch_normalisation():
    batches = make(count=8, size=1)
    found = list(data_checks.check_batch_sizes(batches, ["norm"]))
    assert [finding.name for finding in found] == ["batch_norm_one_image"]
    assert not list(data_checks.check_batch_sizes(batches, []))


def test_neighbour_score_is_that_of_permutations():
    """The share of equal neighbours over random orders has about the mean and deviation used."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), [40, 30, 20, 20, 10])
    scores = [data_checks.neighbour_score(generator.permutation(labels)) for _ in range(2000)]
    assert np.mean(scores) == pytest.approx(0, abs=0.1)
    assert np.std(scores) == pytest.approx(1, abs=0.15)
