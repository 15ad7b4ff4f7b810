# SPDX-License-Identifier: MIT
"""Pairs: how processes of a service are set up: command lines, environment, identity, limits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from differential import Pair

UNIX = "ListenStream=@dir@/s\nAccept=yes"
ASK = ("ask", "@dir@/s")
HELLO = "ExecStart=@probe@ --say=3:hello"


# Of a command with full privileges.
PLUS = {"0 CapInh": "nspawn gives PID 1 inheritable capabilities",
        "0 limits .*": "the limits of the manager itself, and PID 1 raises its own"}


def accept(name: str, service: str, see: Mapping[str, Any], **more: Any) -> Pair:
    """One connection for a handler that says hello; service is added to its ExecStart=, or is all
    of the section when it has its own."""
    text = service if "ExecStart=" in service else f"{HELLO}\n{service}"
    return Pair(name, UNIX, text, client=more.pop("client", [ASK]), see=see, **more)


def words(line: str, *expected: str) -> dict[str, Any]:
    """What argv is after the probe's own three words; the line is only for the reader."""
    del line
    result: dict[str, Any] = {f"0 argv {i + 3}": word for i, word in enumerate(expected)}
    result[f"0 argv {len(expected) + 3}"] = None
    return result


def command(name: str, line: str, *expected: str, more: str = "") -> Pair:
    """The words that a handler gets."""
    return accept(name, f"{HELLO} {line}\n{more}", words(line, *expected))


COMMANDS = [
    command("exec-quotes", r'''"a b" 'c d' e"f g"h 'i"j' "k'l" "" ''',
            "a b", "c d", "ef gh", 'i"j', "k'l", ""),
    command("exec-escapes", r'''\x41\102 a\tb "c\nd" \s \u00e9 \\ \"x\" 'it\'s' ''',
            "AB", "a\tb", "c\nd", " ", "\u00c3\u00a9", "\\", '"x"', "it's"),
    command("exec-unknown-escape", r'''a\qb "c\kd" ''', r"a\qb", r"c\kd"),
    command("exec-continued", "one \\\n# a comment\n   two \\\n; another\nthree", "one", "two",
            "three"),
    command("exec-semicolons", r"x;y ;d \; z", "x;y", ";d", ";", "z"),
    command("exec-hash", "a # b", "a", "#", "b"),
    command("exec-variables", "${A} $A x${A}y x$A $B ${B} $NONE ${NONE} end $$A $${A} ${A",
            "one  two", "one", "two", "xone  twoy", "x$A", "b", "b", "", "end", "$A", "${A}",
            "${A", more='Environment="A=one  two" B=b'),
    command("exec-variables-quoted", "\"$A\" '${A}' \"$B c\"", "a", "b", "a b",
            more='Environment="A=a b" B=b'),
    command("exec-variable-with-quotes", "$A", "one two", "three", "",
            more="Environment=\"A='one two' three \\\"\\\"\""),
    command("exec-systemd-variables", "${LISTEN_FDNAMES} $LISTEN_FDS ${PATH} $USER",
            "connection", "1", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    command("exec-specifiers", "%% %n-%p %i/x 100%% %", "%", "@name@@0-CLIENT-0.service-@name@",
            "0-CLIENT-0/x", "100%", "%"),
    accept("exec-colon", f"{HELLO.replace('=', '=:', 1)} $A ${{A}} $$ %p\nEnvironment=A=a",
           {"0 argv 3": "$A", "0 argv 4": "${A}", "0 argv 5": "$$", "0 argv 6": "@name@"}),
    accept("exec-at", "ExecStart=@/hark/tests/helpers/probe zero --to=@dir@.log --say=3:hello",
           {"0 argv 0": "zero", "0 comm": "probe"}),
    accept("exec-at-minus-colon", "ExecStart=-:@/hark/tests/helpers/probe $0 --to=@dir@.log "
           "--say=3:hello --exit=1", {"0 argv 0": "$0"}),
    accept("exec-minus", "ExecStart=-@probe@ --say=3:hello --exit=1", {"client 1": "hello\n"},
           client=[ASK, ASK], records=2),
    accept("exec-plus", "ExecStart=+@probe@ --say=3:hello\nUser=plain\nNoNewPrivileges=no",
           {"0 uid": 0, "0 env USER": "plain", "0 env HOME": "/home/plain"}, deviates=PLUS),
    accept("exec-bang", "ExecStart=!@probe@ --say=3:hello\nUser=plain",
           {"0 uid": 0, "0 env USER": "plain"}),
    accept("exec-bang-no-new-privileges", "ExecStart=!@probe@ --say=3:hello\nUser=plain\n"
           "NoNewPrivileges=yes\nLimitNOFILE=100\nWorkingDirectory=~", {"0 NoNewPrivs": "1"}),
    accept("exec-plus-no-new-privileges", "ExecStart=+@probe@ --say=3:hello\nUser=plain\n"
           "NoNewPrivileges=yes\nLimitNOFILE=100\nWorkingDirectory=~\n"
           "SupplementaryGroups=more\nGroup=other", {"0 NoNewPrivs": "0", "0 gid": 0},
           deviates=PLUS),
    accept("exec-bang-bang", "ExecStart=!!@probe@ --say=3:hello\nUser=plain",
           {"0 uid": 4711, "0 CapEff": "0" * 16}),
    accept("exec-search", "ExecStart=sh -c 'exec @probe@ --say=3:hello \"$0\" $1' zero one",
           {"0 argv 3": "zero", "0 env PWD": "/"}),
    accept("exec-search-missing", "ExecStart=no-such-program-anywhere", {"client 0": ""},
           records=0, refused="cannot run"),
    accept("exec-not-executable", "ExecStart=/etc/passwd", {"client 0": ""}, records=0,
           refused="cannot run"),
    accept("exec-bad-interpreter", "ExecStart=/bin/sh /nosuch/script", {"client 0": ""},
           records=0),
    accept("exec-vanishes", "ExecStart=@dir@/handler.sh", {"client 0": "hello\n", "client 3": ""},
           files={"handler.sh": "#!/bin/sh\nexec @probe@ --say=3:hello"},
           client=[ASK, ("records", 1), ("remove", "@dir@/handler.sh"), ASK]),
    accept("exec-script-without-interpreter", "ExecStart=@dir@/handler.sh", {"client 0": ""},
           records=0, files={"handler.sh": "#!/nosuch/sh\n"}),
    accept("exec-reset", f"ExecStart=/nosuch/program\nExecStart=\n{HELLO} again",
           {"0 argv 3": "again"}),
    accept("exec-dollar-in-program", "ExecStart=/hark/tests/helpers/$PROGRAM --say=3:x\n"
           "Environment=PROGRAM=probe", {"client 0": ""}, records=0, refused="cannot run"),
]


def variables(**expected: str | None) -> dict[str, Any]:
    """What the handler finds in its environment."""
    return {f"0 env {name}": value for name, value in expected.items()}


ENVIRONMENT = [
    accept("env-quotes", "Environment=A=1 \"B=two words\" 'C=3' D=\"4 5\" E= F=a=b\n"
           "Environment=G=x\\x41\\ty H=%%p I=%p", variables(
               A="1", B="two words", C="3", D="4 5", E="", F="a=b", G="xA\ty", H="%p",
               I="@name@")),
    accept("env-dollar", "Environment=A=$PATH B=${A} C=$$", variables(A="$PATH", B="${A}",
                                                                        C="$$")),
    accept("env-invalid-names", "Environment=1A=x A-B=x =x C=1 noequals D=2\nEnvironment=\"E=3",
           variables(C="1", D="2", E=None), refused="A-B=x"),
    accept("env-override", "Environment=A=1 B=1\nEnvironment=A=2", variables(A="2", B="1")),
    accept("env-reset", "Environment=A=1\nEnvironment=\nEnvironment=B=1",
           variables(A=None, B="1")),
    accept("env-over-systemd", "Environment=PATH=/bin LANG=de_DE LISTEN_FDS=9 HOME=/x USER=y "
           "SHELL=/z INVOCATION_ID=mine SYSTEMD_EXEC_PID=1 LISTEN_FDNAMES=other\nUser=plain",
           variables(PATH="/bin", LANG="de_DE", LISTEN_FDS="9", HOME="/x", USER="y",
                     INVOCATION_ID="mine", LISTEN_FDNAMES="other")),
    accept("env-file", "EnvironmentFile=@dir@/env\nEnvironment=A=unit B=unit", variables(
        A="file", B="unit", C="two words", D="single 'x", E="multi\nline", F="ab", G="trn",
        H='a"b"c', I="inner  space", J=None, K="", L="a$A", M='q" \\ $ `\\x', N="joined up",
        O=None, P="# no comment", Q="two", R="xy"), files={"env": r'''# a comment
; another
A=file
C="two words"
D='single '\''x'
E="multi
line"
F=a\b
G=tr\n
H=a"b"c
I=  inner  space  	
export J=1
K=
L=a$A
M="q\" \\ \$ \`\x"
N=joined \
up
9O=1
P=# no comment
Q=one
Q=two
 R = "x"y
no equals sign
'''.replace("D='single '\\''x'", "D=\"single 'x\"")}),
    accept("env-file-optional", "EnvironmentFile=-@dir@/missing\nEnvironmentFile=-@dir@/there",
           variables(A="1"), files={"there": "A=1\n"}),
    accept("env-file-missing", "EnvironmentFile=@dir@/missing", {"client 0": ""}, records=0),
    accept("env-file-glob", "EnvironmentFile=@dir@/env-*", variables(A="2", B="1", C="2"),
           files={"env-1": "A=1\nB=1\n", "env-2": "A=2\nC=2\n", "other": "B=no\n"}),
    accept("env-file-glob-none", "EnvironmentFile=-@dir@/env-*", variables(A=None)),
    accept("env-file-glob-none-required", "EnvironmentFile=@dir@/env-*", {"client 0": ""},
           records=0),
    accept("env-file-order", "EnvironmentFile=@dir@/b\nEnvironmentFile=@dir@/a",
           variables(A="a", B="b"), files={"a": "A=a\n", "b": "A=b\nB=b\n"}),
    accept("env-file-reset", "EnvironmentFile=@dir@/b\nEnvironmentFile=\nEnvironmentFile=@dir@/a",
           variables(A="a", B=None), files={"a": "A=a\n", "b": "A=b\nB=b\n"}),
    accept("env-file-changes", "EnvironmentFile=@dir@/e",
           {"0 env A": "1", "1 env A": "2", "1 env B": "new"}, files={"e": "A=1\n"},
           client=[ASK, ("records", 1), ("write", "@dir@/e", "A=2\nB=new\n"), ASK], records=2),
    accept("env-file-in-command", f"{HELLO} $A ${{B}}\nEnvironmentFile=@dir@/e\nEnvironment=A=no",
           {"0 argv 3": "one", "0 argv 4": "two", "0 argv 5": "x y"},
           files={"e": "A=one two\nB=\"x y\"\n"}),
    accept("env-file-specifiers", "EnvironmentFile=@dir@/%p.env", variables(A="1"),
           files={"env-file-specifiers.env": "A=1\n"}),
    accept("env-file-crlf", "EnvironmentFile=@dir@/e", variables(B="2"),
           files={"e": "A=1\r\nB=2\n"}),
    accept("env-file-no-last-newline", "EnvironmentFile=@dir@/e", variables(A="1"),
           files={"e": "A=1"}),
    accept("env-pass", "PassEnvironment=container NO_SUCH SECRET_\nPassEnvironment=NONE",
           variables(container="systemd-nspawn", NO_SUCH=None, SECRET=None)),
    accept("env-pass-invalid", "PassEnvironment=NO-NAME container",
           variables(container="systemd-nspawn"), refused="NO-NAME"),
    accept("env-invalid-names-but-some", "Environment=A=1 _B=2 c3=3 D4_=", variables(
        A="1", _B="2", c3="3", D4_="")),
    accept("env-pass-weaker", "PassEnvironment=container\nEnvironment=container=unit",
           variables(container="unit")),
    accept("env-pass-reset", "PassEnvironment=container\nPassEnvironment=",
           variables(container=None)),
    accept("env-unset", "Environment=A=1 B=1 C=1 D=1\nUnsetEnvironment=A B=2 C=1\n"
           "UnsetEnvironment=LANG INVOCATION_ID", variables(A=None, B="1", C=None, D="1",
                                                             LANG=None, INVOCATION_ID=None)),
    accept("env-unset-listen", "UnsetEnvironment=LISTEN_FDNAMES PATH LISTEN_PID",
           variables(PATH=None, LISTEN_PID=None, LISTEN_FDS="1")),
    accept("env-unset-file", "EnvironmentFile=@dir@/e\nUnsetEnvironment=A", variables(A=None),
           files={"e": "A=1\n"}),
    accept("env-unset-reset", "Environment=A=1\nUnsetEnvironment=A\nUnsetEnvironment=",
           variables(A="1")),
    accept("env-utf8", "Environment=A=\u00e9\u4e2d", variables(
        A="\u00e9\u4e2d".encode().decode("latin-1"))),
]

IDENTITY = [
    accept("user", "User=plain", {
        "0 uid": 4711, "0 gid": 4711, "0 Uid": "4711\t4711\t4711\t4711", "0 Groups": "4711 4720",
        "0 env HOME": "/home/plain", "0 env LOGNAME": "plain", "0 env USER": "plain",
        "0 env SHELL": "/bin/bash", "0 CapEff": "0" * 16, "0 CapPrm": "0" * 16, "0 cwd": "/"}),
    accept("user-number", "User=4711", {"0 uid": 4711, "0 env USER": "plain"}),
    accept("user-root", "User=root", {"0 env HOME": "/root", "0 env USER": "root"}),
    accept("user-nobody", "User=nobody", {"0 uid": 65534}),
    accept("user-without-shell", "User=nologin", {"0 uid": 4713, "0 env SHELL": None}),
    accept("user-without-home", "User=homeless", {"0 env HOME": "/nowhere"}),
    accept("user-and-group", "User=plain\nGroup=other",
           {"0 gid": 4722, "0 Groups": "4720 4722"}),
    accept("user-and-groups", "User=plain\nSupplementaryGroups=more\nSupplementaryGroups=other",
           {"0 gid": 4711, "0 Groups": "4711 4720 4721 4722"}),
    accept("group-alone", "Group=other", {"0 uid": 0, "0 gid": 4722, "0 Groups": "",
                                          "0 env USER": None}),
    accept("group-number-unknown", "Group=12345", {"client 0": ""}, records=0,
           deviates={".*": "a number needs no entry; hark warns that systemd would not start it"}),
    accept("groups-of-root", "SupplementaryGroups=more 4722", {"0 uid": 0,
                                                               "0 Groups": "4721 4722"}),
    accept("groups-of-root-by-name", "User=root\nSupplementaryGroups=more",
           {"0 Groups": re.compile(".*4721.*")}),
    accept("groups-reset", "User=plain\nSupplementaryGroups=more\nSupplementaryGroups=",
           {"0 Groups": "4711 4720"}),
    accept("user-unknown", "User=nosuchuser", {"client 0": ""}, records=0, refused="nosuchuser"),
    accept("user-number-unknown", "User=12345", {"client 0": ""}, records=0, refused="12345"),
    accept("groups-unknown", "SupplementaryGroups=nosuchgroup", {"client 0": ""}, records=0,
           refused="nosuchgroup"),
    accept("user-specifier", "User=%i\nUser=plain\nGroup=%p\nGroup=other", {"0 gid": 4722}),
    accept("user-inetd", "ExecStart=@probe@ --say=1:hello\nUser=plain\nStandardInput=socket",
           {"0 uid": 4711, "client 0": "hello\n"}),
    accept("no-new-privileges", "NoNewPrivileges=yes", {"0 NoNewPrivs": "1"}),
    accept("no-new-privileges-user", "NoNewPrivileges=yes\nUser=plain",
           {"0 NoNewPrivs": "1", "0 uid": 4711}),
]

DIRECTORIES = [
    accept("directory", "WorkingDirectory=/usr/share", {"0 cwd": "/usr/share"}),
    accept("directory-not-normal", "WorkingDirectory=/usr//share/../share/.", {"client 0": ""},
           records=0, refused="WorkingDirectory"),
    accept("directory-home", "WorkingDirectory=~\nUser=plain", {"0 cwd": "/home/plain"}),
    accept("directory-home-of-root", "WorkingDirectory=~", {"0 cwd": "/root"}),
    accept("directory-home-missing", "WorkingDirectory=~\nUser=homeless", {"client 0": ""},
           records=0),
    accept("directory-home-missing-minus", "WorkingDirectory=-~\nUser=homeless", {"0 cwd": "/"}),
    accept("directory-missing", "WorkingDirectory=/nosuch", {"client 0": ""}, records=0),
    accept("directory-missing-minus", "WorkingDirectory=-/nosuch", {"0 cwd": "/"}),
    accept("directory-forbidden", "WorkingDirectory=/root\nUser=plain", {"client 0": ""},
           records=0),
    accept("directory-forbidden-minus", "WorkingDirectory=-/root\nUser=plain", {"0 cwd": "/"}),
    accept("directory-is-file", "WorkingDirectory=/etc/passwd", {"client 0": ""}, records=0),
    accept("directory-vanishes", "WorkingDirectory=@dir@/d",
           {"0 cwd": "@dir@/d", "client 0": "hello\n", "client 3": ""}, files={"d/x": ""},
           client=[ASK, ("records", 1), ("remove", "@dir@/d"), ASK]),
    accept("nice", "Nice=7", {"0 nice": 7}),
    accept("nice-negative", "Nice=-5", {"0 nice": -5}),
    accept("nice-reset", "Nice=7\nNice=", {"0 nice": 0}),
    accept("oom-score", "OOMScoreAdjust=321", {"0 oom_score_adj": "321"}),
    accept("oom-score-reset", "OOMScoreAdjust=321\nOOMScoreAdjust=", {"0 oom_score_adj": "0"}),
    accept("oom-score-user", "OOMScoreAdjust=500\nUser=plain", {"0 oom_score_adj": "500"}),
    accept("umask", "UMask=0077", {"0 Umask": "0077"}),
    accept("umask-zero", "UMask=0", {"0 Umask": "0000"}),
]

# The name, a value for the unit, and what getrlimit(2) then says.
LIMITS: Sequence[tuple[str, str, str]] = (
    ("CPU", "10s", "[10, 10]"), ("FSIZE", "1G", "[1073741824, 1073741824]"),
    ("DATA", "1G", "[1073741824, 1073741824]"), ("STACK", "4M:8M", "[4194304, 8388608]"),
    ("CORE", "0", "[0, 0]"), ("RSS", "1G", "[1073741824, 1073741824]"),
    ("NPROC", "1000:2000", "[1000, 2000]"), ("NOFILE", "512", "[512, 512]"),
    ("MEMLOCK", "64K", "[65536, 65536]"), ("AS", "4G", "[4294967296, 4294967296]"),
    ("LOCKS", "100", "[100, 100]"), ("SIGPENDING", "100", "[100, 100]"),
    ("MSGQUEUE", "1000", "[1000, 1000]"), ("NICE", "0", "[0, 0]"), ("RTPRIO", "0", "[0, 0]"),
    ("RTTIME", "1s", "[1000000, 1000000]"),
)

PROCESS = [
    *[accept(f"limit-{name.lower()}", f"Limit{name}={value}", {f"0 limits {name}": result})
      for name, value, result in LIMITS],
    accept("limit-two-values", "LimitNOFILE=100:200", {"0 limits NOFILE": "[100, 200]"}),
    accept("limit-infinity", "LimitCORE=infinity\nLimitFSIZE=1G:infinity",
           {"0 limits CORE": "[-1, -1]", "0 limits FSIZE": "[1073741824, -1]"}),
    accept("limit-raised-too-far", "LimitNOFILE=2000000", {
        "0 limits NOFILE": re.compile(r"\[(\d+), \1\]")}),
    accept("limit-time", "LimitCPU=1min 1s\nLimitRTTIME=1ms:2s",
           {"0 limits CPU": "[61, 61]", "0 limits RTTIME": "[1000, 2000000]"}),
    accept("limit-for-user", "LimitNOFILE=512\nLimitNPROC=500\nUser=plain",
           {"0 limits NPROC": "[500, 500]"}),
    accept("ignore-sigpipe-no", "IgnoreSIGPIPE=no", {"0 SigIgn": "0" * 16}),
    accept("ignore-sigpipe-yes", "IgnoreSIGPIPE=yes", {"0 SigIgn": "0000000000001000"}),
    accept("type-simple", "Type=simple", {"client 0": "hello\n"}),
    accept("type-exec", "Type=exec", {"client 0": "hello\n"}),
    accept("type-oneshot", "Type=oneshot", {"client 0": "hello\n"}),
    accept("type-oneshot-several", f"Type=oneshot\n{HELLO} first\n{HELLO} second ; "
           "@probe@ --say=3:third\nExecStart=@probe@ --say=3:fourth --exit=1\n"
           "ExecStart=@probe@ --say=3:fifth",
           {"client 0": "hello\nhello\nthird\nfourth\n", "0 argv 3": "first",
            "3 env LISTEN_FDS": "1", "4 uid": None}, records=4, refused="several ExecStart="),
    accept("type-oneshot-minus", f"Type=oneshot\nExecStart=-/nosuch\nExecStart=-@probe@ --exit=1\n"
           f"{HELLO}", {"client 0": "hello\n"}, records=2, refused="several ExecStart="),
    Pair("type-oneshot-listener", "ListenStream=@dir@/s",
         "Type=oneshot\nExecStart=@probe@ --serve=3\nExecStart=@probe@ second", client=[ASK],
         records=2, see={"1 argv 2": "second", "1 env LISTEN_FDS": "1", "1 fd 3 listening": True}),
    Pair("type-exec-listener", "ListenStream=@dir@/s", "Type=exec\nExecStart=@probe@ --serve=3",
         client=[ASK], see={"client 0": "served\n"}),
    Pair("non-blocking-listener", "ListenStream=@dir@/s\nListenDatagram=@dir@/d",
         "ExecStart=@probe@ --serve=3\nNonBlocking=yes", client=[ASK],
         see={"0 fd 3 flags": "nonblocking", "0 fd 4 flags": "nonblocking"}),
]

SPECIFIERS = [
    accept("specifiers-unit", "Environment=" + " ".join(
        f"{'L' if c.islower() else 'U'}_{c}=%{c}" for c in "nNpPiIjJfyY"), {
            "0 env L_n": "@name@@0-CLIENT-0.service", "0 env U_N": "@name@@0-CLIENT-0",
            "0 env L_p": "@name@", "0 env L_j": "unit", "0 env L_f": "/0/CLIENT/0",
            "0 env L_y": "/etc/systemd/system/@name@@.service",
            "0 env U_Y": "/etc/systemd/system"}),
    accept("specifiers-directories", "Environment=" + " ".join(
        f"{'L' if c.islower() else 'U'}_{c}=%{c}" for c in "tSCLETV"), {
            "0 env L_t": "/run", "0 env U_S": "/var/lib", "0 env U_C": "/var/cache",
            "0 env U_L": "/var/log", "0 env U_E": "/etc", "0 env U_T": "/tmp",
            "0 env U_V": "/var/tmp"}),
    accept("specifiers-user", "User=plain\nEnvironment=" + " ".join(
        f"{'L' if c.islower() else 'U'}_{c}=%{c}" for c in "uUgGhs"), {
            "0 env L_u": "root", "0 env U_U": "0", "0 env L_g": "root", "0 env L_h": "/root",
            "0 env L_s": "/bin/bash"}),
    accept("specifiers-host", "Environment=" + " ".join(
        f"{'L' if c.islower() else 'U'}_{c}=%{c}" for c in "Hlqmbva"), {
            "0 env L_b": "BOOT-ID", "0 env L_m": re.compile("[0-9a-f]{32}"),
            "0 env L_a": re.compile(r"x86-64|arm64")}),
    accept("specifiers-os", "Environment=" + " ".join(
        f"{'L' if c.islower() else 'U'}_{c}=%{c}" for c in "owWBMA"), {
            "0 env L_o": "debian", "0 env L_w": "12"}),
    accept("specifier-credentials", "Environment=\"D=%d\"", {
        "0 env D": "/run/credentials/@name@@0-CLIENT-0.service"}),
    accept("specifier-unknown-in-environment", "Environment=A=1\nEnvironment=B=%X",
           {"0 env A": "1", "0 env B": None}, refused="unknown specifier"),
]

PAIRS = COMMANDS + ENVIRONMENT + IDENTITY + DIRECTORIES + PROCESS + SPECIFIERS
