# SPDX-License-Identifier: MIT
"""hark check: what becomes of each line in units, in text and in JSON, and the exit status."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support import HARK, SANITIZED, clean_environment

SOCKET = "[Socket]\nListenStream=/run/foo.sock\n"
ACCEPT = SOCKET + "Accept=yes\n"
SERVICE = "[Service]\nExecStart=/bin/cat\n"
ROW = re.compile(r"^ *(\d+)  (honoured|harmless|neutral|run without|refused|unknown|invalid) +"
                 r"\[([\w-]+)\] +(.*)$")


def check(directory: Path, *arguments: object, **env: str) -> subprocess.CompletedProcess[bytes]:
    """hark check with the units of that directory alone."""
    return subprocess.run([str(HARK), "check", *map(str, arguments)], capture_output=True,
                          env=clean_environment(SYSTEMD_UNIT_PATH=str(directory)) | env,
                          cwd=directory, stdin=subprocess.DEVNULL, check=False, timeout=60)


def text(directory: Path, *arguments: object, status: int = 0) -> str:
    """What it prints; the placeholder of instances, two random numbers, is never in it."""
    result = check(directory, *arguments)
    output = result.stdout.decode()
    assert result.returncode == status, output + result.stderr.decode()
    assert result.stderr == b""
    assert not re.search(r"[0-9a-f]{12}", output), output
    return output


def data(directory: Path, *arguments: object, status: int = 0) -> dict[str, Any]:
    """The same as JSON."""
    return json.loads(text(directory, "--json", *arguments, status=status))


def rows(output: str) -> list[tuple[str, int, str, str, str]]:
    """File, line, verdict, section, and what follows, of each key."""
    result = []
    file = ""
    for line in output.splitlines():
        if line.startswith("  /"):
            file = line[2:]
        match = ROW.match(line)
        if match:
            result.append((file, int(match[1]), match[2], match[3], match[4]))
    return result


def verdicts(output: str) -> dict[str, str]:
    """The verdict of each KEY=value."""
    return {row[4]: row[2] for row in rows(output)}


def errors(output: str) -> list[str]:
    """The lines of errors, without their directories."""
    return [re.sub(r"^/\S*/", "", line) for line in output.splitlines()
            if re.match(r"(\S+: )?error: ", line)]


def write(directory: Path, **units: str) -> None:
    """foo_socket, foo__service (a template), … into files."""
    for name, content in units.items():
        file = name.replace("__", "@.").replace("_", ".").replace("@..", "@.")
        (directory / file).write_text(content)


# ---- verdicts --------------------------------------------------------------------------------


def test_a_good_pair(directory: Path) -> None:
    write(directory, foo_socket=SOCKET, foo_service=SERVICE)
    output = text(directory, "foo.socket")
    assert rows(output) == [
        (f"{directory}/foo.socket", 2, "honoured", "Socket", "ListenStream=/run/foo.sock"),
        (f"{directory}/foo.service", 2, "honoured", "Service", "ExecStart=/bin/cat")]
    assert output.endswith("foo.socket with foo.service: would run\n")
    assert text(directory, "foo") == output
    assert text(directory, directory / "foo.socket") == output


def test_every_verdict(directory: Path) -> None:
    write(directory, foo_socket=SOCKET + "Backlog=much\nPollLimitBurst=3\nNonsense=1\n",
          foo_service="[Unit]\nDescription=%N of %p\n" + SERVICE
          + "PrivateTmp=no\nProtectHome=yes\nProtectSystem=full\n[Install]\nWantedBy=x.target\n")
    output = text(directory, "foo", "--ignore=ProtectHome", status=78)
    assert verdicts(output) == {
        "ListenStream=/run/foo.sock": "honoured",
        "Backlog=much": "invalid",
        "PollLimitBurst=3 (systemd 255)": "honoured",
        "Nonsense=1": "unknown",
        "Description=foo of foo": "harmless",
        "ExecStart=/bin/cat": "honoured",
        "PrivateTmp=no": "neutral",
        "ProtectHome=yes": "run without",
        "ProtectSystem=full": "refused",
        "WantedBy=x.target": "harmless",
    }
    assert "\nfoo.service: run without ProtectHome=\n" in output
    assert [e.split(" error:")[0] for e in errors(output)] == [
        "foo.service:7:", "foo.socket:3:", "foo.socket:5:"]
    assert "foo.socket with foo.service: would not run: 3 errors\n" in output
    assert output.endswith("hark would not start: 3 errors\n")


def test_an_error_of_another_layer_makes_a_value_invalid(directory: Path) -> None:
    write(directory, foo_socket=SOCKET + "ListenStream=/run/2\nSocketUser=no-such-user\n",
          foo_service=SERVICE + "StandardInput=socket\n")
    found = verdicts(text(directory, "foo", status=78))
    assert found["SocketUser=no-such-user"] == "invalid"
    assert found["StandardInput=socket"] == "invalid"


@pytest.mark.parametrize("by", ["option", "key"])
def test_run_without(directory: Path, by: str) -> None:
    write(directory, foo_socket=SOCKET,
          foo_service=SERVICE + "PrivateTmp=yes\nPrivateTmp=yes\nPrivateDevices=yes\nNew=1\n")
    refused = text(directory, "foo", status=78)
    assert len(errors(refused)) == 3  # a later use of a key takes the place of the first
    if by == "key":
        (directory / "foo.service.d").mkdir()
        (directory / "foo.service.d/x.conf").write_text("[X-Hark]\nIgnore=sandbox New\n")
    options = ["--ignore=sandbox", "--ignore=New"] if by == "option" else []
    output = text(directory, "foo", *options)
    assert "\nfoo.service: run without New=, PrivateDevices=, PrivateTmp=\n" in output
    assert "would run\n" in output
    assert data(directory, "foo", *options)["units"][1]["run_without"] == [
        "New", "PrivateDevices", "PrivateTmp"]


def test_drop_ins_and_aliases(directory: Path) -> None:
    write(directory, foo_socket=SOCKET, foo_service=SERVICE)
    (directory / "bar.socket").symlink_to("foo.socket")
    (directory / "foo.socket.d").mkdir()
    (directory / "bar.socket.d").mkdir()
    (directory / "foo.socket.d/2.conf").write_text("[Socket]\nBacklog=5\n")
    (directory / "bar.socket.d/1.conf").write_text("\n[Socket]\nSocketMode=0600\n")
    output = text(directory, "bar", "foo")
    assert [(row[0].removeprefix(str(directory)), row[1], row[4]) for row in rows(output)][:3] == [
        ("/foo.socket", 2, "ListenStream=/run/foo.sock"),
        ("/bar.socket.d/1.conf", 3, "SocketMode=0600"), ("/foo.socket.d/2.conf", 2, "Backlog=5")]
    assert output.startswith("foo.socket, also called bar.socket\n")
    assert output.count("would run") == 1
    assert data(directory, "foo")["units"][0]["files"] == [
        f"{directory}/{name}" for name in ("foo.socket", "bar.socket.d/1.conf",
                                           "foo.socket.d/2.conf")]


def test_a_fault_of_a_common_drop_in_is_said_once(directory: Path) -> None:
    write(directory, a_socket="[Socket]\nListenStream=/run/a\n", a_service=SERVICE,
          b_socket="[Socket]\nListenStream=/run/b\n", b_service=SERVICE)
    (directory / "service.d").mkdir()
    (directory / "service.d/x.conf").write_text("[Service]\nNonsense=1\n")
    output = text(directory, "a", "b", status=78)
    assert errors(output) == ['x.conf:2: error: unknown key "Nonsense" in [Service]: remove it, or '
                              'ignore it by name']
    assert output.count("would not run: 1 error\n") == 2
    assert output.endswith("hark would not start: 1 error\n")


def test_templates_show_what_is_written(directory: Path) -> None:
    write(directory, foo_socket=ACCEPT, foo__service=SERVICE.replace("cat", "cat %i %I")
          + "Environment=A=%i B=%n C=%f D=%p E=%%\nUser=%i\nWorkingDirectory=/x/%I/%i\n"
          "StandardOutput=fd:%i\nFoo=%i\nSockets=%i.service\n" + "Environment=F=" + 80 * "x"
          + "%i%i\n[Unit]\nConditionPathExists=/etc/%i\n")
    output = text(directory, "foo", status=78)
    found = verdicts(output)
    for row in ("ExecStart=/bin/cat %i %I", "Environment=A=%i B=foo@%i.service C=/%I D=foo E=%",
                "WorkingDirectory=/x/%I/%i",
                "ConditionPathExists=/etc/%i (asked for each connection)"):
        assert found[row] in ("honoured", "invalid"), row
    assert found["StandardOutput=fd:%i"] == "invalid"
    assert "foo.socket with foo@.service: would not run" in output
    data(directory, "foo", status=78)


def test_conditions(directory: Path) -> None:
    write(directory, foo_socket="[Unit]\nConditionPathExists=/\nConditionPathExists=!/\n" + SOCKET,
          foo_service=SERVICE)
    output = text(directory, "foo")
    assert "ConditionPathExists=/ (met now)" in output
    assert "ConditionPathExists=!/ (not met now)" in output
    assert output.endswith('would run, but not now: "ConditionPathExists=!/" is not met\n')
    found = data(directory, "foo")
    assert [k.get("met") for k in found["units"][0]["keys"]] == [True, False, None]
    assert "met" not in found["units"][0]["keys"][2]
    assert found["pairs"][0]["runnable"] and not found["pairs"][0]["met"]


def test_assertions(directory: Path) -> None:
    """One of a socket keeps run from starting; of a service it is asked for each start."""
    write(directory, foo_socket="[Unit]\nAssertPathExists=!/\n" + SOCKET, foo_service=SERVICE)
    output = text(directory, "foo", status=78)
    assert output.endswith('would not run now: "AssertPathExists=!/" is not met\n')
    found = data(directory, "foo", status=78)
    assert not found["runnable"] and not found["pairs"][0]["runnable"] and not found["problems"]
    write(directory, foo_socket=SOCKET, foo_service="[Unit]\nAssertPathExists=!/\n" + SERVICE)
    assert text(directory, "foo").endswith(
        'would run, but not now: "AssertPathExists=!/" is not met\n')


@pytest.mark.root
def test_owners_that_only_root_can_set(directory: Path) -> None:
    write(directory, foo_socket=SOCKET + "SocketUser=root\n", foo_service=SERVICE)
    text(directory, "foo")
    result = subprocess.run([str(HARK), "check", "./foo.socket"], capture_output=True, user=65534,
                            group=65534, extra_groups=[], cwd=directory, check=False,
                            env=clean_environment())
    assert result.returncode == 78
    assert b'cannot use "SocketUser=root": only root can give' in result.stdout


# ---- several units ---------------------------------------------------------------------------


def test_shared_service(directory: Path) -> None:
    write(directory, a_socket="[Socket]\nListenStream=/run/a\nService=s.service\n",
          b_socket="[Socket]\nListenStream=/run/b\nService=s.service\n", s_service=SERVICE)
    output = text(directory, "a", "b")
    assert len([row for row in rows(output) if row[0].endswith("s.service")]) == 1
    assert output.endswith("a.socket with s.service: would run\n"
                           "b.socket with s.service: would run\n")


def test_sockets_of_a_service(directory: Path) -> None:
    write(directory, a_socket="[Socket]\nListenStream=/run/a\nService=s.service\n",
          b_socket="[Socket]\nListenStream=/run/b\nService=s.service\n",
          s_service=SERVICE + "Sockets=b.socket\n")
    assert [pair["socket"] for pair in data(directory, "a")["pairs"]] == ["a.socket", "b.socket"]


def test_hundreds_of_pairs(directory: Path) -> None:
    names = [f"n{i}" for i in range(600)]
    for name in names:
        (directory / f"{name}.socket").write_text(f"[Socket]\nListenStream=/run/{name}\n")
        (directory / f"{name}.service").write_text(SERVICE)
    found = data(directory, *names)
    assert [unit["name"] for unit in found["units"]] == [
        f"{name}.{kind}" for name in names for kind in ("socket", "service")]
    assert found["runnable"] and len(found["pairs"]) == 600


def test_instances_of_a_template(directory: Path) -> None:
    (directory / "t@.socket").write_text("[Socket]\nListenStream=/run/%i\nAccept=yes\n")
    write(directory, t__service=SERVICE)
    output = text(directory, "t@1", "t@2.socket")
    assert "ListenStream=/run/1\n" in output and "ListenStream=/run/2\n" in output
    assert output.endswith("t@1.socket with t@.service: would run\n"
                           "t@2.socket with t@.service: would run\n")


def test_same_address(directory: Path) -> None:
    write(directory, a_socket=SOCKET, a_service=SERVICE, b_socket=SOCKET, b_service=SERVICE)
    output = text(directory, "a", "b", status=78)
    assert errors(output) == [
        'b.socket:2: error: cannot listen on "/run/foo.sock": "a.socket" has '
        f'"ListenStream=/run/foo.sock" at {directory}/a.socket:2']
    assert "a.socket with a.service: would run\n" in output
    assert "b.socket with b.service: would not run: 1 error\n" in output


# ---- JSON ------------------------------------------------------------------------------------


def test_json_says_what_the_text_says(directory: Path) -> None:
    write(directory, foo_socket=ACCEPT + "Nonsense=ä\nMaxConnectionsPerSource=5\n",
          foo__service=SERVICE + "PrivateTmp=yes\nProtectHome=yes\nUMask=9\n")
    output = text(directory, "foo", "--ignore=PrivateTmp", status=78)
    found = data(directory, "foo", "--ignore=PrivateTmp", status=78)
    assert list(found) == ["version", "hark", "units", "pairs", "problems", "problems_dropped",
                           "runnable"]
    assert (found["version"], found["problems_dropped"], found["runnable"]) == (1, 0, False)
    keys = [key for unit in found["units"] for key in unit["keys"]]
    assert set(map(tuple, keys)) == {("file", "line", "section", "key", "value", "expanded",
                                      "verdict", "since", "instead")}
    assert rows(output) == [
        (k["file"], k["line"], k["verdict"], k["section"], f"{k['key']}={k['expanded']}"
         + (f" (systemd {k['since']})" if k["since"] else "")) for k in keys]
    assert errors(output) == [
        f"{Path(p['file']).name}:{p['line']}: {p['severity']}: {p['text']}"
        for p in found["problems"]]
    assert sorted(p["text"] for unit in found["units"] for p in unit["problems"]) == sorted(
        p["text"] for p in found["problems"])
    assert found["pairs"] == [{"socket": "foo.socket", "service": "foo@.service", "accept": True,
                               "errors": 3, "runnable": False, "met": True}]
    refused = [k for k in keys if k["verdict"] == "refused"]
    assert [k["key"] for k in refused] == ["ProtectHome"] and refused[0]["instead"]


def test_json_of_what_is_not_there(directory: Path) -> None:
    found = data(directory, "foo", "bar", status=78)
    assert found["units"] == [] and found["pairs"] == [] and not found["runnable"]
    assert [(p["unit"], p["file"], p["line"]) for p in found["problems"]] == [
        ("foo.socket", None, None), ("bar.socket", None, None)]


# ---- the command line ------------------------------------------------------------------------


def test_usage(directory: Path) -> None:
    for arguments, message in [([], "are missing"), (["--nonsense", "a"], "unknown option"),
                               (["--unit-path"], "needs a value"),
                               (["--unit-path=/nowhere", "a"], "No such file or directory"),
                               (["--unit-path=/dev/null", "a"], "Not a directory"),
                               (["--ignore=ListenStream", "a"], "only what hark refuses")]:
        result = check(directory, *arguments)
        assert result.returncode == 64 and not result.stdout, arguments
        assert message in result.stderr.decode() and len(result.stderr.splitlines()) == 1
    helped = check(directory, "--help")
    assert helped.returncode == 0 and b"--ignore" in helped.stdout
    assert max(len(line) for line in helped.stdout.decode().splitlines()) <= 80


def test_a_service_is_given(directory: Path) -> None:
    write(directory, foo_socket=SOCKET, foo_service=SERVICE)
    assert '"foo.service" is a service: give its socket, "foo.socket"' in text(
        directory, "foo.service", status=78)
    text(directory, "foo.socket", "./foo.service")


def test_unit_path(directory: Path) -> None:
    (directory / "1").mkdir()
    write(directory / "1", foo_socket=SOCKET, foo_service=SERVICE)
    write(directory, foo_socket=SOCKET, foo_service=SERVICE)
    assert f"\n  {directory}/1/foo.socket\n" in text(directory, "foo", "--unit-path=1")
    assert f"\n  {directory}/foo.socket\n" in text(directory, "foo")


def test_hint_for_a_file_in_this_directory(directory: Path) -> None:
    write(directory, foo_socket=SOCKET, foo_service=SERVICE)
    result = check(directory, "foo.socket", SYSTEMD_UNIT_PATH="/nowhere")
    assert result.returncode == 78 and b'put "./" in front' in result.stdout
    assert check(directory, "./foo.socket", SYSTEMD_UNIT_PATH="/nowhere").returncode == 0


def test_user_units(directory: Path) -> None:
    write(directory, foo_socket="[Socket]\nListenStream=%t/foo\n", foo_service=SERVICE)
    result = check(directory, "--user", "foo", XDG_RUNTIME_DIR="/run/user/77")
    assert result.returncode == 0 and b"ListenStream=/run/user/77/foo" in result.stdout


# ---- bad input -------------------------------------------------------------------------------


def test_twenty_faults_are_twenty_messages(directory: Path) -> None:
    write(directory, foo_socket="""[Socket]
ListenStream=nonsense
ListenDatagram=/
ListenSequentialPacket=80
ListenFIFO=relative
ListenNetlink=nothing
SocketMode=9
Backlog=-1
KeepAlive=perhaps
TimeoutSec=soon
SocketUser=no-such-user
listenstream=/x
Restart=always
no assignment
[Nonsense]
""", foo_service="""[Service]
ExecStart="open
Type=forking
Environment=1=2
LimitNOFILE=2:1
UMask=x
StandardInput=tty
PrivateTmp=yes
User=a:b
WorkingDirectory=relative
""")
    found = errors(text(directory, "foo", status=78))
    lines = [message.split(" error: ")[0] for message in found]
    assert lines == [f"foo.service:{n}:" for n in range(2, 11)] + [
        f"foo.socket:{n}:" for n in range(2, 16)]
    assert len({message.split(" error: ")[1] for message in found}) == len(found)


def test_nothing_reaches_the_terminal(directory: Path) -> None:
    nasty = "\x1b]0;x\x07\x7f\u009b31m\u202e\u2066"
    write(directory, foo_socket=SOCKET + f"Nonsense={nasty}\nKey{nasty}=1\n",
          foo_service=f"[Unit]\nDescription={nasty}\n" + SERVICE + f"Environment={nasty}\n")
    for arguments in (["foo"], ["--json", "foo"], ["--ignore=sandbox", f"./{nasty}.socket"],
                      [nasty]):
        output = check(directory, *arguments).stdout.decode()
        assert not set(output) & set(nasty.replace("]0;x", "").replace("31m", "")), output
    keys = data(directory, "foo", status=78)["units"][0]["keys"]
    assert keys[1]["value"] == nasty


@pytest.mark.parametrize("content", [
    b"\xff\xfe\x00binary", b"[Socket]\nListenStream=/\xff\n", random.Random(1).randbytes(4096),
    b"\x00" * 100, b"[Socket\n"], ids=["binary", "not UTF-8", "random", "zeros", "header"])
def test_junk(directory: Path, content: bytes) -> None:
    (directory / "foo.socket").write_bytes(content)
    write(directory, foo_service=SERVICE)
    for form in ([], ["--json"]):
        result = check(directory, "foo", *form)
        assert result.returncode == 78 and not result.stderr
        output = result.stdout.decode()
        assert "foo.socket" in output and "error" in output
        assert not set(output) & set(map(chr, range(9))), output


def test_names_that_are_not_utf8(directory: Path) -> None:
    odd = os.fsencode(directory) + b"/\xff\x1b"
    os.mkdir(odd)
    for name, content in (("foo.socket", SOCKET + "Bar=1\n"), ("foo.service", SERVICE)):
        with open(odd + b"/" + name.encode(), "w", encoding="ascii") as file:
            file.write(content)
    command = [str(HARK), "check", "--json", odd + b"/foo.socket"]
    result = subprocess.run(command, capture_output=True, check=False, env=clean_environment())
    assert result.returncode == 78
    assert json.loads(result.stdout)["problems"][0]["file"].endswith("/\ufffd\x1b/foo.socket")
    result = subprocess.run(command[:2] + command[3:], capture_output=True, check=False,
                            env=clean_environment())
    assert b"/??/foo.socket:3: error: " in result.stdout


def limit_memory() -> None:
    """Half a GiB is plenty. Sanitizers want far more address space."""
    if not SANITIZED:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))


@pytest.mark.parametrize("form", [[], ["--json"]])
@pytest.mark.parametrize("kind", ["long line", "huge", "many lines", "directory", "fifo", "zero"])
def test_strange_files(directory: Path, kind: str, form: list[str]) -> None:
    unit = directory / "foo.socket"
    write(directory, foo_service=SERVICE)
    if kind == "long line":
        unit.write_text(SOCKET + "Description=" + "x" * (1 << 20))
    elif kind == "huge":
        unit.write_text(SOCKET + "#\n" * (2 << 20))
    elif kind == "many lines":
        unit.write_text(SOCKET + "a=\n" * (150_000 if SANITIZED else 600_000))
    elif kind == "directory":
        unit.mkdir()
    elif kind == "fifo":
        os.mkfifo(unit)
    else:
        unit.symlink_to("/dev/zero")
    with open(directory / "output", "wb") as file:
        result = subprocess.run([str(HARK), "check", "./foo.socket", *form], cwd=directory,
                                stdout=file, stderr=subprocess.PIPE, check=False, timeout=60,
                                env=clean_environment(), preexec_fn=limit_memory)
    assert result.returncode == 78 and not result.stderr
    output = (directory / "output").read_text(encoding="utf-8")
    assert "foo.socket" in output and "error" in output
    if form:
        assert json.loads(output)["problems"]


def test_long_values_are_cut(directory: Path) -> None:
    write(directory, foo_socket=SOCKET, foo_service="[Unit]\nDescription=" + "ä" * 5000 + "\n"
          "ConditionPathExists=/" + "y" * 200 + "\n" + SERVICE)
    output = text(directory, "foo")
    table = output[:output.index("foo.socket with")]
    assert max(map(len, (line for line in table.splitlines() if ROW.match(line)))) == 100
    assert "ä…" in output and "y… (not met now)" in output


def test_output_that_cannot_be_written(directory: Path) -> None:
    write(directory, foo_socket=SOCKET, foo_service=SERVICE)
    for form in ([], ["--json"]):
        with open("/dev/full", "w", encoding="utf-8") as full:
            result = subprocess.run([str(HARK), "check", "./foo.socket", *form], stdout=full,
                                    cwd=directory, stderr=subprocess.PIPE, check=False,
                                    env=clean_environment())
        assert result.returncode == 1 and b"standard output" in result.stderr
