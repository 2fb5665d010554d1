"""What the commands share of a terminal: a token that comes in, a report, or why there is none."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.cache import InvalidCacheBackendError
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser, OutputWrapper
from django.core.management.color import Style

from clerk_auth.explanations import describe_time, show
from clerk_auth.inspection import ACCEPTED, FAILED, NOT_CHECKED, PASSED, Inspection
from clerk_auth.selftest import SKIPPED, WARNED

# More than any token: what is longer was piped in by mistake.
MAX_INPUT_BYTES = 1024 * 1024
# A terminal's line ends here, without a word (POSIX: MAX_CANON).
MAX_LINE_CHARACTERS = 4095

_MARKS = {PASSED: "✓", WARNED: "!", FAILED: "✗", SKIPPED: "-", NOT_CHECKED: "-"}
_ASCII_MARKS = {PASSED: "ok", WARNED: "!!", FAILED: "XX", SKIPPED: "--", NOT_CHECKED: "--"}
_TIMES = ("exp", "nbf", "iat")
_WIDEST_NAME = 24


def add_token_option(parser: CommandParser, *, default: str | None, text: str) -> None:
    """Add ``--token -``, and catch what else is written there so that nobody repeats it."""
    parser.add_argument("--token", nargs="?", const="-", default=default, metavar="-", help=text)
    parser.add_argument("unexpected", nargs="*", help=argparse.SUPPRESS)


def read_token(options: dict[str, Any]) -> str | None:
    """Return what standard input holds, ``None`` without ``--token``.

    Raises:
        CommandError: there is nothing or too much to read, or the token is an argument.
    """
    if options["token"] not in (None, "-") or options["unexpected"]:
        # Not repeated: this may go to a log.
        raise CommandError(
            "A token is read from standard input alone: others on this machine see arguments, and "
            "shells remember them. Take this one for known.",
            returncode=2,
        )
    if options["token"] is None:
        return None
    text = _read_input()
    if not text.strip():
        raise CommandError("There is no token on standard input.", returncode=2)
    return text


def _read_input() -> str:
    if sys.stdin is None:  # it is closed
        return ""
    return _read_line() if sys.stdin.isatty() else _read_all()


def _read_line() -> str:
    try:
        line = getpass.getpass("Paste the token (it is not shown) and press Enter: ", sys.stderr)
    except EOFError:
        return ""
    if len(line) >= MAX_LINE_CHARACTERS:
        raise CommandError(
            f"A terminal cuts a line at {MAX_LINE_CHARACTERS} characters: put the token into a "
            "file, and redirect standard input.",
            returncode=2,
        )
    return line


def _read_all() -> str:
    data = sys.stdin.buffer.read(MAX_INPUT_BYTES + 1)
    if len(data) > MAX_INPUT_BYTES:
        raise CommandError("More than 1 MiB on standard input: this is no token.", returncode=2)
    # As a web server decodes a header: any byte is a character, and no token has one above ASCII.
    return data.decode("latin-1")


@contextmanager
def end_if_it_cannot_run(
    command: BaseCommand, options: dict[str, Any], headline: str, **document: object
) -> Iterator[None]:
    """End ``command`` with status 2 where what is inside raises, and say why.

    With ``--json``, ``document`` goes to standard output too, with the problem as ``error``.
    """
    try:
        yield
    except Exception as error:
        if options["traceback"]:
            raise
        is_known = isinstance(error, ImproperlyConfigured | CommandError)
        # Of others only the type: a message may quote a setting, and settings hold passwords.
        problem = f"{type(error).__name__}; --traceback shows all of it."
        if is_known and not isinstance(error, InvalidCacheBackendError):
            problem = str(error)
    else:
        return
    if options["json"]:
        command.stdout.write(json.dumps({**document, "error": problem}, indent=2))
    command.stderr.write(command.style.ERROR(f"{headline}\n{problem}"))
    sys.exit(2)


def choose_marks(stream: OutputWrapper) -> dict[str, str]:
    """Return a mark for each status that ``stream`` can show."""
    encoding = getattr(stream, "encoding", None) or "ascii"
    try:
        "".join(_MARKS.values()).encode(encoding)
    except (LookupError, UnicodeEncodeError):
        return _ASCII_MARKS
    return _MARKS


def print_inspection(inspection: Inspection, stream: OutputWrapper, style: Style) -> None:
    """Print rules, claims and verdict, in lines that nothing of the token can steer."""
    _print_rules(inspection, stream, style)
    if inspection.payload is not None:
        _print_claims(inspection, stream, style)
    stream.write("")
    if inspection.verdict == ACCEPTED:
        stream.write(style.SUCCESS("ACCEPTED: the verifier lets this token in."))
    else:
        why = f"{inspection.code} ({inspection.reason})"
        stream.write(style.ERROR(f"{inspection.verdict.upper()}: {why}."))


def _print_rules(inspection: Inspection, stream: OutputWrapper, style: Style) -> None:
    marks = choose_marks(stream)
    paint: dict[str, Callable[[str], str]] = {PASSED: style.SUCCESS, FAILED: style.ERROR}
    stream.write(style.MIGRATE_HEADING("rules"))
    for finding in inspection.findings:
        mark = paint.get(finding.status, str)(marks[finding.status])
        said = "; ".join(filter(None, [finding.reason, finding.found]))
        stream.write(f"  {mark} {finding.rule:<10}  {said}")
        if finding.status == FAILED:
            stream.write(f"      expected: {finding.expected}")
            stream.write(f"      {finding.remedy}")


def _print_claims(inspection: Inspection, stream: OutputWrapper, style: Style) -> None:
    if inspection.key is not None:
        stream.write(style.MIGRATE_HEADING(f"claims, signed by {inspection.key.thumbprint}"))
    else:
        stream.write(style.WARNING("claims, UNVERIFIED: anybody may have written them"))
    rows = [
        (show(claim).strip('"'), show(value), _when(claim, value, inspection.checked_at))
        for claim, value in (inspection.payload or {}).items()
    ]
    _print_rows(rows, stream)
    stream.write(style.MIGRATE_HEADING("as request.auth shows them"))
    _print_rows(list(_session_rows(inspection.session or {})), stream)


def _session_rows(session: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name, value in session.items():
        if name == "organization" and value is not None:
            yield from ((f"{name}.{key}", show(inner), "") for key, inner in value.items())
        elif name == "factor_ages" and value is not None:
            yield name, show(value), "minutes, when the token was made; -1: not enrolled"
        else:
            yield name, show(value), ""


def _when(claim: str, value: object, now: float) -> str:
    return describe_time(value, now) if claim in _TIMES else ""


def _print_rows(rows: list[tuple[str, str, str]], stream: OutputWrapper) -> None:
    width = min(_WIDEST_NAME, max((len(name) for name, _, _ in rows), default=0))
    for name, value, note in rows:
        stream.write(f"  {name:<{width}}  {value}  {note}".rstrip())
