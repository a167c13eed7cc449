import gc
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import augment

CLASSES = 5


@pytest.fixture
def data(random_images):
    """Images and whole-number labels: 8 of them, of 8 x 8 pixels."""
    return random_images(8), np.arange(8) % CLASSES


def batched(*parts, size=4, **keywords):
    """Return a dataset of batches of arrays."""
    parts = parts[0] if len(parts) == 1 else parts
    return tf.data.Dataset.from_tensor_slices(parts).batch(size, **keywords)


def simple(**keywords):
    """Return a pipeline that flips, shifts and cuts, with the seed 7."""
    steps = [augment.RandomFlip(), augment.RandomCrop(2), augment.Cutout(3)]
    return augment.Pipeline(steps, **{"seed": 7, **keywords})


def mixing(**keywords):
    return augment.Pipeline([augment.RandomFlip(), augment.MixUp(1.0, **keywords)], seed=7)


def assert_equal(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)


class TestWhatItComputes:
    @pytest.mark.slow
    def test_the_operations_one_after_the_other(self, random_images):
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

    def test_the_same_step_twice_draws_twice(self, random_images):
        pipeline = augment.Pipeline([augment.Cutout(1), augment.Cutout(1)], seed=1)
        result = next(iter(pipeline.map(batched(random_images(60), size=60))))
        cut = (result.numpy() == 0).all(-1).sum((1, 2))
        assert (cut == 2).sum() > 45

    def test_a_step_draws_the_same_whatever_else_there_is(self, random_images):
        images = random_images(20)
        long = augment.Pipeline([augment.RandomFlip(probability=0), augment.Cutout(3)], seed=1)
        short = augment.Pipeline([augment.Cutout(3)], seed=1)
        assert_equal(list(long.map(batched(images))), list(short.map(batched(images))))

    def test_pipelines_inside_are_taken_in(self, data):
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
    def test_images_in_0_to_1(self, data, dtype):
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

    def test_without_xla_it_is_the_same(self, data):
        fast, slow = simple(), simple(jit_compile=False)
        assert_equal(list(fast.map(batched(*data))), list(slow.map(batched(*data))))

    def test_nothing_to_do(self, data):
        assert_equal(list(augment.Pipeline([]).map(batched(*data))), list(batched(*data)))


class TestReproducible:
    def test_in_any_parallelism(self, data):
        batches = batched(*data, size=2).repeat(4)
        first, *others = (
            list(mixing(classes=CLASSES).map(batches, num_parallel_calls=calls))
            for calls in (1, 4, tf.data.AUTOTUNE)
        )
        for other in others:
            assert_equal(first, other)
        assert len(first) == 16

    def test_started_at_batch_k(self, data):
        batches, pipeline = batched(*data, size=2), simple()
        whole = list(pipeline.map(batches))
        for k in (1, 3):
            assert_equal(list(pipeline.map(batches.skip(k), start=k)), whole[k:])
        assert_equal(list(pipeline.map(batches).skip(3)), whole[3:])

    @pytest.mark.parametrize("known", [True, False])
    def test_each_pass_is_another_and_all_can_be_repeated(self, random_images, known):
        batches = batched(random_images(1).repeat(6, axis=0), size=3)
        if not known:
            batches = batches.filter(lambda images: True)
        first, second = simple().map(batches), simple().map(batches)
        seen = [batch for _ in range(3) for batch in first]
        assert_equal(seen, [batch for _ in range(3) for batch in second])
        assert len({batch.numpy().tobytes() for batch in seen}) == 6
        if known:
            assert_equal(seen, list(simple().map(batches.repeat(3))))

    def test_a_random_seed_stays_the_same(self, random_images):
        batches = batched(random_images(8))
        pipeline, other = (augment.Pipeline([augment.Cutout(3)]) for _ in range(2))
        assert_equal(list(pipeline.map(batches)), list(pipeline.map(batches)))
        assert (next(iter(pipeline.map(batches))) != next(iter(other.map(batches)))).numpy().any()

    def test_as_many_batches_as_before(self, random_images):
        batches, pipeline = batched(random_images(10)), simple()
        infinite, unknown = tf.data.INFINITE_CARDINALITY, tf.data.UNKNOWN_CARDINALITY
        assert int(pipeline.map(batches).cardinality()) == 3
        assert int(pipeline.map(batches.repeat()).cardinality()) == infinite
        assert int(pipeline.map(batches.filter(lambda _: True)).cardinality()) == unknown

    def test_the_dataset_outlives_the_pipeline(self, random_images):
        iterator = iter(simple().map(batched(random_images(8))))
        gc.collect()
        assert len(list(iterator)) == 2

    @pytest.mark.parametrize("drop_remainder", [True, False])
    def test_it_is_traced_once_in_three_epochs(self, data, drop_remainder):
        # Pipelines that do the same share what was traced: a cut of 4 occurs here alone.
        steps = [augment.Cutout(4 + drop_remainder), augment.MixUp(classes=CLASSES)]
        pipeline = augment.Pipeline(steps)
        batches = pipeline.map(batched(*data, size=3, drop_remainder=drop_remainder))
        for _ in range(3):
            for _ in batches:
                pipeline.strength = 0.5
        assert pipeline.program().tracing_count() == 1

    def test_xla_compiles_it_once_for_all_seeds_and_strengths(self, data):
        steps = [*simple().steps, augment.RandAugment(), augment.RandomErasing()]
        mixes = [augment.MixUpOrCutMix(classes=CLASSES), augment.CutMix(minmax=(0.2, 0.5))]
        images, targets = tf.constant(data[0]), tf.one_hot(data[1], CLASSES)
        program = augment.Pipeline([*steps, *mixes]).program()
        text = program.compiler_text(images, targets, [1, 2], 0.5)
        # Of images, targets, seed and strength; what XLA takes for a constant is no argument.
        assert "{(u8[8,8,8,3]" in text
        for argument in ("f32[8,5]", "s64[2]", "f64[]"):
            assert argument in text.splitlines()[0].partition("->")[0]


class TestForms:
    @pytest.mark.parametrize("name", ["weights", "sample_weight", "sample_weights"])
    def test_dictionaries(self, data, name):
        images, labels = data
        weights = np.linspace(0.5, 2, 8).astype("float32")
        rest = {"number": np.arange(252, 260), "text": ["cat"] * 8}
        whole = {"images": images, "labels": labels, name: weights, **rest}
        expected = list(mixing(classes=CLASSES).map(batched(images, labels, weights)))
        found = list(mixing(classes=CLASSES).map(batched(whole)))
        assert_equal([(one["images"], one["labels"], one[name]) for one in found], expected)
        assert found[1]["number"].numpy().tolist() == [256, 257, 258, 259]
        assert found[0]["text"][0].numpy() == b"cat"

    def test_one_hot_labels_need_no_classes(self, data):
        images, labels = data
        expected = list(mixing(classes=CLASSES).map(batched(images, labels)))
        found = list(mixing().map(batched(images, np.eye(CLASSES)[labels])))
        assert_equal(found, expected)

    def test_labels_stay_without_a_mix(self, data):
        images, labels = data
        batches = batched(images, labels, labels * 2, labels * 3)
        for result, batch in zip(simple().map(batches), batches, strict=True):
            assert_equal(result[1:], batch[1:])
        assert simple().map(batched(images)).element_spec.shape[1:] == (8, 8, 3)

    @pytest.mark.parametrize("shape", [(8,), (8, 1)])
    def test_weights_are_mixed_by_the_same_shares(self, data, shape):
        """A weight for each class goes on being the target times the weights of the classes."""
        images, labels = data
        of_class = np.array([0.5, 2, 1, 3, 0], "float32")
        weights = of_class[labels].reshape(shape)
        smoothed = augment.CutMix(classes=CLASSES, label_smoothing=0.2)
        pipeline = augment.Pipeline([augment.MixUp(1.0), smoothed], seed=7)
        batches = batched(images, labels, weights, size=8)
        ((_, targets, mixed),) = pipeline.map(batches)
        assert mixed.shape == shape
        targets = (targets - 0.2 / CLASSES) / 0.8
        expected = (targets.numpy() @ of_class).reshape(shape)
        np.testing.assert_allclose(mixed, expected, rtol=1e-5)
        assert (np.abs(mixed - weights) > 0.1).any()

    def test_a_batch_of_one_is_not_mixed(self, data):
        images, labels = data
        results = list(augment.Pipeline([augment.MixUp(1.0, CLASSES)]).map(batched(*data, size=1)))
        assert_equal([images for images, _ in results], images[:, None])
        assert_equal([targets for _, targets in results], np.eye(CLASSES)[labels][:, None])


class TestStrength:
    def test_a_running_dataset_sees_it(self, random_images):
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

    def test_zero_changes_nothing(self, data):
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

    def test_it_shrinks_magnitudes_and_chances(self, random_images):
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
    def test_bad_values(self, value):
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
    def test_it_is_what_a_cast_gives(self, data, steps):
        plain = list(augment.Pipeline(steps, seed=7).map(batched(*data)))
        for dtype in ("float32", "bfloat16"):
            pipeline = augment.Pipeline(steps, seed=7, output_dtype=dtype)
            result = list(pipeline.map(batched(*data)))
            assert_equal(result, [(tf.cast(images, dtype), rows) for images, rows in plain])
            assert result[0][0].dtype == dtype

    def test_floats_in_another_range(self, data):
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


class TestAsLayer:
    def test_each_call_draws_anew_and_only_in_training(self, data):
        pipeline = simple()
        first = pipeline(data[0], training=True).numpy()
        np.testing.assert_array_equal(first, next(iter(simple().map(batched(*data, size=8))))[0])
        assert (pipeline(data[0], training=True).numpy() != first).any()
        np.testing.assert_array_equal(pipeline(data[0]), data[0])
        images, targets = mixing(classes=CLASSES)(data)
        np.testing.assert_array_equal(images, data[0])
        np.testing.assert_array_equal(targets, np.eye(CLASSES)[data[1]])

    def test_it_survives_json(self, data):
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

    def test_a_model_learns_from_a_mapped_dataset(self, data):
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


class TestBadInput:
    @pytest.mark.parametrize(
        ("steps", "error", "message"),
        [
            (["flip"], TypeError, "steps must be layers of augment, received: 'flip'"),
            ([keras.layers.Flatten()], TypeError, "steps must be layers of augment"),
            ([augment.MixUp(), augment.Cutout(3)], ValueError, "received: Cutout after MixUp"),
        ],
    )
    def test_steps(self, steps, error, message):
        with pytest.raises(error, match=message):
            augment.Pipeline(steps)

    @pytest.mark.parametrize(
        ("keywords", "message"),
        [
            ({"seed": -1}, "seed must be an integer of at least 0"),
            ({"seed": 0.5}, "seed must be an integer"),
            ({"seed": 2**32}, r"seed must be below 2\*\*32"),
            ({"value_range": (1, 0)}, "value_range must be two rising numbers"),
            ({"jit_compile": "yes"}, "jit_compile must be True or False or 'auto'"),
            ({"output_dtype": "uint8"}, "output_dtype must be None or 'float32' or 'float16' or"),
        ],
    )
    def test_arguments(self, keywords, message):
        with pytest.raises(ValueError, match=message):
            simple(**keywords)

    @pytest.mark.parametrize(
        ("spec", "error", "message"),
        [
            (tf.TensorSpec((8, 8, 3), tf.uint8), ValueError, "batch them first"),
            (tf.TensorSpec((None, None, 8, 3), tf.uint8), ValueError, "resize them before batch"),
            (tf.TensorSpec((None, 8, 8, None), tf.uint8), ValueError, "of known height, width and"),
            (tf.TensorSpec(None, tf.uint8), ValueError, "images must have the shape"),
            (tf.TensorSpec((4, 8, 8, 3), tf.int32), TypeError, "received: int32"),
            (tf.RaggedTensorSpec((4, None, None, 3), tf.uint8), TypeError, "must be one size"),
            ({"image": tf.TensorSpec((4, 8, 8, 3), tf.uint8)}, ValueError, "have the key 'images'"),
        ],
    )
    def test_images(self, spec, error, message):
        def never():
            yield from ()

        dataset = tf.data.Dataset.from_generator(never, output_signature=spec)
        with pytest.raises(error, match=message):
            simple().map(dataset)

    def test_no_dataset(self, data):
        with pytest.raises(TypeError, match=r"must be a tf.data.Dataset of batches, received: nda"):
            simple().map(data[0])
        with pytest.raises(ValueError, match="start must be an integer of at least 0"):
            simple().map(batched(*data), start=-1)

    def test_labels(self, data):
        images, labels = data
        with pytest.raises(ValueError, match="Pipeline mixes labels too: .* images alone"):
            mixing(classes=CLASSES).map(batched(images))
        with pytest.raises(ValueError, match=r"received: \['images'\]"):
            mixing(classes=CLASSES).map(batched({"images": images}))
        with pytest.raises(ValueError, match="classes must be given when labels are whole numbers"):
            mixing().map(batched(images, labels))
        parts = {"images": images, "weights": labels, "sample_weight": labels}
        with pytest.raises(ValueError, match="one key of weights"):
            simple().map(batched(parts))
        with pytest.raises(ValueError, match=r"weights must have the shape \(batch,\)"):
            mixing(classes=CLASSES).map(batched(images, labels, np.ones((8, 2))))
        with pytest.raises(tf.errors.InvalidArgumentError, match="labels must"):
            list(mixing(classes=4).map(batched(images, labels)))

    @pytest.mark.slow
    def test_values_in_another_range(self, data):
        images = data[0].astype("float32")
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"say value_range=\(0, 1\)"):
            list(simple().map(batched(images / 255)))
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"must be in \[0, 1\]"):
            list(simple(value_range=(0, 1)).map(batched(images)))
        list(simple().map(batched(images * 0)))
