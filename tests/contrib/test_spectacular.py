"""Our scheme and our answers in the schema that drf-spectacular makes of a project."""

from __future__ import annotations

import subprocess
import sys

import pytest
from django.conf import settings
from django.urls import path
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.settings import patched_settings
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from drf_spectacular.validation import validate_schema
from rest_framework import serializers
from rest_framework.authentication import BasicAuthentication, SessionAuthentication
from rest_framework.permissions import AllowAny, IsAuthenticated, IsAuthenticatedOrReadOnly
from rest_framework.views import APIView

from clerk_auth.authentication import ClerkAuthentication
from clerk_auth.contrib.spectacular import document_refusals

pytestmark = pytest.mark.integration

ENUMS = "drf_spectacular.hooks.postprocess_schema_enums"
OURS = "clerk_auth.contrib.spectacular.document_refusals"
ADDED = {
    "401": {"$ref": "#/components/responses/ClerkUnauthorized"},
    "403": {"$ref": "#/components/responses/ClerkForbidden"},
    "503": {"$ref": "#/components/responses/ClerkUnavailable"},
}


def make_subclass(name, *, module=__name__, **attributes):
    return type(name, (ClerkAuthentication,), {"__module__": module, **attributes})


def make_view(*authenticators, permission=IsAuthenticated, responses=None):
    class View(APIView):
        authentication_classes = authenticators
        permission_classes = (permission,)

        @extend_schema(responses={200: OpenApiTypes.OBJECT, **(responses or {})})
        def get(self, request):
            raise NotImplementedError

    return View.as_view()


def make_schema(*views, **spectacular_settings):
    """Return the schema of ``views``, which are at ``/0``, ``/1`` and so on."""
    patterns = [path(str(number), view) for number, view in enumerate(views)]
    with patched_settings({"POSTPROCESSING_HOOKS": [ENUMS, OURS], **spectacular_settings}):
        return SchemaGenerator(patterns=patterns).get_schema(public=True)


def read_operation(schema, number=0):
    return schema["paths"][f"/{number}"]["get"]


def read_statuses(schema, number=0):
    return set(read_operation(schema, number)["responses"]) - {"200"}


@pytest.fixture
def no_warning(capsys):
    """Fails the test if drf-spectacular warned."""
    yield
    assert capsys.readouterr().err == ""


class TestScheme:
    def test_is_a_bearer_jwt(self, no_warning):
        schema = make_schema(make_view(ClerkAuthentication))
        assert read_operation(schema)["security"] == [{"clerkAuth": []}]
        scheme = schema["components"]["securitySchemes"]["clerkAuth"]
        del scheme["description"]
        assert scheme == {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}

    def test_optional_token_is_one_alternative(self, no_warning):
        schema = make_schema(make_view(ClerkAuthentication, permission=AllowAny))
        assert read_operation(schema)["security"] == [{"clerkAuth": []}, {}]

    def test_neighbours_are_further_alternatives(self, no_warning):
        schema = make_schema(make_view(BasicAuthentication, ClerkAuthentication))
        assert read_operation(schema)["security"] == [{"basicAuth": []}, {"clerkAuth": []}]

    def test_subclass_beside_its_base_has_a_scheme_of_its_own(self, no_warning):
        mobile = make_subclass("MobileAuthentication")
        schema = make_schema(make_view(ClerkAuthentication), make_view(mobile))
        assert read_operation(schema, 1)["security"] == [{"clerkAuthMobileAuthentication": []}]
        assert set(schema["components"]["securitySchemes"]) == {
            "clerkAuth",
            "clerkAuthMobileAuthentication",
        }

    def test_class_of_each_instance_has_a_scheme_of_its_own(self, no_warning):
        classes = [
            ClerkAuthentication,
            make_subclass("OfStaffAuthentication", instance="staff"),
            make_subclass("OfEitherAuthentication", instances=("default", "staff")),
        ]
        schema = make_schema(*map(make_view, classes), make_view(*classes[1:]))
        names = ["clerkAuth", "clerkAuthOfStaffAuthentication", "clerkAuthOfEitherAuthentication"]
        for number, name in enumerate(names):
            assert read_operation(schema, number)["security"] == [{name: []}]
        assert read_operation(schema, 3)["security"] == [{name: []} for name in names[1:]]
        assert read_statuses(schema, 1) == read_statuses(schema, 2) == set(ADDED)
        codes = schema["components"]["schemas"]["ClerkPermissionCode"]["enum"]
        assert "instance_required" in codes

    def test_subclass_may_name_its_scheme(self, no_warning):
        partner = make_subclass("PartnerAuthentication", openapi_scheme_name="partner")
        schema = make_schema(make_view(ClerkAuthentication), make_view(partner))
        assert read_operation(schema, 1)["security"] == [{"partner": []}]

    def test_name_is_not_inherited(self, no_warning):
        named = make_subclass("NamedAuthentication", openapi_scheme_name="named")
        below = type("BelowAuthentication", (named,), {})
        schema = make_schema(make_view(named), make_view(below))
        assert read_operation(schema, 1)["security"] == [{"clerkAuthBelowAuthentication": []}]

    @pytest.mark.parametrize("order", [("staff", "guests"), ("guests", "staff"), ("staff",)])
    def test_namesakes_have_their_modules_in_any_order(self, order, no_warning):
        classes = {
            module: make_subclass("NamesakeAuthentication", module=module)
            for module in ("staff", "guests")
        }
        schema = make_schema(*(make_view(classes[module]) for module in order))
        names = [
            name
            for number in range(len(order))
            for scheme in read_operation(schema, number)["security"]
            for name in scheme
        ]
        assert names == [f"clerkAuth.{module}.NamesakeAuthentication" for module in order]


@pytest.fixture
def own_extension():
    """An extension that a project has for its subclass; returns that subclass."""
    described = make_subclass("DescribedAuthentication")

    class Described(OpenApiAuthenticationExtension):
        target_class = described
        name = "described"

        def get_security_definition(self, auto_schema):
            return {"type": "openIdConnect", "openIdConnectUrl": "https://clerk.example.com"}

    yield described
    OpenApiAuthenticationExtension._registry.remove(Described)


class TestRefusals:
    def test_are_documented_where_a_token_is_required(self, no_warning):
        schema = make_schema(make_view(ClerkAuthentication))
        responses = read_operation(schema)["responses"]
        assert {status: responses[status] for status in ADDED} == ADDED
        assert set(schema["components"]["responses"]) == {
            "ClerkUnauthorized",
            "ClerkForbidden",
            "ClerkUnavailable",
        }

    @pytest.mark.parametrize("permission", [AllowAny, IsAuthenticatedOrReadOnly])
    def test_no_permission_refuses_where_a_token_is_optional(self, permission):
        schema = make_schema(make_view(ClerkAuthentication, permission=permission))
        assert read_statuses(schema) == {"401", "503"}

    @pytest.mark.parametrize(
        ("authenticators", "statuses"),
        [
            pytest.param([ClerkAuthentication, SessionAuthentication], set(ADDED), id="first"),
            pytest.param([BasicAuthentication, ClerkAuthentication], set(ADDED), id="second"),
            pytest.param([make_subclass("LaterAuthentication")], set(ADDED), id="subclass"),
            pytest.param([BasicAuthentication], set(), id="not-among-them"),
            pytest.param([], set(), id="none"),
        ],
    )
    def test_follow_the_authenticators(self, authenticators, statuses):
        assert read_statuses(make_schema(make_view(*authenticators))) == statuses

    def test_follow_a_subclass_that_the_project_describes_itself(self, own_extension, no_warning):
        schema = make_schema(make_view(own_extension))
        assert read_operation(schema)["security"] == [{"described": []}]
        assert read_statuses(schema) == set(ADDED)

    def test_scheme_without_an_authenticator_is_not_ours(self):
        schema = make_schema(make_view(BasicAuthentication), SECURITY=[{"clerkAuth": []}])
        assert read_statuses(schema) == set()

    def test_schema_without_us_is_left_as_it_is(self):
        view = make_view(BasicAuthentication)
        assert make_schema(view) == make_schema(view, POSTPROCESSING_HOOKS=[ENUMS])

    @pytest.mark.parametrize(
        ("own", "added"),
        [
            pytest.param({401}, {"403", "503"}, id="one-status"),
            pytest.param({401, 403, 503}, set(), id="all"),
            pytest.param({"4XX"}, {"503"}, id="range-of-the-callers-faults"),
            pytest.param({"5XX"}, {"401", "403"}, id="range-of-ours"),
            pytest.param({400, 404, 500}, set(ADDED), id="others"),
        ],
    )
    def test_what_the_project_documented_stays(self, own, added):
        view = make_view(ClerkAuthentication, responses=dict.fromkeys(own, OpenApiTypes.STR))
        before = make_schema(view, POSTPROCESSING_HOOKS=[ENUMS])
        after = make_schema(view)
        assert read_statuses(after) == set(map(str, own)) | added
        responses = read_operation(after)["responses"]
        for status, response in read_operation(before)["responses"].items():
            assert responses[status] == response

    def test_hook_is_idempotent(self, no_warning):
        view = make_view(ClerkAuthentication)
        once, twice = (make_schema(view, POSTPROCESSING_HOOKS=[OURS] * times) for times in (1, 2))
        assert once == twice

    def test_order_of_hooks_is_free_and_names_of_the_project_stay(self, no_warning):
        class OrderSerializer(serializers.Serializer):
            code = serializers.ChoiceField(["new", "paid"])

        views = (
            make_view(ClerkAuthentication, responses={200: OrderSerializer}),
            make_view(ClerkAuthentication),
        )
        schemas = [
            make_schema(*views, POSTPROCESSING_HOOKS=hooks)
            for hooks in ([ENUMS, OURS], [OURS, ENUMS])
        ]
        assert schemas[0] == schemas[1]
        assert schemas[0]["components"]["schemas"]["CodeEnum"]["enum"] == ["new", "paid"]

    def test_no_schema_shares_its_components(self):
        view = make_view(ClerkAuthentication)
        make_schema(view)["components"]["schemas"]["ClerkRejectionCode"]["enum"].clear()
        assert make_schema(view)["components"]["schemas"]["ClerkRejectionCode"]["enum"]

    def test_component_of_the_same_name_is_warned_about(self, capsys):
        class ClerkForbiddenSerializer(serializers.Serializer):
            reason = serializers.CharField()

        make_schema(make_view(ClerkAuthentication, responses={400: ClerkForbiddenSerializer}))
        assert 'identical names "ClerkForbidden"' in capsys.readouterr().err

    def test_hook_has_the_name_that_settings_use(self):
        assert f"{document_refusals.__module__}.{document_refusals.__name__}" == OURS


@pytest.mark.parametrize("version", ["3.0.3", "3.1.0"])
def test_schema_is_valid(version, no_warning):
    namesakes = [make_subclass("ValidAuthentication", module=module) for module in ("a.b", "c")]
    views = map(make_view, [ClerkAuthentication, *namesakes])
    validate_schema(make_schema(*views, OAS_VERSION=version))


_HOST = """
import sys
import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=[
        "django.contrib.contenttypes", "django.contrib.auth", "rest_framework", "clerk_auth"
    ] + {more}
)
sys.modules.update(dict.fromkeys({blocked}))
try:
    django.setup()
except ImportError as error:
    print("refused:", error.name)
loaded = {{name.partition(".")[0] for name, module in sys.modules.items() if module}}
print("drf_spectacular" in loaded, "clerk_auth.contrib.spectacular" in sys.modules)
"""


@pytest.mark.parametrize(
    ("more", "blocked", "printed"),
    [
        pytest.param([], ["drf_spectacular"], "False False\n", id="not-installed"),
        pytest.param([], [], "False False\n", id="installed-and-no-app"),
        pytest.param(["drf_spectacular"], [], "True True\n", id="app"),
        pytest.param(
            ["drf_spectacular"],
            ["drf_spectacular.extensions"],
            "refused: drf_spectacular.extensions\nTrue False\n",
            id="broken",
        ),
    ],
)
def test_app_loads_it_where_drf_spectacular_is_an_app(more, blocked, printed):
    run = subprocess.run(
        [sys.executable, "-c", _HOST.format(more=more, blocked=blocked)],
        cwd=settings.BASE_DIR,
        capture_output=True,
        encoding="utf-8",
    )
    assert (run.stdout, run.stderr) == (printed, "")
