"""Print a token of the development issuer: a good one, or one of the bad kinds."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.views.decorators.debug import sensitive_variables

from clerk_auth.conf import Config, get_config
from clerk_auth.dev import TOKEN_SECONDS, load_local_issuer
from clerk_auth.payloads import authorization_claims, recipient_claims
from clerk_auth.probes import BAD_TOKENS

_NEEDS_DEV_MODE = (
    'Tokens are made in development mode alone: set CLERK_AUTH["DEV_MODE"] = True together with '
    "DEBUG = True, on a development machine."
)


class Command(BaseCommand):
    help = "Print a session token signed by the development issuer (DEV_MODE only)."
    # Problems in the settings are ours to report, with exit status 2.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", default="user_dev", help="Clerk user id, the sub claim.")
        parser.add_argument("--session", default="sess_dev", help="Session id, the sid claim.")
        parser.add_argument("--org", help="Organization id, as in org_acme.")
        parser.add_argument("--org-slug", help="Organization slug.")
        parser.add_argument("--role", help="Role in the organization, as in admin.")
        parser.add_argument(
            "--permission",
            action="append",
            default=[],
            metavar="FEATURE:NAME",
            help="Permission in the organization, as in reports:read; repeatable.",
        )
        parser.add_argument(
            "--feature",
            action="append",
            default=[],
            metavar="[SCOPE:]NAME",
            help="Feature, as in o:reports or u:beta (default scope: o within an organization); "
            "repeatable.",
        )
        parser.add_argument(
            "--plan",
            action="append",
            default=[],
            metavar="[SCOPE:]NAME",
            help="Plan, as in o:pro or u:free; repeatable.",
        )
        parser.add_argument("--azp", help="Authorized party; the first configured by default.")
        parser.add_argument("--aud", help="Audience; the first configured by default.")
        parser.add_argument(
            "--expires-in",
            type=int,
            default=TOKEN_SECONDS,
            metavar="SECONDS",
            help=f"Seconds of validity, {TOKEN_SECONDS} by default; negative: expired.",
        )
        parser.add_argument(
            "--bad", choices=sorted(BAD_TOKENS), metavar="KIND", help=_describe_bad_tokens()
        )

    @sensitive_variables()
    def handle(self, *args: Any, **options: Any) -> None:
        try:
            config = get_config()
        except ImproperlyConfigured as error:
            raise CommandError(f"{error}\n{_NEEDS_DEV_MODE}", returncode=2) from None
        if not config.dev_mode:
            raise CommandError(_NEEDS_DEV_MODE, returncode=2)
        issuer = load_local_issuer(config.issuers[0])
        payload = issuer.session_payload(
            options["user"], expires_in=options["expires_in"], **_claims(config, options)
        )
        bad = options["bad"]
        self.stdout.write(BAD_TOKENS[bad].make(issuer, payload) if bad else issuer.sign(payload))


def _describe_bad_tokens() -> str:
    kinds = "; ".join(f"{bad.name}: {bad.title} ({bad.code})" for bad in BAD_TOKENS.values())
    return f"Make a bad token instead, one of: {kinds}."


def _claims(config: Config, options: dict[str, Any]) -> dict[str, Any]:
    claims = {"sid": options["session"], **recipient_claims(config)}
    claims |= {name: options[name] for name in ("azp", "aud") if options[name]}
    try:
        return claims | authorization_claims(
            org=options["org"],
            org_slug=options["org_slug"],
            role=options["role"],
            permissions=options["permission"],
            features=options["feature"],
            plans=options["plan"],
        )
    except ValueError as error:
        raise CommandError(f"{error}.", returncode=2) from None
