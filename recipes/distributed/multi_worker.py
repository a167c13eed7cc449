"""What `model.fit` of Keras 3 needs to work with `tf.distribute.MultiWorkerMirroredStrategy`.

Keras 3.15.1, the newest when this was written, asks `Strategy.reduce` for two things that this
strategy cannot do:

* to build the model, the mean over replicas of a whole batch, a tuple of per-replica images and
  labels, of which they only need shapes and dtypes;
* for the logs of each step, the mean over axis 0 of a metric, which is a scalar and has none.

`MirroredStrategy` gets neither of the two wrong: its batches are reduced one by one there, its
metrics elsewhere. Both go through the public method that is overridden here. It does something else
only where TensorFlow's own would raise: a Keras that asks for what can be done never notices, and
`tests/distributed/test_multi_worker.py` fails on the day that this file can go.
"""

import tensorflow as tf


class MultiWorkerStrategy(tf.distribute.MultiWorkerMirroredStrategy):
    """`tf.distribute.MultiWorkerMirroredStrategy` with which `model.fit` of Keras 3 works."""

    def reduce(self, reduce_op, value, axis):
        """Reduce `value` across replicas, as `tf.distribute.Strategy.reduce`.

        Args:
            reduce_op: `"SUM"` or `"MEAN"`, or a `tf.distribute.ReduceOp`.
            value: Per-replica value, or a structure of them, of which the first local one is
                returned as it is.
            axis: Axis to reduce as well, or `None`; ignored where `value` is a scalar.
        """
        if tf.nest.is_nested(value):
            return tf.nest.map_structure(self._first, value)
        if axis is not None and self._first(value).shape.rank == 0:
            axis = None
        return super().reduce(reduce_op, value, axis)

    def _first(self, value):
        return self.experimental_local_results(value)[0]
