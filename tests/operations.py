"""Counting what a piece of code does without changing it: the interpreter reports its calls."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import clerk_auth

# Functions in C, and in Python, whose calls cost something; locks are counted wherever taken.
_IN_C = {"RSAPublicKey.verify": "rsa", "openssl_sha256": "sha256", "a2b_base64": "base64"}
_IN_PYTHON = {
    "raw_decode": "json",
    "_spawn": "thread",
    "_call": "cache",
    # What hides the locals from error reports: one more call at each public entry.
    "sensitive_variables_wrapper": "wrapper",
}


def count_operations(work: Callable[[], Any]) -> dict[str, int]:
    """Run ``work`` and count its calls; ``decoded_bytes`` is the length of all base64 decoded."""
    counts: Counter[str] = Counter()

    def note(frame: Any, event: str, argument: Any) -> None:
        if event == "c_call":
            name = getattr(argument, "__qualname__", "")
            if name in _IN_C:
                counts[_IN_C[name]] += 1
            elif name.lower().endswith(("lock.acquire", "lock.__enter__")):
                counts["lock"] += 1
        elif event == "call":
            name = frame.f_code.co_name
            if name in _IN_PYTHON:
                counts[_IN_PYTHON[name]] += 1
            elif name == "decode_base64url":
                counts["decoded_bytes"] += len(frame.f_locals["text"])

    _run_profiled(work, note)
    return dict(counts)


def count_our_calls(work: Callable[[], Any]) -> int:
    """Run ``work`` and count the calls of functions that the package defines in Python.

    Comprehensions and generators are left out: not every version of Python calls them.
    """
    calls = 0
    package = f"{Path(clerk_auth.__file__).parent}/"

    def note(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        code = frame.f_code
        is_ours = code.co_filename.startswith(package)
        calls += event == "call" and is_ours and not code.co_name.endswith(("comp>", "expr>"))

    _run_profiled(work, note)
    return calls


def _run_profiled(work: Callable[[], Any], note: Callable[[Any, str, Any], None]) -> None:
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
