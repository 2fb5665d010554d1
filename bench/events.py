"""What one event costs the one who counts it: ``python -m bench.events``.

Needs what ``requirements.txt`` names. Each sink has a process of its own; a round times events and
checks of an RSA signature in turn, and the ratio is that of the round.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

from bench.ratios import cost_ratio, summarize

ROUNDS = 41
EVENTS = 20_000
SIGNATURES = 200
# Title: the sink's path in clerk_auth.contrib; whether several processes share a directory.
SUBJECTS = {
    "totals only": ("", False),
    "OpenTelemetry": ("opentelemetry.OpenTelemetrySink", False),
    "EMF": ("emf.EMFSink", False),
    "Prometheus": ("prometheus.PrometheusSink", False),
    "Prometheus, multiprocess": ("prometheus.PrometheusSink", True),
}


def main() -> None:
    print(f"{'sink':<26}{'ns an event':>12}{'ratio to an RSA check':>34}", flush=True)
    for title, (path, is_shared) in SUBJECTS.items():
        with tempfile.TemporaryDirectory(prefix="clerk-auth-bench-") as directory:
            environment = dict(os.environ)
            environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
            if is_shared:
                environment["PROMETHEUS_MULTIPROC_DIR"] = directory
            subprocess.run(
                [sys.executable, "-m", "bench.events", title, path], env=environment, check=True
            )


def measure(title: str, path: str) -> None:
    """Print one row of the table."""
    from clerk_auth import metrics
    from clerk_auth.conf import ENFORCE
    from clerk_auth.metrics import sinks

    logging.getLogger("clerk_auth.emf").addHandler(logging.NullHandler())
    sinks.connect([f"clerk_auth.contrib.{path}"] if path else [])
    key = generate_private_key(public_exponent=65537, key_size=2048)
    signature, public = key.sign(b"message", PKCS1v15(), SHA256()), key.public_key()
    padding, digest = PKCS1v15(), SHA256()
    events, checks = [], []
    for _ in range(ROUNDS):
        events.append(cpu_seconds(lambda: metrics.increment(metrics.VERIFIED, ENFORCE), EVENTS))
        checks.append(
            cpu_seconds(lambda: public.verify(signature, b"message", padding, digest), SIGNATURES)
        )
    sinks.connect([])
    ratio, seconds = cost_ratio(events, checks), summarize(events)
    spread = f"{ratio.median:.4f} ({ratio.low:.4f} to {ratio.high:.4f})"
    print(f"{title:<26}{seconds.median * 1e9:>12.0f}{spread:>34}", flush=True)


def cpu_seconds(work: Callable[[], object], times: int) -> float:
    """Return the CPU time of one call, that of the loop around it included."""
    started = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - started) / times


if __name__ == "__main__":
    measure(*sys.argv[1:]) if len(sys.argv) > 1 else main()
