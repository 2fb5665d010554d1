"""Explain what the verifier says of one token, rule by rule."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from clerk_auth import inspection
from clerk_auth.conf import get_config
from clerk_auth.inspection import ACCEPTED, UNKNOWN, Inspection
from clerk_auth.management import terminal


class Command(BaseCommand):
    help = (
        "Read a token from standard input and show what each rule says of it, its claims, and the "
        "verdict. Exit status: 0 accepted, 1 refused, 2 it could not run."
    )
    # Problems in the settings are ours to report, with exit status 2.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print one JSON document.")
        terminal.add_token_option(
            parser, default="-", text="Standard input, as always: a token is no argument."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            found = self._inspect(options)
        except (ImproperlyConfigured, CommandError) as error:
            self._stop(options, str(error))
        except Exception as error:
            if options["traceback"]:
                raise
            # Only its type: a message may quote a setting, and settings hold passwords.
            self._stop(options, f"{type(error).__name__}; --traceback shows all of it.")
        if options["json"]:
            self.stdout.write(json.dumps(found.as_dict(), indent=2))
        else:
            terminal.print_inspection(found, self.stdout, self.style)
        if found.verdict != ACCEPTED:
            sys.exit(2 if found.verdict == UNKNOWN else 1)

    def _inspect(self, options: dict[str, Any]) -> Inspection:
        config = get_config()
        text = terminal.read_token(options) or ""
        keys = inspection.load_keys(config)
        return inspection.inspect(text, config.policy, keys, now=time.time())

    def _stop(self, options: dict[str, Any], problem: str) -> None:
        if options["json"]:
            self.stdout.write(json.dumps(inspection.could_not_run(problem), indent=2))
        self.stderr.write(self.style.ERROR(f"The token could not be inspected.\n{problem}"))
        sys.exit(2)
