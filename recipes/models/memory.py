"""How much memory the feature maps of a model take: an estimate from its graph."""

from recipes.models.flops import size_in_bytes

# Their gradient needs no feature map: sums, moves, and averages.
_NEEDS_NOTHING = (
    "Add Subtract Average Concatenate Flatten Reshape Permute Transpose Identity Cast ExpandDims "
    "Squeeze ZeroPadding1D ZeroPadding2D ZeroPadding3D Cropping1D Cropping2D Cropping3D GetItem "
    "UpSampling1D UpSampling2D UpSampling3D AveragePooling1D AveragePooling2D AveragePooling3D "
    "GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D Mean Sum Pad Rescaling "
    "ChannelNormalization Scale"
)
# Their gradient needs what came out, not what went in.
_NEEDS_OUTPUT = "ReLU Relu Relu6 Sigmoid Softmax Tanh ELU Elu LeakyReLU Dropout"
# They hand on the same bytes in another shape.
_VIEWS = "Flatten Reshape Identity ExpandDims Squeeze"


def inference_bytes(graph):
    """Return the most bytes of feature maps that are alive at once, for one image.

    The calls run one by one; a map is dropped behind the last call that reads it, and a call
    holds its inputs and outputs together. Weights and the scratch memory of kernels come on top;
    a runtime that fuses an activation into the layer before needs less.

    Args:
        graph: The `Graph` of a model whose sizes are known.
    """
    last = {value.number: len(graph.calls) for value in graph.outputs}
    for step, call in enumerate(graph.calls):
        for value in call.inputs:
            last[value.number] = max(last.get(value.number, 0), step)
    alive = {value.number: size_in_bytes(value) for value in graph.inputs}
    peak = sum(alive.values())
    for step, call in enumerate(graph.calls):
        if type(call.operation).__name__ not in _VIEWS.split():
            alive.update({value.number: size_in_bytes(value) for value in call.outputs})
            peak = max(peak, sum(alive.values()))
        else:  # The input's bytes, under the output's number.
            held = sum(alive.get(value.number, 0) for value in call.inputs)
            alive.update({value.number: 0 for value in call.outputs})
            alive[call.outputs[0].number] = held
            alive.update({value.number: 0 for value in call.inputs})
        for number in [number for number in alive if last.get(number, -1) <= step]:
            del alive[number]
    return peak


def training_bytes(graph):
    """Return the bytes of feature maps in a training step, for one image.

    All maps that some gradient needs are kept until the backward pass: the inputs of layers with
    weights, products and windows that pick a maximum; the outputs of activations such as ReLU. A
    map is kept once, however many layers need it. To these come the two largest gradients that
    meet in one layer. Weights, their gradients and the state of the optimizer come on top.

    Args:
        graph: The `Graph` of a model whose sizes are known.
    """
    kept, gradients = {}, 0
    for call in graph.calls:
        kind = type(call.operation).__name__
        needed = () if kind in _NEEDS_NOTHING.split() else call.inputs
        if kind in _NEEDS_OUTPUT.split() or _activates(call.operation):
            needed = (*(call.inputs if call.weights else ()), *call.outputs)
        kept.update({value.number: size_in_bytes(value) for value in needed})
        gradients = max(gradients, sum(map(size_in_bytes, (*call.inputs, *call.outputs))))
    return sum(kept.values()) + gradients


def _activates(layer):
    activation = getattr(layer, "activation", None)
    return getattr(activation, "__name__", "linear") != "linear"
