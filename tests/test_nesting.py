"""No JSON that somebody sends ends the process, however small the stack of its thread is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.nesting import SHAPES

pytestmark = pytest.mark.integration

OUTCOMES = {
    "header": "token_malformed",
    "payload": "token_malformed",
    "unverified payload": "signature_invalid",
    "key document": "not_json",
    "shared document": "None",
    "shared failure": "None",
    "answer to a probe": "False",
    "options of clerk_token": "refused",
    "as deep as is allowed": "True",
}


# The smaller one is for interpreters that stop at a depth of their own before the larger is full.
@pytest.mark.parametrize("kibibytes", [128, 256])
def test_deep_json_is_refused_on_a_small_stack(kibibytes):
    run = subprocess.run(
        [sys.executable, "-m", "tests.nesting", str(kibibytes)],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert run.stdout.splitlines() == [
        f"{place}, {shape}: {outcome}" for place, outcome in OUTCOMES.items() for shape in SHAPES
    ], run.stderr
    assert (run.returncode, run.stderr) == (0, "")
