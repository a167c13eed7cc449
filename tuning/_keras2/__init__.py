"""The bridge to TF-MOT, which knows Keras 2 alone: nothing outside imports tf_keras or TF-MOT.

A Keras 3 model crosses as a flat tf_keras twin (`to_tf_keras`), is worked on there, and its weights
come back (`Twin.carry_back`). Importing this package loads neither of the two; `load_tf_keras` and
`load_tf_mot` do, and leave the user's `tf.keras` as it was.
"""

from tuning._keras2.guard import load_tf_keras, load_tf_mot
from tuning._keras2.twin import Twin, to_tf_keras

__all__ = ["Twin", "load_tf_keras", "load_tf_mot", "to_tf_keras"]
