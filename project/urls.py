"""Where everything is."""

from django.contrib.staticfiles.views import serve
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from project import scrape, views

urlpatterns = [
    path("health/", include("clerk_auth.health")),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    # Split: the page holds no script of its own, for a CSP that allows none.
    path("api/docs", SpectacularSwaggerSplitView.as_view(), name="docs"),
    # What the page loads, with DEBUG off too, which Django calls insecure: slow, and not audited.
    # A deployment has collectstatic, and a web server or CDN for what it finds.
    path("static/<path:path>", serve, {"insecure": True}),
    path("metrics", scrape.metrics, name="metrics"),
    path("api/me", views.me, name="me"),
    path("api/organization", views.organization, name="organization"),
    path("api/organization/uploads", views.OrganizationUploads.as_view(), name="org-uploads"),
    path("api/organization/usage", views.usage, name="usage"),
    path("api/uploads", views.UploadList.as_view(), name="uploads"),
    path("api/uploads/<uuid:pk>", views.UploadDetail.as_view(), name="upload"),
]
