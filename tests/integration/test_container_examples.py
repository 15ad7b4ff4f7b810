# SPDX-License-Identifier: MIT
"""units/examples/container/: the image is built and run by a real podman, and so is what the
quadlet and the Kubernetes manifest say, as far as that goes without systemd and a cluster."""

from __future__ import annotations

import configparser
import ctypes
import http.client
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from podman_machine import Podman
from support import (DEADLINE, HARK, Notify, SOURCE, clean_environment, libc, receive_all, run_hark,
                     wait_until)

pytestmark = [pytest.mark.root,
              pytest.mark.needs("podman", "crun", "unshare", "nsenter", "setpriv", "ldd", "tar")]

EXAMPLE = SOURCE / "units/examples/container"
FILES = {"Containerfile", "app", "app.socket", "app@.service", "app.container", "deployment.yaml"}
IMAGE = "localhost/app:latest"
BASE = "localhost/base"
CHECK = ["hark", "status", "--check"]
PORT = 8080
CLONE_NEWNET = 0x40000000
# As in the comment in Containerfile, but for the port: these containers have no network.
CONFINED = ["--read-only", "--tmpfs=/run:mode=1777", "--cap-drop=all"]


@pytest.fixture(name="machine", scope="module")
def make_machine() -> Iterator[Podman]:
    """A podman with the image of the Containerfile."""
    with Podman() as podman:
        podman.import_base(BASE, ["sh", "cat", "grep", "id", "mkdir", "sleep"], [HARK])
        context = podman.directory / "context"
        context.mkdir()
        for name in FILES:
            shutil.copy(EXAMPLE / name, context)
        shutil.copy(HARK, context / "hark")
        podman("build", "--format=docker", "--pull=never", "--isolation=chroot", "--layers=false",
               f"--build-arg=BASE={BASE}", "--build-arg=PACKAGES=", f"--tag={IMAGE}", str(context))
        yield podman


@pytest.fixture
def podman(machine: Podman) -> Iterator[Podman]:
    """The same, without any container."""
    yield machine
    machine("rm", "--force", "--all", "--time=0")


def inspect(podman: Podman, what: str, name: str = "app") -> Any:
    """A part of `podman inspect`."""
    return json.loads(podman("inspect", "--format", "{{json " + what + "}}", name).stdout)


def connect_inside(podman: Podman, name: str = "app") -> socket.socket:
    """A connection to the port, made in the network of the container."""
    pid = inspect(podman, ".State.Pid", name)
    clients: list[socket.socket | OSError] = []

    def enter() -> None:
        try:
            with open(f"/proc/{podman.leader}/root/proc/{pid}/ns/net", "rb") as network:
                if libc.setns(network.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            clients.append(socket.create_connection(("127.0.0.1", PORT), DEADLINE))
        except OSError as error:
            clients.append(error)
    thread = threading.Thread(target=enter)  # its network is its own, and ends with it
    thread.start()
    thread.join()
    client = clients[0]
    if isinstance(client, OSError):
        raise client
    return client


def check_health(podman: Podman, name: str = "app") -> bool:
    """`podman healthcheck run`, which runs the command of the image in the container."""
    result = podman("healthcheck", "run", name, check=False)
    assert result.returncode in (0, 1), result.stderr
    return result.returncode == 0


def wait_healthy(podman: Podman, name: str = "app") -> None:
    """Until it serves; podman's own verdict is the same."""
    wait_until(lambda: check_health(podman, name), what="the container is healthy")
    assert inspect(podman, ".State.Health.Status", name) == "healthy"


def get(client: socket.socket) -> bytes:
    """The body of what it answers to a request."""
    client.sendall(b"GET / HTTP/1.1\r\nHost: app\r\nUser-Agent: test\r\n\r\n")
    response = http.client.HTTPResponse(client)
    response.begin()
    with client:
        body = response.read()
    assert response.status == 200 and response.length == 0
    return body


def stop(podman: Podman, name: str = "app") -> int:
    """`podman stop`; the exit status, which is 137 when the grace period is over before its end."""
    podman("stop", "--time=40", name)
    return int(inspect(podman, ".State.ExitCode", name))


def drop_in(podman: Podman, directory: str, text: str) -> str:
    """The option that adds it to a unit of the image."""
    path = podman.directory / f"{directory}.{time.monotonic_ns()}"
    path.mkdir()
    (path / "test.conf").write_text(text)
    return f"--volume={path}:/etc/systemd/system/{directory}:ro"


def verify(directory: Path, *names: str) -> None:
    """systemd has nothing to say about these files."""
    result = subprocess.run(["systemd-analyze", "verify", "--man=no",
                             *(str(directory / name) for name in names)], capture_output=True,
                            text=True, check=False, timeout=60, env=clean_environment(),
                            stdin=subprocess.DEVNULL)
    said = [line for line in result.stderr.splitlines() if str(directory) in line]
    assert result.returncode == 0 and said == [], result.stderr


# ---- The files -------------------------------------------------------------------------------


def test_every_file_is_tried_here():
    """No example without a test. A hark may have been put there, as Containerfile says."""
    assert {path.name for path in EXAMPLE.iterdir()} - {"hark"} == FILES
    assert os.access(EXAMPLE / "app", os.X_OK)


@pytest.mark.needs("systemd-analyze")
def test_the_pair_is_one_for_systemd_too(directory):
    """Neither hark nor systemd has anything to say, when there is the program."""
    for name in ("app.socket", "app@.service"):
        text = (EXAMPLE / name).read_text().replace("/usr/bin/app", str(EXAMPLE / "app"))
        (directory / name).write_text(text)
    report = json.loads(run_hark("check", "--json", str(directory / "app.socket")).stdout)
    assert report["runnable"] and report["problems"] == [], report["problems"]
    assert [unit["run_without"] for unit in report["units"]] == [[], []]
    verify(directory, "app.socket", "app@.service")


@pytest.mark.needs("dpkg-query", "readelf")
def test_packages_of_the_image():
    """The base that the image is built from here has what hark is linked with; the packages of
    Debian that Containerfile installs are the ones that have it there."""
    headers = subprocess.run(["readelf", "--dynamic", str(HARK)], capture_output=True, text=True,
                             check=True, env=clean_environment()).stdout
    libraries = [name for name in re.findall(r"\(NEEDED\).*\[(.*)\]", headers)
                 if not re.match(r"(libc|libm|ld-linux.*|lib[a-z]*san)\.so", name)]
    owners = subprocess.run(["dpkg-query", "--search", *(f"*/{name}" for name in libraries)],
                            capture_output=True, text=True, check=True, env=clean_environment())
    packages = re.search(r'^ARG PACKAGES="(.*)"$', (EXAMPLE / "Containerfile").read_text(), re.M)
    assert packages
    assert set(packages[1].split()) == {line.split(":")[0] for line in owners.stdout.splitlines()}


# ---- The image -------------------------------------------------------------------------------


def test_image(podman):
    """As its first lines say: serves, is healthy, and ends in time with 0."""
    assert " ".join(CONFINED) in (EXAMPLE / "Containerfile").read_text()
    podman.run_image("-d", "--name=app", "--hostname=node-7", *CONFINED, image=IMAGE)
    wait_healthy(podman)
    assert get(connect_inside(podman)) == b"hello from node-7\n"
    assert "1" in podman("exec", "app", "hark", "status").stdout
    assert stop(podman) == 0
    assert inspect(podman, ".Config.Healthcheck.Test") == ["CMD", *CHECK]
    assert 'listening on "[::]:8080"' in podman("logs", "app").stderr


def test_variables_of_the_container(podman):
    """Those that the unit names."""
    podman.run_image("-d", "--name=app", "--hostname=h", "--env=GREETING=good morning", image=IMAGE)
    wait_healthy(podman)
    assert get(connect_inside(podman)) == b"good morning from h\n"


def test_nothing_is_left_to_it(podman):
    """All at once: a user that nobody knows, no capabilities, no new privileges, the runtime's
    seccomp profile, a read-only root and /proc/sys, no control groups, /run in memory."""
    script = ("id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status;"
              " [ -e /etc/passwd ] || echo nobody;"
              " for f in /file /proc/sys/kernel/hostname /sys/fs/cgroup/cgroup.procs; do"
              " (echo $$$$ >$$f) 2>/dev/null && echo $$f can be written; done; echo end")
    podman.run_image(
        "-d", "--name=app", "--user=4242:2424", "--passwd=false", "--cap-drop=all",
        "--security-opt=no-new-privileges", "--security-opt=mask=/sys/fs/cgroup", "--read-only",
        "--read-only-tmpfs=false", "--tmpfs=/run:mode=1777",
        drop_in(podman, "app@.service.d", "[Service]\nExecStart=\n"
                                          f"ExecStart=/bin/sh -c \"{script}\"\n"), image=IMAGE)
    wait_healthy(podman)
    with connect_inside(podman) as client:
        assert receive_all(client).decode().split() == [
            "4242", "CapEff:", "0" * 16, "CapBnd:", "0" * 16, "NoNewPrivs:", "1", "Seccomp:", "2",
            "nobody", "end"]
    podman("exec", "app", *CHECK, "/run/hark/app/control")
    assert stop(podman) == 0


def test_health_while_it_drains(podman):
    """STOPSIGNAL SIGQUIT, as Containerfile says: no longer healthy, a handler finishes, then 0."""
    podman.run_image("-d", "--name=app", *CONFINED, "--stop-signal=SIGQUIT", image=IMAGE)
    wait_healthy(podman)
    client = connect_inside(podman)
    wait_until(lambda: " 1/256 " in podman("exec", "app", "hark", "status").stdout,
               what="the handler runs")
    podman("kill", "--signal=QUIT", "app")
    wait_until(lambda: not check_health(podman), what="it drains")
    with pytest.raises(ConnectionRefusedError):
        connect_inside(podman)
    assert get(client).startswith(b"hello from ")
    assert int(podman("wait", "app").stdout) == 0


def test_image_without_its_units(podman):
    """It says so, and what about it, instead of being restarted for ever without a word."""
    result = podman.run_image("--rm", image=IMAGE, arguments=["other.socket"], check=False)
    assert result.returncode == 78 and '"other.socket"' in result.stderr


# ---- The quadlet -----------------------------------------------------------------------------

# Of [Container] in podman-systemd.unit(5) of podman 4.4, and what becomes of them. Later versions
# know them all.
QUADLET_KEYS = """AddCapability AddDevice Annotation ContainerName DropCapability Environment
EnvironmentFile EnvironmentHost Exec ExposeHostPort Group Image Label Network NoNewPrivileges Notify
PodmanArgs PublishPort ReadOnly RemapGid RemapUid RemapUidSize RemapUsers RunInit SeccompProfile
Timezone User VolatileTmp Volume""".split()


class Repeated(dict):
    """Sections of a unit file, in which a key may stand more than once."""

    def __setitem__(self, key: str, value: Any) -> None:
        if isinstance(value, list) and key in self:
            self[key].extend(value)
        else:
            super().__setitem__(key, value)


def read_quadlet() -> dict[str, dict[str, list[str]]]:
    """app.container: a list of values for each key."""
    parser = configparser.RawConfigParser(dict_type=Repeated, strict=False, delimiters=("=",),
                                          comment_prefixes=("#", ";"), empty_lines_in_values=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(EXAMPLE / "app.container")
    return {name: {key: value.split("\n") for key, value in parser[name].items()}
            for name in parser.sections()}


def quadlet_options(container: dict[str, list[str]]) -> tuple[list[str], list[str]]:
    """Options of `podman run` as podman's generator makes them, and the arguments of the image."""
    options = ["--sdnotify=container" if container["Notify"] == ["yes"] else "--sdnotify=conmon",
               f"--user={container['User'][0]}:{container['Group'][0]}"]
    if container["ReadOnly"] == ["yes"]:
        options += ["--read-only", "--read-only-tmpfs=false"]
    options += [f"--cap-drop={name}" for name in container["DropCapability"]]
    if container["NoNewPrivileges"] == ["yes"]:
        options.append("--security-opt=no-new-privileges")
    options += [f"--env={assignment}" for assignment in container["Environment"]]
    for words in container["PodmanArgs"]:
        options += shlex.split(words)
    return options, shlex.split(container["Exec"][0])


def test_keys_of_the_quadlet():
    """All are of podman 4.4; those of systemd are left to systemd."""
    quadlet = read_quadlet()
    assert list(quadlet) == ["Unit", "Container", "Service", "Install"]
    assert set(quadlet["Container"]) <= set(QUADLET_KEYS)
    assert quadlet["Container"]["Image"] == [IMAGE]
    assert quadlet["Container"]["PublishPort"] == [f"8080:{PORT}"]


@pytest.mark.needs("systemd-analyze")
def test_sections_that_systemd_reads(directory):
    """What the generator leaves as it is."""
    text = (EXAMPLE / "app.container").read_text()
    text = text.replace("[Container]", "[X-Container]").replace(
        "[Service]", "[Service]\nType=notify\nExecStart=/bin/true")
    (directory / "app.service").write_text(text)
    verify(directory, "app.service")


def test_quadlet(podman, directory):
    """What the generator makes of it, but for the published port: ready when it serves, and the
    longest of its times of grace is systemd's."""
    quadlet = read_quadlet()
    options, arguments = quadlet_options(quadlet["Container"])
    notify = Notify(directory)
    podman.run_image("-d", "--name=app", "--hostname=h", *options, image=IMAGE, arguments=arguments,
                     env={"NOTIFY_SOCKET": str(notify.path)})
    notify.wait_for(lambda: notify.has("READY=1"), DEADLINE, "READY=1 from the container")
    notify.close()
    assert get(connect_inside(podman)) == b"Hello from h\n"
    assert inspect(podman, ".Config.StopTimeout") == 30
    assert "--stop-timeout=25s" in inspect(podman, ".Args")
    assert int(quadlet["Service"]["TimeoutStopSec"][0]) > 30
    assert stop(podman) == 0


# ---- The manifest ----------------------------------------------------------------------------

# What of Kubernetes' apps/v1 and v1 is used: kubectl refuses any other key, podman ignores it.
PROBE = {"exec": {"command": list}, "periodSeconds": int, "failureThreshold": int,
         "timeoutSeconds": int}
METADATA = {"name": str, "labels": {"app": str}}
CONTAINER = {
    "name": str, "image": str, "args": list, "ports": [{"name": str, "containerPort": int}],
    "env": [{"name": str, "value": str}], "startupProbe": PROBE, "readinessProbe": PROBE,
    "livenessProbe": PROBE, "lifecycle": {"preStop": {"exec": {"command": list}}},
    "resources": {"requests": {"cpu": str, "memory": str}, "limits": {"cpu": str, "memory": str}},
    "securityContext": {"allowPrivilegeEscalation": bool, "readOnlyRootFilesystem": bool,
                        "capabilities": {"drop": list}},
    "volumeMounts": [{"name": str, "mountPath": str}]}
POD = {
    "topologySpreadConstraints": [{"maxSkew": int, "topologyKey": str, "whenUnsatisfiable": str,
                                   "labelSelector": {"matchLabels": {"app": str}}}],
    "terminationGracePeriodSeconds": int, "automountServiceAccountToken": bool,
    "securityContext": {"runAsNonRoot": bool, "runAsUser": int, "runAsGroup": int,
                        "seccompProfile": {"type": str}},
    "containers": [CONTAINER],
    "volumes": [{"name": str, "emptyDir": {"medium": str, "sizeLimit": str}}]}
DEPLOYMENT = {"apiVersion": str, "kind": str, "metadata": METADATA, "spec": {
    "replicas": int, "selector": {"matchLabels": {"app": str}},
    "template": {"metadata": {"labels": {"app": str}}, "spec": POD}}}
SERVICE = {"apiVersion": str, "kind": str, "metadata": METADATA, "spec": {
    "selector": {"app": str}, "ports": [{"name": str, "port": int, "targetPort": str}]}}


def check_schema(value: Any, schema: Any, where: str) -> None:
    """No key that is not in the schema, and no value of another kind."""
    if isinstance(schema, dict):
        assert isinstance(value, dict) and set(value) <= set(schema), (where, value)
        for key, inner in value.items():
            check_schema(inner, schema[key], f"{where}.{key}")
    elif isinstance(schema, list):
        assert isinstance(value, list) and value, (where, value)
        for inner in value:
            check_schema(inner, schema[0], f"{where}[]")
    else:
        assert type(value) is schema, (where, value)


def read_manifest() -> tuple[dict[str, Any], dict[str, Any]]:
    """The Deployment and the Service."""
    yaml = pytest.importorskip("yaml")
    deployment, service = yaml.safe_load_all((EXAMPLE / "deployment.yaml").read_text())
    return deployment, service


def test_keys_of_the_manifest():
    """Nothing that kubectl would refuse, and what belongs together fits."""
    deployment, service = read_manifest()
    check_schema(deployment, DEPLOYMENT, "Deployment")
    check_schema(service, SERVICE, "Service")
    assert (deployment["apiVersion"], deployment["kind"]) == ("apps/v1", "Deployment")
    assert (service["apiVersion"], service["kind"]) == ("v1", "Service")
    spec = deployment["spec"]
    labels = spec["template"]["metadata"]["labels"]
    pod = spec["template"]["spec"]
    container = pod["containers"][0]
    assert spec["selector"]["matchLabels"] == labels == service["spec"]["selector"]
    assert container["ports"] == [{"name": service["spec"]["ports"][0]["targetPort"],
                                   "containerPort": PORT}]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["exec"]["command"] == CHECK
    assert [v["name"] for v in pod["volumes"]] == [m["name"] for m in container["volumeMounts"]]
    pause, timeout = container["lifecycle"]["preStop"]["exec"]["command"][1], container["args"][0]
    assert timeout == "--stop-timeout=30s"
    assert pod["terminationGracePeriodSeconds"] > int(pause) + 30


def play(podman: Podman, name: str, text: str) -> subprocess.CompletedProcess[str]:
    """`podman play kube`, where control groups cannot be delegated, and the first container of a
    pod cannot be downloaded."""
    configuration = podman.directory / "containers.conf"
    configuration.write_text(
        '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]\n'
        f'[engine]\ninfra_image = "{BASE}"\n')
    path = podman.directory / name
    path.write_text(text)
    return podman("--runtime-flag=cgroup-manager=disabled", "play", "kube", "--network=none",
                  "--log-driver=k8s-file", str(path), env={"CONTAINERS_CONF": str(configuration)})


def test_manifest(podman):
    """`podman play kube` takes the Deployment as it is, but for the number of replicas, since its
    pods share what ought to be a directory of each, and the port, since there is no network."""
    text = (EXAMPLE / "deployment.yaml").read_text()
    deployment, _ = read_manifest()
    podman("tag", IMAGE, deployment["spec"]["template"]["spec"]["containers"][0]["image"])
    for pattern, instead in (("replicas: 3$", "replicas: 1"),
                             (" *ports:\n *- name: http\n *containerPort: 8080$", "")):
        text, n = re.subn(pattern, instead, text, flags=re.MULTILINE)
        assert n == 1
    play(podman, "deployment.yaml", text)
    name = "app-pod-0-hark"
    wait_healthy(podman, name)
    assert get(connect_inside(podman, name)).startswith(b"Hello from app-pod-0")
    assert inspect(podman, ".HostConfig.ReadonlyRootfs", name) is True
    assert inspect(podman, ".Config.User", name) == "10001:10001"
    assert " ".join(CHECK) in " ".join(inspect(podman, ".Config.Healthcheck.Test", name))
    status = podman("exec", name, "cat", "/proc/1/status").stdout.split("\n")
    assert {"CapBnd:\t" + "0" * 16, "NoNewPrivs:\t1", "Seccomp:\t2"} <= set(status)
    assert stop(podman, name) == 0
    assert "hark" in podman("logs", name).stderr
