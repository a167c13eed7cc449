"""Hinton's loss against a loop in double precision, and the accuracy beside it."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from recipes.errors import ConfigError
from tuning import DistillationLoss, LabelAccuracy


def log_softmax_of(logits):
    largest = max(logits)
    total = math.log(sum(math.exp(value - largest) for value in logits))
    return [value - largest - total for value in logits]


def loop_loss(labels, student, teacher, temperature, alpha):
    """Hinton's loss, mean over images, one number at a time in double precision."""
    total = 0.0
    for shares, own, taught in zip(labels, student, teacher, strict=True):
        own_logs = log_softmax_of([float(z) for z in own])
        hard = -sum(float(share) * log for share, log in zip(shares, own_logs, strict=True))
        own_soft = log_softmax_of([float(z) / temperature for z in own])
        taught_soft = log_softmax_of([float(z) / temperature for z in taught])
        soft = sum(math.exp(t) * (t - s) for s, t in zip(own_soft, taught_soft, strict=True))
        total += alpha * hard + (1 - alpha) * temperature**2 * soft
    return total / len(labels)


def logits_pair(seed=0, images=6, classes=5):
    random = np.random.default_rng(seed)
    shape = (2, images, classes)
    # Rounded to what float32 holds, so that both sides begin with the same numbers.
    return random.normal(0, 3, shape).astype(np.float32).astype(np.float64)


def stacked(student, teacher):
    return np.stack([student, teacher], axis=1).astype(np.float32)


class TestLoss:
    @pytest.mark.parametrize(("temperature", "alpha"), [(1.0, 0.0), (4.0, 0.1), (2.5, 1.0)])
    @pytest.mark.parametrize("kind", ["numbers", "column", "one-hot", "mixed"])
    def test_is_that_of_a_loop(self, temperature, alpha, kind):
        student, teacher = logits_pair()
        numbers = np.array([0, 4, 2, 2, 1, 3])
        shares = np.eye(5)[numbers]
        if kind == "mixed":
            # As MixUp makes them.
            shares = 0.7 * shares + 0.3 * shares[::-1]
        given = {"numbers": numbers, "column": numbers[:, None]}.get(kind, shares)
        loss = DistillationLoss(temperature, alpha)(given, stacked(student, teacher))
        expected = loop_loss(shares, student, teacher, temperature, alpha)
        np.testing.assert_allclose(loss, expected, rtol=1e-6, atol=1e-6)

    def test_gradient_is_that_of_finite_differences(self):
        student, teacher = logits_pair(images=3, classes=4)
        shares = np.full((3, 4), 0.1) + 0.6 * np.eye(4)[:3]
        variable = tf.Variable(stacked(student, teacher))
        with tf.GradientTape() as tape:
            loss = DistillationLoss(3.0, 0.3)(shares, variable)
        gradient = tape.gradient(loss, variable).numpy()[:, 0]
        step = 1e-5
        for place in np.ndindex(student.shape):
            moved = np.zeros_like(student)
            moved[place] = step
            up, down = (
                loop_loss(shares, student + sign * moved, teacher, 3.0, 0.3) for sign in (1, -1)
            )
            assert gradient[place] == pytest.approx((up - down) / (2 * step), abs=1e-6)

    def test_a_student_that_is_its_teacher_has_none(self):
        student, _ = logits_pair()
        loss = DistillationLoss(temperature=4.0, alpha=0.0)
        # Up to a constant for each image, which changes no probability.
        assert float(loss(np.zeros(6), stacked(student, student))) == 0
        assert float(loss(np.zeros(6), stacked(student, student + 2))) == pytest.approx(0, abs=1e-5)

    def test_hot_gradients_are_those_of_matching_logits(self):
        # Section 2.1: T^2 dC/dz -> (z - v) / N where both have mean 0.
        student, teacher = logits_pair(images=1)
        difference = student - teacher - (student - teacher).mean(axis=1, keepdims=True)
        expected = difference / student.shape[1]
        errors = []
        for temperature in (10.0, 100.0):
            variable = tf.Variable(stacked(student, teacher))
            with tf.GradientTape() as tape:
                loss = DistillationLoss(temperature, alpha=0.0)(np.zeros(1), variable)
            errors.append(np.abs(tape.gradient(loss, variable)[:, 0] - expected).max())
        assert errors[1] < 0.02 * np.abs(expected).max()
        assert errors[1] < 0.2 * errors[0], "the error falls with 1 / T"

    def test_hints_and_weights_of_images(self):
        student, teacher = logits_pair(images=2)
        hints = np.repeat([[2.0], [4.0]], 5, axis=1)
        outputs = np.stack([student, teacher, hints], axis=1)
        labels = np.eye(5)[[0, 1]]
        single = [
            loop_loss(labels[i : i + 1], student[i : i + 1], teacher[i : i + 1], 4.0, 0.1)
            + 0.5 * hints[i, 0]
            for i in range(2)
        ]
        loss = DistillationLoss(4.0, 0.1, hint_weight=0.5)
        weighted = loss(labels, outputs, sample_weight=np.array([1.0, 3.0]))
        assert float(weighted) == pytest.approx((single[0] + 3 * single[1]) / 2, rel=1e-6)

    def test_without_a_teacher_it_is_the_cross_entropy(self):
        student, teacher = logits_pair()
        shares = np.eye(5)[[0, 1, 2, 3, 4, 0]]
        loss = DistillationLoss(4.0, 0.1)(shares, student)
        assert float(loss) == pytest.approx(loop_loss(shares, student, teacher, 4.0, 1.0), rel=1e-6)

    def test_config(self):
        loss = DistillationLoss(2.0, 0.3, 0.4, reduction="sum", name="mine")
        again = keras.losses.deserialize(keras.losses.serialize(loss))
        assert again.get_config() == loss.get_config()
        assert (again.temperature, again.alpha, again.hint_weight) == (2.0, 0.3, 0.4)
        metric = LabelAccuracy(name="right")
        again = keras.metrics.deserialize(keras.metrics.serialize(metric))
        assert (type(again), again.name) == (LabelAccuracy, "right")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"temperature": 0}, "temperature must be a positive number, received: 0"),
            ({"temperature": float("nan")}, "temperature must be a positive number, received: nan"),
            ({"alpha": 1.5}, r"alpha must be in \[0, 1\], received: 1.5"),
            ({"hint_weight": -1}, "hint_weight must be 0 or more, received: -1"),
        ],
    )
    def test_mistakes(self, arguments, message):
        with pytest.raises(ConfigError, match=message):
            DistillationLoss(**arguments)

    def test_labels_of_other_classes(self):
        with pytest.raises(ConfigError, match="labels are of 4 classes, the student gives 5"):
            DistillationLoss()(np.zeros((2, 4)), np.zeros((2, 2, 5)))


def test_label_accuracy_looks_at_the_student_alone():
    student, teacher = np.eye(3)[[0, 1, 2, 2]], np.eye(3)[[1, 1, 1, 1]]
    mixed = np.array([[0.6, 0.4, 0.0], [0.6, 0.4, 0.0], [0.1, 0.0, 0.9], [0.0, 0.7, 0.3]])
    for labels in (np.array([0, 0, 2, 1]), np.array([[0], [0], [2], [1]]), mixed):
        for outputs in (student, stacked(student, teacher)):
            metric = LabelAccuracy()
            metric.update_state(labels, outputs)
            assert float(metric.result()) == 0.5
