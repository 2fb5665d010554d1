"""Log lines of ours stay out of a command's output, and go wherever else they go."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.core.management import BaseCommand, CommandError

from clerk_auth.logs import log, logger
from clerk_auth.management.command import add_instance_argument, without_log_lines

pytestmark = pytest.mark.integration


@contextmanager
def handled_by(*handlers: logging.Handler) -> Iterator[None]:
    """Take every other handler off the root, those of the test run too."""
    root = logging.getLogger()
    before, root.handlers = root.handlers, list(handlers)
    try:
        yield
    finally:
        root.handlers = before


def say() -> None:
    log(logging.WARNING, "keys_stale")
    logging.getLogger("clerk_auth.contrib").warning("of ours as well")
    logging.getLogger("clerk_authority").warning("of somebody else")


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_handler_of_the_output_shows_none_of_ours(name, capsys):
    with handled_by(logging.StreamHandler(getattr(sys, name))):
        with without_log_lines():
            say()
        assert "".join(capsys.readouterr()) == "of somebody else\n"
        say()
        assert "keys_stale" in "".join(capsys.readouterr())


def test_last_resort_shows_none_of_ours(capsys):
    with handled_by():
        with without_log_lines():
            say()
        assert capsys.readouterr().err == "of somebody else\n"
        say()
        assert "keys_stale" in capsys.readouterr().err


def test_handler_of_our_own_logger_shows_none(capsys):
    handler = logging.StreamHandler(sys.stderr)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        with without_log_lines():
            log(logging.WARNING, "keys_stale")
    finally:
        logger.removeHandler(handler)
        logger.propagate = True
    assert capsys.readouterr().err == ""


def test_console_in_place_of_a_stream_shows_none(capsys):
    class Console(logging.Handler):
        """As rich's handler."""

        console = type("Console", (), {"file": sys.stderr})()

        def emit(self, record: logging.LogRecord) -> None:
            self.console.file.write(record.getMessage())

    with handled_by(Console()), without_log_lines():
        log(logging.WARNING, "keys_stale")
    assert capsys.readouterr().err == ""


def test_standard_error_opened_as_a_file_shows_none(capfd):
    with os.fdopen(os.dup(2), "w") as stream:
        with handled_by(logging.StreamHandler(stream)), without_log_lines():
            log(logging.WARNING, "keys_stale")
        assert capfd.readouterr().err == ""


def test_file_gets_every_record(tmp_path):
    file = logging.FileHandler(tmp_path / "log")
    memory = logging.StreamHandler(io.StringIO())
    with handled_by(file, memory, logging.NullHandler()), without_log_lines():
        say()
    file.close()
    for text in ((tmp_path / "log").read_text(), memory.stream.getvalue()):
        assert len(text.splitlines()) == 3


def test_filter_is_taken_off_when_it_ends_in_an_error():
    handler = logging.StreamHandler(sys.stderr)

    def fail() -> None:
        with handled_by(handler), without_log_lines():
            assert len(handler.filters) == 1
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert handler.filters == []
    assert logging.lastResort.filters == []


class TestInstance:
    @staticmethod
    def parse(*arguments: str, default: str | None = None) -> object:
        parser = BaseCommand().create_parser("manage.py", "any")
        add_instance_argument(parser, "Any.", default=default)
        return parser.parse_args(arguments).instance

    @pytest.mark.parametrize("alias", ["default", "staff", "_1", "a" * 32])
    def test_alias_is_taken_whether_there_is_such_an_instance_or_not(self, alias):
        assert self.parse("--instance", alias, default="default") == alias

    @pytest.mark.parametrize("default", [None, "default"])
    def test_default_is_the_command_s(self, default):
        assert self.parse(default=default) == default

    @pytest.mark.parametrize(
        "alias",
        ["", "-", "a" * 33, "a b", "m2m_token", "eyJ.a.b", "sk_" + "live_abcdefghij", "\x1b"],
    )
    def test_what_is_no_alias_is_not_repeated(self, alias):
        with pytest.raises(CommandError) as caught:
            self.parse(f"--instance={alias}")
        said = str(caught.value)
        assert said.endswith("--instance: write default, or an alias of INSTANCES")
