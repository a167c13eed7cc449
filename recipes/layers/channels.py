"""Numbers of channels that suit the hardware."""

from recipes.errors import ConfigError


def make_divisible(channels, divisor=8):
    """Round a number of channels to a multiple that vector units like, losing at most a tenth.

    Args:
        channels: Positive number, often a product of a width multiplier and not whole.
        divisor: Positive integer, such as 8.

    Returns:
        The nearest multiple of `divisor` (halves go up), at least `divisor`, and one multiple
        more where that would be less than 90 % of `channels`.

    Raises:
        ConfigError: If one of them is not positive.

    Example:
        >>> make_divisible(32 * 0.75), make_divisible(11), make_divisible(3)
        (24, 16, 8)

    Source:
        `_make_divisible` of the TensorFlow MobileNet code, also in torchvision.
    """
    if isinstance(divisor, bool) or not isinstance(divisor, int) or divisor < 1:
        raise ConfigError(f"divisor must be a positive integer, received: {divisor!r}")
    if not 0 < channels < float("inf"):
        raise ConfigError(f"channels must be a positive number, received: {channels!r}")
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded
