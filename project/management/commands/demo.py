"""``manage.py demo``: the API behind a stand-in Clerk, and what it refuses."""

from __future__ import annotations

import os
import sys
import time
from argparse import ArgumentParser
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import requests
from django.core.management.base import BaseCommand, CommandError

from clerk_auth.diagnostics.terminal import measure_width
from clerk_auth.issuer.standin import StandInClerk
from project.demo.api import Api, ApiFailed, run_api
from project.demo.children import temporary_directory
from project.demo.redis_server import NoRedis, redis_server
from project.demo.steps import ALICE, FETCHES_EXPLAINED, SAMPLE, run_steps
from project.demo.stopping import Stopped, stop_on_signals
from project.demo.table import format_table
from project.demo.tokens import TOKEN_PATH, TokenClerk

_POLL_SECONDS = 0.5


class Command(BaseCommand):
    help = (
        "Start a stand-in Clerk and the API, upload a CSV with a valid token, and show which "
        "tokens are refused. Exit status 0 if everything came out as expected, else 1."
    )
    # The settings of this process are not those of the API that it starts.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--serve", action="store_true", help="Keep it running, and print curl lines for it."
        )
        parser.add_argument(
            "--port", type=int, default=0, help="Port of the API on 127.0.0.1; a free one if 0."
        )

    def handle(self, *args: Any, serve: bool, port: int, **options: Any) -> None:
        is_expected = None
        try:
            with stop_on_signals(), ExitStack() as stack:
                clerk = stack.enter_context(TokenClerk() if serve else StandInClerk())
                api = self._start_api(stack, clerk, port)
                is_expected = self._show(api, clerk)
                if serve:
                    self._serve(api, clerk)
        except Stopped as stopped:
            if is_expected is None or not serve:
                sys.exit(128 + stopped.signum)
        except (ApiFailed, NoRedis) as error:
            raise CommandError(str(error)) from error
        if not is_expected:
            sys.exit(1)

    def _start_api(self, stack: ExitStack, clerk: StandInClerk, port: int) -> Api:
        self._say("Stand-in Clerk", clerk.issuer)
        directory = stack.enter_context(temporary_directory("clerk-auth-demo-"))
        redis_url = self._start_redis(stack)
        api = stack.enter_context(
            run_api(clerk, redis_url=redis_url, directory=directory, port=port)
        )
        self._say("API", f"{api.url}, {api.server}, DEBUG off")
        return api

    def _start_redis(self, stack: ExitStack) -> str | None:
        try:
            server = stack.enter_context(redis_server())
        except NoRedis as error:
            if os.environ.get("REDIS_URL"):
                raise
            self._say("Cache", f"LocMem, and so one worker. {error}")
            return None
        self._say("Cache", f"{server.version}, {urlsplit(server.url).netloc.rpartition('@')[2]}")
        return server.url

    def _show(self, api: Api, clerk: StandInClerk) -> bool:
        """Run the steps and print the table; return whether all came out as expected."""
        try:
            outcomes = list(run_steps(api.url, clerk))
        except requests.RequestException as error:
            raise ApiFailed(f"A request failed: {error}\n{api.read_log_tail()}") from error
        passed = sum(outcome.is_expected for outcome in outcomes)
        width = measure_width(self.stdout)
        self.stdout.write("")
        for line in format_table(outcomes, width=width, marks=self._marks(), paint=self._paint):
            self.stdout.write(line)
        self.stdout.write(f"\n{FETCHES_EXPLAINED}")
        if passed == len(outcomes):
            verdict = f"All {passed} as expected: valid tokens get in, and nothing else does."
            self.stdout.write(self.style.SUCCESS(verdict))
            return True
        self.stderr.write(api.read_log_tail())
        self.stderr.write(f"{len(outcomes) - passed} of {len(outcomes)} not as expected.")
        return False

    def _serve(self, api: Api, clerk: StandInClerk) -> None:
        """Wait for a signal, or for the API to end."""
        token = f"{clerk.issuer}{TOKEN_PATH}?user={ALICE}"
        curl = f"""curl -H "Authorization: Bearer $(curl -s '{token}')" {api.url}/api/"""
        self.stdout.write(
            "\nIt keeps running; Ctrl-C ends it. The docs of the API, and a token of 60 seconds to "
            f"paste into their Authorize:\n\n{api.url}/api/docs\n{token}\n\n"
            "Each of these lines takes a token for itself:\n\n"
            f"{curl}me\n{curl}uploads\n{curl}uploads -F file=@{SAMPLE}\n"
        )
        self.stdout.flush()
        while True:
            api.check()
            time.sleep(_POLL_SECONDS)

    def _say(self, what: str, where: str) -> None:
        self.stdout.write(f"{what:<15} {where}")
        self.stdout.flush()

    def _marks(self) -> dict[bool, str]:
        try:
            "✓✗".encode(self.stdout.encoding or "ascii")
        except UnicodeEncodeError:
            return {True: "ok", False: "NO"}
        return {True: "✓", False: "✗"}

    def _paint(self, text: str, is_expected: bool) -> str:
        return (self.style.SUCCESS if is_expected else self.style.ERROR)(text)
