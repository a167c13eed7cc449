"""Calibration against scikit-learn, SciPy and hand computations."""

import doctest

import numpy as np
import pytest
import sklearn
from scipy import optimize, special
from sklearn import calibration as sklearn_calibration
from sklearn import metrics as sklearn_metrics

from callbacks import _predictions, calibration, temperature


def random_logits(images=2000, classes=10, scale=3.0, seed=0):
    """Return logits and labels drawn from a distribution less sure than the logits say."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(images, classes)) * scale
    truth = special.softmax(logits / 2.5, axis=1)
    labels = (truth.cumsum(axis=1) > generator.random((images, 1))).argmax(axis=1)
    return logits, labels


@pytest.fixture(name="predictions", params=[(2000, 10), (37, 3), (500, 2)])
def fixture_predictions(request):
    logits, labels = random_logits(*request.param)
    return special.softmax(logits, axis=1), labels


def sklearn_error(outcome, probability, bins):
    """Return |observed - predicted| of the non-empty bins and their share of the images."""
    observed, predicted = sklearn_calibration.calibration_curve(
        outcome, probability, n_bins=bins, strategy="uniform"
    )
    edges = np.linspace(0, 1, bins + 1)
    counts = np.bincount(np.searchsorted(edges[1:-1], probability), minlength=bins)
    counts = counts[counts > 0]
    return np.abs(observed - predicted), counts / counts.sum()


@pytest.mark.parametrize("bins", [1, 5, 15, 100])
def test_ece_and_mce_equal_scikit_learn(predictions, bins):
    probabilities, labels = predictions
    correct = probabilities.argmax(axis=1) == labels
    gaps, weights = sklearn_error(correct, probabilities.max(axis=1), bins)
    ece = calibration.expected_calibration_error(probabilities, labels, bins)
    mce = calibration.maximum_calibration_error(probabilities, labels, bins)
    assert ece == pytest.approx(gaps @ weights, abs=1e-12)
    assert mce == pytest.approx(gaps.max(), abs=1e-12)


def test_classwise_error_equals_scikit_learn(predictions):
    probabilities, labels = predictions
    errors = []
    for index in range(probabilities.shape[1]):
        gaps, weights = sklearn_error(labels == index, probabilities[:, index], 15)
        errors.append(gaps @ weights)
    assert calibration.classwise_calibration_error(probabilities, labels) == pytest.approx(
        np.mean(errors), abs=1e-12
    )


def test_ece_by_hand_with_confidence_on_the_edges():
    # Two bins: (0, 0.5] holds the tie, (0.5, 1] the two sure ones; 1.0 belongs to the last bin.
    probabilities = [[0.5, 0.5], [1.0, 0.0], [0.25, 0.75]]
    labels = [0, 1, 1]
    # |1 - 0.5| / 3 + |0 + 1 - 1.75| / 3
    assert calibration.expected_calibration_error(probabilities, labels, 2) == pytest.approx(
        1.25 / 3, abs=1e-15
    )
    assert calibration.maximum_calibration_error(probabilities, labels, 2) == pytest.approx(0.5)
    table = calibration.reliability_bins(probabilities, labels, 2)
    assert table["count"].tolist() == [1, 2]
    assert table["confidence"].tolist() == [0.5, 0.875]
    assert table["accuracy"].tolist() == [1.0, 0.5]
    assert table["lower"].tolist() == [0.0, 0.5]
    assert table["upper"].tolist() == [0.5, 1.0]


def test_saturated_confidence_shares_the_last_bin():
    # With a bin of its own for exactly 1.0 (torchmetrics) this would be 0.075.
    confidence = np.array([0.95] * 10 + [1.0] * 10)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    labels = np.array([0] * 10 + [0] * 9 + [1])
    assert calibration.expected_calibration_error(probabilities, labels, 10) == pytest.approx(
        0.025, abs=1e-12
    )


def test_bins_are_closed_on_the_right_at_every_edge():
    edges = np.linspace(0, 1, 16)[8:]
    probabilities = np.stack([edges, 1 - edges], axis=1)
    table = calibration.reliability_bins(probabilities, np.zeros(len(edges), int))
    assert table["count"].tolist() == [0] * 7 + [1] * 8
    filled = table["count"] > 0
    assert (table["confidence"][filled] <= table["upper"][filled]).all()
    assert (table["confidence"][filled] > table["lower"][filled]).all()
    assert np.isnan(table["accuracy"][~filled]).all()


def test_adaptive_error_by_hand():
    confidence = np.array([0.9, 0.6, 0.8, 0.7, 0.55])
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    labels = np.array([0, 1, 0, 1, 0])
    # Sorted: .55 right, .6 wrong, .7 wrong | .8 right, .9 right (array_split: sizes 3 and 2).
    expected = (3 / 5) * abs(1 / 3 - 1.85 / 3) + (2 / 5) * abs(1 - 0.85)
    assert calibration.adaptive_calibration_error(probabilities, labels, 2) == pytest.approx(
        expected, abs=1e-12
    )


def test_adaptive_error_with_more_groups_than_images_and_with_ties():
    probabilities = np.array([[0.75, 0.25]] * 4)
    labels = np.array([0, 0, 1, 0])
    # One image a group: three gaps of 0.25 and one of 0.75.
    error = calibration.adaptive_calibration_error(probabilities, labels, 15)
    assert error == pytest.approx((3 * 0.25 + 0.75) / 4, abs=1e-15)
    # A stable sort keeps the order of ties: groups (right, right), (wrong, right).
    error = calibration.adaptive_calibration_error(probabilities, labels, 2)
    assert error == pytest.approx(0.5 * 0.25 + 0.5 * 0.25, abs=1e-15)


def test_brier_score_equals_one_hot_formula_and_scikit_learn(predictions):
    probabilities, labels = predictions
    one_hot = np.eye(probabilities.shape[1])[labels]
    expected = np.mean(np.sum((probabilities - one_hot) ** 2, axis=1))
    assert calibration.brier_score(probabilities, labels) == pytest.approx(expected, abs=1e-12)
    if probabilities.shape[1] > 2:
        try:
            reference = sklearn_metrics.brier_score_loss(
                labels, probabilities, labels=np.arange(probabilities.shape[1])
            )
        except (TypeError, ValueError):
            return  # scikit-learn before 1.7 knows two classes only
        assert calibration.brier_score(probabilities, labels) == pytest.approx(reference, abs=1e-12)


def test_brier_score_range():
    assert calibration.brier_score([[1.0, 0.0]], [0]) == 0
    assert calibration.brier_score([[1.0, 0.0]], [1]) == 2


def test_negative_log_likelihood_equals_scikit_learn(predictions):
    probabilities, labels = predictions
    expected = sklearn_metrics.log_loss(
        labels, probabilities, labels=np.arange(probabilities.shape[1])
    )
    assert calibration.negative_log_likelihood(probabilities, labels) == pytest.approx(
        expected, abs=1e-12
    )


def test_negative_log_likelihood_floor():
    zero = [[1.0, 0.0]]
    epsilon = np.finfo(np.float64).eps
    assert calibration.negative_log_likelihood(zero, [1]) == pytest.approx(-np.log(epsilon))
    assert calibration.negative_log_likelihood(zero, [1], floor=1e-4) == pytest.approx(
        -np.log(1e-4)
    )


def test_negative_log_likelihood_from_logits_equals_probabilities_and_needs_no_floor():
    logits, labels = random_logits()
    expected = sklearn_metrics.log_loss(labels, special.softmax(logits / 1.7, axis=1))
    value = calibration.negative_log_likelihood_from_logits(logits, labels, temperature=1.7)
    assert value == pytest.approx(expected, abs=1e-12)
    assert calibration.negative_log_likelihood_from_logits([[0.0, 1e6]], [0]) == 1e6


def test_softmax_is_float64_and_survives_large_logits():
    values = calibration.softmax(np.array([[1e4, 1e4 - np.log(3)]], np.float32))
    assert values.dtype == np.float64
    assert values == pytest.approx(np.array([[0.75, 0.25]]), rel=1e-3)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_temperature_minimises_likelihood_found_independently(seed):
    logits, labels = random_logits(seed=seed)
    one_hot = np.eye(logits.shape[1])[labels]

    def likelihood(inverse):
        return -np.mean(np.sum(one_hot * special.log_softmax(logits * inverse, axis=1), axis=1))

    best = optimize.minimize(
        lambda x: likelihood(x[0]), [1.0], method="Nelder-Mead", options={"xatol": 1e-10}
    )
    fit = calibration.fit_temperature(logits, labels)
    assert fit.temperature == pytest.approx(1 / best.x[0], rel=1e-6)
    assert not fit.at_bound
    assert fit.nll_before == pytest.approx(likelihood(1.0), abs=1e-12)
    assert fit.nll_after == pytest.approx(best.fun, abs=1e-12)
    assert fit.nll_after < fit.nll_before
    # Labels were drawn from softmax(logits / 2.5).
    assert fit.temperature == pytest.approx(2.5, rel=0.1)


def test_temperature_equals_scikit_learn():
    if tuple(int(part) for part in sklearn.__version__.split(".")[:2]) < (1, 8):
        pytest.skip("scikit-learn before 1.8 has no temperature scaling")
    frozen = pytest.importorskip("sklearn.frozen")
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Logits(ClassifierMixin, BaseEstimator):
        def fit(self, inputs, labels):
            self.classes_ = np.unique(labels)
            return self

        def decision_function(self, inputs):
            return inputs

        def predict(self, inputs):
            return inputs.argmax(axis=1)

    logits, labels = random_logits()
    estimator = frozen.FrozenEstimator(Logits().fit(logits, labels))
    reference = sklearn_calibration.CalibratedClassifierCV(estimator, method="temperature")
    reference.fit(logits, labels)
    beta = reference.calibrated_classifiers_[0].calibrators[0].beta_
    fit = calibration.fit_temperature(logits, labels)
    assert fit.temperature == pytest.approx(1 / beta, rel=1e-6)
    assert calibration.softmax(logits, fit.temperature) == pytest.approx(
        reference.predict_proba(logits), abs=1e-7
    )


def test_temperature_keeps_the_predicted_class_and_lowers_ece():
    logits, labels = random_logits()
    fit = calibration.fit_temperature(logits, labels)
    before, after = calibration.softmax(logits), calibration.softmax(logits, fit.temperature)
    assert (before.argmax(axis=1) == after.argmax(axis=1)).all()
    ece = calibration.expected_calibration_error
    assert ece(after, labels) < ece(before, labels) / 3


@pytest.mark.parametrize("margin", [5.0, 1e3, 1e6])
def test_temperature_of_faultless_images_is_at_the_lower_bound(margin):
    labels = np.arange(50) % 5
    fit = calibration.fit_temperature(np.eye(5)[labels] * margin, labels)
    assert fit.at_bound
    assert fit.temperature == calibration.TEMPERATURE_BOUNDS[0]
    assert fit.nll_after <= fit.nll_before


def test_temperature_of_always_wrong_images_is_at_the_upper_bound():
    labels = np.arange(50) % 5
    fit = calibration.fit_temperature(np.eye(5)[(labels + 1) % 5] * 3.0, labels)
    assert fit == calibration.TemperatureFit(
        20.0, pytest.approx(fit.nll_before), pytest.approx(fit.nll_after), True
    )
    assert np.log(5) < fit.nll_after < fit.nll_before


def test_temperature_of_equal_logits_is_one():
    fit = calibration.fit_temperature(np.full((6, 4), 7.0), [0, 1, 2, 3, 0, 1])
    assert fit.temperature == 1
    assert not fit.at_bound
    assert fit.nll_after == pytest.approx(np.log(4))


def test_temperature_takes_float32_and_does_not_depend_on_a_constant():
    logits, labels = random_logits()
    shifted = calibration.fit_temperature(logits + 1000.0, labels)
    single = calibration.fit_temperature(logits.astype(np.float32), labels.astype(np.int32))
    fit = calibration.fit_temperature(logits, labels)
    assert shifted.temperature == pytest.approx(fit.temperature, rel=1e-9)
    assert single.temperature == pytest.approx(fit.temperature, rel=1e-5)


def test_noise_floor_of_one_confidence_equals_the_mean_absolute_deviation():
    # All images in one bin: the error is |binomial(n, c) / n - c|.
    images, confidence = 400, 0.8
    count = np.arange(images + 1)
    from scipy import stats

    weights = stats.binom.pmf(count, images, confidence)
    expected = weights @ np.abs(count / images - confidence)
    floor = calibration.ece_noise_floor([[confidence, 0.2]] * images, repeats=4000)
    assert floor.mean == pytest.approx(expected, rel=0.05)
    spread = np.sqrt(confidence * (1 - confidence) / images)
    assert floor.upper == pytest.approx(1.96 * spread, rel=0.08)


def test_noise_floor_covers_a_calibrated_model_and_flags_an_overconfident_one():
    logits, labels = random_logits(images=1000)
    calibrated = calibration.softmax(logits, 2.5)
    floor = calibration.ece_noise_floor(calibrated)
    assert calibration.expected_calibration_error(calibrated, labels) < floor.upper
    sure = calibration.softmax(logits)
    error = calibration.expected_calibration_error(sure, labels)
    assert error > calibration.ece_noise_floor(sure).upper


def test_noise_floor_is_seeded_and_shrinks_with_images():
    logits, _ = random_logits()
    probabilities = calibration.softmax(logits)
    first = calibration.ece_noise_floor(probabilities, seed=3)
    assert first == calibration.ece_noise_floor(probabilities, seed=3)
    assert first != calibration.ece_noise_floor(probabilities, seed=4)
    assert first.mean < calibration.ece_noise_floor(probabilities[:200]).mean


def test_sure_predictions_have_no_noise():
    assert calibration.ece_noise_floor(np.eye(3)) == calibration.NoiseFloor(0.0, 0.0)


GOOD = np.array([[0.9, 0.1], [0.2, 0.8]])
JUDGES = [
    calibration.expected_calibration_error,
    calibration.maximum_calibration_error,
    calibration.adaptive_calibration_error,
    calibration.classwise_calibration_error,
    calibration.reliability_bins,
    calibration.brier_score,
    calibration.negative_log_likelihood,
]


@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (GOOD[0], [0], "shape"),
        (GOOD[:0], [], "at least one image"),
        (np.ones((3, 1)), [0, 0, 0], "two classes"),
        (GOOD, [0], "labels must be integers of shape"),
        (GOOD, [[0], [1]], "labels must be integers of shape"),
        (GOOD, [0.0, 1.0], "labels must be integers"),
        (GOOD, [0, 2], "labels must lie in 0 to 1, received 0 to 2"),
        (GOOD, [-1, 0], "received -1 to 0"),
        (GOOD * 1.01, [0, 1], "sum to 1"),
        (GOOD * 10 - 4, [0, 1], "logits"),
        ([[np.nan, 1.0], [0.5, 0.5]], [0, 1], "NaN or infinity in 1 of 2 rows"),
    ],
)
def test_bad_predictions_are_refused(judge, probabilities, labels, message):
    with pytest.raises(ValueError, match=message):
        judge(probabilities, labels)


def test_rows_may_miss_one_by_rounding():
    assert calibration.brier_score(GOOD * (1 + 5e-4), [0, 1]) == pytest.approx(0.05, abs=1e-3)
    saturated = np.array([[1.0005, 0.0]])
    assert calibration.expected_calibration_error(saturated, [0]) == 0


@pytest.mark.parametrize("bins", [0, -1, 1.5, "15"])
def test_bad_bins_are_refused(bins):
    with pytest.raises(ValueError, match="bins must be an integer"):
        calibration.expected_calibration_error(GOOD, [0, 1], bins)


def test_bad_temperatures_bounds_and_logits_are_refused():
    with pytest.raises(ValueError, match="temperature must be a positive number"):
        calibration.softmax(GOOD, 0.0)
    with pytest.raises(ValueError, match="temperature must be a positive number"):
        calibration.negative_log_likelihood_from_logits(GOOD, [0, 1], float("nan"))
    with pytest.raises(ValueError, match="rising positive"):
        calibration.fit_temperature(GOOD, [0, 1], bounds=(2.0, 1.0))
    with pytest.raises(ValueError, match="logits must be finite"):
        calibration.softmax([[np.inf, 0.0]])
    with pytest.raises(ValueError, match="logits must be finite"):
        calibration.fit_temperature([[np.nan, 0.0]], [0])
    with pytest.raises(ValueError, match="logits must have shape"):
        calibration.fit_temperature([0.0, 1.0], [0, 1])
    with pytest.raises(ValueError, match="repeats"):
        calibration.ece_noise_floor(GOOD, repeats=0)


@pytest.mark.parametrize("module", [calibration, temperature, _predictions])
def test_examples_run(module):
    result = doctest.testmod(module)
    assert result.failed == 0
    assert result.attempted > 0
