"""Functions of tensors as graphs, compiled by XLA where it works."""

import functools

import tensorflow as tf


def compiled(function, jit_compile="auto"):
    """Return `function` as a graph, compiled by XLA if `jit_compile` says so.

    Args:
        function: Of tensors.
        jit_compile: `True`, `False`, or `"auto"` for what `xla_works` finds.
    """
    if jit_compile == "auto":
        jit_compile = xla_works()
    return tf.function(function, jit_compile=jit_compile, autograph=False)


@functools.cache
def xla_works():
    """Return whether this build of TensorFlow compiles with XLA here; tried once."""
    with tf.init_scope():
        try:
            tf.function(lambda value: value + 1, jit_compile=True, autograph=False)(tf.constant(1))
        except tf.errors.OpError:
            return False
    return True
