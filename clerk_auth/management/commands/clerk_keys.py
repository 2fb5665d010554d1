"""Show which keys the fleet shares, or have them fetched now."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.core.management.base import CommandError, CommandParser

from clerk_auth.conf import Config
from clerk_auth.conf.caches import CacheSettings
from clerk_auth.diagnostics.explanations import format_duration, name_key
from clerk_auth.diagnostics.remedies import STORE_PROBLEMS
from clerk_auth.diagnostics.report import SCHEMA_VERSION
from clerk_auth.diagnostics.shared_keys import explain_cache, load_shared, refresh_fleet
from clerk_auth.diagnostics.terminal import Page
from clerk_auth.jwks.breaker import MAX_BREAKER_SECONDS
from clerk_auth.jwks.cached import CachedKeySource
from clerk_auth.jwks.source import SourceStatus
from clerk_auth.jwks.wiring import make_source
from clerk_auth.management import command

REFRESHED = "shared"
_locked, _lock_remedy = STORE_PROBLEMS["locked"]
_not_shared, _store_remedy = STORE_PROBLEMS["not_shared"]
# What else may be said of the fleet's keys, and what to do. {error} is the class of an error or a
# word of ours, {backend} the name of a class, {alias} that of the setting.
PROBLEMS = {
    "cache_empty": (
        "holds no key set: as before the first request, and after Redis was restarted or emptied",
        "The next process that needs one stores it; clerk_keys refresh does so now, and "
        "clerk_selftest says what is wrong if it does not.",
    ),
    "cache_unusable": (
        "cannot be used: {error}",
        "Check CACHES[{alias!r}] and its server; until it works each process fetches for itself.",
    ),
    "document_refused": (
        "holds a key set that is not used: {error}",
        "Find out who writes to this cache; clerk_keys refresh replaces the set.",
    ),
    "cache_of_one_process": (
        "{backend} belongs to one process: others do not see what is in it",
        "Restart the processes to have each fetch now, and use Redis (docs/deployment.md).",
    ),
    "fetch_failed": (
        "was not changed: the fetch failed",
        "Every process keeps the keys that it has. clerk_selftest says what to repair; then run "
        "this again.",
    ),
    "locked": (
        f"{_locked}, and nothing was fetched",
        f"Every process keeps the keys that it has. {_lock_remedy}",
    ),
    "not_shared": (
        _not_shared,
        "Every process keeps the keys that it has; only this command has the set below. "
        f"{_store_remedy} Repair or empty the cache and run this again; while nothing can be read "
        "from it, restarting a process makes it fetch for itself.",
    ),
}
# The look is every JWKS_LOCAL_SECONDS, and not while a cache is avoided that has failed.
TAKEN = (
    "Processes that have requests take it in {look}, or in {late} where the cache has just failed "
    "them."
)
_NOTHING = SourceStatus("cold")


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of an instance's keys, or the ``error`` for which that is nothing.

    ``problem`` is one of ``PROBLEMS``, whose sentences ``facts`` completes.
    """

    status: SourceStatus = _NOTHING
    problem: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    error: str = ""

    def exit_status(self, *, is_refresh: bool) -> int:
        if self.error:
            return 2
        return int(bool(self.problem) if is_refresh else self.status.state == "cold")

    def as_dict(self) -> dict[str, Any]:
        """Return a dict that can be written as JSON."""
        if self.error:
            return {"schema_version": SCHEMA_VERSION, "error": self.error}
        facts = self.status.as_dict()
        return {"schema_version": SCHEMA_VERSION, **facts, "problem": self.problem}


class Command(command.OperatorCommand):
    help = (
        "Show the keys that the fleet shares (status), or fetch them now for the whole fleet "
        "(refresh): past cooldown and backoff, not past a fetch that is under way. Of several "
        "instances, those of all. Exit status: 0 there are keys to verify with and, after a "
        "refresh, every process can read them; 1 otherwise; 2 it could not run, or there is "
        "nothing to refresh. Of several instances, the highest."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["status", "refresh"])
        parser.add_argument("--json", action="store_true", help="Print one JSON document.")
        command.add_instance_argument(parser, "Only the keys of this instance of INSTANCES.")

    def handle(self, *args: Any, **options: Any) -> None:
        is_refresh = options["action"] == "refresh"
        with command.end_if_it_cannot_run(self, options, "clerk_keys could not run."):
            configs = command.choose_configs(options)
            # Beside keys that can be refreshed, those of the settings are no error.
            may_pass_over = any(config.jwks_url for config in configs)
            look = partial(_refresh, may_pass_over=may_pass_over) if is_refresh else _load
            found = {
                config.instance: command.try_instance(look, config, options, fail=_fail)
                for config in configs
            }
        status = max(each.exit_status(is_refresh=is_refresh) for each in found.values())
        if options["json"]:
            documents = {alias: each.as_dict() for alias, each in found.items()}
            command.write_documents(self, documents, passed=not status)
        else:
            self._print(found, configs[0].is_one_of_several, is_refresh=is_refresh)
        if status:
            sys.exit(status)

    def _print(self, found: Mapping[str, Found], is_of_several: bool, *, is_refresh: bool) -> None:
        page = Page(self.stdout, self.style)
        for number, (alias, each) in enumerate(found.items()):
            if number:
                page.write()
            if is_of_several:
                page.write_heading(f"instance {alias}")
            for line in each.error.splitlines():
                page.write(f"error       {self.style.ERROR(line)}", hang=12)
            if not each.error:
                self._print_keys(each, page, is_refresh=is_refresh)

    def _print_keys(self, found: Found, page: Page, *, is_refresh: bool) -> None:
        status = found.status
        now = time.time()
        # In two columns: what does not fit goes on below the second.
        write = partial(page.write, hang=12)
        if found.problem is not None:
            said, remedy = (text.format(**found.facts) for text in PROBLEMS[found.problem])
            style = self.style.WARNING if found.problem == "cache_empty" else self.style.ERROR
            write(f"cache       {style(said)}")
            write(f"            {remedy}")
            if not is_refresh:
                write("processes   may hold keys of their own, and go on with them")
        elif is_refresh and status.state == "static":
            write("cache       is not used: these keys come from the settings")
        elif is_refresh:
            write(f"cache       {self.style.SUCCESS('refreshed, and read back')}")
            write(f"            {TAKEN.format(**found.facts)}")
        style = self.style.SUCCESS if status.state in ("fresh", "static") else self.style.WARNING
        write(f"state       {style(status.state)}")
        if status.fetched_at is not None and status.expires_at is not None:
            write(f"fetched     {_duration(now - status.fetched_at)} ago")
            write(f"expires     in {_duration(status.expires_at - now)}")
            write(f"generation  {status.generation}")
        if status.failure is not None:
            wait = _duration(status.failure.until - now)
            write(
                self.style.ERROR(
                    f"failing     {status.failure.reason}, {status.failure.count} in a row; "
                    f"next attempt in {wait}"
                )
            )
        for key in status.keys:
            write(f"key         {name_key(key)}")
        if not status.keys:
            write("key         none")


def _load(config: Config) -> Found:
    source = make_source(config)
    if not isinstance(source, CachedKeySource):
        return Found(source.status())
    status = load_shared(source)
    return Found(status, _find_problem(config, status), _describe(config, status))


def _find_problem(config: Config, status: SourceStatus) -> str | None:
    """Say why there is nothing to see, if so."""
    if status.is_cache_avoided:
        return "cache_unusable"
    if status.state != "cold":
        return None
    if CacheSettings(config.cache_alias).belongs_to_one_process:
        return "cache_of_one_process"
    return "document_refused" if status.document_refused else "cache_empty"


def _refresh(config: Config, *, may_pass_over: bool) -> Found:
    source = make_source(config)
    if not isinstance(source, CachedKeySource):
        if may_pass_over:
            return Found(source.status())
        raise CommandError(
            "There is nothing to refresh: these keys come from the settings. To replace them, "
            "change JWT_KEY, or the development key, and restart every process."
        )
    refresh = refresh_fleet(source)
    problem = None if refresh.outcome == REFRESHED else refresh.outcome
    is_of_one = CacheSettings(config.cache_alias).belongs_to_one_process
    if is_of_one and refresh.outcome in (REFRESHED, "not_shared"):
        problem = "cache_of_one_process"
    return Found(refresh.status, problem, _describe(config, refresh.status))


def _fail(error: str) -> Found:
    return Found(error=error)


def _describe(config: Config, status: SourceStatus) -> dict[str, str]:
    """Return what the sentences are completed with: names of ours and of classes only."""
    backend = CacheSettings(config.cache_alias).backend
    return {
        "alias": config.cache_alias,
        "backend": getattr(backend, "__name__", ""),
        "error": explain_cache(status),
        "look": format_duration(config.jwks_local_seconds),
        "late": format_duration(config.jwks_local_seconds + MAX_BREAKER_SECONDS),
    }


def _duration(seconds: float) -> str:
    """Write a span that other clocks than ours may have made negative."""
    return format_duration(max(0.0, seconds))
