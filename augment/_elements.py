"""The forms in which a batch comes: images alone, tuples and dictionaries."""

import dataclasses
from typing import Any

IMAGES, LABELS = "images", "labels"
# Names that the weights of a loss go by; an element has at most one of them.
WEIGHTS = ("weights", "sample_weight", "sample_weights")


@dataclasses.dataclass(frozen=True)
class Element:
    """A batch taken apart.

    Attributes:
        images: The images.
        labels: Their labels, or `None`.
        weights: One number for each, or `None`.
        whole: The batch as it came: a tensor, tuple (named or not), list or dictionary.
    """

    images: Any
    labels: Any
    weights: Any
    whole: Any

    def replaced(self, images, labels, weights):
        """Return the batch in the form it came, with these in place of what it held."""
        if isinstance(self.whole, dict):
            new = {**self.whole, IMAGES: images}
            if self.labels is not None:
                new[LABELS] = labels
            if self.weights is not None:
                new[_weights_key(self.whole)] = weights
            return new
        if isinstance(self.whole, (tuple, list)):
            new = [images, labels, weights][: len(self.whole)]
            # Named tuples are not made of a sequence, but have a method that is.
            make = getattr(self.whole, "_make", type(self.whole))
            return make((*new, *self.whole[3:]))
        return images


def take_apart(batch):
    """Return the `Element` of a batch.

    Args:
        batch: Images; a tuple or list `(images, labels, weights, ...)` of any length from 1; or a
            dictionary with the key "images" and perhaps "labels" and one of `WEIGHTS`.

    Raises:
        ValueError: If a dictionary lacks "images" or names weights twice, or a tuple is empty.
    """
    if isinstance(batch, dict):
        if IMAGES not in batch:
            raise ValueError(
                f"a batch must have the key {IMAGES!r}, received the keys: {sorted(batch)}"
            )
        return Element(batch[IMAGES], batch.get(LABELS), batch.get(_weights_key(batch)), batch)
    if isinstance(batch, (tuple, list)):
        if not batch:
            raise ValueError("a batch must begin with images, received: an empty tuple")
        images, labels, weights = (*batch[:3], None, None)[:3]
        return Element(images, labels, weights, batch)
    return Element(batch, None, None, batch)


def check_labels(element, name):
    """Raise `ValueError` if a batch that `name` mixes has no labels."""
    if element.labels is not None:
        return
    received = sorted(element.whole) if isinstance(element.whole, dict) else "images alone"
    raise ValueError(
        f"{name} mixes labels too: it needs (images, labels) or a dictionary with the keys "
        f"'images' and 'labels', received: {received}"
    )


def _weights_key(batch):
    keys = [key for key in WEIGHTS if key in batch]
    if len(keys) > 1:
        raise ValueError(f"a batch must have one key of weights, received: {keys}")
    return keys[0] if keys else WEIGHTS[0]
