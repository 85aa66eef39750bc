"""An application of Celery's, as its workers and its users import it; where redis is, its starter says.

Celery reads CELERY_BROKER_URL and CELERY_RESULT_BACKEND by itself, at first use.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celery import Celery

app = Celery("shop", set_as_current=False)
app.conf.imports = ["lazygraph.executors.celery_tasks"]
if folder := os.environ.get("SHOP_FOLDER"):  # where a broker of files has them
    app.conf.broker_transport_options = {"data_folder_in": folder, "data_folder_out": folder, "control_folder": folder}
if highest := os.environ.get("SHOP_PRIORITIES"):  # its queues have so many, on a broker that has to be told
    app.conf.task_queue_max_priority = int(highest)
app.conf.task_acks_late = True  # for its own tasks; leases are begun once all the same


@app.task
def price(pieces: int, each: int = 7) -> int:
    """Return what so many pieces cost."""
    return pieces * each


@app.task(bind=True, name="shop.who", acks_late=True)
def who(self: Any, customer: str) -> list[str]:
    """Return the name of this task, and who asked."""
    return [self.name, customer]


def pid(tell: str, wait: str) -> int:
    """Say in a pipe which process this is, stay until the other pipe says something; return it."""
    Path(tell).write_text(str(os.getpid()), encoding="utf-8")
    Path(wait).read_text(encoding="utf-8")
    return os.getpid()


def parent(tell: str, wait: str) -> int:
    """Do the same with the process that started this one."""
    Path(tell).write_text(str(os.getppid()), encoding="utf-8")
    Path(wait).read_text(encoding="utf-8")
    return os.getppid()
