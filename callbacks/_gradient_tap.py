"""Where an optimizer is given its gradients, and their norms are noted."""

import math

import keras
import tensorflow as tf
from keras import ops

from callbacks._layers import numbered, walk
from callbacks._optimizers import inner_optimizer


class Tap:
    """Stands in for the `apply` of an optimizer and notes the norms of the gradients.

    Attributes:
        optimizer: The one it listens to.
        sizes: Layer name to its number of trainable weights, in the order of the norms.
    """

    def __init__(self, model, every, step):
        self.optimizer = model.optimizer
        self.every = every
        self._names = _layer_names(model)
        self.sizes = {}
        for variable in model.trainable_variables:
            name = self._names[id(variable)]
            self.sizes[name] = self.sizes.get(name, 0) + math.prod(variable.shape)
        # Rows enough for all measurements from one reading to the next.
        self.rows = (every + model.steps_per_execution) // every + 1
        self._variables = list(model.trainable_variables)
        self._seen = _variable((), "int64")
        self._seen.assign(step)
        self._read = step // every
        # Each row: the loss scale, then the norms.
        self._noted = _variable((self.rows, 1 + len(self.sizes)), "float32")
        self._apply = self.optimizer.apply
        self.optimizer.apply = self._note_and_apply

    def detach(self):
        """Give the optimizer its own `apply` back."""
        del self.optimizer.apply

    def read(self):
        """Return the steps so far, and `(step, scale, norms)` of what is newly measured."""
        seen = int(self._seen.numpy())
        noted, measured = None, seen // self.every
        found = []
        for count in range(self._read + 1, measured + 1):
            noted = self._noted.numpy() if noted is None else noted
            row = noted[count % self.rows]
            found.append((count * self.every, float(row[0]), row[1:].tolist()))
        self._read = measured
        return seen, found

    def _note_and_apply(self, grads, trainable_variables=None):
        variables = self._variables if trainable_variables is None else list(trainable_variables)
        grads = list(grads)
        self._seen.assign_add(1)
        due = ops.equal(ops.mod(self._seen.value, self.every), 0)
        if tf.distribute.has_strategy():
            # Variables of a strategy cannot be changed under a condition.
            self._write(grads, variables, due)
        else:
            ops.cond(due, lambda: self._write(grads, variables, due), lambda: ops.zeros(()))
        return self._apply(grads, trainable_variables)

    def _write(self, grads, variables, due):
        """Put the norms into the row that is next, if they are due."""
        row = self._measure(grads, variables)
        place = ops.mod(ops.floor_divide(self._seen.value, self.every), self.rows)
        chosen = ops.logical_and(ops.equal(ops.arange(self.rows, dtype="int64"), place), due)
        self._noted.assign(ops.where(chosen[:, None], row[None], self._noted.value))
        return ops.zeros(())  # a condition gives a value

    def _measure(self, grads, variables):
        """Return the loss scale and the norm of each layer, float32."""
        scale = self._scale()
        pairs = [
            (self._names[id(variable)], tf.cast(tf.convert_to_tensor(grad), "float32"))
            for grad, variable in zip(grads, variables, strict=True)
            if grad is not None
        ]
        gradients = [grad for _, grad in pairs]
        if tf.distribute.has_strategy():
            # Each replica has the gradient of its share of the batch; the optimizer sums them.
            context = tf.distribute.get_replica_context()
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        squares = dict.fromkeys(self.sizes, 0.0)
        for (name, _), grad in zip(pairs, gradients, strict=True):
            squares[name] += 2 * tf.nn.l2_loss(grad / scale)
        return tf.stack([scale, *(tf.sqrt(tf.cast(one, "float32")) for one in squares.values())])

    def _scale(self):
        """Return the factor that the loss, and so the gradient, was multiplied by."""
        if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            return tf.cast(self.optimizer.scale_loss(tf.constant(1.0)), "float32")
        return tf.constant(float(inner_optimizer(self.optimizer).loss_scale_factor or 1.0))


def _layer_names(model):
    """Return, by the `id` of each weight, the path inside the model of the layer that holds it."""
    # Each layer before those that it holds, so that the innermost has the last word.
    holders = {id(weight): id(layer) for layer in walk(model) for weight in layer.weights}
    places = {}
    for weight in model.weights:
        # Not part of a layer's name: Keras counts it up from model to model.
        path = weight.path.removeprefix(f"{model.name}/")
        places[id(weight)] = path.rpartition("/")[0] or path, holders[id(weight)]
    layers = list(dict.fromkeys(places.values()))
    names = dict(zip(layers, numbered(path for path, _ in layers), strict=True))
    return {weight: names[place] for weight, place in places.items()}


def _variable(shape, dtype):
    return keras.Variable(
        ops.zeros(shape, dtype), dtype=dtype, trainable=False, aggregation="only_first_replica"
    )
