"""Link existing users with Clerk's, from a CSV file."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from django.core.management.base import CommandError, CommandParser

from clerk_auth.conf import DEFAULT_INSTANCE
from clerk_auth.diagnostics.terminal import Progress
from clerk_auth.management import command
from clerk_auth.users import linking
from clerk_auth.users.linking import Line, Result

__all__ = ["Command"]

# In a file of another format every line is wrong.
_MAX_PROBLEMS = 20
_BROKEN_OFF = "It ended early. Run it again for the other lines: what is linked stays linked."


class Command(command.OperatorCommand):
    help = (
        "Link the users of your database with Clerk's: write Clerk's user ids into USER_ID_FIELD, "
        "from a CSV file with two columns, a row's primary key and a Clerk user id. If a line is "
        "malformed or contradicts another one, the whole file is refused. A line is refused if its "
        "row has another Clerk id, or its id another row. Running it again changes nothing. Exit "
        "status: 0 all rows are linked, 1 some lines were refused, 2 it could not finish."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "file", metavar="FILE", help="The CSV file, in UTF-8; - for standard input."
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Say what would be done, but write nothing."
        )
        command.add_instance_argument(
            parser,
            "The Clerk instance whose users they are, an alias in INSTANCES. Without it they are "
            "those of the top level. The file has Clerk's ids as they are, without the alias.",
            default=DEFAULT_INSTANCE,
        )

    def handle(self, *args: Any, **options: Any) -> None:
        options["json"], alias = False, options["instance"]
        with command.end_if_it_cannot_run(self, options, "No row was linked."):
            linking.check_settings(alias)
            lines = self._read(options["file"], alias)
        total = Result()
        try:
            with command.end_if_it_cannot_run(self, options, _BROKEN_OFF):
                results = linking.link_lines(lines, alias, is_dry_run=options["dry_run"])
                self._add_up(results, total, len(lines))
        except KeyboardInterrupt:
            self.stderr.write(self.style.ERROR(_BROKEN_OFF))
            raise
        finally:
            self._print_summary(total, is_dry_run=options["dry_run"])
        if total.refused:
            sys.exit(1)

    def _read(self, path: str, alias: str) -> list[Line]:
        try:
            with _open(path) as stream:
                lines, problems = linking.read_lines(stream, alias)
        except OSError as error:
            raise CommandError(f"The file cannot be read: {error.strerror}.") from None
        if problems:
            shown = [f"line {number}: {reason}" for number, reason in problems[:_MAX_PROBLEMS]]
            if len(problems) > _MAX_PROBLEMS:
                shown.append(f"and {len(problems) - _MAX_PROBLEMS:,} more")
            raise CommandError("\n".join([*shown, "The file is refused as a whole."]))
        if not lines:
            raise CommandError("The file has no line with a row's key and a Clerk user id.")
        return lines

    def _add_up(self, results: Iterable[Result], total: Result, count: int) -> None:
        done = 0
        progress = Progress(self.stderr)
        for result in results:
            for number, reason in result.refused:
                self.stdout.write(f"line {number}: {reason}")
            total.linked += result.linked
            total.before += result.before
            total.refused += result.refused
            done += result.linked + result.before + len(result.refused)
            if self.stderr.isatty():
                progress.show(f"{done:,} of {count:,}")
        progress.end()

    def _print_summary(self, total: Result, *, is_dry_run: bool) -> None:
        would = "would be " if is_dry_run else ""
        style = self.style.ERROR if total.refused else self.style.SUCCESS
        self.stdout.write(
            style(
                f"{total.linked:,} {would}linked, {total.before:,} linked before, "
                f"{len(total.refused):,} refused."
            )
        )
        if is_dry_run:
            self.stdout.write("Nothing was written: this is a dry run.")


@contextmanager
def _open(path: str) -> Iterator[TextIO]:
    # With or without the byte order mark that spreadsheets write.
    if path != "-":
        with Path(path).open(encoding="utf-8-sig", newline="") as stream:
            yield stream
    elif sys.stdin is None:
        raise CommandError("Standard input is closed.")
    else:
        stream = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline="")
        try:
            yield stream
        finally:
            stream.detach()
