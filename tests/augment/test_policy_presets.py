"""Presets: their values against the publications, changes, printing, saving."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import augment
from augment import presets

WITH_MIX = ("torchvision-v2", "deit", "rsb-a1", "rsb-a2", "rsb-a3")

# What the publications say, by layer and argument.
TIMM = {"n": 2, "table": "timm", "std": 0.5, "increasing": True, "step_probability": 0.5}
CROP = {"scale": (0.08, 1.0), "ratio": (3 / 4, 4 / 3), "antialias": True}
MIX = {"cutmix_alpha": 1.0, "switch_probability": 0.5, "probability": 1.0, "mode": "batch"}
FLIP = {"horizontal": True, "vertical": False, "probability": 0.5}
PUBLISHED = {
    "randaugment": {"RandAugment": {"n": 2, "m": 9, "table": "torchvision", "std": 0}},
    "trivialaugment": {"TrivialAugmentWide": {"bins": 31}},
    "autoaugment": {"AutoAugment": {"table": "imagenet"}},
    "augmix": {"AugMix": {"severity": 3, "width": 3, "depth": -1, "alpha": 1}},
    "3-augment": {"ThreeAugment": {"jitter": 0.3, "sigma": (0.1, 2.0), "threshold": 128}},
    "resnet": {
        "RandomMultiScaleCrop": {"size": 224, "shorter_side": (256, 480)},
        "RandomFlip": FLIP,
        "RandomLighting": {"deviation": 0.1},
    },
    "torchvision-v2": {
        "RandomResizedCrop": {"size": 176, "interpolation": "bilinear", **CROP},
        "RandomFlip": FLIP,
        "TrivialAugmentWide": {"bins": 31, "interpolation": "bilinear"},
        "RandomErasing": {"probability": 0.1, "scale": (0.02, 0.33)},
        "MixUpOrCutMix": {"mixup_alpha": 0.2, "label_smoothing": 0.1, **MIX},
    },
    "deit": {
        "RandomResizedCrop": {"size": 224, "interpolation": "bicubic", **CROP},
        "RandomFlip": FLIP,
        "RandAugment": {"m": 9, **TIMM},
        "RandomErasing": {"probability": 0.25, "fill": "noise"},
        "MixUpOrCutMix": {"mixup_alpha": 0.8, "label_smoothing": 0.1, **MIX},
    },
    "rsb-a1": {
        "RandomResizedCrop": {"size": 224, "interpolation": "bicubic", **CROP},
        "RandomFlip": FLIP,
        "RandAugment": {"m": 7, **TIMM},
        "MixUpOrCutMix": {"mixup_alpha": 0.2, "label_smoothing": 0.1, **MIX},
    },
    "rsb-a2": {
        "RandomResizedCrop": {"size": 224, "interpolation": "bicubic", **CROP},
        "RandomFlip": FLIP,
        "RandAugment": {"m": 7, **TIMM},
        "MixUpOrCutMix": {"mixup_alpha": 0.1, "label_smoothing": 0.0, **MIX},
    },
    "rsb-a3": {
        "RandomResizedCrop": {"size": 160, "interpolation": "bicubic", **CROP},
        "RandomFlip": FLIP,
        "RandAugment": {"m": 6, **TIMM},
        "MixUpOrCutMix": {"mixup_alpha": 0.1, "label_smoothing": 0.0, **MIX},
    },
    "cifar": {"RandomCrop": {"padding": 4, "fill": "constant", "value": 0}, "RandomFlip": FLIP},
    "cifar-strong": {
        "RandomCrop": {"padding": 4},
        "RandomFlip": FLIP,
        "TrivialAugmentWide": {"bins": 31},
        "Cutout": {"size": 16},
    },
}
REPEATS = {"torchvision-v2": 4, "deit": 3, "rsb-a1": 3, "rsb-a2": 3}


def test_every_preset_is_in_the_table():
    assert augment.policy_names() == list(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_values_are_the_published_ones(name):
    steps = augment.policy(name, seed=1).members
    assert [type(step).__name__ for step in steps] == list(PUBLISHED[name])
    for step, expected in zip(steps, PUBLISHED[name].values(), strict=True):
        for argument, value in expected.items():
            assert getattr(step, argument) == value, argument
    preset = presets.PRESETS[name]
    assert preset.repeats == REPEATS.get(name, 1)
    assert preset.size == next(iter(PUBLISHED[name].values())).get("size")
    assert "20" in preset.source


@pytest.mark.parametrize("name", PUBLISHED)
def test_printing_says_name_source_and_steps(name):
    lines = str(augment.policy(name, seed=1)).splitlines()
    assert lines[0].startswith(f"{name}: ")
    text = "\n".join(lines)
    for step in PUBLISHED[name]:
        assert f". {step}(" in text
    assert max(map(len, lines)) < 400


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_policy_survives_json(name):
    changes = {"classes": 7} if name in WITH_MIX else {}
    policy = augment.policy(name, seed=3, **changes)
    policy.strength = 0.5
    saved = json.dumps(keras.saving.serialize_keras_object(policy))
    again = keras.saving.deserialize_keras_object(json.loads(saved))
    assert isinstance(again, augment.Pipeline)
    assert str(again) == str(policy)
    assert again.get_config() == policy.get_config()
    assert json.dumps(keras.saving.serialize_keras_object(again)) == saved


@pytest.mark.slow
def test_a_saved_policy_gives_the_same_images(random_images):
    images = tf.data.Dataset.from_tensors((random_images(8, 20, 20), np.arange(8)))
    policy = augment.policy(
        "deit", classes=8, seed=3, size=12, operations=("rotate", "posterize", "solarize")
    )
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(policy)))
    again = keras.saving.deserialize_keras_object(config)
    first, second = (next(iter(made.map(images))) for made in (policy, again))
    assert first[0].shape == (8, 12, 12, 3)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    # Smoothed by 0.1 and mixed, all rows still sum to 1.
    np.testing.assert_allclose(first[1].numpy().sum(1), 1, atol=1e-6)
    assert first[1].numpy().min() >= np.float32(0.1 / 8) - 1e-7


def test_a_small_policy_trains_and_is_off_in_evaluation(random_images):
    images = random_images(8, 16, 16)
    policy = augment.policy("cifar-strong", seed=1, operations=("rotate", "solarize"), size=4)
    np.testing.assert_array_equal(policy(images, training=False), images)
    changed = policy(images, training=True).numpy()
    assert (changed != images).any((1, 2, 3)).mean() > 0.8


def test_changes():
    changed = augment.policy("deit", m=7, size=96, classes=5, seed=1)
    crop, _, rand_augment, _, mix = changed.members
    assert (crop.size, rand_augment.m, mix.classes) == (96, 7, 5)
    assert rand_augment.std == 0.5
    left_out = augment.policy("deit", seed=1, mixup_or_cutmix=None, random_erasing=None)
    assert len(left_out.members) == 3
    left_out = augment.policy("deit", classes=5, seed=1, mixup_or_cutmix=None)
    assert len(left_out.members) == 4
    assert str(augment.policy("cifar", classes=5, seed=1)) == str(augment.policy("cifar", seed=1))
    inner = augment.policy("cifar-strong", seed=1, random_flip={"probability": 0.25})
    assert [step.probability for step in inner.members] == [1.0, 0.25, 1.0, 1.0]
    # The tables themselves stay as they are.
    assert augment.policy("deit", seed=1).members[2].m == 9


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("randagument", {}, "did you mean 'randaugment'. received: 'randagument'"),
        (3, {}, "policy must be 'randaugment' or"),
        ("cifar", {"pading": 2}, "argument of policy 'cifar' .* did you mean 'padding'"),
        ("cifar", {"classes": 1}, "classes must be an integer of at least 2"),
        ("cifar", {"probability": 0.1}, "probability is an argument of random_crop and of random_"),
        ("cifar", {"random_crop": {"pad": 1}}, "random_crop of policy 'cifar' must be"),
        ("cifar", {"random_crop": 3}, "random_crop must be a dictionary or None, received: 3"),
        ("randaugment", {"m": 50}, "m must be a number"),
        ("deit", {"classes": 1}, "classes must be an integer of at least 2"),
    ],
)
def test_bad_names_and_changes(name, changes, message):
    with pytest.raises(ValueError, match=message):
        augment.policy(name, **changes)


def test_whole_number_labels_need_the_number_of_classes(random_images):
    policy = augment.policy("rsb-a3", seed=1, size=8)
    batches = tf.data.Dataset.from_tensors((random_images(4, 9, 9), np.arange(4)))
    with pytest.raises(ValueError, match="classes must be given"):
        policy.map(batches)
