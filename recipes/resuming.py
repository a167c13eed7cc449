"""What is compared when a run goes on: things that must be the same, and things to speak of."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from recipes.errors import RunError
from recipes.hardware import package_versions
from recipes.run import ONE_DEVICE, Run

if TYPE_CHECKING:
    from recipes.distributed.devices import Devices


def refuse_other(what: str, expected: Any, found: Any, run: Run) -> None:
    """Raise `RunError` where a run began with something else, such as `"another recipe"`."""
    if expected != found:
        raise RunError(
            f"{run.directory} is a run of {what}; go on with what it began with, or give another "
            "folder"
        )


def say_other_versions(run: Run, say: Callable[[str], None]) -> None:
    """Other versions may compute other last digits: allowed, but not silently."""
    now = package_versions()
    for name, then in run.environment["versions"].items():
        if now.get(name) != then:
            say(f"resuming with {name} {now.get(name)}, the run began with {then}: not bit-exact")


def say_other_devices(run: Run, devices: "Devices", say: Callable[[str], None]) -> None:
    """Other devices go on to the same result, but for rounding and batch statistics."""
    then, now = run.environment.get("devices", ONE_DEVICE), devices.describe()
    if then["replicas"] != now["replicas"]:
        say(
            f"resuming on {now['replicas']} device(s), the run began on {then['replicas']}: "
            "not bit-exact"
        )
