"""The checks of what else is installed, and of what runs us."""

from __future__ import annotations

import sys
import types

import pytest

from tests.checks.conftest import found

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("name", "ids"),
    [("clerk-auth-django", ["E009"]), ("Clerk_Auth.Django", ["E009"]), ("django-clerk-auth", [])],
)
def test_foreign_distribution_of_our_import_name_is_an_error(
    name, ids, secure, tmp_path, monkeypatch
):
    directory = tmp_path / f"{name.replace('-', '_').replace('.', '_')}-0.1.1.dist-info"
    directory.mkdir()
    (directory / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.1\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert found() == ids


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({}, ["W010"]),
        ({b"http": b":8000", b"processes": b"4"}, ["W010"]),
        ({b"enable-threads": True}, []),
        ({b"threads": b"8"}, []),
        ({"enable-threads": True}, []),
    ],
)
def test_uwsgi_without_threads_warns(options, ids, secure, monkeypatch):
    monkeypatch.setitem(sys.modules, "uwsgi", types.SimpleNamespace(opt=options))
    assert found() == ids
