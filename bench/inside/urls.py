"""One view per way to admit a caller; they differ in nothing else."""

from django.urls import path
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from bench.inside.authenticators import VIEW_OPTIONS


class View(APIView):
    def get(self, request: Request) -> Response:
        return Response({"ok": True})


VIEWS = {name: View.as_view(**options) for name, options in VIEW_OPTIONS.items()}
urlpatterns = [path(f"{name}/", view) for name, view in VIEWS.items()]
