"""What the demo stores."""

from __future__ import annotations

import uuid

from django.db import models


class Upload(models.Model):
    """One CSV file that was taken, and whose it is.

    ``owner_id`` is the Clerk user id, a claim of the token; the project has no user rows.
    ``organization_id`` is the organization that was active, empty outside one.
    ``columns`` is a list of ``{"name", "type", "nullable"}``.
    """

    # Random, so that an id tells nothing about other people's uploads.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner_id = models.CharField(max_length=255)
    organization_id = models.CharField(max_length=255, blank=True, default="", db_index=True)
    name = models.CharField(max_length=255)
    columns = models.JSONField()
    row_count = models.PositiveIntegerField()
    text = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-created_at", "id")
        indexes = (models.Index(fields=("owner_id", "-created_at", "id"), name="upload_by_owner"),)

    def __str__(self) -> str:
        return self.name
