"""Show which keys the fleet shares, or have them fetched now."""

from __future__ import annotations

import functools
import json
import sys
import time
from typing import Any

from django.core.management.base import CommandError, CommandParser

from clerk_auth.conf import get_config
from clerk_auth.durations import format_duration
from clerk_auth.jwks import CachedKeySource
from clerk_auth.management import terminal
from clerk_auth.sources import SourceStatus
from clerk_auth.verifier import make_source


class Command(terminal.OperatorCommand):
    help = (
        "Show the keys that the fleet shares (status), or fetch them now for the whole fleet "
        "(refresh): past cooldown and backoff, not past a fetch that is under way. Exit status: "
        "0 there are keys to verify with, and a refresh succeeded; 1 not; 2 it could not run."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["status", "refresh"])
        parser.add_argument("--json", action="store_true", help="Print one JSON document.")

    def handle(self, *args: Any, **options: Any) -> None:
        with terminal.end_if_it_cannot_run(
            self, options, "The keys cannot be had.", schema_version=1
        ):
            status = _load_status(is_refresh=options["action"] == "refresh")
        if options["json"]:
            self.stdout.write(json.dumps({"schema_version": 1, **status.as_dict()}, indent=2))
        else:
            self._print(status)
        is_refused = options["action"] == "refresh" and status.failure is not None
        if status.state == "cold" or is_refused:
            sys.exit(1)

    def _print(self, status: SourceStatus) -> None:
        now = time.time()
        # In two columns: what does not fit goes on below the second.
        write = functools.partial(terminal.Page(self.stdout, self.style).write, hang=12)
        style = self.style.SUCCESS if status.state in ("fresh", "static") else self.style.WARNING
        write(f"state       {style(status.state)}")
        if status.fetched_at is not None and status.expires_at is not None:
            write(f"fetched     {format_duration(now - status.fetched_at)} ago")
            write(f"expires     in {format_duration(status.expires_at - now)}")
            write(f"generation  {status.generation}")
        if status.failure is not None:
            wait = max(0.0, status.failure.until - now)
            write(
                self.style.ERROR(
                    f"failing     {status.failure.reason}, {status.failure.count} in a row; "
                    f"next attempt in {format_duration(wait)}"
                )
            )
        if status.is_cache_avoided:
            write(self.style.ERROR("cache       cannot be used: see the log"))
        for key in status.keys:
            write(f"key         {key}")
        if not status.keys:
            write("key         none: run clerk_keys refresh; clerk_selftest says why")


def _load_status(*, is_refresh: bool) -> SourceStatus:
    source = make_source(get_config())
    if isinstance(source, CachedKeySource):
        return source.refresh() if is_refresh else source.load_shared()
    if is_refresh:
        raise CommandError("These keys come from the settings: nothing is fetched.")
    return source.status()
