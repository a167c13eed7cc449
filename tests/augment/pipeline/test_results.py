"""What a pipeline computes: its operations, rounded once, at any strength, in any dtype."""

import numpy as np
import pytest
import tensorflow as tf

import augment

CLASSES = 5


class TestWhatItComputes:
    @pytest.mark.slow
    def test_the_operations_one_after_the_other(self, random_images, batched, simple, assert_equal):
        images, labels = data = random_images(10), np.arange(10) % CLASSES
        pipeline = augment.Pipeline([*simple().steps, augment.CutMix(classes=CLASSES)], seed=7)
        results = list(pipeline.map(batched(*data)))
        for step, (start, (mixed, targets)) in enumerate(zip((0, 4, 8), results, strict=True)):
            seed, part = [7, step], np.s_[start : start + 4]
            expected = augment.random_flip(images[part], seed)
            expected = augment.random_crop(expected, seed, padding=2)
            expected = augment.cutout(expected, seed, size=3)
            expected = augment.cutmix(expected, labels[part], seed, classes=CLASSES)
            assert_equal([mixed, targets], expected)

    def test_the_same_step_twice_draws_twice(self, random_images, batched):
        pipeline = augment.Pipeline([augment.Cutout(1), augment.Cutout(1)], seed=1)
        result = next(iter(pipeline.map(batched(random_images(60), size=60))))
        cut = (result.numpy() == 0).all(-1).sum((1, 2))
        assert (cut == 2).sum() > 45

    def test_a_step_draws_the_same_whatever_else_there_is(
        self, random_images, batched, assert_equal
    ):
        images = random_images(20)
        long = augment.Pipeline([augment.RandomFlip(probability=0), augment.Cutout(3)], seed=1)
        short = augment.Pipeline([augment.Cutout(3)], seed=1)
        assert_equal(list(long.map(batched(images))), list(short.map(batched(images))))

    def test_pipelines_inside_are_taken_in(self, data, batched, simple, assert_equal):
        inner = augment.Pipeline([augment.RandomCrop(2), augment.Cutout(3)], seed=99)
        nested = augment.Pipeline([augment.RandomFlip(), augment.Pipeline([inner])], seed=7)
        assert_equal(list(nested.map(batched(*data))), list(simple().map(batched(*data))))
        assert [type(step).__name__ for step in nested.members] == [
            "RandomFlip",
            "RandomCrop",
            "Cutout",
        ]

    def test_colours_are_rounded_once(self, random_images):
        images = random_images(12)
        steps = [augment.RandomBrightness((0.5, 0.6)), augment.RandomContrast((1.7, 1.8))]
        joined = augment.Pipeline(steps, seed=3)(images, training=True).numpy()
        exact = augment.random_brightness(images.astype("float32"), [3, 0], factor=(0.5, 0.6))
        exact = augment.random_contrast(exact, [3, 0], factor=(1.7, 1.8)).numpy()
        np.testing.assert_allclose(joined, exact, atol=0.502)
        rounded = augment.random_brightness(images, [3, 0], factor=(0.5, 0.6))
        rounded = augment.random_contrast(rounded, [3, 0], factor=(1.7, 1.8)).numpy()
        assert (np.abs(rounded - exact) > 0.6).any()

    def test_geometry_is_interpolated_once(self):
        # Where a value is its place, interpolation is exact, and twice is what once must be.
        size = 24
        down, right = np.mgrid[:size, :size].astype("float32") * 5 + 60
        images = np.broadcast_to(np.stack([down, right], -1), (6, size, size, 2))
        steps = [
            augment.RandomRotation(8, fill="nearest"),
            augment.RandomFlip(),
            augment.RandomZoom((0.9, 1.1), fill="nearest"),
        ]
        joined = augment.Pipeline(steps, seed=3)(images, training=True).numpy()
        twice = augment.random_rotation(images, [3, 0], degrees=8, fill="nearest")
        twice = augment.random_flip(twice, [3, 0])
        twice = augment.random_zoom(twice, [3, 0], factor=(0.9, 1.1), fill="nearest").numpy()
        inside = np.s_[:, 6:-6, 6:-6]
        np.testing.assert_allclose(joined[inside], twice[inside], atol=0.02)
        assert np.abs(joined - images)[inside].max() > 5

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
    @pytest.mark.sampled(1)
    def test_images_in_0_to_1(self, data, dtype, batched):
        steps = [augment.RandomFlip(), augment.RandomBrightness(0.3), augment.Cutout(3, fill=51)]
        whole = augment.Pipeline(steps, seed=7)
        unit = augment.Pipeline(steps, seed=7, value_range=(0, 1))
        images = tf.cast(data[0].astype("float32") / 255, dtype)
        found = next(iter(unit.map(batched(images))))
        assert found.dtype == dtype
        expected = next(iter(whole.map(batched(data[0].astype("float32"))))).numpy() / 255
        found = tf.cast(found, tf.float32).numpy()
        slack = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 1e-6}[dtype]
        np.testing.assert_allclose(found, expected, atol=slack)

    def test_without_xla_it_is_the_same(self, data, batched, simple, assert_equal):
        fast, slow = simple(), simple(jit_compile=False)
        assert_equal(list(fast.map(batched(*data))), list(slow.map(batched(*data))))

    def test_nothing_to_do(self, data, batched, assert_equal):
        assert_equal(list(augment.Pipeline([]).map(batched(*data))), list(batched(*data)))


class TestStrength:
    def test_a_running_dataset_sees_it(self, random_images, batched):
        images = random_images(4)
        pipeline = augment.Pipeline([augment.Cutout(3)], seed=1)
        iterator = iter(pipeline.map(batched(images).repeat(), num_parallel_calls=1))
        assert (next(iterator).numpy() != images).any()
        pipeline.strength = 0
        # A batch may have been made ahead.
        unchanged = [(next(iterator).numpy() == images).all() for _ in range(4)]
        assert unchanged[1:] == [True] * 3
        pipeline.strength = 1
        assert not all((next(iterator).numpy() == images).all() for _ in range(4))

    def test_zero_changes_nothing(self, data, batched):
        steps = [
            augment.RandomFlip(probability=1.0),
            augment.RandomCrop(2),
            augment.RandomBrightness((0.3, 0.5)),
            augment.RandomErasing(probability=1.0),
            augment.MixUpOrCutMix(classes=CLASSES),
        ]
        pipeline = augment.Pipeline(steps, strength=0)
        ((images, targets),) = pipeline.map(batched(*data, size=8))
        np.testing.assert_array_equal(images, data[0])
        np.testing.assert_array_equal(targets, np.eye(CLASSES)[data[1]])

    def test_it_shrinks_magnitudes_and_chances(self, random_images, batched):
        images = np.full((400, 2, 2, 3), 100, np.float32)
        batches = batched(images, np.eye(2)[np.arange(400) % 2], size=400)
        steps = [augment.RandomBrightness((1.4, 1.8)), augment.MixUp(1000.0)]
        pipeline = augment.Pipeline(steps, strength=0.25, seed=1)
        ((found, targets),) = pipeline.map(batches)
        # Factors are from 1.1 to 1.2, and mixing two of them stays within.
        assert 109.9 < found.numpy().min() < 112
        assert 118 < found.numpy().max() < 120.1
        # The partner is an image of the same class for even shifts.
        shares = targets.numpy().max(1)
        if (shares < 1).any():
            assert 0.15 < (shares < 1).mean() < 0.35

    @pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), "1", None])
    def test_bad_values(self, value, simple):
        pipeline = simple()
        with pytest.raises(ValueError, match=r"strength must be a number in \[0, 1\]"):
            pipeline.strength = value
        assert pipeline.strength == 1
        with pytest.raises(ValueError, match="strength must be a number"):
            simple(strength=value)


OUTPUT_STEPS = {
    "in one pass": [augment.RandomHue(0.3)],
    "in one pass, whole": [augment.RandomAutocontrast(probability=0.6)],
    "after a loop": [augment.RandomCrop(2), augment.RandomSaturation(0.5)],
    "in a loop": [augment.RandomCrop(2), augment.Cutout(3)],
    "mixed": [augment.RandomBrightness(0.5), augment.MixUpOrCutMix(classes=CLASSES)],
    "nothing": [],
}


class TestOutputDtype:
    @pytest.mark.parametrize("steps", OUTPUT_STEPS.values(), ids=OUTPUT_STEPS)
    @pytest.mark.sampled(3)
    def test_it_is_what_a_cast_gives(self, data, steps, batched, assert_equal):
        plain = list(augment.Pipeline(steps, seed=7).map(batched(*data)))
        for dtype in ("float32", "bfloat16"):
            pipeline = augment.Pipeline(steps, seed=7, output_dtype=dtype)
            result = list(pipeline.map(batched(*data)))
            assert_equal(result, [(tf.cast(images, dtype), rows) for images, rows in plain])
            assert result[0][0].dtype == dtype

    def test_floats_in_another_range(self, data, batched):
        steps = [augment.RandomCrop(2), augment.RandomBrightness(0.5)]
        images = batched((data[0] / 255).astype("float32"))
        plain, halved = (
            augment.Pipeline(steps, seed=7, value_range=(0, 1), output_dtype=dtype).map(images)
            for dtype in (None, "float16")
        )
        for one, other in zip(plain, halved, strict=True):
            assert other.dtype == tf.float16
            np.testing.assert_allclose(other, one, atol=1e-3)

    def test_evaluation_gives_it_too(self, data):
        pipeline = augment.Pipeline([augment.RandomFlip()], seed=7, output_dtype="float32")
        for training in (False, True):
            images, labels = pipeline(data, training=training)
            assert images.dtype == tf.float32
            np.testing.assert_array_equal(labels, data[1])
        np.testing.assert_array_equal(pipeline(data)[0], data[0])
        assert augment.Pipeline([]).get_config()["output_dtype"] is None
