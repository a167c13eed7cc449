"""What a check says: a named finding with figures and advice, and how findings are shown."""

import dataclasses
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recipes.errors import RecipesError

SEVERITIES = ("error", "warning", "note")
_COLORS = {"error": "red", "warning": "yellow", "note": "cyan"}


class PreflightError(RecipesError):
    """A model or its data has a fault that makes training pointless."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    Attributes:
        name: Stable identifier, such as `"labels_out_of_range"`.
        severity: `"error"` where training cannot give a good model, `"warning"` where it will
            probably suffer, `"note"` for what is right only if it is meant.
        message: What was found, one line.
        advice: What to do, one line.
        figures: The numbers that led to it: plain JSON values.
    """

    name: str
    severity: str
    message: str
    advice: str
    figures: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        if self.severity not in SEVERITIES:
            raise ValueError(
                f"severity must be one of {', '.join(SEVERITIES)}, received: {self.severity!r}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; numbers that are not finite become `None`."""
        return plain(dataclasses.asdict(self))


@dataclass(frozen=True)
class Findings:
    """Findings, the worst first, and the figures that everything was judged by.

    Attributes:
        findings: Sorted by severity, in the order of the checks within one.
        figures: What was measured, whether or not it led to a finding: plain JSON values.
        checks: Names of the checks that were made.
        skipped: Name of each check that could not be made to the reason.
    """

    findings: tuple[Finding, ...]
    figures: Mapping[str, Any] = field(default_factory=dict)
    checks: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self):
        ordered = sorted(self.findings, key=lambda finding: SEVERITIES.index(finding.severity))
        object.__setattr__(self, "findings", tuple(ordered))

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that are errors."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not self.errors

    def __contains__(self, name):
        return any(finding.name == name for finding in self.findings)

    def __getitem__(self, name) -> Finding:
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; numbers that are not finite become `None`."""
        return plain(
            {
                "ok": self.ok,
                "findings": [finding.to_dict() for finding in self.findings],
                "figures": dict(self.figures),
                "checks": list(self.checks),
                "skipped": dict(self.skipped),
            }
        )

    def __rich__(self):
        """Return what `rich` prints: a table of the findings, then what was checked."""
        from rich.console import Group

        return Group(findings_table(self.findings), *self._remarks())

    def _remarks(self):
        from rich.text import Text

        count = len(self.findings)
        found = f"{count} finding{'s' * (count > 1)}" if count else "nothing found"
        yield Text(f"{found} in {len(self.checks)} checks: {', '.join(self.checks)}", "dim")
        for name, reason in self.skipped.items():
            yield Text(f"not checked: {name}: {reason}", "dim")

    def __str__(self):
        from rich.console import Console

        console = Console(file=io.StringIO(), width=120, highlight=False)
        console.print(self)
        lines = console.file.getvalue().splitlines()
        return "\n".join(line.rstrip() for line in lines)


def findings_table(findings: Sequence[Finding]):
    """Return a `rich` table of findings: severity, name, what was found and what to do."""
    from rich.table import Table
    from rich.text import Text

    if not findings:
        return Text("no findings", "green")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("severity", no_wrap=True)
    table.add_column("finding", no_wrap=True)
    table.add_column("what was found, and what to do", overflow="fold")
    for finding in findings:
        # Text, not markup: a layer may be called [red].
        words = Text(finding.message)
        words.append(f"\n→ {finding.advice}", "dim")
        table.add_row(Text(finding.severity, _COLORS[finding.severity]), Text(finding.name), words)
    return table


def raise_for_errors(findings: Sequence[Finding]) -> None:
    """Raise one line for the errors among findings.

    Raises:
        PreflightError: If there is any.
    """
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise PreflightError(f"{errors[0].name}: {errors[0].message}; {errors[0].advice}{more}")


def plain(value: Any) -> Any:
    """Return `value` as JSON can hold it: no NumPy types, `None` for what is not finite.

    Example:
        >>> plain({"loss": np.float32("nan"), "counts": np.array([1, 2]), "layers": ("a",)})
        {'loss': None, 'counts': [1, 2], 'layers': ['a']}
    """
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None
    return value
