"""Networks whose variables have shapes but no values."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import keras


def without_values(build: Callable[..., keras.Model], *arguments, **keywords) -> keras.Model:
    """Return `build(*arguments, **keywords)`, its variables without values.

    Keras writes such variables into a list and gives them values when the next layer of some kinds
    is built: time and, for VGG, 550 MB for nothing. It keeps a list for each thread, so this one is
    made in a thread of its own.

    Example:
        >>> inputs = keras.Input((4,))
        >>> model = without_values(lambda: keras.Model(inputs, keras.layers.Dense(2)(inputs)))
        >>> model.count_params()
        10
    """
    policy = keras.config.dtype_policy()

    def built():
        # What is set by `keras.config` is that of a thread, too.
        keras.config.set_dtype_policy(policy)
        with keras.StatelessScope(initialize_variables=False):
            return build(*arguments, **keywords)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(built).result()
