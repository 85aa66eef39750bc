"""The scripts here are read as text and run by their tests: they import libraries that need not be installed."""

from __future__ import annotations

collect_ignore = ["celery_script.py", "dask_script.py"]
