"""What a Python knows of itself: ``python -m bench.interpreter`` prints it as JSON."""

from __future__ import annotations

import json
import platform
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Where a build notes how the interpreter itself was compiled.
FLAGS = ("CFLAGS", "CFLAGS_NODIST", "PY_CFLAGS", "PY_CFLAGS_NODIST", "PY_CORE_CFLAGS")
BUILDS = {
    "yes": "built with optimizations",
    "no": "built without optimizations",
    "unknown": "which does not say whether it was built with optimizations",
}


def describe() -> dict[str, str]:
    """Describe this interpreter; in a virtual environment, the one that the environment is of."""
    # The one that made the virtual environment, as `venv` finds it.
    executable = getattr(sys, "_base_executable", "") or sys.executable
    return {
        "name": f"{platform.python_implementation()} {platform.python_version()}",
        "path": str(Path(executable).resolve()),
        "build": sys.version,
        "optimized": find_optimized(sysconfig.get_config_vars()),
    }


def find_optimized(variables: Mapping[str, Any]) -> str:
    """Return ``yes``, ``no`` or ``unknown``: was it compiled with a profile of itself?

    ``configure`` notes the flag that applies a profile whether or not it is used. A distribution
    may run that step itself, without the option, and delete the flag from what it installs.
    """
    options = variables.get("CONFIG_ARGS") or ""
    if "--enable-optimizations" in options or any(
        "-fprofile-use" in flags or "-fprofile-instr-use" in flags
        for flags in (str(variables.get(name)) for name in FLAGS)
    ):
        return "yes"
    return "no" if options and variables.get("PGO_PROF_USE_FLAG") else "unknown"


if __name__ == "__main__":
    print(json.dumps(describe()))
