"""What people call an option elsewhere, and what it is here.

Covers: the options of Celery, dask, Ray and Prefect that are none of ours, each with the sentence a caller is told.
Does not cover: our own options (values.options), which libraries share with us by name and meaning.
"""

from __future__ import annotations

from collections.abc import Mapping

_ON_LOSS = "a task whose worker is lost runs again on another unless at_most_once=True; leave it out"
_NO_MESSAGES = "there is no broker and there are no messages to describe; leave it out"
_BY_QUEUE = "workers choose by queue alone: write queue='name'"
_BY_PICKLE = "values travel by pickle in frames of their own and are never encoded by name; leave it out"
_KEPT = "a value is kept as long as somebody holds its future, and its error always; leave it out"
_AS_FUTURE = (
    "the future says how it ended: future.add_done_callback(f); or write sig.link(f.s()) and sig.link_error(f.s())"
)
_CACHED = "write cache=True, which keeps the value under its content key"
_NO_ACTORS = "tasks are functions and keep no state between calls; load what they need with lazygraph worker --preload"
_LOGGED = "what a task prints and logs goes where its worker's output goes; leave it out"

INSTEAD: Mapping[str, str] = {
    # -- Celery: retries ---------------------------------------------------------------------------
    "autoretry_for": "write retries=RetryPolicy(on=(ConnectionError,), max_retries=5) with your exceptions",
    "dont_autoretry_for": "write retries=RetryPolicy(not_on=(ValueError,)) with your exceptions",
    "max_retries": "write retries=5, or retries=RetryPolicy(max_retries=5, delay=2.0)",
    "retry_kwargs": "write what is in it as retries=RetryPolicy(max_retries=5, delay=2.0)",
    "retry_backoff": "write retries=RetryPolicy(delay=1.0, backoff=2.0): the first delay in seconds and the factor",
    "retry_backoff_max": "write retries=RetryPolicy(delay=1.0, max_delay=600.0)",
    "retry_jitter": "write retries=RetryPolicy(delay=1.0, jitter=0.5): the part of the delay that is random",
    "default_retry_delay": "write retries=RetryPolicy(delay=180.0), in seconds",
    "retry": "calls are not sent again but accepted once; for attempts of the task write retries=3",
    "retry_policy": "calls are not sent again but accepted once; for attempts of the task write retries=RetryPolicy()",
    # -- Celery: limits and delivery ---------------------------------------------------------------
    "time_limit": "write timeout=60.0: the attempt runs in a process of its own, which is killed after so many seconds",
    "soft_time_limit": "write timeout=60.0: there is one limit, and it ends the attempt from outside",
    "acks_late": _ON_LOSS,
    "acks_on_failure": "an attempt that raised has ended and is not given out again; for more attempts write retries=3",
    "acks_on_timeout": "an attempt that was killed has failed; for more attempts write retries=3",
    "acks_on_failure_or_timeout": "a failed attempt is not given out again; for more attempts write retries=3",
    "reject_on_worker_lost": _ON_LOSS,
    "ignore_result": _KEPT,
    "store_errors_even_if_ignored": _KEPT,
    "track_started": "future.status always says when a task runs; leave it out",
    "trail": "future.parent and future.children are always there; leave it out",
    "task_id": "write key='my-name'; every submission gets an id of its own, which is future.key",
    "throws": "no exception is logged: it reaches whoever asks the future; leave it out",
    "send_events": "what happens is always known to the run; leave it out",
    "interval": "nothing is polled; leave it out",
    # -- Celery: messages --------------------------------------------------------------------------
    "routing_key": _BY_QUEUE,
    "exchange": _BY_QUEUE,
    "exchange_type": _BY_QUEUE,
    "delivery_mode": _NO_MESSAGES,
    "mandatory": _NO_MESSAGES,
    "immediate": _NO_MESSAGES,
    "reply_to": _NO_MESSAGES,
    "headers": "a task gets nothing but its arguments: give it as one, or write name='text' to mark the node",
    "producer": _NO_MESSAGES,
    "connection": _NO_MESSAGES,
    "serializer": _BY_PICKLE,
    "compression": _BY_PICKLE,
    "argsrepr": "arguments are not logged; leave it out",
    "kwargsrepr": "arguments are not logged; leave it out",
    "resultrepr_maxsize": "results are not logged; leave it out",
    "stamped_headers": "write name='text' to mark a node; it is part of its key",
    "group_id": "the graph knows who belongs together; leave it out",
    "parent_id": "the graph knows what came before; it is future.parent",
    "root_id": "the graph knows where it began; its name is future.run_id",
    "add_to_parent": "the graph knows what came before; leave it out",
    "backend": "values stay on the workers that made them and come with the future; leave it out",
    # -- Celery: the task and its place in a canvas ------------------------------------------------
    "base": "tasks are functions, not classes: put shared code into a decorator, or write bind=True for the context",
    "typing": "a call is always checked against its function, when it is written; leave it out",
    "pydantic": "a call is checked against its function when it is written; validate arguments in the function",
    "shadow": "write name='text'",
    "shadow_name": "write name='text'",
    "link": "write sig.link(callback)",
    "link_error": "write sig.link_error(handler)",
    "immutable": "write f.si(...) instead of f.s(...)",
    "chord": "write chord(header, body), or group(...) | body",
    # -- dask --------------------------------------------------------------------------------------
    "allow_other_workers": "workers=['name'] is strict; where any worker will do leave that out too",
    "actor": _NO_ACTORS,
    "actors": _NO_ACTORS,
    "fifo_timeout": "what was submitted first comes first whenever it was; for another order write priority=1",
    "dask_key_name": "write key='name'",
    # -- Ray ---------------------------------------------------------------------------------------
    "num_cpus": "a task takes one slot of a worker; for more write resources={'cpu': 2} and start workers with it",
    "num_gpus": "write resources={'gpu': 1} and start workers with --resources gpu=1",
    "memory": "write resources={'memory': 2e9} and start workers with --resources memory=8e9",
    "object_store_memory": "workers keep values within their --memory-limit; leave it out",
    "accelerator_type": "write resources={'a100': 1} and start the workers that have one with --resources a100=1",
    "label_selector": "write workers=['name'], or resources={'label': 1}",
    "num_returns": "write nout=2",
    "retry_exceptions": "write retries=RetryPolicy(on=(ConnectionError,), max_retries=3) with your exceptions",
    "max_calls": "workers are not restarted between tasks; isolated=True runs attempts in a process apart",
    "max_concurrency": "write concurrency=4: at most so many of the function's tasks at once, over all workers",
    "max_restarts": _NO_ACTORS,
    "max_task_retries": "write retries=3",
    "lifetime": _NO_ACTORS,
    "runtime_env": "workers run in the environment they were started in; set them up with lazygraph worker --preload",
    "scheduling_strategy": "write workers=['name'] to choose a place; otherwise a task goes where its inputs are",
    # -- Prefect -----------------------------------------------------------------------------------
    "task_run_name": "write name='text'",
    "flow_run_name": "write compute(run_name='text')",
    "description": "the function's docstring describes it; write name='text' for the text in pictures",
    "tags": "write name='text' to mark a node, queue='name' to send it somewhere, limit=Limit('name', concurrency=4) "
    "to hold it back",
    "version": "the code of a function is part of its content key; leave it out",
    "retry_delay_seconds": "write retries=RetryPolicy(max_retries=3, delay=10.0)",
    "retry_jitter_factor": "write retries=RetryPolicy(max_retries=3, delay=10.0, jitter=0.5)",
    "retry_condition_fn": "write retries=RetryPolicy(on=(ConnectionError,), not_on=()) with exceptions, not a function",
    "timeout_seconds": "write timeout=60.0",
    "cache_policy": _CACHED,
    "cache_key_fn": _CACHED,
    "cache_expiration": "write cache=a_store, made by lazygraph.Store(path, max_age=seconds)",
    "refresh_cache": "write cache=False for this call: it neither reads nor keeps",
    "persist_result": _CACHED,
    "result_storage": "write cache=a_store, made by lazygraph.Store(path), which keeps the value under its content key",
    "result_storage_key": "write key='name'",
    "result_serializer": _BY_PICKLE,
    "cache_result_in_memory": _KEPT,
    "log_prints": _LOGGED,
    "on_completion": _AS_FUTURE,
    "on_failure": _AS_FUTURE,
    "on_running": "nothing is called when a task starts; future.status says when it runs",
    "wait_for": "write wait_on(node, before), or before.s() | f.si()",
    "task_runner": "write compute(executor='threads')",
}
"""By the name it has elsewhere: how to say it here, or that it needs no saying."""
