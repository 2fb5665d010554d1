"""The inspection as an operator runs it: what it reads, what it prints, and the exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings as django_settings

from clerk_auth.diagnostics.rules import NAMES
from clerk_auth.issuer.bad_tokens import BAD_TOKENS
from clerk_auth.issuer.local import LocalIssuer
from clerk_auth.management.command import MAX_INPUT_BYTES, MAX_LINE_CHARACTERS
from project.demo.environment import inherit_environment
from tests.commands import Outcome, run_command
from tests.conftest import ISSUER, PARTY
from tests.issuer_server import IssuerServer
from tests.tenants import STAFF_PARTY, serve_staff
from tests.terminals import run_at_terminal, without_colours

pytestmark = pytest.mark.integration


def run(*arguments: str, **options) -> Outcome:
    return run_command("clerk_inspect", *arguments, **options)


def parts_of(token: str) -> list[str]:
    return [part for part in token.strip().split(".") if part]


# What it says


def test_good_token_is_accepted(key_configured, local_issuer):
    token = local_issuer.token("user_shown", azp=PARTY, o={"id": "org_1"}, fva=[3, -1])
    done = run(given=f"Bearer {token}\n")
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert [line.split()[1] for line in lines[1 : len(NAMES) + 1]] == list(NAMES)
    assert lines[-1] == "ACCEPTED: the verifier lets this token in."
    thumbprint = local_issuer.verifying_key.thumbprint
    for said in (
        f"claims, signed by {thumbprint}",
        'sub  "user_shown"',
        '"org_1"',
        " UTC (in ",
        "minutes, when the token was made",
    ):
        assert said in done.out
    assert not [part for part in parts_of(token) if part in done.out]


@pytest.mark.parametrize("name", ["expired", "wrong-party", "forged", "alg-none", "malformed"])
def test_bad_token_is_refused_and_never_printed(name, key_configured, local_issuer):
    bad = BAD_TOKENS[name]
    token = bad.make(local_issuer, local_issuer.session_payload(azp=PARTY))
    text, document = run(given=token), run("--json", given=token)
    assert (text.status, document.status) == (1, 1)
    assert text.out.splitlines()[-1].startswith(f"REFUSED: {bad.code} (")
    assert json.loads(document.out)["code"] == bad.code
    for done in (text, document):
        assert done.err == ""
        assert not [part for part in parts_of(token) if part in done.out]


def test_failed_rule_has_what_was_expected_and_what_to_do(key_configured, local_issuer):
    out = run(given=local_issuer.token(azp="https://other.example")).out
    _, _, after = out.partition("✗ party")
    found, expected, remedy, *_ = after.splitlines()
    assert 'azp mismatch; azp "https://other.example"' in found
    assert expected == f'      expected: azp "{PARTY}"'
    assert "AUTHORIZED_PARTIES" in remedy


def test_claims_that_nobody_signed_are_marked(key_configured, other_issuer):
    done = run(given=other_issuer.token(azp=PARTY))
    assert "claims, UNVERIFIED: anyone may have written them" in done.out
    assert "signed by" not in done.out


HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\n\u202e\x9b\ud800é"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
@pytest.mark.parametrize("arguments", [[], ["--json"]], ids=["text", "json"])
def test_hostile_claims_neither_steer_nor_break_a_terminal(
    key_configured, local_issuer, encoding, arguments
):
    claims = {"name": HOSTILE, HOSTILE: {HOSTILE: HOSTILE}, "iss": HOSTILE, "sts": HOSTILE}
    claims |= {"act": {HOSTILE: HOSTILE}, "o": {"id": "org_1", "slg": "x"}, "long": "x" * 5000}
    payload = local_issuer.session_payload("user_1", azp=PARTY, **claims)
    done = run(*arguments, given=local_issuer.sign(payload, {"x": HOSTILE}), encoding=encoding)
    assert done.status == 1
    assert all(line.isprintable() for line in done.out.splitlines())
    assert not arguments or json.loads(done.out)["claims"]["name"] == HOSTILE
    assert arguments or max(map(len, done.out.splitlines())) < 500


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_marks_are_written_as_the_terminal_can(key_configured, encoding):
    out = run(given="x", encoding=encoding).out
    failed, other = ("✗", "XX") if encoding == "utf-8" else ("XX", "✗")
    assert f"  {failed} text" in out
    assert f"  {other} text" not in out


def test_without_keys_it_ends_with_two_and_shows_the_claims(configured):
    token = configured.signer.token("user_shown", azp=PARTY)
    configured.stop()
    done = run(given=token)
    assert done.status == 2
    assert "user_shown" in done.out
    assert done.out.splitlines()[-1].startswith("UNKNOWN: keys_unavailable (")
    document = run("--json", given=token)
    assert (document.status, json.loads(document.out)["verdict"]) == (2, "unknown")


# Several instances


@pytest.fixture
def staff(configured, settings) -> Iterator[IssuerServer]:
    with serve_staff(settings) as server:
        yield server


def staff_token(staff: IssuerServer, signer: LocalIssuer | None = None, **claims: object) -> str:
    return (signer or staff.signer).token(**{"azp": STAFF_PARTY, "iss": staff.issuer, **claims})


def judge(token: str, *arguments: str) -> tuple[str, str, str]:
    """Return who judged a token, why, and what for a client."""
    document = json.loads(run("--json", *arguments, given=token).out)
    return document["instance"], document["chosen_by"], document["code"]


def test_instance_whose_issuer_the_token_names_judges_it(configured, staff):
    for given in (staff_token(staff), f"Bearer {staff_token(staff)}\n"):
        done = run(given=given)
        assert done.status == 0, done.out
        assert done.out.splitlines()[-1] == (
            "ACCEPTED: the verifier lets this token in. Judged by the instance staff: its issuer "
            "is the token's iss."
        )
        assert f'expected: azp "{PARTY}"' not in done.out
        assert judge(given) == ("staff", "issuer", None)
    assert judge(configured.signer.token(azp=PARTY)) == ("default", "issuer", None)


def test_instance_judges_by_its_own_policy_and_keys(configured, staff):
    """The key id is the same in both; what else is the other's is refused."""
    of_customers = configured.signer
    assert judge(staff_token(staff, of_customers)) == ("staff", "issuer", "signature_invalid")
    assert judge(staff_token(staff, azp=PARTY)) == ("staff", "issuer", "party_not_allowed")
    crossed = of_customers.token(iss=configured.issuer, azp=STAFF_PARTY)
    assert judge(crossed) == ("default", "issuer", "party_not_allowed")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"iss": "https://nobody.example.com"}, "issuer_not_allowed"),
        ({"iss": 7}, "issuer_not_allowed"),
        ({"iss": None}, "issuer_not_allowed"),
    ],
)
def test_default_judges_a_token_of_an_issuer_that_no_instance_has(configured, staff, change, code):
    token = configured.signer.token(azp=PARTY, **change)
    assert judge(token) == ("default", "default", code)
    assert (
        run(given=token)
        .out.splitlines()[-1]
        .endswith(" Judged by the instance default: no instance has the token's iss.")
    )
    assert staff.fetches == 0


@pytest.mark.parametrize("given", ["x", "a b c", "\xff.\xff.\xff", "e30.e30", "x" * 100_000])
def test_default_judges_what_cannot_be_read(staff, given):
    assert judge(given) == ("default", "default", "token_malformed")
    assert staff.fetches == 0


def test_option_chooses_whatever_the_token_names(configured, staff):
    token = staff_token(staff)
    assert judge(token, "--instance", "default") == ("default", "option", "signature_invalid")
    assert judge(token, "--instance", "staff") == ("staff", "issuer", None)
    done = run("-v", "0", "--instance", "default", given=token)
    assert done.status == 1
    assert done.out.endswith(" Judged by the instance default: --instance names it.\n")
    nobody = configured.signer.token(azp=PARTY, iss="https://nobody.example.com")
    assert judge(nobody, "--instance", "staff")[:2] == ("staff", "option")


def test_instance_that_cannot_be_reached_hides_no_other(configured, staff):
    staff.stop()
    assert judge(configured.signer.token(azp=PARTY)) == ("default", "issuer", None)
    done = run(given=staff_token(staff))
    assert done.status == 2
    assert done.out.splitlines()[-1].startswith("UNKNOWN: keys_unavailable (")


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_instance_that_is_not_there_ends_it_with_two_before_a_token_is_asked_for(staff, arguments):
    done = run("--instance", "custommers", *arguments, given=None)
    assert done.status == 2
    said = "CLERK_AUTH has no instance 'custommers'. It has: default, staff."
    assert said in done.err
    assert not arguments or json.loads(done.out)["error"] == said


def test_only_instance_is_not_spoken_of(key_configured, local_issuer):
    token = local_issuer.token(azp=PARTY)
    for arguments in ([], ["--instance", "default"]):
        assert run(*arguments, given=token).out.endswith("lets this token in.\n")
        document = json.loads(run("--json", *arguments, given=token).out)
        assert not {"instance", "chosen_by"} & set(document)


# What it reads


@pytest.mark.parametrize(
    ("given", "status", "said"),
    [
        (None, 2, "no token on standard input"),
        (b"", 2, "no token on standard input"),
        (b" \r\n\t", 2, "no token on standard input"),
        (b"x" * (MAX_INPUT_BYTES + 1), 2, "More than 1 MiB"),
        (b"x" * MAX_INPUT_BYTES, 1, "token too_long"),
        (b"\xff\xfe\x00", 1, "token not_ascii"),
        (b"\0", 1, "token not_compact"),
    ],
    ids=["closed", "nothing", "blank", "too-much", "much", "bytes", "nul"],
)
def test_input_that_is_no_token_is_said_to_be_none(key_configured, given, status, said):
    done = run(given=given)
    assert done.status == status
    assert said in (done.err if status == 2 else done.out)
    assert len(done.out + done.err) < 5000


@pytest.mark.parametrize("arguments", [["eyJ.a.b"], ["--token", "eyJ.a.b"], ["--token=eyJ.a.b"]])
def test_token_is_no_argument(key_configured, arguments):
    for more in ([], ["--json"]):
        done = run(*arguments, *more, given="x")
        assert done.status == 2
        assert "standard input" in done.err
        assert "eyJ" not in done.out + done.err
        assert not more or json.loads(done.out) == {
            "schema_version": 1,
            "verdict": "unknown",
            "error": done.err.splitlines()[1],
        }


def test_wrong_settings_end_it_with_two(settings):
    settings.CLERK_AUTH = {"FRONTEND_API": "https://clerk.example.com"}
    done = run(given="x")
    assert (done.status, done.out) == (2, "")
    assert "FRONTEND_API" in done.err


@pytest.fixture
def developing(settings, tmp_path) -> Path:
    """Development mode of a project in a directory of its own; where its key is."""
    settings.BASE_DIR = tmp_path
    settings.DEBUG = True
    settings.CLERK_AUTH = {"DEV_MODE": True}
    return tmp_path / ".clerk-dev"


def test_key_file_that_cannot_be_read_ends_it_with_two_and_is_named(developing):
    developing.mkdir()
    (developing / "signing-key.pem").write_text("not a key")
    (developing / "signing-key.pem").chmod(0o600)
    done = run(given="x")
    assert (done.status, done.out) == (2, "")
    assert str(developing / "signing-key.pem") in done.err
    with pytest.raises(ValueError, match="PEM"):
        run("--traceback", given="x")


def test_signature_of_another_development_key_is_explained_with_the_directory(developing):
    issuer = LocalIssuer.generate("https://clerk.localhost")
    done = run(given=issuer.token())
    assert done.status == 1
    assert "signature_invalid" in done.out
    said = " ".join(done.out.split())
    assert f"The key in force is that of {developing}" in said
    assert "another BASE_DIR" in said


def test_signature_is_not_explained_so_outside_development_mode(key_configured, other_issuer):
    done = run(given=other_issuer.token(azp=PARTY))
    assert "signature_invalid" in done.out
    assert "BASE_DIR" not in done.out


# At a terminal


def environment_of(issuer: LocalIssuer) -> dict[str, str]:
    return {
        **inherit_environment(),
        "CLERK_ISSUER": ISSUER,
        "CLERK_JWT_KEY": issuer.public_pem,
        "PYTHONIOENCODING": "utf-8",
    }


def type_into(*arguments: str, typed: str, environment: dict[str, str]) -> tuple[int, str]:
    """Run a command at a terminal, and type when it asks."""
    return run_at_terminal(*arguments, typed=typed, after="Enter: ", environment=environment)


@pytest.mark.parametrize("command", [["clerk_inspect"], ["clerk_selftest", "--token", "-"]])
def test_terminal_is_asked_and_does_not_show_the_token(command, local_issuer):
    token = local_issuer.token("user_typed")
    status, shown = type_into(
        *command, typed=f"{token}\n", environment=environment_of(local_issuer)
    )
    assert status == 0, shown
    assert shown.startswith("Paste the token")
    assert "user_typed" in shown
    assert not [part for part in parts_of(token) if part in shown]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("\n", "no token on standard input"),
        ("\x04", "no token on standard input"),
        ("x" * MAX_LINE_CHARACTERS + "x\n", "cuts a line"),
    ],
    ids=["enter", "ctrl-d", "long"],
)
def test_terminal_without_a_whole_token_ends_it_with_two(typed, said, local_issuer):
    status, shown = type_into(
        "clerk_inspect", typed=typed, environment=environment_of(local_issuer)
    )
    assert status == 2, shown
    assert said in shown


def test_ctrl_c_at_the_prompt_ends_it_without_a_traceback(local_issuer):
    status, shown = type_into(
        "clerk_inspect", typed="\x03", environment=environment_of(local_issuer)
    )
    assert status == 130, shown
    assert "Traceback" not in shown
    assert shown.splitlines()[-1] == "Interrupted."


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_lines_fit_the_terminal(columns, local_issuer, key_configured):
    token = local_issuer.token("user_typed", azp=PARTY, name="word " * 30, expires_in=-60)
    environment = {**environment_of(local_issuer), "CLERK_AUTHORIZED_PARTIES": PARTY}
    status, shown = run_at_terminal(
        "clerk_inspect",
        typed=f"{token}\n",
        after="Enter: ",
        environment=environment,
        columns=columns,
    )
    assert status == 1, shown
    _prompt, *lines = without_colours(shown)
    assert all(len(line) <= columns or len(line.split()) == 1 for line in lines), shown
    assert max(map(len, lines)) > columns * 3 // 4
    # The same words as without a terminal, where lines are whole; times have moved on.
    whole = run(given=token).out
    assert len(whole.splitlines()) <= len(lines)
    assert [word for word in " ".join(lines).split() if word.isalpha()] == [
        word for word in whole.split() if word.isalpha()
    ]


def test_process_prints_one_document_and_nothing_else(local_issuer):
    done = subprocess.run(
        [sys.executable, "manage.py", "clerk_inspect", "--json"],
        cwd=django_settings.BASE_DIR,
        env=environment_of(local_issuer),
        input=local_issuer.token().encode(),
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["verdict"] == "accepted"
