"""A pipeline as a layer: in training alone, saved and loaded, printed, learned with."""

import json

import keras
import numpy as np
import pytest

import augment

CLASSES = 5


class TestAsLayer:
    def test_each_call_draws_anew_and_only_in_training(self, data, batched, simple, mixing):
        pipeline = simple()
        first = pipeline(data[0], training=True).numpy()
        np.testing.assert_array_equal(first, next(iter(simple().map(batched(*data, size=8))))[0])
        assert (pipeline(data[0], training=True).numpy() != first).any()
        np.testing.assert_array_equal(pipeline(data[0]), data[0])
        images, targets = mixing(classes=CLASSES)(data)
        np.testing.assert_array_equal(images, data[0])
        np.testing.assert_array_equal(targets, np.eye(CLASSES)[data[1]])

    def test_it_survives_json(self, data, batched, simple, assert_equal):
        pipeline = augment.Pipeline(
            [simple(), augment.RandomErasing(scale=(0.1, 0.2)), augment.MixUp(classes=CLASSES)],
            seed=3,
            jit_compile=False,
            output_dtype="float16",
            strength=0.5,
            name="mine",
        )
        saved = json.loads(json.dumps(keras.saving.serialize_keras_object(pipeline)))
        assert saved["registered_name"] == "keras_recipes>Pipeline"
        again = keras.saving.deserialize_keras_object(saved)
        assert (again.seed, again.jit_compile, again.strength) == (3, False, 0.5)
        assert again.output_dtype == "float16"
        assert again.name == "mine"
        assert str(again) == str(pipeline)
        assert_equal(list(again.map(batched(*data))), list(pipeline.map(batched(*data))))

    @pytest.mark.parametrize("policy", [None, "mixed_bfloat16", "mixed_float16"])
    @pytest.mark.sampled(1)
    def test_a_model_learns_with_it_is_saved_and_loaded(self, tmp_path, policy):
        """Stripes lie or stand: a flip or a shift does not change which."""
        generator = np.random.default_rng(0)
        labels = generator.integers(0, 2, 128)
        lying = np.broadcast_to((np.arange(8) % 4 < 2)[:, None] * 200.0, (8, 8))
        images = np.where(labels[:, None, None], lying, lying.T)[..., None]
        images = np.clip(images + generator.normal(0, 20, images.shape), 0, 255).astype("float32")
        steps = [augment.RandomFlip(vertical=True), augment.RandomCrop(2, fill="reflect")]
        steps.append(augment.RandomBrightness(0.2))
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                augment.Pipeline(steps, seed=1, strength=0.75, dtype=policy),
                keras.layers.Rescaling(1 / 128, -1, dtype=policy),
                keras.layers.Conv2D(8, 3, activation="relu", dtype=policy),
                keras.layers.GlobalMaxPooling2D(dtype=policy),
                keras.layers.Dense(2, dtype="float32"),
            ]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(0.02), loss, metrics=["accuracy"])
        history = model.fit(images, labels, batch_size=32, epochs=8, verbose=0).history
        assert history["accuracy"][-1] > 0.95
        assert len(model.get_weights()) == 4
        model.layers[0].strength = 0.5
        model.save(tmp_path / "model.keras")
        copy = keras.models.clone_model(model)
        assert (copy.layers[0].strength, copy.layers[0].seed) == (0.5, 1)
        again = keras.models.load_model(tmp_path / "model.keras")
        assert again.layers[0].strength == 0.5
        np.testing.assert_allclose(again(images), model(images), atol=1e-6)
        model.layers[0].strength = 1.0
        model.save_weights(tmp_path / "model.weights.h5")
        again.load_weights(tmp_path / "model.weights.h5")
        assert again.layers[0].strength == 1.0

    def test_it_takes_the_weights_of_a_model_without_it(self, tmp_path):
        def dense(*steps):
            return keras.Sequential(
                [keras.Input((2, 2, 1)), *steps, keras.layers.Flatten(), keras.layers.Dense(2)]
            )

        plain, augmented = dense(), dense(augment.Pipeline([augment.RandomFlip()], strength=0.5))
        plain.save_weights(tmp_path / "plain.weights.h5")
        augmented.load_weights(tmp_path / "plain.weights.h5")
        np.testing.assert_array_equal(augmented.get_weights()[0], plain.get_weights()[0])
        assert augmented.layers[0].strength == 0.5

    def test_a_model_learns_from_a_mapped_dataset(self, data, batched):
        pipeline = augment.Pipeline([augment.RandomFlip(), augment.MixUp(classes=CLASSES)], seed=1)
        inputs, scale = keras.Input((8, 8, 3)), keras.layers.Rescaling(1 / 128, -1)
        model = keras.Sequential(
            [inputs, scale, keras.layers.Flatten(), keras.layers.Dense(CLASSES)]
        )
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(0.01), loss, jit_compile=False)
        batches = pipeline.map(batched(*data, drop_remainder=True))
        losses = model.fit(batches, epochs=12, verbose=0, shuffle=False).history["loss"]
        assert np.mean(losses[-3:]) < 0.6 * np.mean(losses[:3])

    def test_it_prints_what_is_joined(self, capsys):
        pipeline = augment.Pipeline(
            [
                augment.RandomFlip(),
                augment.RandomRotation(10),
                augment.RandomBrightness(0.2),
                augment.RandomBrightness((1, 2)),
                augment.RandomCrop(4),
                augment.MixUp(classes=10),
            ],
            seed=1,
        )
        pipeline.summary()
        lines = capsys.readouterr().out.rstrip("\n").splitlines()
        assert lines[0] == "Pipeline(seed=1, value_range=(0, 255), strength=1)"
        assert [line.partition("(")[0] for line in lines[1:]] == [
            "  1. one warp",
            "       RandomFlip",
            "       RandomRotation",
            "  2. one colour stage, rounded once",
            "       RandomBrightness",
            "       RandomBrightness",
            "  3. RandomCrop",
            "  4. MixUp",
        ]
        assert "factor=(1, 2), probability=1.0)" in lines[6]
        assert str(pipeline) == "\n".join(lines)
