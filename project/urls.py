"""Where everything is."""

from django.urls import path

from project import health, views

urlpatterns = [
    path("health/live", health.live, name="live"),
    path("health/ready", health.ready, name="ready"),
    path("api/me", views.me, name="me"),
    path("api/organization", views.organization, name="organization"),
    path("api/organization/uploads", views.OrganizationUploads.as_view(), name="org-uploads"),
    path("api/organization/usage", views.usage, name="usage"),
    path("api/uploads", views.UploadList.as_view(), name="uploads"),
    path("api/uploads/<uuid:pk>", views.UploadDetail.as_view(), name="upload"),
]
