"""The preflight at the start of `fit`."""

import keras

from recipes.diagnosis.preflight import preflight


class PreflightCheck(keras.callbacks.Callback):
    """Run `preflight` when `fit` begins: print what it finds, and refuse a model with errors.

    Training then goes on as if nothing had been, to the bit.

    Args:
        data: What `fit` trains on, as `preflight` takes it.
        refuse: Whether errors stop `fit`.
        say: Receives a `Preflight` to show, or `None` to print it to the standard error stream if
            there is any finding.
        batches: As for `preflight`; so are `steps`, `images` and `input_range`.

    Attributes:
        result: The `Preflight`, once `fit` has begun.

    Raises:
        PreflightError: In `fit`, if there are errors and `refuse` is true.

    Example:
        >>> keras.utils.set_random_seed(0)
        >>> model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2)])
        >>> model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> images = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
        >>> labels = (images[:, 0] > 0).astype(int)
        >>> check = PreflightCheck((images, labels))
        >>> _ = model.fit(images, labels, callbacks=[check], verbose=0)
        >>> check.result.ok
        True
    """

    def __init__(
        self, data, *, refuse=True, say=None, batches=8, steps=100, images=16, input_range=None
    ):
        super().__init__()
        self.data = data
        self.refuse = refuse
        self.say = say
        self.batches = batches
        self.steps = steps
        self.images = images
        self.input_range = input_range
        self.result = None

    def on_train_begin(self, logs=None):
        """Look; print; refuse."""
        self.result = preflight(
            self.model,
            self.data,
            batches=self.batches,
            steps=self.steps,
            images=self.images,
            input_range=self.input_range,
        )
        if self.say is not None:
            self.say(self.result)
        elif self.result.findings:
            from rich.console import Console

            Console(stderr=True, highlight=False).print(self.result)
        if self.refuse:
            self.result.raise_for_errors()
