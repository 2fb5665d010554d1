"""Check that good tokens are accepted and bad ones refused, before and after a deploy."""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from django.core.management.base import CommandError, CommandParser

from clerk_auth.conf import OBSERVE, Config, get_config
from clerk_auth.conf.instance import read_url
from clerk_auth.conf.readers import Refused
from clerk_auth.diagnostics import deployed, selftest, terminal
from clerk_auth.diagnostics.explanations import count, name_key
from clerk_auth.diagnostics.inspected import print_inspection
from clerk_auth.diagnostics.inspection import Inspection, choose_config
from clerk_auth.diagnostics.report import FAILED, PASSED, SKIPPED, WARNED, Report
from clerk_auth.error_reports import hide_locals
from clerk_auth.management import command

__all__ = ["Command"]

_RETRY_SECONDS = 1.0


class Command(command.OperatorCommand):
    help = (
        "Check the settings, the cache, Clerk's key set and the clock, and that every kind of bad "
        "token is refused. The fetched keys are stored in the cache. With --url, check from "
        "outside that a deployed API refuses bad tokens. Of several instances, all are checked. "
        "Exit status: 0 everything passed, 1 something failed, 2 the check could not run, 130 "
        "Ctrl-C."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--json", action="store_true", help="Print one JSON document instead of text."
        )
        command.add_instance_argument(
            parser,
            "Check only this instance of INSTANCES; with --url, the one that the view at URL "
            "accepts (by default, the one whose issuer the token names).",
        )
        parser.add_argument(
            "--wait",
            type=float,
            default=0.0,
            metavar="SECONDS",
            help="Repeat every second until everything passes, for at most SECONDS, as at the "
            "start of a container. What failed meanwhile is on standard error.",
        )
        parser.add_argument(
            "--offline", action="store_true", help="Do not ask Clerk; only the cache is used."
        )
        parser.add_argument(
            "--url",
            metavar="URL",
            help="Check the deployed API that has a view at URL, which must answer GET. This "
            "proves how URL answers, not who answers there.",
        )
        parser.add_argument(
            "--any-host",
            action="store_true",
            help="Send the token to the host of --url even if ALLOWED_HOSTS does not list it.",
        )
        command.add_token_option(
            parser,
            default=None,
            text="Also explain the token on standard input; with --url, also send it there.",
        )

    @hide_locals
    def handle(self, *args: Any, **options: Any) -> None:
        with command.end_if_it_cannot_run(
            self,
            options,
            "The self-test could not run.",
            passed=False,
        ):
            reports = self._run_until_passed(options)
        passed = all(report.passed for report in reports.values())
        if options["json"]:
            documents = {alias: report.as_dict() for alias, report in reports.items()}
            command.write_documents(self, documents, passed=passed)
        elif options["verbosity"]:
            self._print(reports, terminal.Page(self.stdout, self.style))
        else:
            self._print_summaries(reports)
        if not passed:
            sys.exit(1)

    def _run_until_passed(self, options: dict[str, Any]) -> dict[str, Report]:
        """Run every probe, and repeat what fails until the time of ``--wait`` is over."""
        runs, reports = _choose_runs(options), dict[str, Report]()
        deadline = time.monotonic() + options["wait"]
        progress = terminal.Progress(self.stderr)
        try:
            for attempt in itertools.count(1):
                reports |= {alias: run() for alias, run in runs.items()}
                runs = {alias: run for alias, run in runs.items() if not reports[alias].passed}
                left_seconds = deadline - time.monotonic()
                if not runs or left_seconds <= _RETRY_SECONDS:
                    break
                if options["verbosity"]:
                    failures = (_name(alias) + reports[alias].first_failure for alias in runs)
                    left = f"{left_seconds:.0f} s left"
                    progress.show(f"try {attempt}, {left}: {'; '.join(failures)}")
                time.sleep(_RETRY_SECONDS)
        finally:
            progress.end()
        return reports

    def _print(self, reports: dict[str, Report], page: terminal.Page) -> None:
        for number, (alias, report) in enumerate(reports.items()):
            if number:
                page.write()
            if _name(alias):
                page.write_heading(f"instance {alias}")
            self._print_report(report, page)
        if len(reports) > 1:
            page.write()
            page.write(self._conclude(reports))

    def _print_report(self, report: Report, page: terminal.Page) -> None:
        remedy = ""
        for group, results in itertools.groupby(report.results, key=lambda result: result.group):
            page.write_heading(group)
            rows = []
            for result in results:
                # Once for consecutive results with the same remedy.
                notes = () if result.remedy == remedy else (result.remedy,)
                rows.append(terminal.Row(result.name, result.detail, result.status, notes))
                remedy = result.remedy
            page.write_table(rows)
        if report.keys:
            page.write_heading("keys in use")
        for key in report.keys:
            page.write(f"  {name_key(key)}", hang=4)
        if isinstance(report.inspection, Inspection):
            page.write_heading("the token given")
            print_inspection(report.inspection, page)
        page.write()
        page.write(self._summarise(report))

    def _print_summaries(self, reports: dict[str, Report]) -> None:
        for alias, report in reports.items():
            line = _name(alias) + self._summarise(report)
            if failure := report.first_failure:
                line += f" First: {failure}."
            self.stdout.write(terminal.escape_for(self.stdout, line))

    def _summarise(self, report: Report) -> str:
        counts = report.counts
        tally = (
            f"{counts[PASSED]} passed, {count(counts[WARNED], 'warning')}, "
            f"{counts[FAILED]} failed, {counts[SKIPPED]} skipped"
        )
        if report.inspection is not None:
            tally += f"; the token is {report.inspection.verdict}"
        if not report.passed:
            return self.style.ERROR(f"NOT READY: {tally}.")
        unused = " but not in use, because MODE is observe" if report.mode == OBSERVE else ""
        keyless = "" if report.keys else "; there are no keys yet"
        return self.style.SUCCESS(f"{report.proves}{unused}: {tally}{keyless}.")

    def _conclude(self, reports: dict[str, Report]) -> str:
        failed = [alias for alias, report in reports.items() if not report.passed]
        if failed:
            of_all = f"{len(failed)} of {count(len(reports), 'instance')}"
            return self.style.ERROR(f"NOT READY: {of_all}: {', '.join(failed)}.")
        return self.style.SUCCESS(f"READY: all {count(len(reports), 'instance')}.")


def _name(alias: str) -> str:
    """Return how a line begins that speaks of one of several instances; empty for the only one."""
    return f"{alias}: " if get_config(alias).is_one_of_several else ""


def _choose_runs(options: dict[str, Any]) -> dict[str, Callable[[], Report]]:
    """Return the functions that run the probes of each instance, with their arguments.

    Raises:
        CommandError: the options do not go together, or there is no token to read.
    """
    # Also false for NaN.
    if not 0 <= options["wait"] < math.inf:
        raise CommandError("--wait must be a number of seconds, 0 or more.")
    configs = command.choose_configs(options)
    url = _read_url(options)
    token = command.read_token(options)
    judge = configs[0]
    if token is not None and options["instance"] is None:
        judge = choose_config(token)
    if url is not None:
        configs = (judge,)

    def run(config: Config) -> Report:
        given = token if config is judge else None
        if url is not None:
            return deployed.run(config, url, token=given, any_host=options["any_host"])
        return selftest.run(config, offline=options["offline"], token=given)

    return {config.instance: partial(run, config) for config in configs}


def _read_url(options: dict[str, Any]) -> str | None:
    if options["any_host"] and (options["url"] is None or options["token"] is None):
        raise CommandError("--any-host is about sending a token: add --url and --token.")
    if options["url"] is None:
        return None
    if options["offline"]:
        raise CommandError("--url asks over the network: leave out --offline.")
    try:
        return read_url(options["url"])
    except Refused as refused:
        if refused.plain_http:
            raise CommandError("--url is plain http, which exposes tokens: use https.") from None
        raise CommandError(f"--url {refused.message} {refused.hint}") from None
