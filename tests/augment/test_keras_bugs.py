"""Faults of the augmentation layers of Keras 3.15.1, one by one: ours is right where they are not.

Each class is named for a fault. `test_stock` shows it, so that the claim can be checked, and runs
with that version alone; images are float32 in `[0, 255]` unless said.
"""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

import augment

stock = pytest.mark.skipif(
    keras.__version__ != "3.15.1", reason="the faults were found in Keras 3.15.1"
)
# Two columns, 100 and 150: what contrast does to their difference is its factor.
STEP = np.tile(np.array([100, 150], np.float32).reshape(1, 1, 2, 1), (300, 2, 1, 3))


def trained(layer, inputs):
    """Return what a stock layer makes of images in training, as NumPy."""
    return np.asarray(layer(inputs, training=True))


def mapped(layer, batch, *, batches=1):
    """Return what a layer makes of a batch in `Dataset.map`, several times."""
    dataset = tf.data.Dataset.from_tensors(batch).repeat(batches)
    return list(
        dataset.map(tf.autograph.experimental.do_not_convert(lambda b: layer(b, training=True)))
    )


class TestFlipHasOneMaskForBothAxes:
    images = np.tile(np.arange(4, dtype=np.float32).reshape(1, 2, 2, 1), (256, 1, 1, 1))

    def kinds(self, flipped):
        """Return counts of unchanged, left to right, upside down, both."""
        return [int((flipped[:, 0, 0, 0] == corner).sum()) for corner in range(4)]

    def test_ours(self):
        counts = self.kinds(augment.random_flip(self.images, [1, 0], vertical=True).numpy())
        assert sum(counts) == 256
        assert min(counts) > 40, "64 of each are expected"

    @stock
    def test_stock(self):
        counts = self.kinds(trained(keras.layers.RandomFlip(seed=1), self.images))
        assert counts[0] > 90
        assert counts[1] == counts[2] == 0


class TestContrastOnlyGrows:
    def factors(self, images):
        return (images[:, 0, 1, 0] - images[:, 0, 0, 0]) / 50

    def test_ours(self):
        factors = self.factors(augment.random_contrast(STEP, [1, 0], factor=0.4).numpy())
        assert 0.59 < factors.min() < 0.65
        assert 1.35 < factors.max() < 1.41
        assert 0.4 < (factors < 1).mean() < 0.6

    @stock
    def test_stock(self):
        layer = keras.layers.RandomContrast(0.4, seed=1)
        factors = [self.factors(trained(layer, STEP)) for _ in range(40)]
        assert np.min(factors) >= 0.99


class TestSaturationLeavesTheRange:
    def test_ours(self, random_images):
        images = random_images(64).astype(np.float32)
        for factor in ((0.5, 0.75), (0.8, 1.0), (1.9, 2.0), (0.0, 3.0)):
            changed = augment.random_saturation(images, [1, 0], factor=factor).numpy()
            assert changed.min() >= 0
            assert changed.max() <= 255

    @stock
    def test_stock(self, random_images):
        images = random_images(64).astype(np.float32)
        layer = keras.layers.RandomSaturation((0.8, 1.0), seed=0)
        assert trained(layer, images).min() < -1000


class TestEqualizationHasOneHistogramForABatch:
    dark = np.linspace(0, 40, 1024).reshape(1, 32, 32, 1).repeat(3, -1).round().astype("float32")
    both = np.concatenate([dark, dark + 200])

    def test_ours(self):
        alone = augment.random_equalize(self.dark, [1, 0]).numpy()
        beside = augment.random_equalize(self.both, [1, 0]).numpy()
        assert alone.max() == 255
        np.testing.assert_array_equal(beside[:1], alone)

    @stock
    def test_stock(self):
        layer = keras.layers.Equalization()
        assert np.asarray(layer(self.dark)).max() == 255
        assert np.asarray(layer(self.both))[0].max() < 130


class TestEagerUint8Wraps:
    images = np.full((4, 4, 4, 3), 200, np.uint8)

    def test_ours(self):
        bright = augment.random_brightness(self.images, [1, 0], factor=(1.4, 1.5)).numpy()
        assert bright.dtype == np.uint8
        assert (bright == 255).all(), "280 and more"
        dark = augment.random_brightness(self.images, [1, 0], factor=(0.7, 0.8)).numpy()
        assert (dark >= 140).all()
        assert (dark <= 160).all()
        for change in (augment.random_contrast, augment.random_saturation):
            assert change(self.images, [1, 0], factor=0.4).dtype == tf.uint8

    @stock
    def test_stock(self):
        bright = trained(keras.layers.RandomBrightness((0.4, 0.5), seed=0), self.images)
        assert bright.max() < 100, "200 and about 115 more, modulo 256"
        for layer in (keras.layers.RandomContrast, keras.layers.RandomSaturation):
            with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
                layer(0.4, seed=0)(self.images, training=True)


class TestErasingErasesHalfAndItsNoiseIsHalfZeros:
    images = np.full((500, 8, 8, 1), 5, np.float32)

    def test_ours(self):
        erased = augment.random_erasing(self.images, [1, 0], probability=1.0).numpy()
        assert (erased != 5).any((1, 2, 3)).all()
        assert (erased[erased != 5] == 0).mean() < 0.02

    @stock
    def test_stock(self):
        layer = keras.layers.RandomErasing(1.0, seed=0)
        assert 0.4 < (trained(layer, self.images) != 5).any((1, 2, 3)).mean() < 0.6
        always = trained(keras.layers.RandomErasing((1.0, 1.0), seed=0), self.images)
        assert 0.4 < (always[always != 5] == 0).mean() < 0.6


class TestBlurDarkensTheBordersAndSharesItsWidth:
    flat = np.full((2, 9, 9, 1), 200, np.float32)
    points = np.zeros((16, 9, 9, 1), np.float32)
    points[:, 4, 4] = 255

    def test_ours(self):
        blurred = augment.random_gaussian_blur(self.flat, [1, 0], sigma=(1.0, 1.0)).numpy()
        np.testing.assert_allclose(blurred, 200, atol=0.01)
        peaks = augment.random_gaussian_blur(self.points, [1, 0], sigma=(0.5, 2.0)).numpy()
        assert len(np.unique(peaks[:, 4, 4, 0])) > 10
        sharper = augment.random_sharpness(self.flat, [1, 0], factor=(0.2, 0.2)).numpy()
        np.testing.assert_allclose(sharper, 200, atol=0.01)

    @stock
    def test_stock(self):
        blurred = trained(keras.layers.RandomGaussianBlur((1, 1), 5, seed=0), self.flat)
        assert blurred[0, 0, 0, 0] < 160
        layer = keras.layers.RandomGaussianBlur((1, 1), 5, (0.5, 2.0), seed=0)
        assert len(np.unique(trained(layer, self.points)[:, 4, 4, 0])) == 1
        sharper = trained(keras.layers.RandomSharpness((0.2, 0.2), seed=0), self.flat)
        assert sharper[0, 0, 0, 0] < 160


class TestCutMixDrawsItsAlphaAndMislabels:
    # Image i is filled with i and of class i: its own share can be counted.
    images = np.broadcast_to(np.arange(64.0).reshape(64, 1, 1, 1), (64, 32, 32, 1)).astype(
        "float32"
    )
    labels = np.eye(64, dtype=np.float32)

    def shares(self, images, targets):
        """Return the share of pixels and the share of the label that each image keeps."""
        own = np.arange(64)
        kept = (np.asarray(images)[..., 0] == own[:, None, None]).mean((1, 2))
        return kept, np.asarray(targets)[own, own]

    def test_ours(self):
        pixels, labels = [], []
        for step in range(12):
            mixed = augment.cutmix(self.images, self.labels, [1, step], alpha=1.0)
            kept, target = self.shares(*mixed)
            pixels, labels = [*pixels, *kept], [*labels, *target]
        np.testing.assert_allclose(labels, pixels, atol=1e-6)
        # The area drawn is uniform; boxes cut off at a border only shrink.
        assert np.mean(np.array(labels) < 0.05) < 0.05

    @stock
    def test_stock(self):
        layer, weights, apart = keras.layers.CutMix(1.0, seed=0), [], []
        for _ in range(12):
            mixed = layer({"images": self.images, "labels": self.labels}, training=True)
            kept, target = self.shares(mixed["images"], mixed["labels"])
            weights, apart = [*weights, *target], [*apart, *np.abs(kept - target)]
        extreme = np.mean((np.array(weights) < 0.05) | (np.array(weights) > 0.95))
        assert extreme > 0.25, "0.1 of the draws of Beta(1, 1)"
        assert max(apart) > 0.03


@pytest.mark.parametrize("name", ["MixUp", "CutMix"])
class TestMixesOfWholeNumberLabelsUnbatchedImagesAndWeights:
    def batch(self, random_images, **more):
        return {"images": random_images(8).astype(np.float32), "labels": np.arange(8), **more}

    def test_ours(self, name, random_images):
        layer = getattr(augment, name)(alpha=1.0, classes=8, seed=1)
        weights = np.arange(8, dtype=np.float32)
        (mixed,) = mapped(layer, self.batch(random_images, weights=weights))
        targets = mixed["labels"].numpy()
        assert targets.shape == (8, 8)
        np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
        assert (np.diag(targets) < 0.9).any()
        # Image i has weight i and class i.
        np.testing.assert_allclose(mixed["weights"], targets @ weights, atol=1e-4)
        with pytest.raises(ValueError, match="batch them first"):
            layer((np.zeros((8, 8, 3), np.float32), np.array([1])), training=True)

    @stock
    def test_stock(self, name, random_images):
        layer = getattr(keras.layers, name)(seed=0)
        (mixed,) = mapped(layer, self.batch(random_images))
        assert mixed["labels"].shape == (8, 8), "rows of the batch, not of classes"
        weights = np.arange(8, dtype=np.float32)
        rows = {"labels": np.eye(8, dtype=np.float32), "sample_weights": weights}
        mixed = layer({**self.batch(random_images), **rows}, training=True)
        np.testing.assert_array_equal(mixed["sample_weights"], weights)
        if name == "CutMix":
            image = random_images(1)[0].astype(np.float32)
            single = layer({"images": image, "labels": np.eye(4)[0]}, training=True)
            np.testing.assert_array_equal(single["images"], image)


class TestMixedPrecisionCastsEveryEntry:
    def batch(self, random_images):
        return {"images": random_images(2).astype(np.float32), "labels": np.array([257.0, 3.0])}

    def test_ours(self, random_images):
        layer = augment.RandomFlip(seed=1, dtype="mixed_bfloat16")
        batch = {**self.batch(random_images), "name": ["cat", "dog"]}
        (result,) = mapped(layer, batch)
        assert result["labels"][0] == 257
        assert result["images"].dtype == tf.float32
        assert result["name"][1] == b"dog"

    @stock
    def test_stock(self, random_images):
        layer = keras.layers.RandomFlip(seed=1, dtype="mixed_bfloat16")
        (result,) = mapped(layer, self.batch(random_images))
        assert result["labels"][0] == 256
        with pytest.raises(tf.errors.UnimplementedError):
            mapped(layer, {**self.batch(random_images), "name": ["cat", "dog"]})


class TestAugMixIsFrozenInDatasetsAndItsSeedDoesNotRepeat:
    def test_ours(self, random_images, map_seeds):
        images = random_images(4)

        def changed(seed):
            operations = ("posterize", "solarize", "autocontrast")
            return augment.aug_mix(images, seed, severity=10, operations=operations)

        first, again = map_seeds(changed, 6), map_seeds(changed, 6)
        np.testing.assert_array_equal(first, again)
        assert len({result.tobytes() for result in first}) == 6
        draws = augment.aug_mix.operation().draw([1, 0], (300, 8, 8, 3), 1.0)[0]
        assert len(np.unique(draws["branch"].numpy().reshape(300, 9), axis=0)) > 200, "own for each"

    @stock
    def test_stock(self, random_images, monkeypatch):
        images, calls, choose = random_images(4).astype(np.float32), [], random.choice
        monkeypatch.setattr(random, "choice", lambda all_: calls.append(1) or choose(all_))
        layer = keras.layers.AugMix(seed=0)
        layer(images, training=True)
        eager = len(calls)
        assert eager > 0, "drawn by Python"
        mapped(layer, images, batches=5)
        assert len(calls) <= 2 * eager, "once for all of five batches, as they were traced"
        monkeypatch.undo()
        random.seed(1)
        first = trained(keras.layers.AugMix(seed=0), images)
        random.seed(2)
        assert (trained(keras.layers.AugMix(seed=0), images) != first).any()


class TestRandAugmentDrawsForTheBatchAndRotatesOneWay:
    def test_ours(self):
        images = np.zeros((200, 33, 33, 1), np.uint8)
        images[:, 16, 26:29] = 255
        turned = augment.rand_augment(images, [1, 0], n=1, m=30, operations=("rotate",)).numpy()
        rows, columns = np.meshgrid(np.arange(33) - 16, np.arange(33) - 16, indexing="ij")
        mass = turned[..., 0].sum((1, 2)).astype(float)
        up = (turned[..., 0] * rows).sum((1, 2)) / mass
        right = (turned[..., 0] * columns).sum((1, 2)) / mass
        angles = np.degrees(np.arctan2(up, right))
        np.testing.assert_allclose(np.abs(angles), 30, atol=2.5)
        assert 0.35 < (angles > 0).mean() < 0.65
        draws = augment.rand_augment.operation(n=2).draw([1, 0], (300, 8, 8, 3), 1.0)[0]
        assert len(np.unique(draws["branch"], axis=0)) > 50, "a pair for each image"

    @stock
    def test_stock(self):
        layer = keras.layers.RandAugment(num_ops=2, factor=0.5, seed=0)
        drawn = layer.get_random_transformation(np.zeros((64, 8, 8, 3), np.float32))
        assert drawn["layer_idxes"].shape == (2,)
        low, high = layer.random_rotation.factor
        assert low >= 0
        assert high == 0.5, "of a turn"


class TestSeedsDoNotRepeatAndLayersOfOneSeedAgree:
    def test_ours(self, map_seeds):
        images = np.full((1, 2, 2, 1), 100, np.float32)
        first, again = (
            map_seeds(lambda seed: augment.random_brightness(images, seed), 60, parallel=8)
            for _ in range(2)
        )
        np.testing.assert_array_equal(first, again)
        bright = augment.random_brightness(np.full((300, 1, 1, 1), 100.0, "float32"), [7, 0])
        contrast = augment.random_contrast(STEP, [7, 0]).numpy()
        factors = contrast[:, 0, 1, 0] - contrast[:, 0, 0, 0]
        assert abs(np.corrcoef(bright.numpy().ravel(), factors)[0, 1]) < 0.2

    @stock
    def test_stock(self):
        def run():
            layer = keras.layers.RandomBrightness(0.5, seed=7)
            dataset = tf.data.Dataset.range(60).map(
                lambda _: layer(tf.fill((1, 2, 2, 1), 100.0), training=True), num_parallel_calls=8
            )
            return [float(image[0, 0, 0, 0]) for image in dataset]

        assert any(run() != run() for _ in range(5))
        bright = trained(keras.layers.RandomBrightness(0.5, seed=7), STEP)[:, 0, 0, 0]
        contrast = trained(keras.layers.RandomContrast(0.5, seed=7), STEP)
        factors = contrast[:, 0, 1, 0] - contrast[:, 0, 0, 0]
        assert abs(np.corrcoef(bright, factors)[0, 1]) > 0.9


class TestCropKeepsInferenceUncroppedAndUnknownSizesFail:
    @staticmethod
    def unknown(function, images):
        """Return what `function` makes of images whose height and width are not known."""
        signature = tf.TensorSpec([len(images), None, None, 3], images.dtype)
        dataset = tf.data.Dataset.from_generator(lambda: iter([images]), output_signature=signature)
        (result,) = dataset.map(tf.autograph.experimental.do_not_convert(function))
        return result

    @pytest.mark.slow
    def test_ours(self, random_images):
        images = random_images(8, 8, 10)
        layer = augment.RandomCrop(padding=2, seed=1)
        assert layer(images, training=True).shape == layer(images, training=False).shape
        for function, arguments in (
            (augment.random_crop, {"padding": 2}),
            (augment.random_erasing, {"probability": 1.0}),
        ):
            found = self.unknown(
                lambda batch, f=function, a=arguments: f(batch, [1, 0], **a), images
            )
            np.testing.assert_array_equal(found, function(images, [1, 0], **arguments))
        found, _ = self.unknown(
            lambda batch: augment.cutmix(batch, np.arange(8), [1, 0], classes=8), images
        )
        np.testing.assert_array_equal(
            found, augment.cutmix(images, np.arange(8), [1, 0], classes=8)[0]
        )

    @stock
    def test_stock(self, random_images):
        images = random_images(8, 8, 10).astype(np.float32)
        crop = keras.layers.RandomCrop(4, 5, seed=0)
        assert crop(images, training=True).shape == (8, 4, 5, 3)
        result = np.asarray(crop(images, training=False))
        assert result.shape[1:3] == (8, 10)
        erase, mix = keras.layers.RandomErasing(1.0, seed=0), keras.layers.CutMix(seed=0)
        for function in (
            lambda batch: crop(batch, training=True),
            lambda batch: erase(batch, training=True),
            lambda batch: mix({"images": batch, "labels": tf.eye(8)}, training=True),
        ):
            with pytest.raises(TypeError):
                self.unknown(function, images)


class TestToneLayersActOutsideTrainingOrBeyondTheirRange:
    def test_ours(self, random_images):
        half = random_images(8).astype(np.float32) / 2
        np.testing.assert_array_equal(
            augment.RandomAutocontrast(seed=1)(half, training=False), half
        )
        black = np.zeros((200, 2, 2, 1), np.float32)
        solarized = augment.random_solarize(black, [1, 0], threshold=(128, 128)).numpy()
        assert not solarized.any()
        levels = np.tile(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), (64, 1, 1, 1))
        for bits in ((4, 4), (3, 4)):
            poster = augment.random_posterize(levels, [1, 0], bits=bits).numpy()
            counts = {len(np.unique(image)) for image in poster}
            assert counts == {2**number for number in range(bits[0], bits[1] + 1)}

    @stock
    def test_stock(self, random_images):
        half = random_images(8).astype(np.float32) / 2
        assert (np.asarray(keras.layers.AutoContrast()(half, training=False)) != half).any()
        layer = keras.layers.Solarization((0.5, 0.5), seed=0)
        assert trained(layer, np.zeros((200, 2, 2, 1), np.float32)).min() > 100
        layer, counts = keras.layers.RandomPosterization(4, seed=0), set()
        levels = np.arange(256, dtype=np.float32).reshape(1, 16, 16, 1)
        for _ in range(40):
            counts.add(len(np.unique(trained(layer, levels))))
        assert max(counts) == 2**3


class TestGrayscaleTakesNoDictionaryAndForgetsItsSeed:
    def test_ours(self, random_images):
        layer = augment.RandomGrayscale(probability=1.0, seed=3)
        result = layer({"images": random_images(2), "labels": np.array([0, 1])}, training=True)
        assert (np.ptp(result["images"], axis=-1) <= 1).all()
        assert layer.get_config()["seed"] == 3

    @stock
    def test_stock(self, random_images):
        layer = keras.layers.RandomGrayscale(1.0, seed=3)
        with pytest.raises(AttributeError):
            layer({"images": random_images(2), "labels": np.eye(2)}, training=True)
        assert "seed" not in layer.get_config()
