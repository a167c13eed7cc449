"""What the machine can compute, and what to record of it."""

import os
import platform
from importlib import metadata

_PACKAGES = ("keras-recipes", "tensorflow", "keras", "ai-edge-litert", "numpy", "pillow")
# The flags that decide which kernels run; the rest of the list would only fill the record.
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16")


def processor_flags() -> frozenset[str]:
    """Return the instruction-set flags of the processor; empty where the system hides them."""
    return frozenset(_processor_field("flags", "Features").split())


def choose_precision(precision: str) -> tuple[str, str]:
    """Return the Keras dtype policy for a recipe's `precision`, and why, in words.

    `"auto"` is mixed bfloat16 where it is computed in hardware: on a GPU of compute capability 8.0
    or more, or on a processor with AVX512-BF16 or AMX. Elsewhere bfloat16 is emulated and slow.
    """
    if precision != "auto":
        return precision, "set by the recipe"
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        capability = details.get("compute_capability", (0, 0))
        version = ".".join(map(str, capability))
        if capability >= (8, 0):
            return "mixed_bfloat16", f"the GPU (compute capability {version}) computes bfloat16"
        return "float32", f"the GPU (compute capability {version}) does not compute bfloat16"
    for flag in ("amx_bf16", "avx512_bf16"):
        if flag in processor_flags():
            return "mixed_bfloat16", f"the processor computes bfloat16 ({flag})"
    return "float32", "the processor does not compute bfloat16"


def describe_machine() -> dict:
    """Return the processor, its usable cores, memory in GiB, deciding flags and GPUs."""
    import tensorflow as tf

    flags = processor_flags()
    return {
        "processor": _processor_field("model name") or platform.processor() or platform.machine(),
        "cores": usable_cores(),
        "memory_gib": _memory_gib(),
        "flags": [flag for flag in _FLAGS if flag in flags],
        "gpus": [
            tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
            for gpu in tf.config.list_physical_devices("GPU")
        ],
        "system": platform.system(),
    }


def usable_cores() -> int:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def package_versions() -> dict[str, str]:
    """Return the installed versions of the packages that decide results."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def _processor_field(*names: str) -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() in names:
                    return value.strip()
    except OSError:
        pass
    return ""


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None
