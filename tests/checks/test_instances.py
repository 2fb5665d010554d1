"""The checks of which instances a view accepts: each where it is for, and silent next to it."""

from __future__ import annotations

from types import ModuleType

import pytest
from django.urls import include, path
from rest_framework.authentication import BasicAuthentication
from rest_framework.decorators import action, api_view, authentication_classes, permission_classes
from rest_framework.permissions import (
    AND,
    NOT,
    IsAuthenticated,
    OperandHolder,
    SingleOperandHolder,
)
from rest_framework.routers import SimpleRouter
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from clerk_auth.authentication import ClerkAuthentication
from clerk_auth.checks import TAG
from clerk_auth.permissions import (
    ClerkPermission,
    HasFeature,
    HasPermission,
    HasPlan,
    HasRole,
    IsNotImpersonated,
    IsOfInstance,
    IsOrganizationMember,
    IsOwner,
    RequiresReverification,
)
from tests.checks.conftest import SECURE, STAFF, found, messages_of

pytestmark = pytest.mark.integration

OBSERVING = {**STAFF, "MODE": "observe"}


class StaffAuthentication(ClerkAuthentication):
    instance = "staff"


class EitherAuthentication(ClerkAuthentication):
    instances = ("default", "staff")


class OnSundays(ClerkPermission):
    alias = "of something else"


class OfOurOwn(ClerkPermission):
    code = "instance_required"


def make_class(**attributes):
    return type("Authentication", (ClerkAuthentication,), attributes)


def make_view(*authenticators, permission=IsAuthenticated):
    attributes = {"authentication_classes": authenticators, "permission_classes": [permission]}
    return type("Reports", (APIView,), attributes)


@pytest.fixture
def serve(secure, settings):
    """Put views, or patterns, into the URLs of a project that has two instances."""

    def put(*views):
        module = ModuleType("urls")
        module.urlpatterns = [
            path(str(number), view.as_view()) if isinstance(view, type) else view
            for number, view in enumerate(views)
        ]
        settings.ROOT_URLCONF = module

    secure.CLERK_AUTH = {**SECURE, "INSTANCES": {"staff": STAFF}}
    put()
    return put


def test_two_instances_are_clean(serve):
    serve(make_view(ClerkAuthentication), make_view(StaffAuthentication))
    assert found(deploy=True) == []


# Aliases that are not there


@pytest.mark.parametrize(
    ("attributes", "fault"),
    [
        ({"instance": "stuff"}, "names 'stuff', which is not an instance."),
        ({"instance": None}, "names None, which is not an instance."),
        ({"instances": ("default", "stuff")}, "names 'stuff', which is not an instance."),
        ({"instances": ("staff", "")}, "names '', which is not an instance."),
        ({"instances": [["staff"]]}, "names ['staff'], which is not an instance."),
        ({"instances": ("staff", "staff")}, "names an instance twice."),
        ({"instances": "staff"}, "has `instances` that are not a tuple."),
        ({"instances": {"staff"}}, "has `instances` that are not a tuple."),
        ({"instance": "default"}, None),
        ({"instances": ()}, None),
        ({"instances": ["staff", "default"]}, None),
        ({"instance": "stuff", "instances": ("staff",)}, None),
    ],
)
def test_class_names_instances_that_are_there(serve, attributes, fault):
    serve(make_view(make_class(**attributes)), make_view(make_class(**attributes)))
    messages = messages_of(TAG)
    name = f"{__name__}.Authentication"
    expected = [("clerk_auth.E017", name, f"{name} {fault}")] if fault else []
    assert [(m.id, m.obj, m.msg) for m in messages[:1]] == expected
    assert all(message.hint == "CLERK_AUTH has these: default, staff." for message in messages)


def test_class_for_another_instance_needs_the_setting(serve, secure):
    serve(make_view(StaffAuthentication))
    secure.CLERK_AUTH = SECURE
    assert found() == ["E017"]


def test_default_class_is_looked_at_without_a_view(serve, secure):
    secure.REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": [f"{__name__}.StaffAuthentication"]}
    assert found() == []
    secure.CLERK_AUTH = SECURE
    assert found() == ["E017"]


@pytest.mark.parametrize(
    ("permission", "ids"),
    [
        (IsOfInstance("staff"), []),
        (IsOfInstance("stuff"), ["E017"]),
        # It would say yes to every Clerk caller.
        (~IsOfInstance("stuff"), ["E017"]),
        (IsAuthenticated & IsOfInstance("stuff"), ["E017"]),
    ],
)
def test_permission_names_an_instance_that_is_there(serve, permission, ids):
    serve(make_view(EitherAuthentication, permission=permission))
    assert found() == ids


# A list of two classes of ours


@pytest.mark.parametrize(
    ("classes", "observing", "ids"),
    [
        pytest.param([ClerkAuthentication, StaffAuthentication], False, ["W005"], id="two"),
        pytest.param([StaffAuthentication, ClerkAuthentication], False, ["W005"], id="other-order"),
        pytest.param(
            [StaffAuthentication, BasicAuthentication, ClerkAuthentication],
            False,
            ["W005"],
            id="with-another-between",
        ),
        pytest.param(
            [StaffAuthentication, EitherAuthentication], False, ["W005"], id="narrow-first"
        ),
        pytest.param([EitherAuthentication, StaffAuthentication], False, [], id="wide-first"),
        pytest.param([StaffAuthentication, make_class(instance="staff")], False, [], id="same"),
        pytest.param([EitherAuthentication], False, [], id="one-for-both"),
        pytest.param([StaffAuthentication, ClerkAuthentication], True, [], id="first-observes"),
        pytest.param([ClerkAuthentication, StaffAuthentication], True, [], id="second-observes"),
        pytest.param([ClerkAuthentication, EitherAuthentication], True, [], id="part-observes"),
    ],
)
def test_two_classes_that_enforce_in_one_list_are_no_alternatives(
    serve, secure, classes, observing, ids
):
    serve(make_view(*classes))
    if observing:
        secure.CLERK_AUTH = {**SECURE, "INSTANCES": {"staff": OBSERVING}}
    assert found() == ids


def test_remedy_is_one_class_for_both(serve):
    serve(make_view(StaffAuthentication, ClerkAuthentication))
    (warning,) = messages_of(TAG)
    assert warning.msg.startswith(
        "clerk_auth.authentication.ClerkAuthentication comes after "
        f"{__name__}.StaffAuthentication, which refuses its tokens"
    )
    assert "instances = ('staff', 'default')" in warning.hint


# Roles behind several instances


@pytest.mark.parametrize(
    ("permission", "ids"),
    [
        (HasRole("org:admin"), ["W020"]),
        (~HasRole("org:admin"), ["W020"]),
        (HasPermission("org:reports:read"), ["W020"]),
        (HasFeature("reports"), ["W020"]),
        (HasPlan("pro"), ["W020"]),
        (IsAuthenticated & HasRole("org:admin"), ["W020"]),
        (HasRole("org:admin") | IsOwner("owner"), ["W020"]),
        (IsNotImpersonated & ~(OnSundays | HasPlan("free")), ["W020"]),
        # REST framework's own, as where a class with another metaclass stands on the left.
        (OperandHolder(AND, IsAuthenticated, HasRole("org:admin")), ["W020"]),
        (OperandHolder(AND, HasRole("org:admin"), SingleOperandHolder(NOT, OnSundays)), ["W020"]),
        (SingleOperandHolder(NOT, HasRole("org:admin")), ["W020"]),
        (OperandHolder(AND, HasRole("org:admin"), IsOfInstance("staff")), []),
        (HasRole("org:admin") & IsOfInstance("staff"), []),
        (IsOfInstance("staff") & (HasRole("org:admin") | HasPlan("pro")), []),
        (IsAuthenticated & IsOfInstance("staff") & HasRole("org:admin"), []),
        (HasRole("org:admin") & ~IsOfInstance("default"), []),
        (IsAuthenticated, []),
        (IsAuthenticated & IsNotImpersonated, []),
        (~IsAuthenticated, []),
        (IsOrganizationMember, []),
        (IsOwner("owner"), []),
        (RequiresReverification("strict"), []),
        (OnSundays, []),
        (OnSundays & HasRole("org:admin"), ["W020"]),
        (OfOurOwn, []),
        (OfOurOwn & HasRole("org:admin"), []),
        ("not a class", []),
    ],
)
def test_role_behind_several_instances_needs_to_know_whose(serve, permission, ids):
    serve(make_view(EitherAuthentication, permission=permission))
    assert found() == ids


def test_instance_may_be_asked_for_by_another_entry_of_the_list(serve):
    view = make_view(EitherAuthentication)
    view.permission_classes = [IsOfInstance("staff"), HasRole("org:admin")]
    serve(view)
    assert found() == []


@pytest.mark.parametrize(
    ("classes", "ids"),
    [
        ([EitherAuthentication], ["W020"]),
        ([ClerkAuthentication], []),
        ([StaffAuthentication], []),
        ([make_class(instances=("staff",))], []),
        ([BasicAuthentication], []),
        ([], []),
    ],
)
def test_role_behind_one_instance_is_that_ones(serve, classes, ids):
    serve(make_view(*classes, permission=HasRole("org:admin")))
    assert found() == ids


def test_instance_that_is_observed_lets_no_user_in(serve, secure):
    serve(make_view(EitherAuthentication, permission=HasRole("org:admin")))
    secure.CLERK_AUTH = {**SECURE, "INSTANCES": {"staff": OBSERVING}}
    assert found() == []


def test_view_is_named_once_with_what_it_asks(serve):
    view = make_view(EitherAuthentication, permission=HasRole("org:admin"))
    serve(view, view)
    (warning,) = messages_of(TAG)
    assert warning.obj == f"{__name__}.Reports"
    assert "default, staff, and HasRole('org:admin') does not tell whose" in warning.msg


# Whatever the views are


class ReportSet(ViewSet):
    authentication_classes = [EitherAuthentication]

    @action(detail=False, permission_classes=[HasRole("org:admin")])
    def purge(self, request):
        raise NotImplementedError


@api_view()
@authentication_classes([EitherAuthentication])
@permission_classes([HasRole("org:admin")])
def report(request):
    raise NotImplementedError


class Plain(APIView):
    pass


def routed(viewset):
    router = SimpleRouter()
    router.register("reports", viewset, "report")
    return path("", include(router.urls))


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(routed(ReportSet), id="action"),
        pytest.param(path("", report), id="function"),
        pytest.param(path("", include([path("a/", include([path("", report)]))])), id="included"),
        pytest.param(
            path(
                "",
                Plain.as_view(
                    authentication_classes=[EitherAuthentication],
                    permission_classes=[HasRole("org:admin")],
                ),
            ),
            id="as-view",
        ),
    ],
)
def test_views_of_all_kinds_are_found(serve, pattern):
    serve(pattern)
    assert found() == ["W020"]


@pytest.mark.parametrize(
    "urlconf", ["no_such_module.urls", "tests.checks.conftest", 5, None, "django"]
)
def test_urls_that_cannot_be_read_are_left_to_django(serve, settings, urlconf):
    settings.ROOT_URLCONF = urlconf
    assert found() == []


def test_urls_that_cannot_be_included_hide_no_others(serve):
    broken = ModuleType("broken")
    serve(
        path("a/", include(broken)),
        make_view(EitherAuthentication, permission=HasRole("org:admin")),
    )
    assert found() == ["W020"]


@pytest.mark.parametrize("classes", [None, 5, ClerkAuthentication, "staff", [None, "staff", 5]])
def test_lists_that_are_none_are_left_to_the_view(serve, classes):
    view = make_view()
    view.authentication_classes = view.permission_classes = classes
    serve(view, make_view(EitherAuthentication, permission=HasRole("org:admin")))
    assert found() == ["W020"]


def test_view_of_another_framework_is_passed_over(serve):
    serve(path("", lambda request: None))
    assert found() == []
