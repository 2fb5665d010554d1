"""One view per way to authenticate; they differ in nothing else."""

from django.urls import path
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from bench.inside.authenticators import AUTHENTICATORS


class View(APIView):
    def get(self, request: Request) -> Response:
        return Response({"ok": True})


VIEWS = {
    name: View.as_view(authentication_classes=classes) for name, classes in AUTHENTICATORS.items()
}
urlpatterns = [path(f"{name}/", view) for name, view in VIEWS.items()]
