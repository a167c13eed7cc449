"""Batch normalisation on TensorFlow's fused kernel, a drop-in for the stock Keras layer."""

import keras
import tensorflow as tf

# What the kernel takes: its inputs in these types, its parameters always in float32.
_FUSED_DTYPES = ("float32", "bfloat16", "float16")


@keras.saving.register_keras_serializable(package="keras_recipes")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization`, computed by the fused kernel where that is possible.

    Keras 3 computes batch normalisation on TensorFlow as a chain of separate operations
    (moments, square root, multiplications, additions), each of which walks over the whole feature
    map in float32. `FusedBatchNormV3` does it in one operation forward and one backward, and reads
    and writes half-precision feature maps as they are. `benchmarks/fused_batch_norm.py` measures
    the difference.

    Arguments, weights, configuration and numbers are those of the stock layer, so the weights of
    one load into the other. Parameters and statistics are float32 under every mixed policy; a
    policy of one dtype keeps them in it, and in pure bfloat16 the statistics hardly move.
    `trainable=False` means inference mode, as in the stock layer. What the kernel cannot do (a
    mask, an axis other than the last, inputs that are not of rank 4, float64, batch
    renormalisation, synchronised statistics, a backend other than TensorFlow) the stock
    computation does.

    Call arguments:
        inputs: Feature map, shape `(batch, height, width, channels)`; any input of the stock
            layer is accepted.
        training: Whether to normalise by the statistics of the batch and to update the moving
            ones, or to normalise by the moving ones.
        mask: Passed on to the stock computation.

    Returns:
        Tensor of the shape of `inputs`, in the layer's compute dtype.

    Example:
        >>> layer = FusedBatchNormalization(momentum=0.9)
        >>> layer(keras.ops.ones((2, 4, 4, 3)), training=True).shape
        TensorShape([2, 4, 4, 3])

    Source:
        Ioffe and Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing
        Internal Covariate Shift", 2015. As in Keras, and unlike the paper and PyTorch, the moving
        variance averages the biased variance of the batch (divided by N, not N - 1).
    """

    def call(self, inputs, training=None, mask=None):
        """Return the normalised inputs."""
        if not self._is_fusible(inputs, mask):
            return super().call(inputs, training=training, mask=mask)
        if training and self.trainable:
            return self._normalize_by_batch(inputs)
        return self._normalize_by_moving_statistics(inputs)

    def _is_fusible(self, inputs, mask):
        return (
            keras.backend.backend() == "tensorflow"
            and mask is None
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and keras.backend.standardize_dtype(inputs.dtype) in _FUSED_DTYPES
            and self.compute_dtype in _FUSED_DTYPES
            and not self.synchronized
            # Keras before 3.14 has no renormalisation.
            and not getattr(self, "renorm", False)
        )

    def _normalize_by_batch(self, inputs):
        # The kernel's own moving average would follow its unbiased variance, so it gets none.
        no_statistics = tf.zeros((0,), tf.float32)
        outputs, mean, unbiased_variance = self._fused(
            inputs, no_statistics, no_statistics, is_training=True
        )
        # Back from the kernel's division by max(N - 1, 1) to the division by N of Keras.
        count = tf.cast(tf.size(inputs, tf.int64) // inputs.shape[-1], tf.float32)
        variance = unbiased_variance * ((count - 1.0) / count)
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            average = _float32(moving) * self.momentum + batch * (1.0 - self.momentum)
            moving.assign(average)
        return outputs

    def _normalize_by_moving_statistics(self, inputs):
        outputs, _, _ = self._fused(
            inputs, _float32(self.moving_mean), _float32(self.moving_variance), is_training=False
        )
        return outputs

    def _fused(self, inputs, mean, variance, *, is_training):
        channels = (inputs.shape[-1],)
        outputs = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=_float32(self.gamma) if self.scale else tf.ones(channels, tf.float32),
            offset=_float32(self.beta) if self.center else tf.zeros(channels, tf.float32),
            mean=mean,
            variance=variance,
            epsilon=self.epsilon,
            exponential_avg_factor=1.0,
            data_format="NHWC",
            is_training=is_training,
        )
        return tf.cast(outputs.y, self.compute_dtype), outputs.batch_mean, outputs.batch_variance


def _float32(variable):
    # The stock layer makes its weights with `autocast=False`: reading them gives the stored
    # precision under every policy, and the cast is free except for a pure half-precision policy.
    return tf.cast(keras.ops.convert_to_tensor(variable), tf.float32)
