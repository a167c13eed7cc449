"""What came of loading weights: which layers were set, which were not, and why."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class WeightsReport:
    """What `load_weights` did, by the names of the layers; printing it gives a few lines.

    Attributes:
        source: Where the weights came from, such as the path of the file.
        assigned: Layers that were set, in the order of the model.
        skipped: Layers that kept their values, each with the reason. Empty unless
            `skip_mismatched` was asked for.
        unused: Names in the file that no layer of the model takes, such as those of the
            classifier when only the features are built.
        notes: What was done or found on the way that changes the outputs: a stem adapted to
            another number of channels, a normalisation other than the one the weights expect.

    Example:
        >>> print(WeightsReport("w.npz", ("conv",), {"logits": "other shape"}, ("fc.bias",), ()))
        w.npz: 1 layer set, 1 skipped, 1 name unused
          skipped logits: other shape
          unused fc.bias
    """

    source: str
    assigned: tuple[str, ...]
    skipped: dict[str, str]
    unused: tuple[str, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """Return one line of counts, then one for each thing a reader may want to know."""
        lines = [
            f"{self.source}: {_count(self.assigned, 'layer')} set, {len(self.skipped)} skipped, "
            f"{_count(self.unused, 'name')} unused"
        ]
        lines += [f"  skipped {layer}: {reason}" for layer, reason in self.skipped.items()]
        lines += [f"  note: {note}" for note in self.notes]
        if self.unused:
            lines.append(f"  unused {_shortened(self.unused)}")
        return "\n".join(lines)


def _count(names, noun):
    return f"{len(names)} {noun}{'' if len(names) == 1 else 's'}"


def _shortened(names, limit=6):
    """Return the names as one line, with only the number of those after the first few."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")
