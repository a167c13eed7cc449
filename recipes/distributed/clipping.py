"""Gradient clipping by the norm of the whole gradient where several devices each have a part."""

import functools

import keras
import tensorflow as tf


@functools.cache
def clipping_together(kind: type[keras.optimizers.Optimizer]) -> type[keras.optimizers.Optimizer]:
    """Return an optimizer class that clips after the gradients of the replicas were summed.

    Keras 3.15 clips on each replica, then sums: with `n` replicas up to `n` times the norm that was
    asked for goes in, in another direction. Here the parts are summed first, and each replica goes
    on with an `n`th of the sum; so `global_clipnorm` must be given as an `n`th of the norm that is
    meant. Keras then sums once more, so twice as much is sent.

    Args:
        kind: Optimizer class, such as `keras.optimizers.SGD`.
    """

    class Together(kind):
        def apply(self, grads, trainable_variables=None):
            """Update the variables by the gradients of this replica and of the others."""
            replica = tf.distribute.get_replica_context()
            count = replica.num_replicas_in_sync
            sums = replica.all_reduce(tf.distribute.ReduceOp.SUM, list(grads))
            super().apply([total / count for total in sums], trainable_variables)

    Together.__name__ = kind.__name__
    Together.__qualname__ = kind.__qualname__
    return Together
