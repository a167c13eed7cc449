"""What `compress` decides, by scripted figures: no network, no file."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats

from recipes.config import Recipe
from recipes.errors import ConfigError
from recipes.models import build_model
from tuning._student import Student, choose_student
from tuning.accuracy_aware import (
    ALL_METHODS,
    METHODS,
    Measure,
    Outcome,
    check_arguments,
    choose,
    next_candidate,
    pareto,
    rank,
    restore,
)

FAILED = Outcome(None)


def climb(target, script, methods=METHODS, max_drop=0.01):
    """Return the candidates tried, in order, when each comes out as the script says."""
    outcomes, order = {}, []
    while name := next_candidate(target, methods, max_drop, outcomes):
        assert name not in outcomes
        outcome = script.get(name, 0.0)
        outcomes[name] = outcome if isinstance(outcome, Outcome) else Outcome(outcome)
        order.append(name)
    return order


@pytest.mark.parametrize(
    ("target", "script", "expected"),
    [
        # int8 keeps the accuracy: nothing expensive is tried.
        ("cpu", {}, ["float32", "int8", "float16", "weight-only-int8"]),
        ("int-only", {}, ["float32", "int8"]),
        ("smallest", {}, ["float32", "int8", "weight-only-int8", "pruned-int8"]),
        # It does not, and mixed does.
        ("cpu", {"int8": 0.05}, ["float32", "int8", "float16", "weight-only-int8", "mixed"]),
        ("cpu", {"int8": FAILED}, ["float32", "int8", "float16", "weight-only-int8", "mixed"]),
        # Neither does: training.
        (
            "cpu",
            {"int8": 0.05, "mixed": 0.02},
            ["float32", "int8", "float16", "weight-only-int8", "mixed", "qat"],
        ),
        # No operation may be float: training at once.
        ("int-only", {"int8": 0.05}, ["float32", "int8", "qat"]),
        ("int-only", {"int8": 0.05, "qat": 0.05}, ["float32", "int8", "qat", "pruned-qat"]),
        # An accurate file that still has float operations is no integer file.
        ("int-only", {"int8": Outcome(0.0, float_operations=3)}, ["float32", "int8", "qat"]),
        # Pruning costs too much without rounding in the training.
        (
            "smallest",
            {"pruned-int8": 0.03},
            ["float32", "int8", "weight-only-int8", "pruned-int8", "pruned-qat"],
        ),
        (
            "smallest",
            {"int8": 0.05, "pruned-int8": FAILED, "pruned-qat": 0.03, "mixed": 0.02},
            [
                *("float32", "int8", "weight-only-int8", "pruned-int8", "pruned-qat"),
                *("mixed", "qat"),
            ],
        ),
    ],
)
def test_the_ladder(target, script, expected):
    assert climb(target, script) == expected


@pytest.mark.parametrize(
    ("target", "script", "expected"),
    [
        # A student is always tried; where it will do, nothing is trained for the sake of int8.
        ("cpu", {}, ["float32", "int8", "float16", "weight-only-int8", "distilled-int8"]),
        (
            "cpu",
            {"int8": 0.05, "mixed": 0.05},
            ["float32", "int8", "float16", "weight-only-int8", "mixed", "distilled-int8"],
        ),
        (
            "cpu",
            {"int8": 0.05, "mixed": 0.05, "distilled-int8": 0.02},
            [
                *("float32", "int8", "float16", "weight-only-int8", "mixed", "distilled-int8"),
                "qat",
            ],
        ),
        ("int-only", {"int8": 0.05}, ["float32", "int8", "distilled-int8"]),
        (
            "int-only",
            {"int8": 0.05, "distilled-int8": 0.05},
            ["float32", "int8", "distilled-int8", "qat"],
        ),
        (
            "smallest",
            {"int8": 0.05, "pruned-int8": 0.05},
            ["float32", "int8", "weight-only-int8", "pruned-int8", "distilled-int8"],
        ),
        (
            "smallest",
            {"pruned-int8": 0.05, "distilled-int8": FAILED},
            [
                *("float32", "int8", "weight-only-int8", "pruned-int8", "distilled-int8"),
                "pruned-qat",
            ],
        ),
    ],
)
def test_the_ladder_with_a_student(target, script, expected):
    assert climb(target, script, methods=ALL_METHODS) == expected


@pytest.mark.parametrize("target", ["cpu", "int-only", "smallest"])
@pytest.mark.parametrize("method", ALL_METHODS)
def test_only_the_methods_asked_for_are_used(target, method):
    needs = {
        "post-training": {"int8", "float16", "weight-only-int8", "mixed"},
        "pruning": {"pruned-int8"},
        "quantization-aware": {"qat"},
        "distillation": {"distilled-int8"},
    }[method]
    tried = climb(target, dict.fromkeys(needs, 0.5), methods=(method,))
    assert tried[0] == "float32"
    assert set(tried[1:]) <= needs


def test_a_drop_of_exactly_the_limit_is_within():
    # 9,300 right against 9,200 of 10,000; in floating point the difference is above 0.01.
    drop = 9300 / 10000 - 9200 / 10000
    assert drop > 0.01
    assert Outcome(drop).within(0.01)
    assert not Outcome(0.0101).within(0.01)
    assert not FAILED.within(1.0)


def test_cpu_takes_the_fastest_and_of_equals_the_smallest():
    tried = {
        "float32": Outcome(0.0, 50, 400, 380, 2.0),
        "int8": Outcome(0.03, 0, 100, 90, 0.5),  # Fast, but not accurate.
        "mixed": Outcome(0.008, 4, 130, 110, 0.70),
        "qat": Outcome(0.001, 0, 101, 91, 0.72),  # Less than 5 % slower, and smaller.
        "float16": Outcome(0.0, 50, 200, 190, 2.0),
        "weight-only-int8": FAILED,
    }
    assert choose("cpu", 0.01, tried)[0] == "qat"
    assert choose("cpu", 0.005, tried)[0] == "qat"
    del tried["qat"]
    assert choose("cpu", 0.01, tried)[0] == "mixed"
    assert choose("cpu", 0.005, tried)[0] == "float16"


def test_smallest_counts_what_gzip_leaves():
    tried = {
        "float32": Outcome(0.0, 50, 400, 380, 2.0),
        "int8": Outcome(0.0, 0, 100, 90, 0.5),
        "pruned-int8": Outcome(0.009, 0, 102, 40, 0.6),
    }
    assert choose("smallest", 0.01, tried)[0] == "pruned-int8"
    assert choose("smallest", 0.005, tried)[0] == "int8"


def test_int_only_chooses_nothing_rather_than_float():
    tried = {"float32": Outcome(0.0, 50, 400, 380), "int8": Outcome(0.02, 0, 100, 90)}
    name, sentence = choose("int-only", 0.01, tried)
    assert name is None
    assert "no float operation" in sentence
    assert choose("int-only", 0.02, tried)[0] == "int8"


def test_pareto_front_is_that_of_the_definition():
    generator = np.random.default_rng(0)
    points = {
        str(index): (float(accuracy), int(size))
        for index, (accuracy, size) in enumerate(
            zip(generator.random(40).round(2), generator.integers(1, 20, 40), strict=True)
        )
    }

    def beaten(name):
        accuracy, size = points[name]
        return any(
            other >= accuracy and cost <= size and (other, cost) != (accuracy, size)
            for other, cost in points.values()
        )

    expected = {points[name] for name in points if not beaten(name)}
    assert {points[name] for name in pareto(points)} == expected
    sizes = [points[name][1] for name in pareto(points)]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize(
    ("network", "student"),
    [
        ("resnet110", "resnet44"),
        ("resnet32", "resnet20"),
        ("resnet50", "resnet18"),
        ("resnet101_d", "resnet50_d"),
        ("se_resnet34", "se_resnet18"),
        ("plain32", "plain20"),
        ("plain34", "plain18"),
        ("wide_resnet28_10", "wide_resnet16_10"),
        ("wide_resnet101_2", "wide_resnet50_2"),
        ("vgg16_bn", "vgg11_bn"),
        ("keras:EfficientNetB3", "keras:EfficientNetB1"),
        *((name, None) for name in ("resnet20", "resnet18", "plain18", "wide_resnet50_2")),
        *((name, None) for name in ("alexnet", "keras:EfficientNetB0", "keras:OfTomorrow7")),
    ],
)
def test_the_student_is_a_shallower_network_of_the_same_family(network, student):
    recipe = Recipe("mine").override({"model.name": network})
    if student:
        assert choose_student(None, recipe) == Student(student)
    else:
        with pytest.raises(ConfigError, match="student is missing: .* nor a smaller sibling"):
            choose_student(None, recipe)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet32", "resnet34", "plain32", "plain34", "wide_resnet22_8"])
def test_the_student_is_smaller_than_the_smallest_that_has_one(name):
    student = choose_student(None, Recipe("mine").override({"model.name": name}))
    sizes = [
        build_model(network, input_shape=(32, 32, 3), classes=10).count_params()
        for network in (student.name, name)
    ]
    assert sizes[0] < sizes[1]


def test_operations_that_do_not_help_are_not_ranked():
    assert rank(0.5, {"a": 0.49, "b": 0.1, "c": 0.5, "d": 0.7}) == ["b", "a"]


class Network:
    """Distortions that add up: each operation brings its own part."""

    def __init__(self, parts):
        self.parts = parts
        self.asked = []

    def __call__(self, restored):
        self.asked.append(restored)
        left = sum(part for name, part in self.parts.items() if name not in restored)
        return Measure(drop=left / 10, distortion=left)


def test_the_worst_go_back_first_and_no_more_than_needed():
    network = Network({"a": 0.1, "b": 0.5, "c": 0.3, "d": 0.05})
    kept, end, steps = restore(["b", "c", "a", "d"], network(()), network, 0.02, 4)
    assert kept == ("b", "c")
    assert math.isclose(end.drop, 0.015)
    assert network.asked == [(), ("b",), ("b", "c")]
    assert [step["kept"] for step in steps] == [True, True]


def test_an_operation_that_does_harm_beside_others_returns_to_int8():
    files = {
        ("a",): Measure(0.05, 0.5),
        ("a", "b"): Measure(0.0, 0.6),  # By luck within the limit, but further from float.
        ("a", "c"): Measure(0.01, 0.3),
    }
    kept, end, steps = restore(["a", "b", "c"], Measure(0.1, 0.9), files.__getitem__, 0.01, 3)
    assert kept == ("a", "c")
    assert end == files["a", "c"]
    assert [step["kept"] for step in steps] == [True, False, True]


def test_what_is_good_already_stays_as_it_is():
    assert restore(["a"], Measure(0.01, 0.2), None, 0.01, 1) == ((), Measure(0.01, 0.2), [])


def test_it_stops_at_the_most_allowed():
    network = Network(dict.fromkeys("abcdef", 1.0))
    kept, end, _ = restore("abcdef", network(()), network, 0.01, 3)
    assert kept == ("a", "b", "c")
    assert end.drop > 0.01


def test_divergence_is_that_of_scipy():
    from tuning.candidate_exam import divergence

    generator = np.random.default_rng(0)
    first, second = (scipy.special.softmax(generator.normal(size=(20, 5)), axis=1) for _ in "ab")
    expected = np.mean([scipy.stats.entropy(a, b) for a, b in zip(first, second, strict=True)])
    assert math.isclose(divergence(first, second), expected, rel_tol=1e-9)
    # A probability that int8 rounds to 0 is no infinity.
    assert np.isfinite(divergence(np.array([[0.5, 0.5]]), np.array([[1.0, 0.0]])))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("phone", METHODS, 0.01), "target must be one of cpu, int-only, smallest"),
        (("smalest", METHODS, 0.01), "did you mean 'smallest'"),
        (("cpu", ("prunning",), 0.01), "did you mean 'pruning'"),
        (("cpu", (), 0.01), "methods must name at least one"),
        (("cpu", METHODS, -0.01), "max_drop must be a share"),
        (("cpu", METHODS, 1), "max_drop must be a share"),
        (("cpu", METHODS, float("nan")), "max_drop must be a share"),
        (("cpu", METHODS, "1%"), "max_drop must be a share"),
        (("cpu", METHODS, True), "max_drop must be a share"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        check_arguments(*arguments)
