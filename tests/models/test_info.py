"""What `model_info` says, and that TFLite does what it says of layers."""

import json

import keras
import numpy as np
import pytest

from recipes import build_model
from recipes.errors import ConfigError
from recipes.layers import BlurPooling, GeneralizedMeanPooling, MonteCarloDropout
from recipes.models._tflite_fit import tflite_fit
from recipes.models.info import model_info


def test_resnet50():
    info = model_info("resnet50")
    assert (info.name, info.input_shape, info.output_shapes) == (
        "resnet50",
        (224, 224, 3),
        ((1000,),),
    )
    # torchvision: 25,557,032 parameters, 4.089 G; besides these, 53,120 statistics.
    assert (info.parameters, info.trainable) == (25_557_032 + 53_120, 25_557_032)
    assert info.layers == 53 + 53 + 1
    assert info.weight_bytes == 4 * info.parameters
    assert round(info.multiply_adds / 1e9, 3) == 4.089
    assert info.flops > 2 * info.multiply_adds
    assert (info.receptive_field, info.field_padding, info.output_stride) == (427, 213, 32)
    assert info.feature_shape == (7, 7, 2048)
    # The first sum: two maps of 56x56x256 and their result.
    assert info.inference_bytes == 4 * 3 * 56 * 56 * 256
    assert info.tflite_int8
    assert not info.sees_all
    assert info.remarks == ()


def test_json_and_text():
    info = model_info("resnet20", 48)
    facts = json.loads(json.dumps(info.to_dict()))
    assert facts["input_shape"] == [48, 48, 3]
    assert facts["output_shapes"] == [[10]]
    assert facts["output_stride"] == 4
    lines = str(info).splitlines()
    assert lines[0] == "resnet20"
    assert "  input           48x48x3" in lines
    assert "  receptive field 81 pixels, padding 40, more than the image's 48" in lines


def test_models_of_users():
    inputs = keras.Input((None, None, 1), name="images")
    x = keras.layers.Conv2D(4, 3, activation="elu")(inputs)
    model = keras.Model(inputs, [keras.layers.GlobalAveragePooling2D()(x), x])
    model.layers[1].trainable = False
    info = model_info(model, (9, 7, 1))
    assert (info.parameters, info.trainable) == (40, 0)
    assert info.output_shapes == ((4,), (7, 5, 4))
    assert info.receptive_field == 3
    assert not info.tflite_int8
    assert info.remarks == ("int8 TFLite: stays in floating point: 1 elu (as ELU)",)
    dense = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    info = model_info(dense)
    assert (info.receptive_field, info.output_stride, info.feature_shape) == (None, None, None)
    assert "receptive field the whole image" in str(info)


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        ("resnet21", None, "unknown model 'resnet21'; did you mean"),
        ("resnet20", 4, "at least 8 pixels"),
        ("resnet20", 0, "input_shape"),
        (3, None, "takes a Keras model, received: 3"),
    ],
)
def test_bad_input(model, shape, message):
    with pytest.raises(ConfigError, match=message):
        model_info(model, shape)


def classifier(*layers):
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(4, 3, padding="same"),
            *layers,
            keras.layers.Flatten(),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )


# Layer, operations that stay in floating point in an int8 file besides the final softmax.
TFLITE = {
    "relu": (keras.layers.ReLU(), set()),
    "relu6": (keras.layers.ReLU(6.0), set()),
    "gelu": (keras.layers.Activation("gelu"), set()),
    "silu": (keras.layers.Activation("silu"), set()),
    "hard_silu": (keras.layers.Activation("hard_silu"), set()),
    "elu": (keras.layers.ELU(), {"ELU"}),
    "layer norm": (keras.layers.LayerNormalization(), {"NEG"}),
    "group norm": (keras.layers.GroupNormalization(2), {"NEG", "SQUARE"}),
    "generalized mean": (GeneralizedMeanPooling(), {"POW"}),
    "blur": (BlurPooling(), set()),
}


@pytest.mark.parametrize(
    "name",
    [
        # The others were tried once in the same way.
        pytest.param(name, marks=[] if name in ("relu", "elu", "silu") else [pytest.mark.slow])
        for name in TFLITE
    ],
)
@pytest.mark.sampled(3, 2)
def test_tflite_computes_as_said(name, tmp_path):
    from tuning.conversion import convert
    from tuning.flatbuffer import inspect_tflite

    layer, floats = TFLITE[name]
    model = classifier(layer)
    images = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 3), "uint8")
    path = tmp_path / "model.tflite"
    path.write_bytes(convert(model, "int8", images))
    assert set(inspect_tflite(path)["float_operation_names"]) - {"SOFTMAX"} == floats
    friendly, remarks = tflite_fit(model)
    assert friendly == (not floats)
    assert all(operation in " ".join(remarks) for operation in floats)


def test_tflite_remarks():
    class Own(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    model = classifier(
        keras.layers.UpSampling2D(interpolation="bicubic"),
        MonteCarloDropout(0.5),
        Own(),
        keras.layers.Activation("silu"),
        keras.layers.Activation("silu"),
        keras.layers.Lambda(lambda x: x),
    )
    friendly, remarks = tflite_fit(model)
    assert not friendly
    assert remarks == (
        "int8 TFLite: several operations each: 2 silu",
        "TFLite: no kernel: 1 UpSampling2D (bicubic), 1 MonteCarloDropout (random numbers)",
        "TFLite: not tried: 1 Own, 1 Lambda",
    )


def test_named_and_built_models_agree():
    assert model_info("resnet20", 32) == model_info(build_model("resnet20"))
