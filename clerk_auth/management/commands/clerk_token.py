"""Print a token of the development issuer: a good one, or one of the bad ones."""

from __future__ import annotations

import re
import time
from argparse import ArgumentTypeError
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from clerk_auth.conf import DEFAULT_INSTANCE, Config, get_config, is_developing
from clerk_auth.core.claims import is_factor_age
from clerk_auth.core.encoding import parse_json
from clerk_auth.error_reports import hide_locals
from clerk_auth.issuer.bad_tokens import BAD_TOKENS
from clerk_auth.issuer.development import load_local_issuer
from clerk_auth.issuer.local import ABSENT, TOKEN_SECONDS, merge
from clerk_auth.issuer.payloads import authorization_claims, recipient_claims
from clerk_auth.management.command import add_instance_argument

__all__ = ["Command"]

_NEEDS_DEV_MODE = (
    'Tokens are only made in development mode: set CLERK_AUTH["DEV_MODE"] = True together with '
    "DEBUG = True, on a development machine."
)

_A_CLAIM = """--claim 'email="alice@example.com"'"""


class Command(BaseCommand):
    help = "Print a session token signed with the development key. Needs DEV_MODE."
    # The command reports wrong settings itself, with exit status 2.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        add_instance_argument(
            parser,
            "Sign for this instance of INSTANCES. All have the same key, and each its own issuer.",
            default=DEFAULT_INSTANCE,
        )
        parser.add_argument(
            "--user", default="user_dev", help="Clerk user id (sub), user_dev by default."
        )
        parser.add_argument(
            "--session", default="sess_dev", help="Session id (sid), sess_dev by default."
        )
        _add_grants(parser)
        _add_recipient_and_times(parser)
        _add_other_claims(parser)
        parser.add_argument(
            "--bad", choices=sorted(BAD_TOKENS), metavar="KIND", help=_describe_bad_tokens()
        )

    @hide_locals
    def handle(self, *args: Any, **options: Any) -> None:
        try:
            config = get_config(options["instance"])
        except ImproperlyConfigured as error:
            hint = "" if is_developing() else f"\n{_NEEDS_DEV_MODE}"
            raise CommandError(f"{error}{hint}", returncode=2) from None
        if not config.dev_mode:
            raise CommandError(_NEEDS_DEV_MODE, returncode=2)
        claims = _claims(config, options)
        try:
            issuer = load_local_issuer(config.issuers[0])
        except ImproperlyConfigured as error:
            raise CommandError(str(error), returncode=2) from None
        payload = issuer.session_payload(
            options["user"], now=options["iat"], expires_in=options["expires_in"]
        )
        payload = merge(payload, claims)
        bad = options["bad"]
        self.stdout.write(BAD_TOKENS[bad].make(issuer, payload) if bad else issuer.sign(payload))


def _add_grants(parser: CommandParser) -> None:
    parser.add_argument("--org", help="Id of the active organization, as in org_acme.")
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


def _add_recipient_and_times(parser: CommandParser) -> None:
    parser.add_argument(
        "--azp", help="Authorized party (azp), by default the first of AUTHORIZED_PARTIES."
    )
    parser.add_argument("--aud", help="Audience (aud), by default the first of AUDIENCE.")
    parser.add_argument(
        "--expires-in",
        type=int,
        default=TOKEN_SECONDS,
        metavar="SECONDS",
        help=f"How long the token is valid, {TOKEN_SECONDS} by default; negative: it has expired.",
    )
    parser.add_argument(
        "--iat",
        type=_read_instant,
        metavar="SECONDS",
        help="When it was issued (iat): Unix time, or seconds from now with a sign, as in "
        "-3600. --expires-in counts from then.",
    )


def _add_other_claims(parser: CommandParser) -> None:
    parser.add_argument(
        "--fva",
        type=_read_ages,
        nargs="+",
        metavar="MINUTES",
        help="Minutes since the first and the second factor were verified (fva), as in 5 -1; -1 "
        "means not enrolled.",
    )
    parser.add_argument(
        "--act",
        type=_read_actor,
        metavar="USER",
        help="Who impersonates the user (act): a user id, or the claim as a JSON object.",
    )
    parser.add_argument(
        "--claim",
        action="append",
        default=[],
        type=_read_claim,
        metavar="NAME=JSON",
        help="Any other claim, as a name and a JSON value; it replaces a default; repeatable.",
    )
    parser.add_argument(
        "--claims-version",
        type=int,
        choices=(1, 2),
        default=2,
        help="Version of Clerk's session claims, 2 by default; 1 has neither features nor plans.",
    )


def _describe_bad_tokens() -> str:
    kinds = "; ".join(f"{bad.name}: {bad.title} ({bad.code})" for bad in BAD_TOKENS.values())
    return f"Make a token that must be refused, one of: {kinds}."


def _claims(config: Config, options: dict[str, Any]) -> dict[str, Any]:
    defaults = {"sid": options["session"], **recipient_claims(config)}
    try:
        written = authorization_claims(
            org=options["org"],
            org_slug=options["org_slug"],
            role=options["role"],
            permissions=options["permission"],
            features=options["feature"],
            plans=options["plan"],
            version=options["claims_version"],
        )
    except ValueError as error:
        raise CommandError(f"{error}.", returncode=2) from None
    written |= {name: options[name] for name in ("azp", "aud") if options[name]}
    if options["act"] is not None:
        written["act"] = options["act"]
    if options["fva"] is not None:
        written["fva"] = [age for ages in options["fva"] for age in ages]
        if len(written["fva"]) != 2:
            raise CommandError("--fva needs two ages, as in --fva 5 -1.", returncode=2)
    if options["claims_version"] == 1:
        written["v"] = ABSENT
    given: dict[str, Any] = {}
    for name, value in options["claim"]:
        if name in written or name in given:
            message = f"{name!r} is set twice: remove one of the options."
            raise CommandError(message, returncode=2)
        given[name] = value
    return defaults | written | given


def _read_instant(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,12}", text):
        raise ArgumentTypeError("write Unix time, or seconds from now with a sign, as in -3600")
    return int(time.time()) + int(text) if text[0] in "+-" else int(text)


def _read_ages(text: str) -> list[float]:
    """Read one age, or both, separated by a comma."""
    try:
        ages = [parse_json(age.encode("utf-8")) for age in text.split(",")]
    except ValueError:
        ages = [None]
    if not all(map(is_factor_age, ages)):
        raise ArgumentTypeError("write the minutes since each factor, as in 5 -1; -1: not enrolled")
    return ages


def _read_actor(text: str) -> Any:
    if not text.lstrip().startswith("{"):
        return {"sub": text}
    return _read_json(text)


def _read_claim(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not (name and sign):
        raise ArgumentTypeError(f"write NAME=JSON, as in {_A_CLAIM}")
    return name, _read_json(value)


def _read_json(text: str) -> Any:
    try:
        return parse_json(text.encode("utf-8"))
    except ValueError:
        hint = f"a string needs its own quotes, as in {_A_CLAIM}"
        raise ArgumentTypeError(f"the value is not JSON: {hint}") from None
