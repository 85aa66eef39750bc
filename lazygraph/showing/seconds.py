"""Durations as people read them."""

from __future__ import annotations

_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))


def seconds_text(seconds: float) -> str:
    """Return `3.2 s`, `450 ms`, `12 us`, `2 min 5 s`: two or three digits that matter."""
    if seconds >= 120:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s" if minutes < 120 else f"{minutes / 60:.1f} h"
    for unit, name in _UNITS:
        if seconds >= unit * 0.9995 or name == "us":
            amount = seconds / unit
            return f"{amount:.3g} {name}" if amount < 99.5 else f"{amount:.0f} {name}"
    raise AssertionError("microseconds take what is left")


def percent_text(part: float, whole: float) -> str:
    """Return `71 %`, of nothing `0 %`."""
    return f"{100 * part / whole:.0f} %" if whole > 0 else "0 %"
