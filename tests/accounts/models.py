"""One model for each way to hold Clerk's id."""

from __future__ import annotations

import datetime
import secrets
import uuid

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import connection, connections, models
from django.db.models.signals import pre_migrate
from django.dispatch import receiver


class Active(BaseUserManager):
    """Hides whom the project has deactivated."""

    def get_queryset(self) -> models.QuerySet:
        return super().get_queryset().filter(is_active=True)


class Imported(AbstractBaseUser):
    """Rows that came with ids of their own: a text, a UUID and a number."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    email = models.EmailField(unique=True)
    legacy_id = models.CharField(max_length=12, unique=True, null=True, blank=True)
    uuid = models.UUIDField(unique=True, null=True)
    number = models.PositiveIntegerField(unique=True, null=True)
    is_active = models.BooleanField(default=True)

    USERNAME_FIELD = "email"
    objects = BaseUserManager()


class Member(AbstractBaseUser):
    """Keyed by something else, with a field for Clerk's id."""

    username = models.CharField(max_length=150, unique=True)
    clerk_id = models.CharField(max_length=255, unique=True, null=True, blank=True)
    email = models.EmailField(unique=True, null=True, blank=True)
    name = models.CharField(max_length=20, blank=True)
    title = models.CharField(max_length=3, blank=True, choices=[("dr", "Dr")])
    about = models.TextField(blank=True)
    newsletter = models.BooleanField(default=False)
    age = models.BigIntegerField(null=True, validators=[MinValueValidator(0)])
    score = models.FloatField(null=True)
    code = models.CharField(max_length=64, unique=True, default=secrets.token_hex)
    joined = models.DateField(null=True)
    mentor = models.ForeignKey("self", models.SET_NULL, null=True)
    is_active = models.BooleanField(default=True)

    USERNAME_FIELD = "username"
    objects = BaseUserManager()

    class Meta:
        constraints = [
            # An address in other letters is the same address: no field of the model says so.
            models.UniqueConstraint(models.functions.Lower("email"), name="one_member_an_address"),
            models.CheckConstraint(
                condition=~models.Q(clerk_id="user_refused"), name="refused_by_the_project"
            ),
        ]


class KeyedMember(AbstractBaseUser):
    """Clerk's id is the primary key and the user name."""

    id = models.CharField(max_length=255, primary_key=True)
    is_active = models.BooleanField(default=True)

    USERNAME_FIELD = "id"
    objects = Active()


# Models as they are met, each of which once made a request fail


class Kept(AbstractBaseUser):
    """What they have in common."""

    username = models.CharField(max_length=150, unique=True)
    clerk_id = models.CharField(max_length=255, unique=True, null=True, blank=True)
    is_active = models.BooleanField(default=True)

    USERNAME_FIELD = "username"
    objects = BaseUserManager()

    class Meta:
        abstract = True


# SQLite has the first; PostgreSQL is given the second, see ``make_collation``.
_IGNORES_CASE = "NOCASE" if connection.vendor == "sqlite" else "ignores_case"


@receiver(pre_migrate, dispatch_uid=__name__)
def make_collation(using: str, **_: object) -> None:
    if connections[using].vendor == "postgresql":
        with connections[using].cursor() as cursor:
            cursor.execute(
                "CREATE COLLATION IF NOT EXISTS ignores_case"
                " (provider = icu, locale = 'und-u-ks-level1', deterministic = false)"
            )


class FoldingMember(Kept):
    """The database takes letters of either case for the same."""

    username = models.CharField(max_length=150, unique=True, db_collation=_IGNORES_CASE)
    clerk_id = models.CharField(
        max_length=255, unique=True, null=True, blank=True, db_collation=_IGNORES_CASE
    )


class CleaningMember(Kept):
    """Validates itself whenever it is saved."""

    email = models.EmailField(unique=True, null=True, blank=True)
    name = models.CharField(max_length=20, blank=True)

    def clean(self) -> None:
        super().clean()
        if self.clerk_id == "user_refused":
            raise ValidationError("Refused by the project.")
        if self.name == "Mallory":
            raise ValidationError({"name": "Refused by the project."})

    def save(self, *args: object, **kwargs: object) -> None:
        self.full_clean()
        super().save(*args, **kwargs)


class CleaningNeedsTitle(CleaningMember):
    """By its own validation alone, a title is required. It has a parent with a table, too."""

    title = models.CharField(max_length=20)


class ShortNameMember(Kept):
    username = models.CharField(max_length=30, unique=True)


class ShortIdMember(Kept):
    clerk_id = models.CharField(max_length=30, unique=True, null=True, blank=True)


class UuidMember(Kept):
    clerk_id = models.UUIDField(unique=True, null=True)


class NumberMember(Kept):
    """Both are numbers."""

    username = models.BigIntegerField(unique=True)
    clerk_id = models.BigIntegerField(unique=True, null=True)


class NumberNameMember(Kept):
    username = models.BigIntegerField(unique=True)


class ShortPasswordMember(Kept):
    password = models.CharField(max_length=32)


class NullPasswordMember(Kept):
    password = models.CharField(max_length=128, null=True)  # noqa: DJ001


class ContactMember(Kept):
    """One row may go without an address, and a second one may not."""

    email = models.EmailField(unique=True)


class TenantMember(Kept):
    """Columns that must have a value."""

    tenant = models.IntegerField()
    joined = models.DateField()
    email = models.EmailField(unique=True)
    phone = models.CharField(max_length=20, unique=True, null=True, blank=True)
    seen = models.DateTimeField(auto_now=True)


class SelfFillingMember(TenantMember):
    """Fills them when it is saved; its primary key is the link to its parent."""

    def save(self, *args: object, **kwargs: object) -> None:
        self.tenant, self.email = 1, f"{self.username}@{self.username}.example"
        self.joined = self.joined or datetime.date(2026, 1, 1)
        super().save(*args, **kwargs)


class PasswordlessMember(Kept):
    """Nobody signs in by password: the usual way to have no column for one."""

    password = None


class PlainMember(models.Model):
    """As little as Django asks of a user model."""

    username = models.CharField(max_length=150, unique=True)
    clerk_id = models.CharField(max_length=255, unique=True, null=True, blank=True)

    USERNAME_FIELD = "username"
    REQUIRED_FIELDS = ()
    is_anonymous = False
    is_authenticated = True
    objects = BaseUserManager()

    def __str__(self) -> str:
        return self.username


class LegacyMember(Kept):
    """Checks passwords in a way of its own."""

    legacy = models.CharField(max_length=20)

    def check_password(self, raw_password: str) -> bool:
        return raw_password == self.legacy


class AddressMember(Kept):
    """Signs in by e-mail address."""

    username = None
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=20, blank=True)

    USERNAME_FIELD = "email"


class SmallLetters(models.CharField):
    """Reaches the database in small letters, and leaves the instance as it is."""

    def get_prep_value(self, value: object) -> object:
        value = super().get_prep_value(value)
        return value.lower() if isinstance(value, str) else value


class SmallLettersMember(Kept):
    """Stores another form of what it is given."""

    email = models.EmailField(unique=True, null=True, blank=True)
    name = SmallLetters(max_length=20)

    def save(self, *args: object, **kwargs: object) -> None:
        self.email = self.email and self.email.lower()
        super().save(*args, **kwargs)


class SmallNameMember(Kept):
    """Stores another user name than it is given."""

    def save(self, *args: object, **kwargs: object) -> None:
        self.username = self.username.lower()
        super().save(*args, **kwargs)


def refuse_in_its_own_way(value: str) -> None:
    """Validate as functions do that were not made for it."""
    if int(value) < 7:
        raise TypeError("Refused by the project.")


class ConstraintMember(Kept):
    """The id is unique by a constraint, not by the field. An index has a limit of its own."""

    clerk_id = models.CharField(max_length=255, null=True)  # noqa: DJ001
    site = models.TextField(unique=True, null=True, blank=True)
    nick = models.CharField(max_length=20, blank=True, validators=[refuse_in_its_own_way])

    class Meta:
        constraints = [models.UniqueConstraint(fields=["clerk_id"], name="one_row_an_id")]


class HalfUniqueMember(Kept):
    """Two rows may have one id, where the condition does not hold."""

    clerk_id = models.CharField(max_length=255, null=True)  # noqa: DJ001

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["clerk_id"], condition=models.Q(is_active=True), name="one_active_row"
            )
        ]


class ProxyMember(Member):
    """The same rows under another name."""

    class Meta:
        proxy = True
