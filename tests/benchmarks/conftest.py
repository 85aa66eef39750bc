"""The benchmarks are no part of the installed package; they are imported from the checkout."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[2])
if ROOT not in sys.path:
    sys.path.append(ROOT)  # at the end: nothing that is installed may be hidden by a folder of the checkout
