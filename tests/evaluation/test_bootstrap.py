"""Resamples against direct measurement of repeated images, intervals against simulated truth."""

import numpy as np
import pytest
from scipy import special
from sklearn import metrics as reference

from callbacks import calibration
from recipes.evaluation import bootstrap, estimates, labelled, ranking, resampling
from recipes.evaluation.evaluation import evaluate_predictions

CLASSES = 5


def draw(generator, images, sharpness=1.5, separation=3.0, classes=CLASSES):
    """Return true class probabilities, those of an overconfident model, and labels."""
    logits = separation * generator.normal(size=(images, classes))
    labels = (logits + generator.gumbel(size=logits.shape)).argmax(axis=1)
    return special.softmax(logits, axis=1), special.softmax(sharpness * logits, axis=1), labels


@pytest.fixture(scope="module")
def predictions():
    _, probabilities, labels = draw(np.random.default_rng(0), 400)
    labels[labels == 3] = 2  # A class without images.
    return probabilities, labels


def test_counts_are_draws_with_replacement():
    counts = np.concatenate(list(bootstrap.resample_counts(50, 2000, seed=1)), axis=1)
    assert counts.shape == (50, 2000)
    assert (counts.sum(axis=0) == 50).all()
    # Each count is binomial(50, 1/50): mean 1, variance 49/50.
    assert counts.var() == pytest.approx(0.98, rel=0.02)
    again = np.concatenate(list(bootstrap.resample_counts(50, 2000, seed=1)), axis=1)
    np.testing.assert_array_equal(again, counts)


def test_chunks_change_nothing(predictions, monkeypatch):
    whole = resampling.resample(*predictions, 50, seed=2)
    monkeypatch.setattr(bootstrap, "_CHUNK_VALUES", 7 * 400)
    pieces = resampling.resample(*predictions, 50, seed=2)
    for name, values in vars(whole).items():
        np.testing.assert_allclose(getattr(pieces, name), values, rtol=1e-12, err_msg=name)


def test_resampled_measures_are_those_of_the_repeated_images(predictions):
    probabilities, labels = predictions
    counts = np.concatenate(list(bootstrap.resample_counts(len(labels), 20, seed=3)), axis=1)
    found = resampling.resample(probabilities, labels, 20, seed=3)
    for index in range(20):
        chosen = np.repeat(np.arange(len(labels)), counts[:, index])
        p, y = probabilities[chosen], labels[chosen]
        guess = p.argmax(axis=1)
        gaps = found.gap[:, index]
        held = found.count[:, index] > 0
        expected = {
            "accuracy": reference.accuracy_score(y, guess),
            "balanced_accuracy": np.mean(
                [np.mean(guess[y == k] == k) for k in range(CLASSES) if (y == k).any()]
            ),
            "macro_f1": np.mean(
                reference.f1_score(y, guess, average=None, labels=np.union1d(y, guess))
            ),
            "nll": reference.log_loss(y, p, labels=range(CLASSES)),
            "brier": np.mean(np.sum((p - np.eye(CLASSES)[y]) ** 2, axis=1)),
        }
        for name, value in expected.items():
            assert getattr(found, name)[index] == pytest.approx(value, abs=1e-12), name
        assert np.abs(gaps).sum() / len(y) == pytest.approx(
            calibration.expected_calibration_error(p, y), abs=1e-12
        )
        assert np.abs(gaps[held] / found.count[held, index]).max() == pytest.approx(
            calibration.maximum_calibration_error(p, y), abs=1e-12
        )
        assert np.abs(found.classwise_gap[:, index]).sum() / len(y) / CLASSES == pytest.approx(
            calibration.classwise_calibration_error(p, y), abs=1e-12
        )
        for k in (0, 1, 2, 4):
            assert found.auroc[k, index] == pytest.approx(
                reference.roc_auc_score(y == k, p[:, k]), abs=1e-12
            )
            assert found.average_precision[k, index] == pytest.approx(
                reference.average_precision_score(y == k, p[:, k]), abs=1e-12
            )
        assert np.isnan(found.auroc[3, index])


def test_images_themselves_give_the_measured_errors(predictions):
    probabilities, labels = predictions
    once, expected = resampling.observed(probabilities, labels)
    images = len(labels)
    confidence = probabilities.max(axis=1)
    assert np.abs(once.adaptive_gap).sum() / images == pytest.approx(
        calibration.adaptive_calibration_error(probabilities, labels), abs=1e-12
    )
    table = calibration.reliability_bins(probabilities, labels)
    np.testing.assert_allclose(expected["gap"], np.nan_to_num(table["confidence"]), atol=1e-12)
    groups = np.array_split(np.sort(confidence), 15)
    np.testing.assert_allclose(expected["adaptive_gap"], [group.mean() for group in groups])


@pytest.mark.parametrize("ties", [1, 4, 1000])
def test_weighted_rankings_equal_scikit_learn(ties):
    generator = np.random.default_rng(ties)
    for _ in range(40):
        images = int(generator.integers(2, 40))
        scores = generator.integers(0, ties + 1, images) / 7
        positive = generator.random(images) < 0.4
        counts = generator.integers(0, 4, (images, 3)).astype(np.uint8)
        areas, averages = ranking.rank_weighted(scores, positive, counts)
        for index in range(3):
            chosen = np.repeat(np.arange(images), counts[:, index])
            truth = positive[chosen]
            if truth.all() or not truth.any():
                assert np.isnan(areas[index])
                assert np.isnan(averages[index])
                continue
            area = reference.roc_auc_score(truth, scores[chosen])
            average = reference.average_precision_score(truth, scores[chosen])
            assert areas[index] == pytest.approx(area, abs=1e-12)
            assert averages[index] == pytest.approx(average, abs=1e-12)


def test_ranking_gives_up_where_it_would_take_hours(predictions, monkeypatch):
    monkeypatch.setattr(resampling, "_RANKING_BUDGET", 120 * 400 * CLASSES)
    found = resampling.resample(*predictions, 300)
    assert (found.auroc.shape, found.nll.shape) == ((CLASSES, 120), (300,))
    monkeypatch.setattr(resampling, "_RANKING_BUDGET", 50 * 400 * CLASSES)
    assert resampling.resample(*predictions, 300).auroc.shape == (CLASSES, 0)
    probabilities, labels = predictions
    names = tuple("abcde")
    judged = evaluate_predictions(
        labelled.Predictions(probabilities, labels, names, None), bootstrap=300
    )
    assert judged.macro_auroc.value is not None
    assert judged.macro_auroc.interval is None
    assert judged.bootstrap["ranking_resamples"] == 0


def test_percentile_interval_leaves_out_what_is_undefined():
    values = np.append(np.arange(100.0), [np.nan] * 10)
    assert bootstrap.percentile_interval(values, 0.9) == pytest.approx((4.95, 94.05))
    assert bootstrap.percentile_interval(np.full(10, np.nan)) is None
    assert bootstrap.percentile_interval(np.zeros(0)) is None
    assert bootstrap.percentile_interval(np.append(values, [np.nan] * 90)) is None


def test_inversion_of_one_gap_is_the_normal_interval():
    # The absolute value of one gap, far from 0, is an ordinary mean: value ± 1.96 errors.
    noise = np.random.default_rng(0).normal(0, 0.01, 20000)
    low, high, corrected = bootstrap.inversion_interval(
        0.2, np.array([0.2]), (0.2 + noise)[np.newaxis], lambda x: np.abs(x).sum(axis=0), 0.2
    )
    assert (low, corrected, high) == pytest.approx((0.1804, 0.2, 0.2196), abs=5e-4)


def test_sure_and_always_right_still_has_an_interval():
    probabilities = np.repeat([[1.0, 0.0]], 50, axis=0)
    once, expected = resampling.observed(probabilities, np.zeros(50, int))
    sums = resampling.resample(probabilities, np.zeros(50, int), 200)
    found = estimates.calibration_estimate("ece", 0.0, once, expected, sums)
    # 50 of 50: Wilson's upper bound of the error rate, z^2 / (n + z^2).
    assert found.interval == pytest.approx((0.0, 1.959964**2 / (50 + 1.959964**2)), abs=1e-6)


def test_f1_interval_agrees_with_the_bootstrap_where_that_is_good():
    # 1000 images: 400 right, 100 missed, 150 wrongly claimed.
    cells = np.random.default_rng(0).multinomial(1000, [0.4, 0.1, 0.15, 0.35], size=20000)
    f1 = 2 * cells[:, 0] / (2 * cells[:, 0] + cells[:, 1] + cells[:, 2])
    found = estimates.f1_estimate(right=400, predicted=550, support=500)
    assert found.value == pytest.approx(800 / 1050)
    assert found.interval == pytest.approx(np.quantile(f1, [0.025, 0.975]), abs=0.003)
    assert estimates.f1_estimate(3, 3, 3).low < 0.7


def test_perfect_measures_keep_a_width():
    found = estimates.percentile_estimate(1.0, np.ones(100), 50, extreme=5)
    assert found.interval == pytest.approx((5 / (5 + 1.959964**2), 1.0), abs=1e-6)
    assert estimates.percentile_estimate(None, np.ones(100), 50).interval is None
    assert estimates.percentile_estimate(0.5, None, 50).interval is None
    assert estimates.proportion(0, 0).value is None


def truth_of(true, probabilities):
    """Return the measures of a model over a million images or so, with no noise of the labels."""
    confidence, rows = probabilities.max(axis=1), np.arange(len(true))
    right = true[rows, probabilities.argmax(axis=1)]
    index = np.ceil(confidence * 15).astype(int) - 1
    return {
        "accuracy": right.mean(),
        "nll": -np.sum(true * np.log(probabilities), axis=1).mean(),
        "brier": np.mean(np.sum(probabilities**2 - 2 * probabilities * true, axis=1)) + 1,
        "ece": np.abs(np.bincount(index, right - confidence)).sum() / len(true),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("images", "sharpness"),
    [
        (300, 1.0),
        (1500, 1.5),
        pytest.param(300, 1.5, marks=pytest.mark.exhaustive),
        pytest.param(1500, 1.0, marks=pytest.mark.exhaustive),
    ],
)
def test_intervals_cover_the_truth(images, sharpness, monkeypatch):
    monkeypatch.setattr(resampling, "_RANKING_BUDGET", 0)
    generator = np.random.default_rng(images)
    true, probabilities, _ = draw(generator, 400_000, sharpness)
    truth = truth_of(true, probabilities)
    trials = 120
    covered = dict.fromkeys(truth, 0)
    percentile = 0
    for trial in range(trials):
        _, probabilities, labels = draw(generator, images, sharpness)
        known = labelled.Predictions(probabilities, labels, tuple("abcde"), None)
        found = evaluate_predictions(known, bootstrap=300, seed=trial)
        for name, value in truth.items():
            low, high = getattr(found, name).interval
            covered[name] += low <= value <= high
        naive = np.abs(resampling.resample(probabilities, labels, 300, trial).gap).sum(axis=0)
        low, high = np.quantile(naive / images, [0.025, 0.975])
        percentile += low <= truth["ece"] <= high
    shares = {name: count / trials for name, count in covered.items()}
    # Three standard errors of 0.95 over 120 trials are 0.06.
    assert all(0.89 <= share <= 1 for share in shares.values()), shares
    if sharpness == 1.0:
        assert percentile == 0, "the plain bootstrap misses a calibrated model's ECE every time"
        assert truth["ece"] < 0.003
