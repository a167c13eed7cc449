"""Freezing proven in `fit`: what is frozen stays to the bit, the rest moves, nothing is silent."""

import keras
import numpy as np
import pytest

from recipes.errors import ConfigError
from recipes.transfer import freeze, layer_groups, transfer_model, unfreeze

KERAS = tuple(int(part) for part in keras.__version__.split(".")[:2])


def _compile(model):
    model.compile(keras.optimizers.AdamW(0.01), loss="sparse_categorical_crossentropy")
    return model


def _fit(model, images, labels, epochs=2):
    _compile(model).fit(images, labels, epochs=epochs, batch_size=8, verbose=0)
    return model


def _trainable(model):
    return {weight.path for weight in model.trainable_variables}


def test_a_frozen_backbone_is_the_same_to_the_bit_after_fit(small, images, labels, values, moved):
    model = small()
    before = values(model)
    _fit(model, images, labels)
    assert moved(model, before) == {"logits/kernel", "logits/bias"}


# what is unfrozen, policy -> prefixes of the layers whose weights move
_BACKBONE = ["stem", "stage1", "stage2"]
_CHOICES = [
    ({"stages": 1}, "frozen", ["stage2"]),
    ({"from_layer": "stage2"}, "frozen", ["stage2"]),
    ({"from_layer": "stage1_block1_conv2"}, "frozen", ["stage1_block1_conv2", "stage2"]),
    ({"stages": 0}, "frozen", []),
    ({"fraction": 0.0}, "frozen", []),
    # 14 layers of the backbone have weights, seven of them convolutions.
    ({"fraction": 2 / 14}, "frozen", ["stage2_block1_conv2"]),
    ({"fraction": 1}, "frozen", _BACKBONE),
    ({}, "frozen", _BACKBONE),
    ({"stages": 1}, "affine", ["stage2"]),
    ({"stages": 1}, "train", ["stage2"]),
]


@pytest.mark.parametrize(("what", "policy", "prefixes"), _CHOICES)
@pytest.mark.sampled(2)
def test_unfrozen_layers_move_and_only_those(
    what, policy, prefixes, small, images, labels, values, moved
):
    model = small()
    unfreeze(model, **what, batch_norm=policy, say=None)
    before = values(model)
    kinds = {"frozen": ["kernel"], "affine": ["kernel", "gamma", "beta"]}
    kinds["train"] = [*kinds["affine"], "moving_mean", "moving_variance"]
    expected = {
        path
        for path in before
        if path.startswith(tuple(prefixes)) and path.rsplit("/", 1)[1] in kinds[policy]
    }
    _fit(model, images, labels)
    assert moved(model, before) == expected | {"logits/kernel", "logits/bias"}
    slots = len(model.optimizer.variables) - 2  # step and learning rate
    assert slots == 2 * len(model.trainable_variables)
    trained = {path for path in expected if "moving" not in path}
    assert _trainable(model) == trained | {"logits/kernel", "logits/bias"}


@pytest.mark.parametrize("policy", ["frozen", "affine"])
def test_a_batch_norm_with_still_statistics_computes_by_them_in_training(policy, small, images):
    model = small()
    unfreeze(model, batch_norm=policy, say=None)
    np.testing.assert_array_equal(model(images, training=True), model(images, training=False))
    unfreeze(model, batch_norm="train", say=None)
    assert not np.allclose(model(images, training=True), model(images, training=False))


def test_a_plain_call_changes_nothing(small, own, images, values, moved):
    for model in (small(), transfer_model(own, 3)):
        unfreeze(model, batch_norm="train", say=None)
        before = values(model)
        model(images)
        model.predict(images, verbose=0)
        assert moved(model, before) == set()


def _stock_guide(own):
    """The way of Keras' guide: `base(x, training=False)`, train, then `base.trainable = True`."""
    own.trainable = False
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(own(inputs, training=False))
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))


@pytest.mark.skipif(KERAS >= (3, 16), reason="mended in Keras 3.16 (keras#23364)")
def test_the_guide_s_way_moves_statistics_and_ours_does_not(own, images, labels, values, moved):
    """The trap: the guide says that `training=False` keeps batch normalisation still."""
    ours = transfer_model(own, 3)
    guide = _stock_guide(own)
    before = values(own)
    _fit(guide, images, labels)
    assert moved(own, before) == set(), "as long as it is frozen, it holds"
    own.trainable = True
    _fit(guide, images, labels)
    assert {path for path in moved(own, before) if "moving" in path}, "but not once unfrozen"

    before = values(ours)
    unfreeze(ours, say=None)
    _fit(ours, images, labels)
    kinds = {path.rsplit("/", 1)[1] for path in moved(ours, before)}
    assert kinds == {"kernel", "bias"}


def test_nested_models_are_frozen_leaf_by_leaf(own, images, labels, values, moved):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(own(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3, "softmax", name="top")(x))
    freeze(model, say=None)
    before = values(model)
    _fit(model, images, labels)
    assert moved(model, before) == {"top/kernel", "top/bias"}
    unfreeze(model, from_layer="last", say=None)
    assert _trainable(model) == {"top/kernel", "top/bias"}, "the last layer is a frozen batch norm"
    unfreeze(model, say=None)
    kinds = {path.rsplit("/", 1)[1] for path in _trainable(model)}
    assert kinds == {"kernel", "bias"}
    before = values(model)
    _fit(model, images, labels)
    assert not [path for path in moved(model, before) if "moving" in path or "gamma" in path]


def test_a_compiled_model_refuses_to_train_until_it_is_compiled_again(small, images, labels):
    model = _fit(small(), images, labels, epochs=1)
    report = unfreeze(model, stages=1, say=None)
    assert report.recompile
    assert "compile the model again" in str(report)
    with pytest.raises(ValueError, match="compile"):
        model.fit(images, labels, verbose=0)
    optimizer = model.optimizer
    model.compile(optimizer, loss="sparse_categorical_crossentropy")
    # Keras itself refuses the old optimizer (3.12 fails while it words the message).
    with pytest.raises((KeyError, ValueError, NotImplementedError)):
        model.fit(images, labels, verbose=0)
    assert len(_fit(model, images, labels, epochs=1).optimizer.variables) > 2


def test_a_compiled_model_for_which_nothing_changes_stays_compiled(small):
    model = _compile(small())
    assert not freeze(model, say=None).recompile
    assert model.compiled


def test_unfreezing_does_not_depend_on_what_was_before(small):
    model = small()
    unfreeze(model, batch_norm="train", say=None)
    unfreeze(model, stages=1, say=None)
    other = small()
    unfreeze(other, stages=1, say=None)
    assert _trainable(model) == _trainable(other)
    model.trainable = False
    assert (
        unfreeze(model, stages=1, say=None).parameters
        == unfreeze(other, say=None, stages=1).parameters
    )


@pytest.mark.slow
def test_save_load_continue(small, images, labels, values, moved, tmp_path):
    model = small()
    unfreeze(model, stages=1, say=None)
    _fit(model, images, labels)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert _trainable(loaded) == _trainable(model)
    before = values(loaded)
    assert not [path for path, value in values(model).items()
                if not np.array_equal(value, before[path])]  # fmt: skip
    for each in (loaded, model):
        each.fit(images, labels, shuffle=False, batch_size=8, verbose=0)
    for path, value in values(model).items():
        np.testing.assert_allclose(values(loaded)[path], value, rtol=1e-4, atol=1e-5)
    expected = {path for path in before if path.startswith("stage2") and path.endswith("kernel")}
    assert moved(loaded, before) == expected | {"logits/kernel", "logits/bias"}


def test_the_report_says_what_trains(small, capsys):
    model = small()
    report = unfreeze(model, stages=1)
    printed = capsys.readouterr().out
    assert printed.strip() == str(report)
    # Width 4: stem 4, stages 8 and 16 channels; three 3x3 convolutions in the last stage.
    stage2 = 9 * (8 * 16 + 2 * 16 * 16)
    head = 16 * 3 + 3
    assert report.parameters == stage2 + head
    assert report.total == model.count_params()
    assert report.batch_norm == {"frozen": 7, "affine": 0, "train": 0}
    assert {name: some for name, some, _ in report.groups} == {
        "stem": 0, "stage1": 0, "stage2": stage2, "head": head}  # fmt: skip
    assert unfreeze(model, stages=1, batch_norm="affine", say=None).batch_norm["affine"] == 3


def test_freezing_the_head_too(small):
    model = small()
    assert freeze(model, head=True, say=None).parameters == 0
    assert model.trainable_variables == []


def _classifier(*last):
    layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="features"), *last]
    return keras.Sequential([*layers, keras.layers.Softmax()])


@pytest.mark.parametrize(
    "end", [keras.layers.Reshape((2,)), lambda pixel: keras.ops.squeeze(pixel, (1, 2))]
)
def test_a_classifier_that_is_a_convolution_is_the_head(end):
    pooling = keras.layers.GlobalAveragePooling2D(keepdims=True)
    convolution = keras.layers.Conv2D(2, 1, name="classifier")
    body = _classifier(pooling, convolution)
    model = keras.Model(body.inputs, end(convolution.output))
    freeze(model, say=None)
    assert {path.split("/")[-2] for path in _trainable(model)} == {"classifier"}
    unfreeze(model, from_layer="features", say=None)
    assert len(_trainable(model)) == 4


def test_a_head_without_weights_cannot_train():
    model = _classifier(keras.layers.GlobalAveragePooling2D(name="pool"))
    with pytest.raises(ConfigError, match=r"nothing of .* would train: its head \(pool, softmax"):
        freeze(model)
    assert freeze(model, head=True, say=None).parameters == 0
    backbone = keras.Model(model.inputs, model.get_layer("features").output)
    assert freeze(backbone, say=None).parameters == 0, "the end of a backbone alone is a map"
    by_function = keras.Model(model.inputs, keras.ops.mean(backbone.outputs[0], (1, 2)))
    with pytest.raises(ConfigError, match=r"its head \(no layer\) has no weights"):
        freeze(by_function)


def test_groups_of_other_networks_go_by_size():
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.ZeroPadding2D(1)(inputs)
    x = keras.layers.Conv2D(4, 3, name="a")(x)
    y = keras.layers.Conv2D(4, 3, strides=2, padding="same", name="b")(x)
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True)(y)
    y = y * keras.layers.Conv2D(4, 1, name="squeeze")(gate)
    y = keras.layers.Conv2D(4, 3, padding="same", name="c")(y)
    outputs = keras.layers.Dense(2, name="d")(keras.layers.Flatten()(y))
    groups = layer_groups(keras.Model(inputs, outputs))
    found = {name: [layer.name for layer in layers] for name, layers in groups.items()}
    assert found == {"32x32": ["a"], "16x16": ["b", "squeeze", "c"], "head": ["d"]}


def test_open_sizes_without_names_of_stages_form_no_groups():
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, name="a")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalMaxPooling2D()(x)))
    with pytest.raises(ConfigError, match="form no stages"):
        unfreeze(model, stages=1)
    assert unfreeze(model, from_layer="a", say=None).parameters == model.count_params()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"from_layer": "stag2_conv"}, "has no layer 'stag2_conv'; did you mean 'stage2_conv'"),
        ({"from_layer": "stge2"}, "did you mean 'stage2'"),
        ({"from_layer": "logits"}, "'logits' is in the head, which is always trained"),
        ({"fraction": 1.5}, r"fraction must be in \[0, 1\], received: 1.5"),
        ({"fraction": "half"}, r"fraction must be a number in \[0, 1\], received: 'half'"),
        ({"stages": 4}, "stages must be a whole number from 0 to 3, received: 4"),
        ({"stages": True}, "received: True"),
        ({"stages": 1, "fraction": 0.5}, "give one of from_layer, fraction and stages"),
        ({"batch_norm": "afine"}, "batch_norm must be one of .*did you mean 'affine'"),
    ],
)
@pytest.mark.sampled(2)
def test_a_wrong_target_is_one_line_and_changes_nothing(arguments, message, small):
    model = small()
    before = _trainable(model)
    with pytest.raises(ConfigError, match=message) as caught:
        unfreeze(model, **arguments)
    assert "\n" not in str(caught.value)
    assert _trainable(model) == before


def test_what_is_no_model_of_images_is_refused():
    with pytest.raises(ConfigError, match="expected a Keras model, received: 'resnet18'"):
        freeze("resnet18")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(ConfigError, match="no feature map after which a head could begin"):
        freeze(model)
