"""A resolver lets nobody in but an authenticated user, whatever it returns."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import pytest
from asgiref.sync import async_to_sync, markcoroutinefunction, sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import SimpleLazyObject
from rest_framework.permissions import AllowAny, IsAuthenticated

from clerk_auth import metrics, users
from clerk_auth.core.errors import SessionPending, UserInactive
from clerk_auth.permissions import (
    HasRole,
    IsNotImpersonated,
    IsOrganizationMember,
    IsOwner,
    RequiresReverification,
)
from clerk_auth.users import ClerkUser, admit_user, aresolve_user, check_resolver, resolve_user
from clerk_auth.verifier import get_verifier
from tests.conftest import PARTY
from tests.test_authentication import Public, call

ADMIN = {"o": {"id": "org_1", "rol": "admin"}, "fva": [0, 0]}


async def later(claims):
    return ClerkUser(claims)


async def one_by_one(claims):
    yield ClerkUser(claims)


class Later:
    async def __call__(self, claims):
        return ClerkUser(claims)


class Flagged:
    def __init__(self, is_authenticated):
        self.is_authenticated = is_authenticated


class AsMethod:
    def is_authenticated(self):
        return False


NOBODY = {
    "none": lambda claims: None,
    "false": lambda claims: False,
    "anonymous": lambda claims: AnonymousUser(),
    "flag-off": lambda claims: Flagged(False),
    "lazy-none": lambda claims: SimpleLazyObject(lambda: None),
    "lazy-anonymous": lambda claims: SimpleLazyObject(AnonymousUser),
}
NO_USER = {
    "coroutine": lambda claims: later(claims),
    "lazy-coroutine": lambda claims: SimpleLazyObject(lambda: later(claims)),
    "generator": lambda claims: one_by_one(claims),
    "true": lambda claims: True,
    "zero": lambda claims: 0,
    "empty": lambda claims: "",
    "id": lambda claims: claims.user_id,
    "claims": lambda claims: claims,
    "pair": lambda claims: (ClerkUser(claims), claims),
    "class": lambda claims: User,
    "flag-as-method": lambda claims: AsMethod(),
    "flag-as-number": lambda claims: Flagged(1),
    "flag-as-text": lambda claims: Flagged("False"),
}
given: list = [None]


def resolve(claims):
    return given[0](claims)


@pytest.fixture
def ask(configured, settings):
    """Send a request of an organization's admin to a view, whose user ``resolver`` finds."""
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "USER_RESOLVER": f"{__name__}.resolve"}
    token = configured.signer.token("user_1", azp=PARTY, **ADMIN)

    def send(resolver, *permissions):
        given[0] = resolver
        metrics.reset()
        view = type("View", (Public,), {"permission_classes": list(permissions)})
        return call(view, f"Bearer {token}")

    return send


@pytest.mark.parametrize("resolver", NOBODY.values(), ids=list(NOBODY))
@pytest.mark.parametrize(
    "permission",
    [
        AllowAny,
        IsAuthenticated,
        HasRole("admin"),
        ~HasRole("member"),
        IsOrganizationMember,
        IsNotImpersonated,
        IsOwner("owner_id"),
        RequiresReverification("strict"),
    ],
)
def test_nobody_is_401_wherever(ask, resolver, permission):
    response = ask(resolver, permission)
    assert (response.status_code, response.data["code"]) == (401, "user_inactive")
    assert metrics.totals()["jwt_verifications_failure", "user_inactive", "enforce"] == 1


@pytest.mark.parametrize("resolver", NO_USER.values(), ids=list(NO_USER))
def test_what_is_no_user_is_a_defect_that_names_the_setting(ask, resolver):
    # A coroutine that nobody awaits would be a warning, and so an error here.
    with pytest.raises(ImproperlyConfigured, match="USER_RESOLVER") as caught:
        ask(resolver, AllowAny)
    assert "user_1" not in str(caught.value)


@pytest.mark.parametrize(
    "user",
    [
        User(username="alice"),
        Flagged(True),
        SimpleLazyObject(lambda: User(username="alice")),
    ],
    ids=lambda user: type(user).__name__,
)
def test_authenticated_user_is_let_in(ask, user):
    assert ask(lambda claims: user, HasRole("admin")).status_code == 200


def test_future_is_no_user():
    async def admit():
        with pytest.raises(ImproperlyConfigured, match="Future"):
            admit_user(asyncio.get_running_loop().create_future())

    asyncio.run(admit())


class OneByOne:
    async def __call__(self, claims):
        yield ClerkUser(claims)


@pytest.mark.parametrize(
    "resolver", [one_by_one, OneByOne(), partial(one_by_one), partial(OneByOne()), "text"]
)
def test_what_cannot_return_a_user_is_refused_before_it_is_called(resolver):
    with pytest.raises(ImproperlyConfigured, match="USER_RESOLVER"):
        check_resolver(resolver)


@pytest.mark.parametrize("resolver", [resolve, partial(resolve), ClerkUser, async_to_sync(later)])
def test_function_is_accepted(resolver):
    check_resolver(resolver)


def mark(function):
    return markcoroutinefunction(lambda claims: function(claims))


in_part, of_object, in_part_of_object = partial(later), Later(), partial(Later())
marked, in_thread = mark(later), sync_to_async(ClerkUser)
COROUTINE_FUNCTIONS = ["later", "in_part", "of_object", "in_part_of_object", "marked", "in_thread"]


@pytest.mark.parametrize("name", COROUTINE_FUNCTIONS)
def test_coroutine_function_of_any_kind_finds_the_user(configured, settings, name):
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "USER_RESOLVER": f"{__name__}.{name}"}
    token = configured.signer.token("user_1", azp=PARTY)
    response = call(Public, f"Bearer {token}")
    assert (response.status_code, response.data["user"]) == (200, "user_1")
    user = asyncio.run(aresolve_user(get_verifier().verify(token)))
    assert (type(user), user.pk) == (ClerkUser, "user_1")


# In a coroutine


@pytest.fixture
def aresolve(configured, settings):
    """Resolve a user in a coroutine, by ``resolver``."""
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "USER_RESOLVER": f"{__name__}.resolve"}
    claims = get_verifier().verify(configured.signer.token("user_1", azp=PARTY))

    def ask(resolver):
        given[0] = resolver
        return asyncio.run(aresolve_user(claims))

    return ask


@pytest.mark.parametrize("resolver", NOBODY.values(), ids=list(NOBODY))
def test_nobody_is_nobody_in_a_coroutine(aresolve, resolver):
    with pytest.raises(UserInactive):
        aresolve(resolver)


@pytest.mark.parametrize("resolver", NO_USER.values(), ids=list(NO_USER))
def test_what_is_no_user_is_a_defect_in_a_coroutine(aresolve, resolver):
    with pytest.raises(ImproperlyConfigured, match="USER_RESOLVER"):
        aresolve(resolver)


def test_function_runs_in_a_thread_with_all_that_a_lazy_user_loads(aresolve):
    threads = []

    def load():
        threads.append(threading.get_ident())
        return User(username="alice")

    aresolve(lambda claims: threads.append(threading.get_ident()) or SimpleLazyObject(load))
    assert len(set(threads)) == 1
    assert threading.get_ident() not in threads


def test_user_without_a_row_needs_no_thread(configured):
    claims = get_verifier().verify(configured.signer.token("user_1", azp=PARTY))
    with pytest.raises(StopIteration) as caught:
        aresolve_user(claims).send(None)
    assert caught.value.value.pk == "user_1"


async def nobody_later(claims):
    return None


async def later_again(claims):
    return later(claims)


@pytest.mark.parametrize(
    ("name", "error"), [("nobody_later", UserInactive), ("later_again", ImproperlyConfigured)]
)
def test_what_a_coroutine_function_returns_is_judged(configured, settings, name, error):
    claims = get_verifier().verify(configured.signer.token("user_1", azp=PARTY))
    settings.CLERK_AUTH = {**settings.CLERK_AUTH, "USER_RESOLVER": f"{__name__}.{name}"}
    with pytest.raises(error):
        asyncio.run(aresolve_user(claims))
    with pytest.raises(error):
        resolve_user(claims)


@pytest.mark.parametrize("error", [UserInactive("no row"), SessionPending("of our own")])
def test_every_refusal_of_a_resolver_is_counted(ask, error):
    def refuse(claims):
        raise error

    response = ask(refuse, AllowAny)
    assert (response.status_code, response.data["code"]) == (401, error.code)
    assert metrics.totals()["jwt_verifications_failure", error.code, "enforce"] == 1


def test_face_of_users_has_the_names_that_it_lists_and_no_other():
    assert set(users.__all__) <= set(dir(users))
    assert all(hasattr(users, name) for name in users.__all__)
    with pytest.raises(AttributeError, match="no_such"):
        _ = users.no_such
