"""The facts about the machine without which no figure means anything."""

from __future__ import annotations

import os
import platform
import sysconfig
from importlib import metadata
from pathlib import Path

PACKAGES = ("lazygraph", "dask", "distributed", "celery", "redis", "ray", "tornado", "msgspec", "cloudpickle")
CPU_INFO = Path("/proc/cpuinfo")

Facts = dict[str, object]


def facts() -> Facts:
    """Return what is known now: call it before the first contender runs, the load average is part of it."""
    return {
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "processor": _processor(),
        "system": platform.platform(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        # A build without profile-guided optimization makes every Python-bound figure slower, everybody's.
        "python_optimized": "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or ""),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "packages": _versions(),
    }


def _processor() -> str:
    if CPU_INFO.exists():
        for line in CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
