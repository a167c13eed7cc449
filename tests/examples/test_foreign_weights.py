"""The example that loads PyTorch's weights, on a small file that is written here without it."""

import io
import pickle
import re
import zipfile

import keras
import numpy as np
import pytest
from PIL import Image

from recipes import build_model
from recipes.models import resnet

SIZE = ["--size", "16"]


def plain(value):
    """Return the opcodes that put a plain value on the stack."""
    return pickle.dumps(value, protocol=2)[2:-1]


def described(array, key):
    """Return the opcodes by which `torch.save` describes a tensor; the numbers lie apart."""
    strides = tuple(step // array.itemsize for step in array.strides)
    place = b"ctorch\nFloatStorage\n" + plain(key) + plain("cpu") + plain(array.size)
    storage = b"(" + plain("storage") + place + b"tQ"
    view = plain(0) + plain(array.shape) + plain(strides) + plain(False) + plain({})
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + view + b"tR"


def write_torch(path, arrays):
    """Write float32 arrays in the zip format of `torch.save`."""
    with zipfile.ZipFile(path, "w") as archive:
        stream = io.BytesIO()
        stream.write(b"\x80\x02}")
        for key, (name, array) in enumerate(arrays.items()):
            array = np.ascontiguousarray(array, "<f4")
            stream.write(plain(name) + described(array, str(key)) + b"s")
            archive.writestr(f"model/data/{key}", array.tobytes())
        stream.write(b".")
        archive.writestr("model/data.pkl", stream.getvalue())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a network, the file of its weights as PyTorch lays them, and a photograph."""
    folder = tmp_path_factory.mktemp("foreign")
    keras.utils.set_random_seed(0)
    model = build_model("resnet20", input_shape=(16, 16, 3))
    arrays = {}
    for name, place in resnet.torch_layers(model).items():
        values = model.get_layer(name).get_weights()
        if "bn" in name:
            parts = ("weight", "bias", "running_mean", "running_var")
        else:
            # (height, width, in, out) to (out, in, height, width), (in, out) to (out, in).
            parts = ("weight", "bias")[: len(values)]
            axes = (3, 2, 0, 1) if values[0].ndim == 4 else (1, 0)
            values = [values[0].transpose(axes), *values[1:]]
        arrays |= {f"{place}.{part}": value for part, value in zip(parts, values, strict=True)}
    write_torch(folder / "resnet20.pth", arrays)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), "uint8")
    Image.fromarray(pixels).save(folder / "photo.png")
    names = [f"kind {number}" for number in range(10)]
    (folder / "labels.txt").write_text("\n".join([*names, "", ""]))
    return model, folder, pixels


def test_classifying(program, trained, capsys):
    model, folder, pixels = trained
    arguments = ["resnet20", folder / "resnet20.pth", folder / "photo.png", *SIZE]
    arguments += ["--labels", folder / "labels.txt"]
    assert program.main(list(map(str, arguments))) == 0
    weights, line = capsys.readouterr().out.splitlines()
    assert weights == f"resnet20: all {model.count_params():,} weights are those of the file"
    probabilities = model.predict(pixels[None], verbose=0)[0]
    expected = sorted(enumerate(probabilities), key=lambda item: -item[1])[:5]
    said = re.findall(r"kind (\d) (\d\.\d+)", line)
    assert [int(number) for number, _ in said] == [number for number, _ in expected]
    np.testing.assert_allclose(
        [float(share) for _, share in said], [share for _, share in expected], atol=6e-4
    )


def test_a_new_classifier(program, trained, tmp_path, capsys):
    model, folder, _ = trained
    arguments = ["resnet20", str(folder / "resnet20.pth"), *SIZE, "--classes", "3"]
    assert program.main([*arguments, "--out", str(tmp_path / "start.keras")]) == 0
    assert "skipped logits: takes the shape (64, 3), the file holds" in capsys.readouterr().out
    start = keras.models.load_model(tmp_path / "start.keras")
    assert start.output_shape == (None, 3)
    for layer in model.layers:
        if layer.name != "logits":
            for old, new in zip(
                layer.get_weights(), start.get_layer(layer.name).get_weights(), strict=True
            ):
                np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("model", "file", "message"),
    [
        ("resnet21", "resnet20.pth", "did you mean 'resnet20'"),
        ("resnet32", "resnet20.pth", "do not fit resnet32: stage1_block4_conv1 takes 1 array"),
        ("resnet20", "missing.pth", "not found"),
        ("resnet20", "photo.png", "must be 'imagenet' or a .weights.h5"),
    ],
)
def test_mistakes(program, trained, capsys, model, file, message):
    assert program.main([model, str(trained[1] / file), *SIZE]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.png"], "file not found: .*absent.png"),
        (["resnet20.pth"], "resnet20.pth cannot be read as an image"),
        (["photo.png", "--labels", "absent.txt"], "file not found: .*absent.txt"),
        (["photo.png", "--labels", "photo.txt"], "photo.txt names 1 classes, resnet20 has 10"),
        (["--out", "start.h5"], "--out must end in .keras, received: .*start.h5"),
    ],
)
def test_wrong_files_are_one_line(program, trained, capsys, arguments, message):
    folder = trained[1]
    (folder / "photo.txt").write_text("one")
    files = [word if word.startswith("--") else str(folder / word) for word in arguments]
    assert program.main(["resnet20", str(folder / "resnet20.pth"), *files, *SIZE]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.count("\n") == 1
