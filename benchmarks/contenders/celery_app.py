"""The Celery application, the same in the caller and in its worker.

Where broker and results are is read by Celery itself, from CELERY_BROKER_URL and CELERY_RESULT_BACKEND, at first use.
"""
# mypy: disable-error-code="import-not-found,import-untyped"
# pyright: reportMissingImports=false

from __future__ import annotations

from typing import Any

from celery import Celery

from benchmarks.contenders import functions

app = Celery("benchmarks")
app.conf.imports = ["lazygraph.executors.celery_tasks"]  # for lazygraph on the same workers
add: Any = app.task(functions.add)
tsum: Any = app.task(functions.tsum)
