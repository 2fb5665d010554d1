"""One model for each way to hold Clerk's id."""

from __future__ import annotations

import secrets
import uuid

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.core.validators import MinValueValidator
from django.db import models


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
