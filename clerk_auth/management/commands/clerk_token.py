"""Print a token of the development issuer: a good one, or one of the bad kinds."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from clerk_auth.conf import Config, get_config
from clerk_auth.dev import TOKEN_SECONDS, load_local_issuer
from clerk_auth.probes import BAD_TOKENS


class Command(BaseCommand):
    help = "Print a session token signed by the development issuer (DEV_MODE only)."

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

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            config = get_config()
        except ImproperlyConfigured as error:
            raise CommandError(str(error), returncode=2) from None
        if not config.dev_mode:
            raise CommandError(
                'DEV_MODE is off: nothing here would accept the token. Set CLERK_AUTH["DEV_MODE"] '
                "= True together with DEBUG = True, on a development machine.",
                returncode=2,
            )
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
    claims: dict[str, Any] = {"sid": options["session"]}
    if party := options["azp"] or next(iter(config.authorized_parties), None):
        claims["azp"] = party
    if audience := options["aud"] or next(iter(config.audience), None):
        claims["aud"] = audience
    scope = "o" if options["org"] else "u"
    features = [_scoped(name, scope) for name in options["feature"]]
    permissions = [_split_permission(text) for text in options["permission"]]
    if options["org"]:
        organization = {"id": options["org"], "rol": options["role"], "slg": options["org_slug"]}
        claims["o"] = {name: value for name, value in organization.items() if value}
        if permissions:
            _add_permissions(claims["o"], features, permissions)
    elif permissions or options["role"] or options["org_slug"]:
        raise CommandError("--role, --permission and --org-slug need --org.", returncode=2)
    if features:
        claims["fea"] = ",".join(features)
    if options["plan"]:
        claims["pla"] = ",".join(_scoped(name, scope) for name in options["plan"])
    return claims


def _scoped(name: str, scope: str) -> str:
    return name if ":" in name else f"{scope}:{name}"


def _split_permission(text: str) -> tuple[str, str]:
    feature, _, name = text.removeprefix("org:").partition(":")
    if not feature or not name:
        raise CommandError(f"--permission {text}: write it as in reports:read.", returncode=2)
    return f"o:{feature}", name


def _add_permissions(
    organization: dict[str, Any], features: list[str], permissions: list[tuple[str, str]]
) -> None:
    """Write permissions as Clerk does: a bit mask of names for each feature, in its order."""
    names = list(dict.fromkeys(name for _, name in permissions))
    features.extend(f for f in dict.fromkeys(f for f, _ in permissions) if f not in features)
    masks = [
        sum(1 << names.index(name) for name in names if (feature, name) in permissions)
        for feature in features
    ]
    organization["per"] = ",".join(names)
    organization["fpm"] = ",".join(map(str, masks))
