"""What a model is, costs and sees, in a few numbers."""

import dataclasses
import math
from typing import Any

from recipes.models import build_model
from recipes.models._text import in_bytes, in_short, shape_text
from recipes.models._tflite_fit import tflite_fit
from recipes.models.analysis import Analysis, analyze, plain
from recipes.models.flops import item_bytes


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """The numbers that a network is chosen by. `print` shows them, one a line.

    Attributes:
        name: Of the model.
        input_shape: `(height, width, channels)` that the other numbers hold for.
        output_shapes: Of each output, without the batch.
        layers: Layers with weights.
        parameters: Numbers in all weights.
        trainable: Those that an optimizer would train.
        weight_bytes: Of all weights as they are stored.
        multiply_adds: For one image: of convolutions, dense layers and matrix products. Papers
            often call them FLOPs.
        flops: Floating-point operations for one image: two for each multiply-add, and those that
            work value by value (see `recipes.models.flops`).
        receptive_field: Pixels, the longer side, that a place of the last feature map sees; `None`
            without such a map.
        field_padding: How many pixels the field of the first place reaches beyond the image.
        output_stride: Pixels from place to place of that map.
        feature_shape: Its shape, without the batch.
        sees_all: Whether gates or attention before that map saw the whole image; the field is then
            that of the convolutions.
        inference_bytes: Estimate of the most bytes of feature maps alive at once for one image.
        training_bytes: Estimate of the bytes of feature maps in a training step for one image.
        tflite_int8: Whether every layer has integer kernels in TFLite.
        remarks: What to know, one line each: what TFLite makes of some layers, what was assumed.
    """

    name: str
    input_shape: tuple[int, ...]
    output_shapes: tuple[tuple, ...]
    layers: int
    parameters: int
    trainable: int
    weight_bytes: int
    multiply_adds: int
    flops: int
    receptive_field: int | None
    field_padding: float | None
    output_stride: float | None
    feature_shape: tuple | None
    sees_all: bool
    inference_bytes: int
    training_bytes: int
    tflite_int8: bool
    remarks: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as JSON types.

        Example:
            >>> model_info("resnet20").to_dict()["receptive_field"]
            81
        """
        return {key: _as_json(value) for key, value in dataclasses.asdict(self).items()}

    def __str__(self) -> str:
        rows = [
            ("input", shape_text(self.input_shape)),
            ("output", ", ".join(map(shape_text, self.output_shapes))),
            ("parameters", f"{self.parameters:,} ({self.trainable:,} trainable)"),
            ("weights", f"{in_bytes(self.weight_bytes)} in {self.layers} layers"),
            ("multiply-adds", f"{in_short(self.multiply_adds)} ({in_short(self.flops)} FLOPs)"),
            ("feature map", self._feature_text()),
            ("receptive field", self._field_text()),
            (
                "feature memory",
                f"about {in_bytes(self.inference_bytes)} an image to infer, "
                f"{in_bytes(self.training_bytes)} to train",
            ),
            ("int8 on TFLite", "yes" if self.tflite_int8 else "in part"),
        ]
        lines = [self.name, *(f"  {name:<16}{text}" for name, text in rows)]
        return "\n".join([*lines, *(f"  - {remark}" for remark in self.remarks)])

    def _feature_text(self):
        if self.feature_shape is None:
            return "none"
        return f"{shape_text(self.feature_shape)}, output stride {self.output_stride}"

    def _field_text(self):
        if self.receptive_field is None:
            return "the whole image"
        text = f"{self.receptive_field} pixels, padding {self.field_padding}"
        side = min(size for size in self.input_shape[:-1])
        if self.receptive_field > side:
            text += f", more than the image's {side}"
        return text + (" (of the convolutions; gates see the whole image)" if self.sees_all else "")


def model_info(name_or_model, input_shape=None) -> ModelInfo:
    """Return what a model is, costs and sees.

    Args:
        name_or_model: A name that `build_model` knows, or a functional or sequential
            `keras.Model`.
        input_shape: `(height, width, channels)`, or the side of a square image. Default: the
            published size of the named model, or the model's own.

    Raises:
        ConfigError: If the name is unknown, the size too small or unknown, or the model is a
            subclass with a `call` of its own.

    Example:
        >>> info = model_info("vgg16", 32)
        >>> info.receptive_field, info.output_stride
        (212, 32)
        >>> print(model_info("resnet20"))
        resnet20
          input           32x32x3
          output          10
          parameters      271,098 (269,722 trainable)
          weights         1.03 MiB in 39 layers
          multiply-adds   40.6 M (81.8 M FLOPs)
          feature map     8x8x64, output stride 4
          receptive field 81 pixels, padding 40, more than the image's 32
          feature memory  about 192 KiB an image to infer, 1.75 MiB to train
          int8 on TFLite  yes
    """
    model = as_model(name_or_model, input_shape)
    return info_of(model, analyze(model, input_shape))


def as_model(name_or_model, input_shape=None):
    """Return a model, building it if it is given by its name.

    Args:
        name_or_model: As for `model_info`.
        input_shape: Likewise; for a named model with 3 channels if it is the side of a square.
    """
    if not isinstance(name_or_model, str):
        return name_or_model
    if input_shape is None:
        return build_model(name_or_model)
    if isinstance(input_shape, int) and not isinstance(input_shape, bool):
        input_shape = (input_shape, input_shape, 3)
    return build_model(name_or_model, input_shape=tuple(input_shape))


def info_of(model, table: Analysis) -> ModelInfo:
    """Return the numbers of a model whose table there is already."""
    field = table.field
    features = None if table.features is None else table.layers[table.features].output_shape[1:]
    friendly, remarks = tflite_fit(model)
    return ModelInfo(
        name=table.name,
        input_shape=table.input_shape[1:],
        output_shapes=tuple(shape[1:] for shape in table.output_shapes),
        layers=sum(layer.parameters > 0 for layer in table.layers),
        parameters=table.parameters,
        trainable=table.trainable,
        weight_bytes=sum(
            math.prod(weight.shape) * item_bytes(weight.dtype) for weight in model.weights
        ),
        multiply_adds=table.multiply_adds,
        flops=2 * table.multiply_adds + table.other_operations,
        receptive_field=None if field is None else math.ceil(field.size),
        field_padding=None if field is None else plain(field.padding),
        output_stride=None if field is None else plain(field.stride),
        feature_shape=features,
        sees_all=table.sees_all,
        inference_bytes=table.inference_bytes,
        training_bytes=table.training_bytes,
        tflite_int8=friendly,
        remarks=(*remarks, *table.remarks),
    )


def _as_json(value):
    return [_as_json(each) for each in value] if isinstance(value, (list, tuple)) else value
