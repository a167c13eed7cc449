"""A pipeline over datasets: the same again in any order, in every form, or refused."""

import collections
import gc

import keras
import numpy as np
import pytest
import tensorflow as tf

import augment

CLASSES = 5


class TestReproducible:
    def test_in_any_parallelism(self, data, batched, mixing, assert_equal):
        batches = batched(*data, size=2).repeat(4)
        first, *others = (
            list(mixing(classes=CLASSES).map(batches, num_parallel_calls=calls))
            for calls in (1, 4, tf.data.AUTOTUNE)
        )
        for other in others:
            assert_equal(first, other)
        assert len(first) == 16

    def test_started_at_batch_k(self, data, batched, simple, assert_equal):
        batches, pipeline = batched(*data, size=2), simple()
        whole = list(pipeline.map(batches))
        for k in (1, 3):
            assert_equal(list(pipeline.map(batches.skip(k), start=k)), whole[k:])
        assert_equal(list(pipeline.map(batches).skip(3)), whole[3:])

    @pytest.mark.parametrize("known", [True, False])
    def test_each_pass_is_another_and_all_can_be_repeated(
        self, random_images, known, batched, simple, assert_equal
    ):
        batches = batched(random_images(1).repeat(6, axis=0), size=3)
        if not known:
            batches = batches.filter(lambda images: True)
        first, second = simple().map(batches), simple().map(batches)
        seen = [batch for _ in range(3) for batch in first]
        assert_equal(seen, [batch for _ in range(3) for batch in second])
        assert len({batch.numpy().tobytes() for batch in seen}) == 6
        if known:
            assert_equal(seen, list(simple().map(batches.repeat(3))))

    def test_a_random_seed_stays_the_same(self, random_images, batched, assert_equal):
        batches = batched(random_images(8))
        pipeline, other = (augment.Pipeline([augment.Cutout(3)]) for _ in range(2))
        assert_equal(list(pipeline.map(batches)), list(pipeline.map(batches)))
        assert (next(iter(pipeline.map(batches))) != next(iter(other.map(batches)))).numpy().any()

    def test_as_many_batches_as_before(self, random_images, batched, simple):
        batches, pipeline = batched(random_images(10)), simple()
        infinite, unknown = tf.data.INFINITE_CARDINALITY, tf.data.UNKNOWN_CARDINALITY
        assert int(pipeline.map(batches).cardinality()) == 3
        assert int(pipeline.map(batches.repeat()).cardinality()) == infinite
        assert int(pipeline.map(batches.filter(lambda _: True)).cardinality()) == unknown

    def test_the_dataset_outlives_the_pipeline(self, random_images, batched, simple):
        iterator = iter(simple().map(batched(random_images(8))))
        gc.collect()
        assert len(list(iterator)) == 2

    @pytest.mark.parametrize("drop_remainder", [True, False])
    def test_it_is_traced_once_in_three_epochs(self, data, drop_remainder, batched):
        # Pipelines that do the same share what was traced: a cut of 4 occurs here alone.
        steps = [augment.Cutout(4 + drop_remainder), augment.MixUp(classes=CLASSES)]
        pipeline = augment.Pipeline(steps)
        batches = pipeline.map(batched(*data, size=3, drop_remainder=drop_remainder))
        for _ in range(3):
            for _ in batches:
                pipeline.strength = 0.5
        assert pipeline.program().tracing_count() == 1

    def test_xla_compiles_it_once_for_all_seeds_and_strengths(self, data, simple):
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
    def test_dictionaries(self, data, name, batched, mixing, assert_equal):
        images, labels = data
        weights = np.linspace(0.5, 2, 8).astype("float32")
        rest = {"number": np.arange(252, 260), "text": ["cat"] * 8}
        whole = {"images": images, "labels": labels, name: weights, **rest}
        expected = list(mixing(classes=CLASSES).map(batched(images, labels, weights)))
        found = list(mixing(classes=CLASSES).map(batched(whole)))
        assert_equal([(one["images"], one["labels"], one[name]) for one in found], expected)
        assert found[1]["number"].numpy().tolist() == [256, 257, 258, 259]
        assert found[0]["text"][0].numpy() == b"cat"

    def test_one_hot_labels_need_no_classes(self, data, batched, mixing, assert_equal):
        images, labels = data
        expected = list(mixing(classes=CLASSES).map(batched(images, labels)))
        found = list(mixing().map(batched(images, np.eye(CLASSES)[labels])))
        assert_equal(found, expected)

    def test_labels_stay_without_a_mix(self, data, batched, simple, assert_equal):
        images, labels = data
        batches = batched(images, labels, labels * 2, labels * 3)
        for result, batch in zip(simple().map(batches), batches, strict=True):
            assert_equal(result[1:], batch[1:])
        assert simple().map(batched(images)).element_spec.shape[1:] == (8, 8, 3)

    def test_tuples_of_one_and_named_ones(self, data, batched, simple, assert_equal):
        form = collections.namedtuple("Pair", "images labels")
        expected = list(simple().map(batched(*data)))
        for whole in (form(*data), data[:1]):
            batches = batched(whole)
            result = simple().map(batches)
            assert result.element_spec == batches.element_spec
            assert type(result.element_spec) is type(whole)
            found = [tuple(batch) for batch in result]
            assert_equal(found, [batch[: len(whole)] for batch in expected])

    @pytest.mark.parametrize("shape", [(8,), (8, 1)])
    def test_weights_are_mixed_by_the_same_shares(self, data, shape, batched):
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

    def test_a_batch_of_one_is_not_mixed(self, data, batched, assert_equal):
        images, labels = data
        results = list(augment.Pipeline([augment.MixUp(1.0, CLASSES)]).map(batched(*data, size=1)))
        assert_equal([images for images, _ in results], images[:, None])
        assert_equal([targets for _, targets in results], np.eye(CLASSES)[labels][:, None])


class TestBadInput:
    @pytest.mark.parametrize(
        ("steps", "error", "message"),
        [
            (["flip"], TypeError, "steps must be layers of augment, received: 'flip'"),
            ([keras.layers.Flatten()], TypeError, "steps must be layers of augment"),
            ([augment.MixUp(), augment.Cutout(3)], ValueError, "received: Cutout after MixUp"),
            (
                [augment.MixUp(classes=4), augment.MixUp(), augment.CutMix(classes=3)],
                ValueError,
                "classes must be the same in all mixes, received: 4 and 3",
            ),
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
    def test_arguments(self, keywords, message, simple):
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
    def test_images(self, spec, error, message, simple):
        def never():
            yield from ()

        dataset = tf.data.Dataset.from_generator(never, output_signature=spec)
        with pytest.raises(error, match=message):
            simple().map(dataset)

    def test_no_dataset(self, data, batched, simple):
        with pytest.raises(TypeError, match=r"must be a tf.data.Dataset of batches, received: nda"):
            simple().map(data[0])
        with pytest.raises(ValueError, match="start must be an integer of at least 0"):
            simple().map(batched(*data), start=-1)

    def test_labels(self, data, batched, simple, mixing):
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
    def test_values_in_another_range(self, data, batched, simple):
        images = data[0].astype("float32")
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"say value_range=\(0, 1\)"):
            list(simple().map(batched(images / 255)))
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"must be in \[0, 1\]"):
            list(simple(value_range=(0, 1)).map(batched(images)))
        list(simple().map(batched(images * 0)))
