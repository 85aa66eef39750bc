"""What Celery needs beside itself, each started for a test on loopback and gone with it: redis, RabbitMQ, workers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READY_WITHIN = 60.0
HERE = "127.0.0.1"


def free_port() -> int:
    """Return a port that is free now; these servers cannot choose one for themselves and say which."""
    with socket.create_server((HERE, 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def running(command: list[str], **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Have a program run, from the checkout."""
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(READY_WITHIN)


@contextmanager
def redis_running(program: str, folder: Path) -> Iterator[str]:
    """Have a redis run that answers; give its URL."""
    redis = pytest.importorskip("redis", reason="pip install 'lazygraph[celery]'")
    port = free_port()
    words = ["--port", str(port), "--bind", HERE, "--save", "", "--dir", str(folder)]
    with running([program, *words]):
        again = redis.retry.Retry(redis.backoff.ConstantBackoff(0.05), 200)
        with redis.Redis(port=port, retry=again, retry_on_error=[redis.ConnectionError]) as client:
            client.ping()
        yield f"redis://{HERE}:{port}/0"


@contextmanager
def rabbitmq_running(program: str, folder: Path) -> Iterator[str]:
    """Have a RabbitMQ run that answers; give its URL.  It may be anybody's: all that it writes is in `folder`."""
    kombu = pytest.importorskip("kombu", reason="pip install 'lazygraph[celery]'")
    port = free_port()
    where = {
        "HOME": str(folder),  # Erlang's cookie
        "ERL_EPMD_ADDRESS": HERE,
        "ERL_EPMD_PORT": str(free_port()),
        "RABBITMQ_NODENAME": "lazygraph@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": HERE,
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-kernel inet_dist_use_interface {{{HERE.replace('.', ',')}}}",
        "RABBITMQ_MNESIA_BASE": str(folder),
        "RABBITMQ_LOG_BASE": str(folder),
        # Nothing of what the machine says of its own server.
        "RABBITMQ_CONF_ENV_FILE": str(folder / "environment"),
        "RABBITMQ_CONFIG_FILE": str(folder / "configuration"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
    }
    # The port mapper is ours too: one that the server starts would stay when the server has gone.
    with running(["epmd"], **where), running([program], **where):
        url = f"amqp://guest:guest@{HERE}:{port}//"
        with kombu.Connection(url) as connection:
            connection.ensure_connection(max_retries=600, interval_start=0.1, interval_step=0, interval_max=0.1)
        yield url


@contextmanager
def worker(url: str, *words: str, broker: str = "", **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Have a worker run, for the application of the shop."""
    command = [sys.executable, "-m", "celery", "-A", "tests.executors.celery_shop", "worker", *words]
    quiet = ["--loglevel", "ERROR", "--without-mingle", "--without-gossip"]
    where = {"CELERY_BROKER_URL": broker or url, "CELERY_RESULT_BACKEND": url}
    with running([*command, *quiet], **where, **environment) as process:
        yield process
