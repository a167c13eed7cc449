"""`load_weights`: every kind of file, all or nothing, and what its report says."""

import json
import os
import pickle
import zipfile

import keras
import numpy as np
import pytest

from recipes.errors import ConfigError
from recipes.layers import FusedBatchNormalization
from recipes.weights import (
    Normalization,
    load_weights,
    read_npz,
    read_torch,
    save_npz,
    write_safetensors,
)

STOCK = keras.layers.BatchNormalization
KERAS_FILES = ["model.weights.h5", "model.keras"]
ALL_FILES = [*KERAS_FILES, "model.npz", "model.safetensors"]


def assert_same(network, model, other):
    assert [weight.path for weight in model.weights] == [weight.path for weight in other.weights]
    for path, value in network.values(model).items():
        np.testing.assert_array_equal(value, network.values(other)[path], err_msg=path)


def save(model, path):
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    elif path.suffix == ".keras":
        model.save(path)
    elif path.suffix == ".npz":
        save_npz(model, path)
    else:
        write_safetensors(path, {weight.path: np.array(weight) for weight in model.weights})


@pytest.fixture
def saved(network, tmp_path):
    """Return a network and the folder of its weights in every kind of file."""
    model = network.make()
    for file in ALL_FILES:
        save(model, tmp_path / file)
    return model, tmp_path


@pytest.mark.parametrize("file", ALL_FILES)
def test_every_kind_of_file(network, saved, file):
    model, folder = saved
    other = network.make(seed=1)
    report = load_weights(other, folder / file)
    assert report.assigned == ("stem_conv", "stem_bn", "stage1_conv", "logits")
    assert (report.skipped, report.unused, report.notes) == ({}, (), ())
    assert str(report) == f"{folder / file}: 4 layers set, 0 skipped, 0 names unused"
    assert_same(network, other, model)


def test_a_dict_of_arrays(network):
    model, other = network.make(), network.make(seed=1)
    load_weights(other, network.values(model))
    assert_same(network, other, model)


@pytest.mark.parametrize("file", ALL_FILES)
@pytest.mark.parametrize(
    "kinds", [(STOCK, FusedBatchNormalization), (FusedBatchNormalization, STOCK)]
)
def test_between_stock_and_fused_batch_normalization(network, tmp_path, file, kinds):
    model = network.make(normalization=kinds[0])
    save(model, tmp_path / file)
    other = network.make(normalization=kinds[1], seed=1)
    load_weights(other, tmp_path / file)
    assert_same(network, other, model)


@pytest.mark.filterwarnings("ignore:Skipping nested container")
@pytest.mark.parametrize("file", KERAS_FILES)
def test_keras_itself_would_not_cross(network, tmp_path, file):
    """The reason for going by names; if this fails, Keras has learnt it."""
    save(network.make(normalization=STOCK), tmp_path / file)
    with pytest.raises(ValueError, match="stem_bn"):
        network.make().load_weights(tmp_path / file)


@pytest.mark.parametrize("file", ALL_FILES)
def test_classifier_and_features(network, saved, file):
    model, folder = saved
    features = network.make(top=False, seed=1)
    report = load_weights(features, folder / file)
    assert len(report.unused) == 2
    assert all(name.startswith("logits/") for name in report.unused)
    np.testing.assert_array_equal(
        features.get_layer("stage1_conv").kernel, model.get_layer("stage1_conv").kernel
    )


@pytest.mark.parametrize("file", ALL_FILES)
def test_another_number_of_classes(network, saved, file):
    _, folder = saved
    model = network.make(classes=7, seed=1)
    before = network.values(model)
    with pytest.raises(ConfigError, match=r"logits takes the shape \(6, 7\), the file holds \(6, "):
        load_weights(model, folder / file)
    for path, value in network.values(model).items():
        np.testing.assert_array_equal(value, before[path])
    report = load_weights(model, folder / file, skip_mismatched=True)
    assert report.assigned == ("stem_conv", "stem_bn", "stage1_conv")
    assert report.skipped == {"logits": "takes the shape (6, 7), the file holds (6, 5)"}
    np.testing.assert_array_equal(network.values(model)["logits/kernel"], before["logits/kernel"])


@pytest.mark.parametrize("file", ALL_FILES)
@pytest.mark.parametrize("share", [0, 0.3, 0.9, 0.999])
def test_a_truncated_file_changes_nothing(network, saved, file, share):
    _, folder = saved
    whole = (folder / file).read_bytes()
    (folder / f"cut.{file}").write_bytes(whole[: int(share * len(whole))])
    model = network.make(seed=1)
    before = network.values(model)
    with pytest.raises(ConfigError, match=f"weights of .*cut.{file}") as caught:
        load_weights(model, folder / f"cut.{file}")
    assert "\n" not in str(caught.value)
    for path, value in network.values(model).items():
        np.testing.assert_array_equal(value, before[path])


def unnamed(seed, units=4):
    """A model whose layers Keras names, and so differently each time."""
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(units), STOCK(), keras.layers.Dense(2)]
    )


@pytest.mark.parametrize("file", KERAS_FILES)
def test_layers_that_keras_named_are_found_by_their_order(tmp_path, file):
    model, other = unnamed(0), unnamed(1)
    save(model, tmp_path / file)
    report = load_weights(other, tmp_path / file)
    assert "by their order" in report.notes[0]
    for value, expected in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(value, expected)
    wider = unnamed(2, units=5)
    before = wider.get_weights()
    with pytest.raises(ConfigError, match=r"takes the shape \(3, 5\), the file holds \(3, 4\)"):
        load_weights(wider, tmp_path / file)
    for value, expected in zip(wider.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, expected)
    with pytest.raises(ConfigError, match="have no names"):
        load_weights(wider, tmp_path / file, skip_mismatched=True)


@pytest.mark.parametrize("file", ALL_FILES)
def test_nested_models_and_composite_layers(tmp_path, file):
    def make(seed):
        keras.utils.set_random_seed(seed)
        inner = keras.Sequential(
            [keras.Input((4, 6)), keras.layers.Dense(6, name="dense1"), STOCK(name="norm")],
            name="inner",
        )
        inputs = keras.Input((4, 6))
        x = inner(inputs)
        x = keras.layers.MultiHeadAttention(2, 3, name="attention1")(x, x)
        x = keras.layers.Dropout(0.5)(x)
        return keras.Model(inputs, keras.layers.Dense(6, name="dense1")(x))

    model, other = make(0), make(1)
    if file == "model.safetensors":
        # Written by the paths of the variables, which two inner models may share.
        save_npz(model, tmp_path / "model.npz")
        write_safetensors(tmp_path / file, dict(np.load(tmp_path / "model.npz")))
    else:
        save(model, tmp_path / file)
    report = load_weights(other, tmp_path / file)
    assert report.assigned == ("inner/dense1", "inner/norm", "attention1", "dense1")
    for value, expected in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("file", KERAS_FILES)
def test_bfloat16_files(tmp_path, file):
    def make(seed, dtype):
        keras.utils.set_random_seed(seed)
        layer = keras.layers.Dense(4, dtype=dtype, name="logits")
        return keras.Sequential([keras.Input((3,)), layer])

    model, other = make(0, "bfloat16"), make(1, "float32")
    save(model, tmp_path / file)
    load_weights(other, tmp_path / file)
    np.testing.assert_array_equal(
        other.get_weights()[0], np.array(model.weights[0]).astype("float32")
    )
    save_npz(model, tmp_path / "model.npz")
    assert read_npz(tmp_path / "model.npz")[0]["logits/kernel"].dtype == "float32"


@pytest.mark.parametrize("file", ["model.keras", "model.npz"])
def test_another_normalization_is_noted(network, saved, file):
    _, folder = saved
    report = load_weights(network.make(mean=127.0), folder / file)
    assert report.notes == (
        "the model normalises by mean 127 and deviation 50, "
        "the weights expect mean 100 and deviation 50",
    )
    assert report.notes[0] in str(report)


def test_a_normalization_that_the_source_does_not_know(network):
    model = network.make()
    arrays = network.values(model)
    assert load_weights(model, arrays).notes == ()
    same = Normalization((100.0,) * 3, (2500.0,) * 3)
    assert load_weights(model, arrays, normalization=same).notes == ()
    other = Normalization((90.0, 100.0, 110.0), (2500.0,) * 3)
    note = load_weights(model, arrays, normalization=other).notes[0]
    assert note.endswith("the weights expect mean (90, 100, 110) and deviation 50")
    plain = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, name="logits")])
    arrays = {"logits/kernel": np.ones((3, 1)), "logits/bias": np.ones(1)}
    note = load_weights(plain, arrays, normalization=same).notes[0]
    assert note.startswith("the model does not normalise; the weights expect")


TABLE = {"stem_conv": "a", "stem_bn": "b", "stage1_conv": "c", "logits": "d"}


def torch_arrays(model):
    values = {weight.path: np.array(weight) for weight in model.weights}
    return {
        "a.weight": values["stem_conv/kernel"].transpose(3, 2, 0, 1),
        "b.weight": values["stem_bn/gamma"],
        "b.bias": values["stem_bn/beta"],
        "b.running_mean": values["stem_bn/moving_mean"],
        "b.running_var": values["stem_bn/moving_variance"],
        "c.weight": values["stage1_conv/kernel"].transpose(2, 3, 0, 1),
        "c.bias": values["stage1_conv/bias"],
        "d.weight": values["logits/kernel"].T,
        "d.bias": values["logits/bias"],
    }


@pytest.mark.parametrize("table", [TABLE, lambda model: TABLE])
@pytest.mark.parametrize("kind", ["dict", "model.npz", "model.safetensors"])
def test_names_of_pytorch(network, tmp_path, kind, table):
    model, other = network.make(), network.make(seed=1)
    arrays = torch_arrays(model)
    source = arrays if kind == "dict" else tmp_path / kind
    if kind == "model.npz":
        np.savez(source, **arrays)
    elif kind == "model.safetensors":
        write_safetensors(source, arrays)
    report = load_weights(other, source, torch_layers=table)
    assert_same(network, other, model)
    # Nobody said what these were trained on.
    assert report.notes == (
        "the model normalises by mean 100 and deviation 50, weights from PyTorch usually expect "
        "mean (123.7, 116.3, 103.5) and deviation (58.4, 57.12, 57.38)",
    )


@pytest.mark.parametrize(
    ("package", "expected"),
    [
        ("googlenet", "the weights expect mean 127.5 and deviation 127.5"),
        ("efficientnet_lite0", "the weights expect mean 127 and deviation 128"),
        (
            "resnet18",
            "weights from PyTorch usually expect mean (123.7, 116.3, 103.5) and "
            "deviation (58.4, 57.12, 57.38)",
        ),
    ],
)
def test_networks_whose_published_weights_expect_something_else(network, package, expected):
    """torchvision's GoogLeNet has `transform_input`: images in [-1, 1]."""
    model = network.make()
    arrays = torch_arrays(model)
    note = load_weights(model, arrays, torch_layers=TABLE, package=package).notes[0]
    assert note.endswith(expected)


@pytest.mark.parametrize("form", ["legacy_file", "zip_file"])
def test_a_file_of_pytorch(torch_bytes, tmp_path, form):
    """Written opcode by opcode, as `torch.save` does; scripts/make_torch_files.py has real ones."""
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(2, use_bias=False, name="logits")]
    )
    numbers = np.array([1, 2, 3, 4], "<f4").tobytes()
    path = tmp_path / "model.pth"
    path.write_bytes(getattr(torch_bytes, form)(torch_bytes.state(), numbers))
    load_weights(model, path, torch_layers={"logits": "weight"})
    np.testing.assert_array_equal(model.get_weights()[0], [[1, 3], [2, 4]])


def test_a_checkpoint_with_a_tensor_beside_its_state(torch_bytes, tmp_path):
    """PyTorch's own ImageNet script keeps the best accuracy as one."""
    raw = torch_bytes.Raw().op(b"}(").put("best_acc1")
    torch_bytes.tensor(raw, shape=(1,), strides=(1,)).put("state_dict").op(b"}")
    torch_bytes.tensor(raw.put("fc.weight")).op(b"s").op(b"u")
    numbers = np.array([1, 2, 3, 4], "<f4").tobytes()
    path = tmp_path / "checkpoint.pth"
    path.write_bytes(torch_bytes.zip_file(raw.end(), numbers))
    assert list(read_torch(path)) == ["fc.weight"]


def test_a_pickle_with_code_in_it(network, torch_bytes, tmp_path):
    class Payload:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'it-ran'}",)

    (tmp_path / "bad.pth").write_bytes(torch_bytes.legacy_file(pickle.dumps(Payload(), 2)))
    with pytest.raises(ConfigError, match="asks to run posix.system, which is refused"):
        load_weights(network.make(), tmp_path / "bad.pth", torch_layers=TABLE)
    np.savez(tmp_path / "bad.npz", **{"logits/kernel": np.array([Payload()], dtype=object)})
    with pytest.raises(ConfigError, match=r"bad.npz cannot be read: Object arrays"):
        load_weights(network.make(), tmp_path / "bad.npz")
    assert not (tmp_path / "it-ran").exists()


def test_hdf5_that_points_elsewhere(network, saved):
    import h5py

    model, folder = saved
    with h5py.File(folder / "model.weights.h5", "a") as file:
        del file["layers/dense/vars/0"]
        file["layers/dense/vars/0"] = h5py.ExternalLink("other.h5", "/secret")
    with h5py.File(folder / "other.h5", "w") as file:
        file["secret"] = np.zeros((6, 5))
    before = network.values(model)
    with pytest.raises(ConfigError, match="logits takes 2 arrays, the file holds 0"):
        load_weights(model, folder / "model.weights.h5")
    with h5py.File(folder / "model.weights.h5", "a") as file:
        del file["layers/dense/vars/0"]
        (folder / "raw").write_bytes(bytes(240))
        external = [(str(folder / "raw"), 0, 240)]
        file.create_dataset("layers/dense/vars/0", (6, 5), "f8", external=external)
    with pytest.raises(ConfigError, match="lies in another file, which is not read"):
        load_weights(model, folder / "model.weights.h5")
    with h5py.File(folder / "model.weights.h5", "a") as file:
        del file["layers/dense/vars/0"]
        file.create_dataset("layers/dense/vars/0", (10**6, 10**6), "f8")
    with pytest.raises(ConfigError, match="claims 8000000000000 bytes"):
        load_weights(model, folder / "model.weights.h5")
    for path, value in network.values(model).items():
        np.testing.assert_array_equal(value, before[path])


def test_a_keras_file_with_broken_parts(network, saved):
    model, folder = saved
    with zipfile.ZipFile(folder / "model.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    for name, content, message in (
        ("config.json", b"{", "do not fit network: "),
        ("model.weights.h5", b"", "do not fit network: "),
        ("config.json", json.dumps({"config": {}}).encode(), None),
    ):
        with zipfile.ZipFile(folder / "other.keras", "w") as archive:
            for part, old in parts.items():
                archive.writestr(part, content if part == name else old)
        if message is None:
            load_weights(model, folder / "other.keras")
        else:
            with pytest.raises(ConfigError, match=message):
                load_weights(model, folder / "other.keras")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (3, "weights must be None, 'imagenet', a dict or a path, received: 3"),
        ("model.onnx", "must be 'imagenet' or a .weights.h5, .keras, .npz, .pth, .pt or"),
        ("imagnet", "must be 'imagenet' or a .* file, received: imagnet"),
        ("missing.npz", "not found: missing.npz"),
        ({}, r"no name in the given arrays is one of network \(it has none\)"),
        ({"x.weight": np.ones(2)}, r"has 'x.weight'...\); for PyTorch's names give torch_layers"),
    ],
)
def test_wrong_sources(network, source, message):
    with pytest.raises(ConfigError, match=message):
        load_weights(network.make(), source)


def test_models_that_cannot_be_loaded_by_layer(network, tmp_path):
    class Own(keras.Model):
        def build(self, shape):
            self.factor = self.add_weight(shape=(2,), name="factor")
            self.dense = keras.layers.Dense(2, name="logits")
            self.dense.build(shape)

    model = Own(name="own")
    with pytest.raises(ConfigError, match="own has no weights; build it first"):
        load_weights(model, {"logits/kernel": np.ones((3, 2))})
    model.build((None, 3))
    with pytest.raises(ConfigError, match="own has a weight outside of its layers: own/factor"):
        load_weights(model, {"logits/kernel": np.ones((3, 2)), "logits/bias": np.ones(2)})


def test_weights_of_a_layer_called_normalization(tmp_path):
    layer = keras.layers.Normalization(name="normalization")
    layer.adapt(np.random.default_rng(0).normal(5, 2, (20, 3)))
    model = keras.Sequential([keras.Input((3,)), layer, keras.layers.Dense(2, name="logits")])
    before = model.get_weights()
    save_npz(model, tmp_path / "model.npz")
    model.set_weights([np.zeros_like(value) for value in before])
    load_weights(model, tmp_path / "model.npz")
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("file", KERAS_FILES)
def test_a_model_of_nothing_but_a_nested_model(network, tmp_path, file):
    def make(seed, normalization, name):
        inner = network.make(seed=seed, normalization=normalization)
        inner.name = name
        return keras.Sequential([keras.Input((8, 8, 3)), inner])

    model = make(0, STOCK, "backbone")
    save(model, tmp_path / file)
    other = make(1, FusedBatchNormalization, "backbone")
    assert load_weights(other, tmp_path / file).assigned[0] == "backbone/stem_conv"
    for value, expected in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(value, expected)
    # Of a made-up name only the order is left, by which the classes must be the same.
    other = make(1, STOCK, "functional_7")
    assert "by their order" in load_weights(other, tmp_path / file).notes[0]
    for value, expected in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(value, expected)
