"""Prove that good tokens are let in and bad ones kept out, before and after a deploy."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.views.decorators.debug import sensitive_variables

from clerk_auth import deployed, readers, selftest
from clerk_auth.conf import OBSERVE, get_config
from clerk_auth.inspection import FAILED, PASSED
from clerk_auth.management import terminal
from clerk_auth.selftest import SCHEMA_VERSION, SKIPPED, WARNED, Report

_RETRY_SECONDS = 1.0


class Command(BaseCommand):
    help = (
        "Check settings, cache, Clerk's key set and clock, and that every kind of bad token is "
        "refused. Warms the shared cache. With --url, check from outside that a deployed API "
        "refuses them. Exit status: 0 passed, 1 a probe failed, 2 it could not run."
    )
    # Problems in the settings are ours to report, with exit status 2.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print one JSON document.")
        parser.add_argument(
            "--wait",
            type=float,
            default=0.0,
            metavar="SECONDS",
            help="Repeat until everything passes, for so long: for the start of a container.",
        )
        parser.add_argument(
            "--offline", action="store_true", help="Use no network but the cache's."
        )
        parser.add_argument(
            "--url",
            metavar="URL",
            help="Check a deployed API instead: the address of a view that answers GET.",
        )
        terminal.add_token_option(
            parser,
            default=None,
            text="Explain the token on standard input, too; with --url, try it.",
        )

    @sensitive_variables()
    def handle(self, *args: Any, **options: Any) -> None:
        with terminal.end_if_it_cannot_run(
            self,
            options,
            "The self-test could not run.",
            schema_version=SCHEMA_VERSION,
            passed=False,
        ):
            report = _run_until_passed(options)
        if options["json"]:
            self.stdout.write(json.dumps(report.as_dict(), indent=2))
        else:
            self._print(report)
        if not report.passed:
            sys.exit(1)

    def _print(self, report: Report) -> None:
        marks = terminal.choose_marks(self.stdout)
        styles: dict[str, Callable[[str], str]] = {
            PASSED: self.style.SUCCESS,
            WARNED: self.style.WARNING,
            FAILED: self.style.ERROR,
            SKIPPED: str,
        }
        group = remedy = ""
        width = max(len(result.name) for result in report.results)
        for result in report.results:
            if result.group != group:
                group = result.group
                self.stdout.write(self.style.MIGRATE_HEADING(group))
            mark = styles[result.status](marks[result.status])
            self.stdout.write(f"  {mark} {result.name:<{width}}  {result.detail}")
            # Once for all that need the same.
            if result.remedy and result.remedy != remedy:
                self.stdout.write(f"      {result.remedy}")
            remedy = result.remedy
        self._print_keys(report)
        if report.inspection is not None:
            self.stdout.write(self.style.MIGRATE_HEADING("the token given"))
            terminal.print_inspection(report.inspection, self.stdout, self.style)
        self._print_summary(report)

    def _print_keys(self, report: Report) -> None:
        if report.keys:
            self.stdout.write(self.style.MIGRATE_HEADING("keys in use"))
        for key in report.keys:
            self.stdout.write(f"  {key}")

    def _print_summary(self, report: Report) -> None:
        counts = {
            status: sum(result.status == status for result in report.results)
            for status in (PASSED, WARNED, FAILED, SKIPPED)
        }
        tally = (
            f"{counts[PASSED]} passed, {counts[WARNED]} warnings, {counts[FAILED]} failed, "
            f"{counts[SKIPPED]} skipped"
        )
        if report.inspection is not None:
            tally += f"; the token is {report.inspection.verdict}"
        self.stdout.write("")
        if report.passed:
            unused = " but not in use, for MODE is observe" if report.mode == OBSERVE else ""
            keyless = "" if report.keys else "; no key is here yet"
            self.stdout.write(self.style.SUCCESS(f"The lock is locked{unused}: {tally}{keyless}."))
        else:
            self.stdout.write(self.style.ERROR(f"NOT READY: {tally}."))


def _read_url(options: dict[str, Any]) -> str | None:
    if options["url"] is None:
        return None
    if options["offline"]:
        raise CommandError("--url asks over the network: leave out --offline.")
    try:
        return readers.read_url(options["url"])
    except readers.Refused as refused:
        if refused.plain_http:
            raise CommandError("--url is plain http, which shows tokens: use https.") from None
        raise CommandError(f"--url {refused.message} {refused.hint}") from None


def _run_until_passed(options: dict[str, Any]) -> Report:
    """Run every probe, again and again for as long as ``--wait`` says."""
    config = get_config()
    url = _read_url(options)
    token = terminal.read_token(options)
    deadline = time.monotonic() + options["wait"]
    while True:
        if url is not None:
            report = deployed.run(config, url, token=token)
        else:
            report = selftest.run(config, offline=options["offline"], token=token)
        if report.passed or not time.monotonic() + _RETRY_SECONDS < deadline:
            return report
        time.sleep(_RETRY_SECONDS)
