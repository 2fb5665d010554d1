"""gunicorn in a container, behind a proxy that ends TLS.

The environment sets ``PORT``, ``WEB_CONCURRENCY`` (workers) and ``WEB_THREADS`` (of each worker).
In ``PROMETHEUS_MULTIPROC_DIR``, if set, the workers' metrics are kept and added up.
"""

import os
from pathlib import Path

bind = f"0.0.0.0:{os.environ.get('PORT', '8000')}"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
worker_class = "gthread"
threads = int(os.environ.get("WEB_THREADS", "4"))
# An import error stops the container, not each worker in turn, and workers share the memory of the
# import. The key source keeps no lock, thread or connection across a fork. HUP does not reload
# code: replace the container.
preload_app = True

# Seconds. Authentication waits 3 at most, for the first keys of a process.
timeout = 30
# Orchestrators kill 30 s after they ask to stop; `preStop` takes 5 of them.
graceful_timeout = 20
# Longer than a load balancer keeps an idle connection (60 s), or it uses one that is closed.
keepalive = 75

# For the heartbeat file: a disk could block a worker, and the root is read-only.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - made by gunicorn
# The server is not controlled from within the container.
control_socket_disable = True

_metrics = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
# A new server counts from 0. One that reloads (HUP: the mark is set) or replaces another (USR2:
# gunicorn sets the old one's id) does not: workers of the old one still write.
if _metrics and not {"_METRICS_CLEARED", "GUNICORN_PID"} & os.environ.keys():
    os.environ["_METRICS_CLEARED"] = "1"
    Path(_metrics).mkdir(parents=True, exist_ok=True)
    for _file in Path(_metrics).glob("*.db"):
        _file.unlink()


def child_exit(server, worker):
    """Drop the live gauges of a worker that has ended."""
    if _metrics:
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(worker.pid)
