"""The schema that the demo serves, held against what it answers, and the page that shows it."""

from __future__ import annotations

import re
import uuid

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from jsonschema import Draft202012Validator

from tests.project.test_settings import PRODUCTION, run

pytestmark = pytest.mark.integration

CSV = b"id,name\n1,Ada\n2,\n"
# A port that nobody listens on.
UNREACHABLE = "http://127.0.0.1:1/.well-known/jwks.json"


def to_json_schema(node):
    """Return a part of an OpenAPI 3.0 document as JSON Schema, which has no ``nullable``."""
    if isinstance(node, list):
        return [to_json_schema(child) for child in node]
    if not isinstance(node, dict):
        return node
    plain = {key: to_json_schema(child) for key, child in node.items() if key != "nullable"}
    return {"anyOf": [plain, {"type": "null"}]} if node.get("nullable") is True else plain


@pytest.fixture(scope="module")
def schema():
    return to_json_schema(SchemaGenerator().get_schema(public=True))


@pytest.fixture
def operations(schema):
    """Every operation, as in ``GET /api/me``, with what the schema says of it."""
    return {
        f"{method.upper()} {path}": operation
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    }


@pytest.mark.parametrize("debug", ["0", "1"], ids=["json-alone", "browsable"])
def test_schema_is_valid_and_made_without_a_warning(debug):
    arguments = ("spectacular", "--validate", "--fail-on-warn")
    done = run("manage.py", *arguments, **PRODUCTION, DJANGO_DEBUG=debug)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("openapi: 3")


class TestAnswers:
    """Each request's answer is the one documented for its path, method and status."""

    @pytest.fixture
    def check(self, schema, operations):
        def check(answer, operation, status):
            assert answer.status_code == status, operation
            response = operations[operation]["responses"][str(status)]
            if "$ref" in response:
                response = schema["components"]["responses"][response["$ref"].split("/")[-1]]
            assert set(response.get("headers", {})) <= set(answer.headers)
            described = response["content"][answer.headers["Content-Type"]]["schema"]
            document = {**described, "components": schema["components"]}
            Draft202012Validator(document).validate(answer.json())

        return check

    def request(self, client, operation):
        method, path = operation.split()
        return client.generic(method, re.sub(r"\{\w+\}", str(uuid.uuid4()), path), CSV, "text/csv")

    def test_without_a_token(self, check, operations, anonymous):
        required = [name for name, each in operations.items() if {} not in each["security"]]
        assert len(required) >= 8
        for name in required:
            check(self.request(anonymous, name), name, 401)

    def test_refused_token(self, check, operations, make_client):
        for name in operations:
            answer = self.request(make_client("user_alice", expires_in=-60), name)
            check(answer, name, 401)
            assert answer.json()["code"] == "token_expired"

    def test_keys_cannot_be_had(self, check, operations, alice, settings):
        settings.CLERK_AUTH = {"ISSUER": "https://clerk.example.com", "JWKS_URL": UNREACHABLE}
        for name in operations:
            check(self.request(alice, name), name, 503)

    @pytest.mark.parametrize("claims", [{}, {"o": {"id": "org_1", "slg": "acme", "rol": "admin"}}])
    def test_me(self, check, make_client, claims):
        check(make_client("user_alice", **claims).get("/api/me"), "GET /api/me", 200)

    @pytest.mark.django_db
    def test_uploads(self, check, alice):
        created = alice.generic("POST", "/api/uploads", CSV, "text/csv")
        check(created, "POST /api/uploads", 201)
        check(alice.get("/api/uploads"), "GET /api/uploads", 200)
        check(alice.get(f"/api/uploads/{created.json()['id']}"), "GET /api/uploads/{id}", 200)

    @pytest.mark.django_db
    @pytest.mark.parametrize("body", [b"", b"id\n1,2\n"])
    def test_refused_upload(self, check, alice, body):
        answer = alice.generic("POST", "/api/uploads", body, "text/csv")
        check(answer, "POST /api/uploads", 400)

    @pytest.mark.django_db
    def test_organization(self, check, make_client):
        organization = {"id": "org_1", "slg": "acme", "rol": "admin"}
        admin = make_client("user_alice", o=organization, pla="o:pro", fea="o:usage")
        for path in ("/api/organization", "/api/organization/usage", "/api/organization/uploads"):
            check(admin.get(path), f"GET {path}", 200)

    def test_permission_says_no(self, check, alice):
        for path in ("/api/organization", "/api/organization/usage", "/api/organization/uploads"):
            check(alice.get(path), f"GET {path}", 403)

    @pytest.mark.django_db
    def test_step_up(self, check, make_client):
        created = make_client("user_alice").generic("POST", "/api/uploads", CSV, "text/csv")
        path = f"/api/uploads/{created.json()['id']}"
        stale, fresh = (make_client("user_alice", fva=[age, -1]) for age in (10, 0))
        refusal = stale.delete(path)
        assert "clerk_error" in refusal.json()
        check(refusal, "DELETE /api/uploads/{id}", 403)
        assert fresh.delete(path).status_code == 204

    @pytest.mark.django_db
    def test_what_does_not_exist(self, check, alice):
        check(alice.get(f"/api/uploads/{uuid.uuid4()}"), "GET /api/uploads/{id}", 404)
        check(alice.get("/api/uploads?page=2"), "GET /api/uploads", 404)

    @pytest.mark.django_db
    def test_documented_bodies_are_those_taken(self, operations, alice):
        described = operations["POST /api/uploads"]["requestBody"]["content"]
        assert set(described) == {"multipart/form-data", "text/csv"}
        for content_type in described:
            answer = alice.post("/api/uploads", **make_upload(content_type))
            assert answer.status_code == 201


def make_upload(content_type):
    if content_type == "text/csv":
        return {"data": CSV.decode(), "content_type": content_type}
    return {"data": {"file": SimpleUploadedFile("people.csv", CSV)}, "format": "multipart"}


class TestDocsPage:
    @pytest.fixture
    def client(self, configured):
        assert not settings.DEBUG
        return Client()

    def read_files(self, client):
        page = client.get("/api/docs").content.decode()
        return re.findall(r'(?:src|href)="([^"]+)"', page)

    def test_loads_everything_from_here(self, client):
        files = self.read_files(client)
        assert len(files) == 5
        for file in files:
            assert file.startswith(("/static/", "/api/docs?script"))
            answer = client.get(file)
            assert answer.status_code == 200, file
            assert answer.getvalue()  # to its end, which closes the file

    def test_names_no_other_host(self, client):
        for address in ("/api/docs", "/api/docs?script="):
            assert "//" not in client.get(address).content.decode().replace("// ", "")

    def test_reads_the_schema(self, client):
        script = client.get("/api/docs?script=").content.decode()
        assert 'url: "/api/schema"' in script
        answer = client.get("/api/schema", headers={"Accept": "application/json"})
        assert answer.status_code == 200

    def test_holds_no_script_of_its_own(self, client):
        page = client.get("/api/docs").content.decode()
        assert re.findall(r"<script(?: [^>]*)?>([^<]*)", page) == [""] * 3

    def test_keeps_the_projects_headers(self, client):
        headers = client.get("/api/docs").headers
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"

    @pytest.mark.parametrize("address", ["/api/docs", "/api/schema"])
    def test_token_plays_no_part(self, client, address):
        answer = client.get(address, headers={"Authorization": "Bearer not-a-token"})
        assert answer.status_code == 200

    @pytest.mark.parametrize(
        "name",
        [
            "../project/settings.py",
            "%2e%2e/project/settings.py",
            "drf_spectacular_sidecar/../../project/settings.py",
            "/etc/hostname",
            "drf_spectacular_sidecar/",
            "no-such-file",
        ],
    )
    def test_nothing_else_is_served(self, client, name):
        assert client.get(f"/static/{name}").status_code in {400, 404}
