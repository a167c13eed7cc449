"""Policies written as text, as a recipe holds them."""

import ast
import difflib
import re

from augment import policies

_POLICIES = {
    "3-augment": policies.three_augment,
    "augmix": policies.aug_mix,
    "autoaugment": policies.auto_augment,
    "randaugment": policies.rand_augment,
    "trivialaugment": policies.trivial_augment_wide,
}


def policy_operation(text):
    """Return the `Operation` of a policy written as its name, perhaps with arguments.

    Args:
        text: `"randaugment"`, `"randaugment(n=2, m=9)"`: a name of `augment.policy` that stands for
            a single operation on images, and keyword arguments of that operation as Python writes
            them.

    Raises:
        ValueError: If the name is unknown, the text is no name with keyword arguments, or an
            argument is wrong.

    Example:
        >>> policy_operation("randaugment(n=1)").name
        'rand_augment'
    """
    match = re.fullmatch(r"\s*([\w-]+)\s*(\(.*\))?\s*", text) if isinstance(text, str) else None
    if match is None:
        raise _unreadable(text)
    name, arguments = match.groups()
    if name not in _POLICIES:
        close = difflib.get_close_matches(name, _POLICIES, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown policy {name!r}: expected {', '.join(_POLICIES)}{hint}")
    try:
        return _POLICIES[name].operation(**_keywords(arguments or "()", text))
    except TypeError as error:
        raise ValueError(f"policy {text!r}: {error}") from None


def _keywords(arguments, text):
    try:
        call = ast.parse(f"policy{arguments}", mode="eval").body
    except SyntaxError:
        raise _unreadable(text) from None
    names = [keyword.arg for keyword in call.keywords]
    if not isinstance(call.func, ast.Name) or call.args or None in names:
        raise _unreadable(text)
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"policy {text!r}: {name} must be given once")
    return {keyword.arg: _value(keyword, text) for keyword in call.keywords}


def _value(keyword, text):
    try:
        return ast.literal_eval(keyword.value)
    except (TypeError, ValueError):
        raise ValueError(
            f"policy {text!r}: {keyword.arg} must be a plain value, text in quotes, received: "
            f"{ast.unparse(keyword.value)}"
        ) from None


def _unreadable(text):
    return ValueError(
        "a policy must be a name, or a name with keyword arguments such as "
        f"'randaugment(n=2, m=9)', received: {text!r}"
    )
