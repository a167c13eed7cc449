"""Calibrators against scikit-learn, SciPy's general minimiser and classes drawn by the law."""

import numpy as np
import pytest
from scipy import optimize, special
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import log_loss

from callbacks.calibrators import (
    adjust_priors,
    estimate_priors,
    fit_isotonic,
    fit_platt,
    fit_vector_scaling,
)


class Given(ClassifierMixin, BaseEstimator):
    """A scikit-learn classifier whose input already is its decision."""

    classes_ = np.arange(3)

    def decision_function(self, scores):
        return scores

    def predict(self, scores):
        return scores.argmax(axis=1)

    def fit(self, scores, labels):
        self.fitted_ = True
        return self


@pytest.fixture(scope="module")
def held_out():
    """Overconfident logits of 400 images, and labels that follow the logits at temperature 2."""
    generator = np.random.default_rng(2)
    logits = generator.normal([0.5, 0.0, -0.5], 3, (400, 3))
    odds = special.softmax(logits / 2, axis=1)
    return logits, np.array([generator.choice(3, p=row) for row in odds])


def test_vector_scaling_finds_the_minimum(held_out):
    logits, labels = held_out
    fit = fit_vector_scaling(logits, labels)

    def likelihood(parameters):
        scaled = logits * parameters[:3] + np.append(parameters[3:], 0)
        return log_loss(labels, special.softmax(scaled, axis=1))

    general = optimize.minimize(likelihood, [1, 1, 1, 0, 0], method="BFGS", tol=1e-9)
    assert fit.nll_after == pytest.approx(general.fun, abs=1e-5)
    np.testing.assert_allclose(fit.scale, general.x[:3], atol=2e-3)
    shift = np.append(general.x[3:], 0)
    np.testing.assert_allclose(fit.shift, shift - shift.mean(), atol=2e-3)
    assert fit.nll_before == pytest.approx(log_loss(labels, special.softmax(logits, axis=1)))
    assert log_loss(labels, fit(logits)) == pytest.approx(fit.nll_after)


def test_platt_is_scikit_learns(held_out):
    logits, labels = held_out
    probabilities = special.softmax(logits, axis=1)
    other = CalibratedClassifierCV(FrozenEstimator(Given().fit(None, None)), method="sigmoid")
    expected = other.fit(special.logit(probabilities), labels)
    found = fit_platt(probabilities, labels)(probabilities)
    np.testing.assert_allclose(
        found, expected.predict_proba(special.logit(probabilities)), atol=2e-4
    )


def test_isotonic_is_scikit_learns(held_out):
    logits, labels = held_out
    probabilities = special.softmax(logits, axis=1)
    other = CalibratedClassifierCV(FrozenEstimator(Given().fit(None, None)), method="isotonic")
    expected = other.fit(probabilities, labels)
    new = special.softmax(np.random.default_rng(3).normal(0, 3, (50, 3)), axis=1)
    found = fit_isotonic(probabilities, labels)(new)
    np.testing.assert_allclose(found, expected.predict_proba(new), atol=1e-12)


def test_rows_that_become_zero_are_uniform():
    calibrate = fit_isotonic([[0.5, 0.4, 0.1], [0.3, 0.6, 0.1], [0.2, 0.2, 0.6]], [0, 1, 2])
    np.testing.assert_allclose(calibrate([[0.1, 0.3, 0.6]]), [[0, 0, 1]])
    np.testing.assert_allclose(calibrate([[0.34, 0.33, 0.33]]).sum(), 1)


@pytest.mark.parametrize("fit", [fit_platt, fit_isotonic])
def test_a_class_without_images(fit):
    with pytest.raises(ValueError, match="received none of class 1"):
        fit([[0.5, 0.4, 0.1], [0.3, 0.6, 0.1]], [0, 2])


def test_priors_by_bayes():
    generator = np.random.default_rng(4)
    likelihood = generator.dirichlet([1] * 6, 3)  # p(x | k) for six kinds of images
    trained, new = np.array([0.2, 0.3, 0.5]), np.array([0.6, 0.3, 0.1])

    def posterior(priors):
        joint = likelihood * priors[:, None]
        return (joint / joint.sum(axis=0)).T

    np.testing.assert_allclose(adjust_priors(posterior(trained), trained, new), posterior(new))
    np.testing.assert_allclose(
        adjust_priors(posterior(trained), 10 * trained, 2 * new), posterior(new)
    )
    counts = generator.multinomial(200_000, new @ likelihood)
    images = np.repeat(posterior(trained), counts, axis=0)
    np.testing.assert_allclose(estimate_priors(images, trained), new, atol=0.02)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: adjust_priors([[0.5, 0.5]], [1, 0], [1, 1]), "trained must be 2 positive shares"),
        (lambda: adjust_priors([[0.5, 0.5]], [1, 1], [1, -1]), "new must be 2 non-negative shares"),
        (lambda: adjust_priors([[0.5, 0.5]], [1, 1], [1]), "new must be 2 non-negative shares"),
        (
            lambda: adjust_priors([[0.5, 0.5], [1, 0]], [1, 1], [0, 1]),
            r"some class that each image can be of, received: \[0, 1\], .* none for image 1",
        ),
        (lambda: adjust_priors([[5, -4]], [1, 1], [1, 1]), "are these logits"),
        (lambda: estimate_priors([[0.5, 0.5]], [1, float("nan")]), "trained must be 2 positive"),
        (lambda: fit_vector_scaling([[0, 1]], [0], penalty=0), "penalty must be positive"),
        (lambda: fit_vector_scaling([[0, np.nan]], [0]), "logits must be finite"),
        (lambda: fit_platt([[0.5, 0.5]], [2]), "labels must lie in 0 to 1"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
