"""The manifests: valid by their schemas, wired as the image is, and gated by the self-test."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from secrets import token_urlsafe
from typing import Any

import pytest
import yaml
from botocore.model import Shape, StringShape
from botocore.session import Session
from botocore.validate import ParamValidator
from django.core.management import load_command_class
from django.urls import resolve

from clerk_auth import health
from project.demo.environment import inherit_environment
from project.environment import _CLERK_AUTH
from tests.deploy.conftest import KIT
from tests.deploy.dockerfile import FINAL, copied, find

pytestmark = pytest.mark.integration

ECS = json.loads((KIT / "ecs-task-definition.json").read_text())
COMPOSE = yaml.safe_load((KIT / "compose.yaml").read_text())
API = list(yaml.safe_load_all((KIT / "kubernetes/api.yaml").read_text()))
JOB = yaml.safe_load((KIT / "kubernetes/selftest.yaml").read_text())
COMMANDS = {"check": "django.core", "clerk_selftest": "clerk_auth", "migrate": "django.core"}
SECRETS = {"DJANGO_SECRET_KEY", "REDIS_URL"}


def of_kind(kind: str) -> dict[str, Any]:
    (found,) = (document for document in API if document["kind"] == kind)
    return found


POD = of_kind("Deployment")["spec"]["template"]["spec"]
(WEB,) = POD["containers"]
INIT = {container["name"]: container for container in POD["initContainers"]}
(JOB_CONTAINER,) = JOB["spec"]["template"]["spec"]["containers"]
(JOB_CHECK,) = JOB["spec"]["template"]["spec"]["initContainers"]
TASK = {container["name"]: container for container in ECS["containerDefinitions"]}
SERVICES = {name: s for name, s in COMPOSE["services"].items() if name != "redis"}

RUN = {
    **{f"kubernetes-{name}": container["command"] for name, container in INIT.items()},
    "kubernetes-job": JOB_CONTAINER["command"],
    "kubernetes-job-check": JOB_CHECK["command"],
    **{f"ecs-{name}": TASK[name]["command"] for name in ("migrate", "selftest")},
    **{f"compose-{name}": SERVICES[name]["command"] for name in ("migrate", "selftest")},
}


@pytest.mark.parametrize("command", RUN.values(), ids=RUN)
def test_commands_exist_with_their_options(command):
    python, manage, name, *options = command
    assert (python, manage) == ("python", "manage.py")
    load_command_class(COMMANDS[name], name).create_parser("manage.py", name).parse_args(options)


@pytest.mark.parametrize("name", ["kubernetes-selftest", "ecs-selftest"])
def test_what_gates_each_start_asks_nothing_of_clerk(name):
    # A container must be able to start while Clerk is down.
    assert "--offline" in RUN[name]


@pytest.mark.parametrize("name", ["kubernetes-job", "compose-selftest"])
def test_what_gates_a_rollout_asks_clerk(name):
    assert "--offline" not in RUN[name]


def read_environments() -> dict[str, dict[str, str]]:
    """Return what each manifest sets for the process that serves; secrets have stand-in values."""
    secrets = {"DJANGO_SECRET_KEY": token_urlsafe(48), "REDIS_URL": "redis://redis:6379/0"}

    def fill(text: str) -> str:
        name, default = re.fullmatch(r"\$\{(\w+):[-?](.*)\}", text).groups()
        return (of_kind("ConfigMap")["data"] | secrets).get(name, default)

    def plain(container: dict[str, Any]) -> dict[str, str]:
        assert {item["name"] for item in container["secrets"]} == secrets.keys()
        return {item["name"]: item["value"] for item in container["environment"]}

    return {
        "kubernetes": of_kind("ConfigMap")["data"] | secrets,
        "ecs-selftest": plain(TASK["selftest"]) | secrets,
        "ecs-web": plain(TASK["web"]) | secrets,
        "compose": {
            name: fill(value) if value.startswith("$") else value
            for name, value in SERVICES["web"]["environment"].items()
        },
    }


ENVIRONMENTS = read_environments()


@pytest.mark.parametrize("where", ENVIRONMENTS)
def test_variables_are_those_that_the_demo_reads(where):
    settings = (KIT.parent / "project" / "settings.py").read_text()
    known = {variable for variable, _ in _CLERK_AUTH.values()} | {"REDIS_URL"}
    names = ENVIRONMENTS[where].keys()
    assert names <= known | set(re.findall(r'os\.environ, "(\w+)"', settings))
    assert names >= {*SECRETS, "CLERK_FRONTEND_API", "CLERK_AUTHORIZED_PARTIES"}


def check(where: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "check", *options],
        cwd=KIT.parent,
        env=inherit_environment() | ENVIRONMENTS[where],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_check_that_gates_a_rollout_is_that_of_the_docs():
    gate = " ".join(JOB_CHECK["command"])
    assert f"\n{gate}\n" in (KIT.parent / "docs" / "deployment.md").read_text()


@pytest.mark.parametrize("where", ENVIRONMENTS)
def test_settings_pass_the_gate_wherever_tls_ends(where):
    done = check(where, *JOB_CHECK["command"][3:])
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("where", ENVIRONMENTS)
def test_settings_pass_the_checks_of_a_deployment(where):
    done = check(where, "--deploy", "--fail-level", "WARNING")
    assert "System check identified" in done.stdout + done.stderr
    found = set(re.findall(r"\((\w+\.[EW]\d+)\)", done.stderr))
    # Compose publishes on loopback, without TLS: HSTS, the redirect.
    assert found == ({"security.W004", "security.W008"} if where == "compose" else set())


# What a process needs to read, and refuse, a value of 200 MB that somebody put under a key of ours.
READING_MIB = 700


def test_memory_is_enough_for_a_hostile_value_in_the_cache():
    def limit(container: dict[str, Any]) -> int:
        text = container["resources"]["limits"]["memory"]
        return int(text[:-2]) * {"Mi": 1, "Gi": 1024}[text[-2:]]

    workers = 2  # deploy/gunicorn.conf.py
    assert limit(WEB) > workers * READING_MIB
    assert int(ECS["memory"]) > workers * READING_MIB
    assert min(map(limit, [*INIT.values(), JOB_CONTAINER])) > READING_MIB


def test_every_process_of_a_pod_has_the_same_settings():
    assert WEB["envFrom"] == INIT["selftest"]["envFrom"] == JOB_CONTAINER["envFrom"]
    assert JOB_CHECK["envFrom"] == JOB_CONTAINER["envFrom"]
    assert JOB_CHECK["image"] == JOB_CONTAINER["image"]


def test_no_secret_is_written_down():
    for path in KIT.rglob("*"):
        if path.is_file():
            text = path.read_bytes()
            assert not re.search(rb"sk_(live|test)_\w|BEGIN [A-Z ]*PRIVATE KEY", text)
    assert not SECRETS & set(of_kind("ConfigMap")["data"])
    for container in TASK.values():
        assert not SECRETS & {item["name"] for item in container["environment"]}
        for secret in container.get("secrets", []):
            assert secret["valueFrom"].startswith("arn:aws:secretsmanager:")


class TestKubernetes:
    # The files' schemas are checked by kubernetes-validate.

    @pytest.mark.parametrize(
        ("probe", "view"),
        [
            ("startupProbe", health.live),
            ("livenessProbe", health.live),
            ("readinessProbe", health.ready),
        ],
    )
    def test_probes_ask_our_views_under_a_host_that_django_answers_to(self, probe, view):
        asked = WEB[probe]["httpGet"]
        assert resolve(asked["path"]).func is view
        (header,) = asked["httpHeaders"]
        assert header["name"] == "Host"
        assert header["value"] in of_kind("ConfigMap")["data"]["DJANGO_ALLOWED_HOSTS"].split(",")
        (port,) = (port for port in WEB["ports"] if port["name"] == asked["port"])
        assert str(port["containerPort"]) == find(FINAL, "EXPOSE")[0].text

    @pytest.mark.parametrize("container", [WEB, *INIT.values(), JOB_CONTAINER, JOB_CHECK])
    def test_containers_can_change_nothing(self, container):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}

    @pytest.mark.parametrize("pod", [POD, JOB["spec"]["template"]["spec"]])
    def test_pods_run_as_the_images_user_without_an_account(self, pod):
        context = pod["securityContext"]
        user = find(FINAL, "USER")[0].text
        assert f"{context['runAsUser']}:{context['runAsGroup']}" == user
        assert context["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False

    def test_selectors_meet_the_pods(self):
        labels = of_kind("Deployment")["spec"]["template"]["metadata"]["labels"]
        assert of_kind("Deployment")["spec"]["selector"]["matchLabels"] == labels
        assert of_kind("Service")["spec"]["selector"] == labels
        assert of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels

    def test_a_pod_may_go_without_the_last_ones(self):
        replicas = of_kind("Deployment")["spec"]["replicas"]
        assert of_kind("PodDisruptionBudget")["spec"]["minAvailable"] < replicas

    def test_workers_end_before_the_pod_is_killed(self):
        pause = WEB["lifecycle"]["preStop"]["sleep"]["seconds"]
        graceful = int(
            re.search(r"^graceful_timeout = (\d+)", (KIT / "gunicorn.conf.py").read_text(), re.M)[1]
        )
        assert pause + graceful < POD["terminationGracePeriodSeconds"]
        assert graceful < TASK["web"]["stopTimeout"]


class TestECS:
    def test_is_what_the_service_takes(self):
        model = Session().get_service_model("ecs")
        shape = model.operation_model("RegisterTaskDefinition").input_shape
        assert ParamValidator().validate(ECS, shape).generate_report() == ""
        assert list(find_foreign_values(ECS, shape)) == []

    def test_validator_finds_what_is_wrong(self):
        model = Session().get_service_model("ecs")
        shape = model.operation_model("RegisterTaskDefinition").input_shape
        wrong = {**ECS, "requiresCompatibilities": ["FARGETE"], "cpus": "512"}
        assert "cpus" in ParamValidator().validate(wrong, shape).generate_report()
        assert list(find_foreign_values(wrong, shape)) == ["FARGETE"]

    def test_web_waits_for_the_gates(self):
        gates = {item["containerName"]: item["condition"] for item in TASK["web"]["dependsOn"]}
        assert gates == {"migrate": "SUCCESS", "selftest": "SUCCESS"}
        assert {name for name, container in TASK.items() if container["essential"]} == {"web"}

    def test_selftest_has_the_settings_of_web(self):
        # What it counts is of no interest to anybody.
        ours = [
            item
            for item in TASK["web"]["environment"]
            if "CLERK" in item["name"] and item["name"] != "CLERK_METRICS"
        ]
        assert ours
        assert all(item in TASK["selftest"]["environment"] for item in ours)
        assert TASK["selftest"]["secrets"] == TASK["web"]["secrets"]

    def test_health_check_is_the_images(self):
        kind, *command = TASK["web"]["healthCheck"]["command"]
        assert (kind, command) == ("CMD", find(FINAL, "HEALTHCHECK")[0].words())
        assert "deploy/probe.py" in copied(FINAL)


def find_foreign_values(value: Any, shape: Shape) -> Iterator[str]:
    """Yield values that are not in the list that the model has for them."""
    if isinstance(shape, StringShape) and shape.enum and value not in shape.enum:
        yield value
    elif shape.type_name == "structure":
        for name, member in value.items():
            if name in shape.members:
                yield from find_foreign_values(member, shape.members[name])
    elif shape.type_name == "list":
        for member in value:
            yield from find_foreign_values(member, shape.member)


class TestCompose:
    # The file's schema is checked by check-jsonschema.

    def test_web_starts_after_the_gates(self):
        waits = {name: item["condition"] for name, item in SERVICES["web"]["depends_on"].items()}
        assert waits == {
            "redis": "service_healthy",
            "migrate": "service_completed_successfully",
            "selftest": "service_completed_successfully",
        }

    def test_web_is_published_on_loopback_alone(self):
        assert SERVICES["web"]["ports"] == [f"127.0.0.1:8000:{find(FINAL, 'EXPOSE')[0].text}"]

    @pytest.mark.parametrize("service", COMPOSE["services"].values(), ids=COMPOSE["services"])
    def test_services_can_change_nothing(self, service):
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]

    @pytest.mark.parametrize("name", ["DJANGO_SECRET_KEY", "CLERK_FRONTEND_API"])
    def test_it_does_not_start_without_what_must_be_given(self, name):
        assert SERVICES["web"]["environment"][name].startswith(f"${{{name}:?")
