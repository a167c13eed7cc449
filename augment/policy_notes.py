"""Say in words what a policy does, with the range of each of its operations."""

import math

from augment.policy_tables import STEPS


def list_operations(magnitudes, lowest, highest):
    """Return a line for each operation: its name and its argument.

    Args:
        magnitudes: Dictionary of names and `Magnitude`s, or `None` for those without argument.
        lowest: Lowest magnitude as a share of the largest.
        highest: Highest magnitude likewise.
    """
    return tuple(_in_words(name, entry, lowest, highest) for name, entry in magnitudes.items())


def list_policies(policies, magnitudes):
    """Return a line for each pair of AutoAugment, chances in parentheses."""
    lines = []
    for number, pair in enumerate(policies, start=1):
        words = [
            f"{_in_words(name, magnitudes[name], share / 9, share / 9)} ({chance})"
            for name, chance, share in pair
        ]
        lines.append(f"{number}. " + ", then ".join(words))
    return tuple(lines)


def _in_words(name, magnitude, lowest, highest):
    if magnitude is None:
        return name
    words = STEPS[name].words
    if magnitude.of:
        words = f"{{}} of the {magnitude.of}"
    ends = [_argument(magnitude, share, sign) for share in (lowest, highest) for sign in (1, -1)]
    if lowest == highest:
        ends = sorted(set(ends))
        return f"{name} {words.format(' or '.join(map(_number, ends)))}"
    return f"{name} {words.format(f'{_number(min(ends))} to {_number(max(ends))}')}"


def _argument(magnitude, share, sign):
    change = share * abs(magnitude.end - magnitude.start)
    # Shares of a side become whole pixels later.
    if magnitude.whole and not magnitude.of:
        change = math.floor(change + (0.5 if magnitude.whole == "nearest" else 1e-9))
    if magnitude.signed:
        change *= sign
    return magnitude.start + math.copysign(1.0, magnitude.end - magnitude.start) * change


def _number(value):
    # Without a minus sign for what rounds to 0.
    return f"{round(value, 3) + 0.0:g}"
