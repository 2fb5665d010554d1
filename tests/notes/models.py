"""What refers to users, and what only seems to."""

from __future__ import annotations

from django.contrib.auth.models import Group, User
from django.db import models


class Note(models.Model):
    owner = models.ForeignKey(User, models.CASCADE, related_name="+")
    shared_with = models.ManyToManyField(User, related_name="+")
    group = models.ForeignKey(Group, models.CASCADE, null=True, related_name="+")
    clerk_id = models.CharField(max_length=255)

    def __str__(self) -> str:
        return self.clerk_id


class Draft(Note):
    """Its link to ``Note`` refers to no user."""


class NoteProxy(Note):
    class Meta:
        proxy = True


class Profile(models.Model):
    user = models.OneToOneField(User, models.CASCADE, primary_key=True, related_name="+")

    def __str__(self) -> str:
        return str(self.pk)


class Staff(User):
    """A user itself; so is its link to the parent."""

    deputy = models.ForeignKey("self", models.CASCADE, null=True, related_name="+")
