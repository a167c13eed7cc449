"""The loop over the images of a batch."""

import tensorflow as tf


def map_images(function, elements, signature):
    """Return `function` of each element, as `tf.map_fn`, which leaves nothing behind if it fails.

    While it traces, `tf.map_fn` gives the variable scope of the whole process a caching device. An
    error in `function`, such as that about a number of channels, would leave it there, and the next
    `tf.distribute` strategy could make no variables.

    Args:
        function: Of one element: what `elements` holds, less the first axis.
        elements: Nested structure of tensors of shape `(batch, ...)`.
        signature: `tf.TensorSpec` of what `function` returns.
    """
    if tf.nest.flatten(elements)[0].shape[0] == 0:
        # XLA cannot compile a loop over nothing. Sides that are unknown are none then.
        return tf.nest.map_structure(
            lambda spec: tf.zeros([0, *(side or 0 for side in spec.shape)], spec.dtype), signature
        )
    scope = tf.compat.v1.get_variable_scope()
    before = scope.caching_device
    try:
        return tf.map_fn(function, elements, fn_output_signature=signature)
    finally:
        if scope.caching_device is not before:
            scope.set_caching_device(before)
