"""What the monitoring tests share: the shipped files, and the programs that they are for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "clerk_auth.rules.yml"
DASHBOARD = DEPLOY / "grafana" / "clerk_auth.json"
TEMPLATE = DEPLOY / "cloudwatch" / "alarms.yaml"


def find_program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"{name} is missing: it comes with the package prometheus of Debian and Ubuntu")
    return path


@pytest.fixture(scope="session")
def promtool() -> str:
    return find_program("promtool")


@pytest.fixture(scope="session")
def prometheus_program() -> str:
    return find_program("prometheus")
