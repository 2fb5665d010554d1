"""An inspection as text, in lines that nothing of the token can steer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from clerk_auth.diagnostics.explanations import describe_time, show
from clerk_auth.diagnostics.inspection import (
    BY_DEFAULT,
    BY_ISSUER,
    BY_OPTION,
    Finding,
    Inspection,
)
from clerk_auth.diagnostics.report import ACCEPTED, FAILED
from clerk_auth.diagnostics.terminal import Page, Row

__all__ = ["print_inspection", "print_verdict"]

_CHOICES = {
    BY_ISSUER: "its issuer is the token's iss",
    BY_DEFAULT: "no instance has the token's iss",
    BY_OPTION: "--instance names it",
}
_TIMES = ("exp", "nbf", "iat")
_WIDEST_NAME = 24


def print_inspection(inspection: Inspection, page: Page) -> None:
    """Print rules, claims and verdict."""
    page.write_heading("rules")
    page.write_table([_describe_rule(finding) for finding in inspection.findings])
    if inspection.payload is not None:
        _print_claims(inspection, page)
    page.write()
    print_verdict(inspection, page)


def print_verdict(inspection: Inspection, page: Page) -> None:
    """Print only the last line."""
    judged = _describe_choice(inspection)
    if inspection.verdict == ACCEPTED:
        page.write(page.style.SUCCESS(f"ACCEPTED: the verifier lets this token in.{judged}"))
    else:
        verdict = f"{inspection.verdict.upper()}: {inspection.error}."
        page.write(page.style.ERROR(f"{verdict}{judged}"))


def _describe_choice(inspection: Inspection) -> str:
    if inspection.chosen_by is None:
        return ""
    return f" Judged by the instance {inspection.instance}: {_CHOICES[inspection.chosen_by]}."


def _describe_rule(finding: Finding) -> Row:
    why = f"{finding.subject or ''} {finding.reason}".strip()
    said = "; ".join(filter(None, [why, finding.found]))
    is_failed = finding.status == FAILED
    notes = (f"expected: {finding.expected}", finding.remedy) if is_failed else ()
    return Row(finding.rule, said, finding.status, notes)


def _print_claims(inspection: Inspection, page: Page) -> None:
    if inspection.key is not None:
        page.write_heading(f"claims, signed by {inspection.key.thumbprint}")
    else:
        page.write(page.style.WARNING("claims, UNVERIFIED: anyone may have written them"))
    page.write_table(
        [
            _describe_value(show(claim).strip('"'), value, _when(claim, value, inspection))
            for claim, value in (inspection.payload or {}).items()
        ],
        widest_name=_WIDEST_NAME,
    )
    page.write_heading("as request.auth shows them")
    page.write_table(list(_session_rows(inspection.session or {})), widest_name=_WIDEST_NAME)


def _session_rows(session: dict[str, Any]) -> Iterator[Row]:
    for name, value in session.items():
        if name == "organization" and value is not None:
            yield from (_describe_value(f"{name}.{key}", inner) for key, inner in value.items())
        elif name == "factor_ages" and value is not None:
            note = "minutes, when the token was made; -1: not enrolled"
            yield _describe_value(name, value, note)
        else:
            yield _describe_value(name, value)


def _describe_value(name: str, value: object, note: str = "") -> Row:
    return Row(name, f"{show(value)}  {note}".rstrip())


def _when(claim: str, value: object, inspection: Inspection) -> str:
    return describe_time(value, inspection.checked_at) if claim in _TIMES else ""
