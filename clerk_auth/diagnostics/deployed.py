"""Probes of a deployed API: does it refuse bad tokens with the status, body and challenge of ours?

They prove what is answered, not who answers: a host can imitate it. So a good token is only sent
to a host of ``ALLOWED_HOSTS``.

The bad tokens are those of ``issuer.bad_tokens`` that need no key of Clerk's. They have expired as
well, so that an unknown key id or a bad signature makes the API neither fetch keys nor reserve a
cooldown; its verifier checks the times last, and still answers with the code of what fails first.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest

from clerk_auth.conf import OBSERVE, Config
from clerk_auth.conf.redaction import show_url
from clerk_auth.core.encoding import parse_json_object
from clerk_auth.core.errors import CODES
from clerk_auth.diagnostics.inspection import inspect_now, load_keys
from clerk_auth.diagnostics.remedies import remedy_for_api
from clerk_auth.diagnostics.report import (
    ACCEPTED,
    FAILED,
    PASSED,
    SKIPPED,
    WARNED,
    Report,
    Result,
)
from clerk_auth.diagnostics.rules import read_credential
from clerk_auth.diagnostics.selftest import describe, impersonate
from clerk_auth.issuer.bad_tokens import BAD_TOKENS, BadToken
from clerk_auth.jwks.source import Keys
from clerk_auth.transport import Answer, FetchFailed, fetch

__all__ = ["run"]

Ask = Callable[..., Answer]
Judged = list[tuple[Result, Answer]]

TIMEOUT_SECONDS = 10.0
_EXPIRED_SECONDS = 3600
_GROUP = "deployed API"

_OPEN = (
    "Do not deploy: a bad token gets in. Give the view ClerkAuthentication, first in "
    "authentication_classes; if it has that, report this in private to clerk_auth's maintainers."
)
_OF_ANOTHER = (
    "Another authenticator, an exception handler or a proxy answers here, or the API has other "
    "settings than this host, or it does not enforce."
)
_BY_STATUS = {
    400: "Is the host's name in ALLOWED_HOSTS?",
    403: "Another authenticator comes first and has no challenge (clerk_auth.W004), or something "
    "in front of the API refuses. Put ClerkAuthentication first.",
    404: "There is no such path: give the address of a view that answers GET.",
    405: "This view does not answer GET: give the address of one that does.",
    429: "Something in front of the API says too many requests: wait and repeat.",
    503: "The API has no keys, or is not up: run clerk_selftest where it runs.",
}
_PAGE = "The answer is an HTML page, and not the API's: check the path, and proxies."
_REDIRECT = (
    "Redirects are not followed: give the final address, with https and the slash at its end."
)
_SERVER_ERROR = "Look into the log of the API, or of the proxy in front of it."
_PERMISSION = (
    "The token was accepted, and a permission refused: give the address of a view that this user "
    "may read."
)
_PASS_IT_ON = (
    "Apache's mod_wsgi needs WSGIPassAuthorization On; gateways, proxies and load balancers may "
    "remove the header."
)
_UNHEARD = (
    "Every answer is the same as without a credential: the Authorization header does not arrive. "
    + _PASS_IT_ON
)
_PERHAPS_UNHEARD = "Or the Authorization header does not arrive: " + _PASS_IT_ON
_OBSERVING = (
    "MODE is observe: the API refuses no token yet, so its answers prove nothing. Repeat this once "
    "MODE is enforce."
)
_UNLISTED = (
    "That host may not be yours, so the token is not sent. Correct the URL, or run this with the "
    "settings of that API; if the host is yours, add --any-host."
)
_OF_ANOTHER_INSTANCE = " Or the view is for another instance: name it with --instance."
_DIFFERENT = "This host accepts the token: compare settings, keys and clocks of the two hosts."


def run(
    config: Config,
    url: str,
    *,
    token: str | None = None,
    any_host: bool = False,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> Report:
    """Probe the view at ``url``; ``token`` is inspected, and sent there last.

    It is sent only if this host accepts it, if ``ALLOWED_HOSTS`` names the host of ``url`` or
    ``any_host`` is true, and if every probe before it passed.

    ``timeout_seconds`` bounds each request; after one without an answer, no more are sent.
    """
    ask = functools.partial(_ask, url, timeout_seconds)
    report = Report([describe(config)], load_keys(config), proves="It answers as a locked API does")
    if token is not None:
        report.inspection = inspect_now(token, config, report.keys)
        report.results.append(_judge_host(urlsplit(url).netloc, any_host=any_host))
    judged: Judged = []
    try:
        try:
            for pair in _probe(config, ask, report.keys[:1]):
                judged.append(pair)
        finally:
            report.results.extend(_explain_together(judged, config))
        if not report.keys:
            remedy = "Run clerk_selftest: it says why the keys cannot be had."
            report.results.append(
                Result(_GROUP, "bad tokens", FAILED, "not sent: there are no keys", remedy)
            )
        if token is not None and report.inspection is not None:
            report.results.append(_probe_token(ask, token, report))
    except FetchFailed as error:
        remedy = remedy_for_api(error.reason) or _PAGE
        detail = f"{show_url(url)}: {error.reason}"
        report.results.append(Result(_GROUP, "answer", FAILED, detail, remedy))
    return report


def _ask(url: str, timeout_seconds: float, token: str | None = None) -> Answer:
    headers = {"Accept": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return fetch(url, timeout_seconds, headers, wanted=lambda status: status >= 400)


def _judge_anonymous(answer: Answer, realm: str) -> Result:
    name = "no credential"
    if _is_success(answer):
        remedy = "Anyone may read it; the bad tokens below must be refused all the same."
        return Result(_GROUP, name, WARNED, f"{answer.status}: the view is public", remedy)
    if answer.status != 401:
        return Result(_GROUP, name, FAILED, _describe(answer), _explain(answer))
    if answer.headers.get("WWW-Authenticate") != f'Bearer realm="{realm}"':
        return Result(_GROUP, name, FAILED, "401 with another WWW-Authenticate", _OF_ANOTHER)
    return Result(_GROUP, name, PASSED, "401")


def _probe(config: Config, ask: Ask, keys: Keys) -> Iterator[tuple[Result, Answer]]:
    """Send no credential, then the tokens that anyone can make under the id of one of ``keys``."""
    answer = ask()
    yield _judge_anonymous(answer, config.realm), answer
    forger, payload = impersonate(config)
    payload["exp"] = payload["iat"] - _EXPIRED_SECONDS
    for key in keys:
        for bad in BAD_TOKENS.values():
            if not bad.by_claims and bad.applies(config.policy):
                answer = ask(bad.make(forger, payload, key))
                yield _judge_refusal(answer, bad, config.realm), answer


def _explain_together(judged: Judged, config: Config) -> Iterator[Result]:
    """Yield the results; if several fail for one common reason, their remedy names it.

    The answer to no credential comes first.
    """
    is_unheard = len(judged) > 1 and len({_identify(answer) for _, answer in judged}) == 1
    for number, (result, answer) in enumerate(judged):
        remedy = result.remedy
        if result.status == FAILED and _is_about_tokens(answer):
            if config.mode == OBSERVE:
                remedy = _OBSERVING
            elif is_unheard and number:
                is_ours = judged[0][0].status == PASSED
                remedy = _UNHEARD if is_ours else f"{remedy} {_PERHAPS_UNHEARD}"
            elif answer.status == 401 and config.is_one_of_several:
                remedy += _OF_ANOTHER_INSTANCE
        yield replace(result, remedy=remedy)


def _identify(answer: Answer) -> tuple[int, str | None, bytes]:
    return answer.status, answer.headers.get("WWW-Authenticate"), answer.body


def _is_about_tokens(answer: Answer) -> bool:
    """Tell whether the answer may depend on the credential."""
    return _is_success(answer) or (answer.status in (401, 403) and not _is_page(answer))


def _judge_host(host: str, *, any_host: bool) -> Result:
    """Compare the host of the URL with ``ALLOWED_HOSTS``, as Django compares that of a request."""
    name = "host"
    request = HttpRequest()
    request.META["HTTP_HOST"] = host
    try:
        request.get_host()
    except DisallowedHost:
        detail = f"ALLOWED_HOSTS does not name {host}"
        if not any_host:
            return Result(_GROUP, name, FAILED, detail, _UNLISTED)
        return Result(_GROUP, name, WARNED, detail, "The token is sent because of --any-host.")
    if "*" in settings.ALLOWED_HOSTS:
        remedy = "So nothing says whether this host is yours: list your hosts there."
        return Result(_GROUP, name, WARNED, "ALLOWED_HOSTS names any host", remedy)
    return Result(_GROUP, name, PASSED, f"ALLOWED_HOSTS names {host}")


def _judge_refusal(answer: Answer, bad: BadToken, realm: str) -> Result:
    def judge(status: str, detail: str, remedy: str = "") -> Result:
        return Result(_GROUP, bad.title, status, detail, remedy)

    if answer.status != 401:
        is_open = _is_success(answer)
        return judge(FAILED, _describe(answer), _OPEN if is_open else _explain(answer))
    body = _read_body(answer)
    if body.get("code") != bad.code:
        return judge(FAILED, f"{_describe(answer)}, not {bad.code}", _explain(answer))
    if body != {"detail": bad.error.detail, "code": bad.code}:
        return judge(FAILED, f"401 {bad.code} with another body", _OF_ANOTHER)
    challenge = (
        f'Bearer realm="{realm}", error="invalid_token", error_description="{bad.error.detail}"'
    )
    if answer.headers.get("WWW-Authenticate") != challenge:
        return judge(FAILED, f"401 {bad.code} with another WWW-Authenticate", _OF_ANOTHER)
    return judge(PASSED, f"401 {bad.code}")


def _probe_token(ask: Ask, text: str, report: Report) -> Result:
    name = "the token given"
    if report.inspection is None or report.inspection.verdict != ACCEPTED:
        return Result(_GROUP, name, SKIPPED, "not sent: it is not accepted here")
    if any(result.status == FAILED for result in report.results):
        return Result(_GROUP, name, SKIPPED, "not sent: a probe before it failed")
    answer = ask(read_credential(text))
    if _is_success(answer):
        return Result(_GROUP, name, PASSED, str(answer.status))
    if answer.status == 401:
        return Result(_GROUP, name, FAILED, _describe(answer), _DIFFERENT)
    remedy = _PERMISSION if answer.status == 403 else _explain(answer)
    return Result(_GROUP, name, FAILED, _describe(answer), remedy)


def _is_success(answer: Answer) -> bool:
    return 200 <= answer.status < 300


def _is_page(answer: Answer) -> bool:
    return answer.body.lstrip().startswith(b"<")


def _describe(answer: Answer) -> str:
    """Name the answer, repeating nothing of it except a code of ours."""
    if _is_success(answer):
        return f"ACCEPTED with {answer.status}"
    code = _read_body(answer).get("code")
    return f"{answer.status} {code}" if code in CODES else f"{answer.status} without a code of ours"


def _explain(answer: Answer) -> str:
    if answer.status in (401, 403) and _is_page(answer):
        return _PAGE
    if 300 <= answer.status < 400:
        return _REDIRECT
    if answer.status in _BY_STATUS:
        return _BY_STATUS[answer.status]
    return _SERVER_ERROR if answer.status >= 500 else _OF_ANOTHER


def _read_body(answer: Answer) -> dict[str, Any]:
    try:
        return parse_json_object(answer.body)
    except ValueError:
        return {}
