"""The base of all composite layers: one layer to the user, or its parts in a flat graph."""

import keras


class Block(keras.layers.Layer):
    """A layer that is a small network of other layers.

    A subclass says in `make` which layers it has, and in `connect` how they are joined:

        class Pair(Block):
            def make(self, input_shape):
                self.conv = self.sublayer(keras.layers.Conv2D, "conv", 8, 3, padding="same")
                self.relu = self.sublayer(keras.layers.ReLU, "relu")

            def connect(self, inputs, apply):
                return apply(self.relu, apply(self.conv, inputs))

    From this one description come two ways to use a block, which compute the same:

    * `block(x)` is one opaque layer with the weights of all its parts.
    * `block.inline(x)` applies the parts one by one, so that a functional model stays flat: its
      summary, FLOP table and converters see stock layers, and single parts can be frozen.

    The parts are called `{name of the block}_{suffix}` in both.

    Args:
        **kwargs: Base layer arguments, such as `name`.
    """

    def make(self, input_shape):
        """Make the layers of the block, as attributes or lists (not lists of lists) of them.

        Args:
            input_shape: Shape of the inputs, `(batch, height, width, channels)`, in which only the
                channels need be known; a list of shapes if the block takes a list.
        """
        raise NotImplementedError(f"{type(self).__name__} must define make")

    def connect(self, inputs, apply):
        """Return the outputs of the block.

        Args:
            inputs: Tensor, or list of tensors.
            apply: Function `apply(layer, inputs)`. Every part must be applied through it, and
                nothing but layers may touch the tensors.
        """
        raise NotImplementedError(f"{type(self).__name__} must define connect")

    def sublayer(self, layer_class, suffix, *arguments, **keywords):
        """Return a new layer, named after the block and of its dtype policy.

        Args:
            layer_class: Class of the layer.
            suffix: What its name has after the name of the block and an underscore.
            *arguments: Arguments of the class.
            **keywords: Keyword arguments of the class; `dtype` overrides the block's.
        """
        keywords = {"dtype": self.dtype_policy, **keywords}
        return layer_class(*arguments, name=f"{self.name}_{suffix}", **keywords)

    def subblock(self, input_shape, block_class, suffix, *arguments, **keywords):
        """Return a new block inside of this one, as `sublayer` does, with its layers made.

        Layers draw the seeds of their initial weights when they are made. Made here, those of the
        inner block come before those that `make` names next, whatever is applied first.

        Args:
            input_shape: Shape of the inputs of the inner block.
            block_class: Class of the block.
            suffix: What its name has after the name of this block and an underscore.
            *arguments: Arguments of the class.
            **keywords: Keyword arguments of the class.
        """
        block = self.sublayer(block_class, suffix, *arguments, **keywords)
        block._make_once(input_shape)
        return block

    @property
    def exact_dtype(self):
        """The policy for sums over a feature map: float32 where the block computes in half."""
        return "float32" if self.compute_dtype in ("float16", "bfloat16") else self.dtype_policy

    def build(self, input_shape):
        """Make the parts and their weights."""
        self._make_once(input_shape)
        self._outputs_for(input_shape)

    def call(self, inputs, training=None):
        """Return the outputs of the block; the parts inherit `training`."""
        return self.connect(inputs, _call)

    def inline(self, inputs):
        """Apply the parts one by one, without the block around them.

        Args:
            inputs: Symbolic tensor of a functional model, or a list of them.

        Returns:
            Symbolic tensor. The block itself does not appear in the model.
        """
        self._make_once(_shape(inputs))
        return self.connect(inputs, _inline)

    def compute_output_shape(self, input_shape):
        """Return the shape of the outputs."""
        if not self.built:
            self.build(input_shape)
        return self._outputs_for(input_shape).shape

    def _make_once(self, input_shape):
        if not getattr(self, "_is_made", False):
            self.make(input_shape)
            self._is_made = True

    def _outputs_for(self, input_shape):
        """Return symbolic outputs, which builds the parts that are not built yet."""
        if _is_list_of_shapes(input_shape):
            inputs = [keras.KerasTensor(shape, self.compute_dtype) for shape in input_shape]
        else:
            inputs = keras.KerasTensor(input_shape, self.compute_dtype)
        return self.connect(inputs, _call)


def _call(layer, inputs):
    return layer(inputs)


def _inline(layer, inputs):
    return layer.inline(inputs) if isinstance(layer, Block) else layer(inputs)


def _shape(inputs):
    if isinstance(inputs, list | tuple):
        return [tuple(tensor.shape) for tensor in inputs]
    return tuple(inputs.shape)


def _is_list_of_shapes(shape):
    return bool(shape) and isinstance(shape[0], list | tuple)
