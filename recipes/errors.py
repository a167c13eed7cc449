"""Errors that a user can mend: one line each, without a traceback on the command line."""

import difflib
from collections.abc import Iterable


class RecipesError(ValueError):
    """Something the user gave cannot be used; the message says what was expected and what came."""


class ConfigError(RecipesError):
    """A recipe, a field of it, or a value is wrong."""


class DataError(RecipesError):
    """The images or labels cannot be used."""


class NamesError(DataError):
    """The class names that were given are not those of the images."""


class ClusterError(RecipesError):
    """The machines that should train together are not there, or not of one mind."""


class RunError(RecipesError):
    """A run directory is missing, foreign, unfinished or of another version."""


class DivergedError(RunError):
    """A training came to numbers that are not finite, as it does again if it is resumed."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the closest known name, or an empty string.

    Example:
        >>> nearest("resnet21", ["resnet20", "vgg16"])
        "; did you mean 'resnet20'?"
    """
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""
