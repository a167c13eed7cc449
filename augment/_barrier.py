"""Keep XLA from computing the pixels of one pass again in the next."""

import tensorflow as tf


def materialize(tensor, opaque):
    """Return `tensor` as it is, written to memory before anything reads it.

    XLA fuses whatever produces a tensor into each of its readers. Where a reader takes several
    pixels for every one it gives (the second pass of a blur, a gather by a computed index), the
    producer is then computed again for each of them: measured three to four times slower. A branch
    is where fusion ends, as long as XLA cannot tell at compile time which way it goes. Both ways
    lead to the same here, so `opaque` never changes the result. A barrier operation of TensorFlow
    would say the same, but exists only inside XLA.

    Args:
        tensor: Tensor of any shape and dtype.
        opaque: Scalar, bool or any number, not known when the code is compiled: something drawn,
            or a value of the image.

    Example:
        >>> materialize(tf.constant([1, 2]), tf.constant(0.5)).numpy().tolist()
        [1, 2]
    """
    if tf.executing_eagerly():
        return tensor
    predicate = tf.cast(opaque, tf.float32) > 0
    return tf.cond(predicate, lambda: tf.identity(tensor), lambda: tf.identity(tensor))
