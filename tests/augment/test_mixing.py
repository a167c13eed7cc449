import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from augment import cutmix, mixup, mixup_or_cutmix

OPERATIONS = {"mixup": mixup, "cutmix": cutmix, "either": mixup_or_cutmix}


def partners_of(shares):
    """Return the partner of each image from a matrix: share of image `j` in result `i`."""
    others = shares - np.diag(np.diag(shares))
    assert ((others > 0).sum(1) <= 1).all()
    return np.where(others.any(1), others.argmax(1), -1)


@pytest.mark.parametrize("mode", ["element", "batch", "pair"])
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.sampled(2)
def test_targets_are_the_shares_of_the_pixels(sources, name, mode):
    images = sources(9)
    mixed, targets = OPERATIONS[name](images, np.arange(9), [4, 1], classes=9, mode=mode)
    shares = mixed.numpy().mean((1, 2)) / 255
    np.testing.assert_allclose(targets, shares, atol=1e-6)
    np.testing.assert_allclose(targets.numpy().sum(1), 1, atol=1e-6)
    weights = np.diag(targets.numpy())
    assert len(set(weights)) == 1 if mode == "batch" else len(set(weights)) > 3


@pytest.mark.parametrize("batch", [2, 7])
def test_every_image_is_the_partner_of_one_other(sources, batch):
    seen = set()
    for step in range(20):
        mixed, _ = mixup(
            sources(batch, 1, 1), np.arange(batch), [0, step], alpha=5.0, classes=batch
        )
        partners = partners_of(mixed.numpy()[:, 0, 0])
        assert sorted(partners) == list(range(batch))
        assert not (partners == np.arange(batch)).any()
        seen.add(tuple(partners))
    assert len(seen) == batch - 1


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("batch", [6, 7])
@pytest.mark.sampled(1)
def test_pairs_get_each_others_part(random_images, name, batch):
    images = random_images(batch).astype("float32")
    last, middles, kinds = batch - 1, set(), set()
    for step in range(6):
        mixed, targets = OPERATIONS[name](
            images, np.arange(batch), [3, step], classes=batch, mode="pair", probability=0.8
        )
        np.testing.assert_allclose(mixed + mixed[::-1], images + images[::-1], atol=1e-3)
        np.testing.assert_array_equal(targets, targets.numpy()[::-1, ::-1])
        for own, (result, target) in enumerate(zip(mixed.numpy(), targets.numpy(), strict=True)):
            assert set(np.flatnonzero(target)) <= {own, last - own}
            changed = (result != images[own]).any(-1)
            kinds |= {bool(changed.any())}
            if own == last - own:
                middles.add(bool(changed.any()))
            elif name == "cutmix":
                np.testing.assert_array_equal(result[changed], images[last - own][changed])
                np.testing.assert_array_equal(
                    changed, (mixed[last - own] != images[last - own]).numpy().any(-1)
                )
    assert kinds == {True, False}
    assert middles == ({False} if batch % 2 else set())


class TestMixUp:
    @pytest.mark.parametrize("batch", [2, 33])
    def test_uint8_is_rounded_to_nearest(self, random_images, batch):
        images = random_images(batch)
        mixed, targets = mixup(images, np.arange(batch), [1, 2], alpha=1.0, classes=batch)
        targets = targets.numpy().astype(np.float64)
        for own, (result, weights) in enumerate(zip(mixed.numpy(), targets, strict=True)):
            other = (weights * (np.arange(batch) != own)).argmax()
            exact = weights[own] * images[own] + weights[other] * images[other]
            np.testing.assert_array_equal(result, np.floor(exact + 0.5))

    @pytest.mark.parametrize("alpha", [0.2, 1.0])
    def test_weights_follow_beta(self, random_images, alpha):
        images = random_images(2000, 1, 1, 1)
        labels = np.arange(2000) % 2
        weights = []
        # Labels alternate, so an odd shift mixes two classes and the target shows the weight.
        for step in range(6):
            _, targets = mixup(images, labels, [1, step], alpha=alpha, classes=2)
            if (targets.numpy().max(1) < 1).mean() > 0.4:
                weights.append(targets.numpy()[np.arange(2000), labels])
        weights = np.concatenate(weights)
        assert weights.size >= 2000
        # Weights are multiples of 2**-16: compare with so rounded draws of another generator.
        expected = np.random.default_rng(0).beta(alpha, alpha, 50_000)
        expected = np.round(expected * 2**16) / 2**16
        assert stats.ks_2samp(weights, expected).pvalue > 0.001

    def test_strength_zero_changes_nothing(self, random_images):
        images = random_images(5)
        for arguments in ({"alpha": 0.0}, {"probability": 0.0}):
            mixed, targets = mixup(images, [0, 1, 2, 0, 1], [1, 2], classes=3, **arguments)
            np.testing.assert_array_equal(mixed, images)
            np.testing.assert_array_equal(targets, np.eye(3)[[0, 1, 2, 0, 1]])


class TestCutMix:
    def test_pixels_come_from_one_box_of_the_partner(self, random_images):
        batch, height, width = 31, 9, 12
        images = random_images(batch, height, width)
        mixed, targets = cutmix(images, np.arange(batch), [1, 2], classes=batch)
        partners = partners_of(targets.numpy())
        for own, other in enumerate(partners):
            result, mask = mixed[own].numpy(), np.zeros((height, width), bool)
            if other >= 0:
                mask = (result == images[other]).all(-1)
                rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
                assert mask.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
            np.testing.assert_array_equal(result[~mask], images[own][~mask])
            assert targets[own, own] == np.float32(1 - mask.mean())

    def test_boxes_follow_the_paper(self, sources):
        size, alpha, kept = 16, 1.0, []
        images = sources(50, size, size)
        for step in range(20):
            _, targets = cutmix(images, np.arange(50), [2, step], alpha=alpha, classes=50)
            kept += list(np.diag(targets.numpy()))
        generator, expected = np.random.default_rng(1), []
        for _ in range(5000):
            side = int(size * np.sqrt(1 - generator.beta(alpha, alpha)))
            centres = generator.integers(size, size=2)
            starts = centres - side // 2
            sides = np.minimum(starts + side, size) - np.maximum(starts, 0)
            expected.append(1 - sides.prod() / size**2)
        assert stats.ks_2samp(kept, expected).pvalue > 0.001

    def test_boxes_of_stated_sides(self, sources):
        """Heights and widths each take all values alike often, and so do the places."""
        images, seen = sources(90, 10, 20), []
        for step in range(8):
            mixed, targets = cutmix(
                images, np.arange(90), [5, step], classes=90, minmax=(0.25, 0.5)
            )
            own = mixed.numpy()[np.arange(90), :, :, np.arange(90)] == 0
            np.testing.assert_allclose(np.diag(targets), 1 - own.mean((1, 2)), atol=1e-6)
            for mask in own:
                rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
                assert mask.sum() == rows.size * columns.size
                seen.append((rows.size, columns.size, rows[0], columns[0]))
        heights, widths, tops, lefts = np.transpose(seen)
        expected = {"height": (heights, range(2, 6)), "width": (widths, range(5, 11))}
        for height in range(2, 6):
            expected[f"top at {height}"] = (tops[heights == height], range(11 - height))
        expected["left at 7"] = (lefts[widths == 7], range(14))
        for values, allowed in expected.values():
            counts = np.array([(values == value).sum() for value in allowed])
            assert counts.sum() == values.size
            assert stats.chisquare(counts).pvalue > 0.001

    def test_stated_sides_of_one_size(self, sources):
        _, targets = cutmix(sources(6, 8, 8), np.arange(6), [0, 0], classes=6, minmax=(0.5, 0.5))
        np.testing.assert_allclose(np.diag(targets), 0.75)
        halves = {"mixup_alpha": 1000.0, "minmax": (0.5, 0.5)}
        mixed, _ = mixup_or_cutmix(sources(40, 8, 8), np.arange(40), [0, 0], classes=40, **halves)
        cut = (mixed.numpy()[np.arange(40), :, :, np.arange(40)] == 0).sum((1, 2))
        assert set(cut) == {0, 16}

    @pytest.mark.parametrize("minmax", [(0, 0.5), (0.5, 1.1), (0.6, 0.5), 0.5, (0.1, 0.2, 0.3)])
    def test_bad_sides(self, random_images, minmax):
        with pytest.raises(ValueError, match="minmax"):
            cutmix(random_images(2), [0, 1], [1, 2], classes=2, minmax=minmax)

    def test_sides_without_cutmix(self, random_images):
        with pytest.raises(ValueError, match="minmax is of CutMix: alpha must be above 0"):
            cutmix(random_images(2), [0, 1], [1, 2], classes=2, alpha=0, minmax=(0.2, 0.8))
        with pytest.raises(ValueError, match="minmax is of CutMix: cutmix_alpha must be above 0"):
            mixup_or_cutmix(random_images(2), [0, 1], [1, 2], cutmix_alpha=0, minmax=(0.2, 0.8))

    def test_strength_zero_changes_nothing(self, random_images):
        images = random_images(5)
        for arguments in ({"alpha": 0.0}, {"probability": 0.0}):
            mixed, targets = cutmix(images, [0, 1, 2, 0, 1], [1, 2], classes=3, **arguments)
            np.testing.assert_array_equal(mixed, images)
            np.testing.assert_array_equal(targets, np.eye(3)[[0, 1, 2, 0, 1]])


class TestMixUpOrCutMix:
    @pytest.mark.parametrize(("switch", "probability"), [(0.5, 1.0), (0.25, 0.6), (1.0, 0.5)])
    @pytest.mark.sampled(1)
    def test_chances(self, sources, switch, probability):
        # Alphas so large that weights are near 1/2: each kind is then seen in every image.
        counts = np.zeros(3)
        for step in range(20):
            mixed, _ = mixup_or_cutmix(
                sources(50, 4, 4),
                np.arange(50),
                [3, step],
                mixup_alpha=1000.0,
                cutmix_alpha=1000.0,
                switch_probability=switch,
                probability=probability,
                classes=50,
            )
            own = mixed.numpy()[np.arange(50), :, :, np.arange(50)]
            is_blended = ((own > 50) & (own < 205)).all((1, 2))
            is_cut = (own == 0).any((1, 2))
            assert not (is_blended & is_cut).any()
            counts += [is_cut.sum(), is_blended.sum(), (own == 255).all((1, 2)).sum()]
        chances = [switch * probability, (1 - switch) * probability, 1 - probability]
        for count, chance in zip(counts, chances, strict=True):
            assert stats.binomtest(int(count), 1000, chance).pvalue > 0.001

    def test_one_alone_is_that_operation(self, random_images):
        images, labels = random_images(12), np.arange(12) % 4
        for alone, both in (
            (mixup, {"mixup_alpha": 0.4, "cutmix_alpha": 0.0}),
            (cutmix, {"mixup_alpha": 0.0, "cutmix_alpha": 0.4}),
        ):
            expected = alone(images, labels, [1, 2], alpha=0.4, classes=4)
            found = mixup_or_cutmix(images, labels, [1, 2], classes=4, **both)
            for one, other in zip(expected, found, strict=True):
                np.testing.assert_array_equal(one, other)

    def test_batch_mode_makes_one_choice(self, sources):
        kinds = set()
        for step in range(20):
            mixed, _ = mixup_or_cutmix(
                sources(6), np.arange(6), [3, step], mixup_alpha=5.0, classes=6, mode="batch"
            )
            own = mixed.numpy()[np.arange(6), :, :, np.arange(6)]
            is_blended = ((own > 0) & (own < 255)).all((1, 2))
            assert is_blended.all() or not is_blended.any()
            kinds.add(bool(is_blended.all()))
        assert kinds == {True, False}


@pytest.mark.parametrize("name", OPERATIONS)
class TestAll:
    def test_a_batch_of_one_is_returned(self, random_images, name):
        images = random_images(1)
        mixed, targets = OPERATIONS[name](images, [2], [1, 2], classes=3)
        np.testing.assert_array_equal(mixed, images)
        np.testing.assert_array_equal(targets, [[0, 0, 1]])

    def test_whole_numbers_rows_and_columns_are_the_same(self, random_images, name):
        images, labels = random_images(6), np.array([0, 1, 2, 2, 1, 0])
        results = [
            OPERATIONS[name](images, given, [1, 2], classes=3)
            for given in (labels, labels[:, None], np.eye(3)[labels], np.eye(3, dtype=int)[labels])
        ]
        for mixed, targets in results:
            assert targets.dtype == tf.float32
            np.testing.assert_array_equal(mixed, results[0][0])
            np.testing.assert_array_equal(targets, results[0][1])

    def test_smoothing(self, random_images, name):
        images, labels = random_images(6), [0, 1, 2, 2, 1, 0]
        _, hard = OPERATIONS[name](images, labels, [1, 2], classes=3)
        _, soft = OPERATIONS[name](images, labels, [1, 2], classes=3, label_smoothing=0.2)
        np.testing.assert_allclose(soft, 0.8 * hard.numpy() + 0.2 / 3, atol=1e-6)
        np.testing.assert_allclose(soft.numpy().sum(1), 1, atol=1e-6)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"labels": [0.0, 1.0]}, r"labels must be .*received: float32 of shape \(2,\)"),
            ({"labels": [0, 1], "classes": None}, "classes must be given"),
            ({"labels": [0, 1, 2]}, "equally many, received: 2 images, 3 labels"),
            ({"mode": "pairs"}, "mode must be 'element' or 'batch' or 'pair', received: 'pairs'"),
            ({"probability": 2}, "probability must be a number"),
            ({"label_smoothing": 1}, "label_smoothing must be below 1"),
        ],
    )
    def test_bad_arguments(self, random_images, name, arguments, message):
        arguments = {"labels": [0, 1], "classes": 3, **arguments}
        with pytest.raises(ValueError, match=message):
            OPERATIONS[name](random_images(2), seed=[1, 2], **arguments)


@pytest.mark.parametrize("alpha", [-1, float("nan"), float("inf"), "1"])
def test_bad_alpha(random_images, alpha):
    for operation in (mixup, cutmix):
        with pytest.raises(ValueError, match="alpha must be a number"):
            operation(random_images(2), [0, 1], [1, 2], alpha=alpha, classes=2)
