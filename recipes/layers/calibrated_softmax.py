"""Softmax at a fitted temperature, which also carries what the outputs mean."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_recipes")
class CalibratedSoftmax(keras.layers.Layer):
    """Class probabilities `softmax(logits / temperature)`, computed in float32.

    The last layer of every finished classifier. Its configuration carries the class names and the
    model's contract, so both travel inside a `.keras` file and survive being saved again.

    Args:
        temperature: Positive number fitted on held-out images; 1 leaves the logits as they are.
            Dividing by it never changes which class is largest.
        class_names: One name a class, in the order of the outputs, or `None`.
        contract: JSON-like dictionary about the model (input size, colour, provenance), or `None`.
        **kwargs: Base layer arguments, such as `name`.

    Call arguments:
        inputs: Logits, floating point, shape `(batch, classes)`.

    Returns:
        Probabilities, float32, shape `(batch, classes)`; each row sums to 1.

    Raises:
        ValueError: If `temperature` is not a positive number.

    Example:
        >>> layer = CalibratedSoftmax(temperature=2.0, class_names=["cat", "dog"])
        >>> [round(float(value), 3) for value in layer(keras.ops.array([[0.0, 2.0]]))[0]]
        [0.269, 0.731]

    Source:
        Guo et al., "On Calibration of Modern Neural Networks", 2017, equation 9.
    """

    def __init__(self, temperature=1.0, class_names=None, contract=None, **kwargs):
        # float32 whatever the policy: half-precision probabilities cannot be calibrated.
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature must be a positive number, received: {temperature!r}")
        self.temperature = float(temperature)
        self.class_names = None if class_names is None else list(class_names)
        self.contract = contract

    def call(self, inputs):
        """Return the probabilities."""
        return ops.softmax(inputs / self.temperature, axis=-1)

    def compute_output_shape(self, input_shape):
        """Return the input shape unchanged."""
        return input_shape

    def get_config(self):
        """Return every argument."""
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "class_names": self.class_names,
            "contract": self.contract,
        }
