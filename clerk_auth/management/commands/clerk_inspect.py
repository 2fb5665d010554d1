"""Explain what the verifier says of one token, rule by rule."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import CommandParser

from clerk_auth.conf import DEFAULT_INSTANCE, get_config
from clerk_auth.diagnostics.inspected import print_inspection, print_verdict
from clerk_auth.diagnostics.inspection import choose_config, inspect_now, load_keys
from clerk_auth.diagnostics.report import ACCEPTED, UNKNOWN
from clerk_auth.diagnostics.terminal import Page
from clerk_auth.error_reports import hide_locals
from clerk_auth.management import command


class Command(command.OperatorCommand):
    help = (
        "Read a token from standard input and show what each rule says of it, its claims, and the "
        "verdict. Of several instances, the one whose issuer the token names judges it. Exit "
        "status: 0 accepted, 1 refused, 2 it could not run."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print one JSON document.")
        command.add_instance_argument(
            parser, "Let this instance of INSTANCES judge the token, whatever issuer it names."
        )
        command.add_token_option(
            parser, default="-", text="Read the token from standard input, as without this option."
        )

    @hide_locals
    def handle(self, *args: Any, **options: Any) -> None:
        with command.end_if_it_cannot_run(
            self,
            options,
            "The token could not be inspected.",
            verdict=UNKNOWN,
        ):
            # First, so that nobody is asked for a token in vain.
            config = get_config(options["instance"] or DEFAULT_INSTANCE)
            token = command.read_token(options) or ""
            if options["instance"] is None:
                config = choose_config(token)
            found = inspect_now(token, config, load_keys(config))
        if options["json"]:
            self.stdout.write(json.dumps(found.as_dict(), indent=2))
        else:
            print_found = print_inspection if options["verbosity"] else print_verdict
            print_found(found, Page(self.stdout, self.style))
        if found.verdict != ACCEPTED:
            sys.exit(2 if found.verdict == UNKNOWN else 1)
