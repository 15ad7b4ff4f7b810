# SPDX-License-Identifier: MIT
"""Pairs: how units are found and put together, several units, and the commands of a socket unit."""

from __future__ import annotations

import re

from differential import Pair

LISTEN = "ListenStream=@dir@/s"
UNIX = f"{LISTEN}\nAccept=yes"
HELLO = "ExecStart=@probe@ --say=3:hello"
SERVE = "ExecStart=@probe@ --serve=3"
ASK = ("ask", "@dir@/s")

BY_LOADING = "systemd takes the name by which somebody asked for the unit first"

UNITS = [
    Pair("drop-in-service", LISTEN, SERVE, client=[ASK], units={
        "@name@.service.d/10-a.conf": "Environment=A=1 B=1",
        "@name@.service.d/20-b.conf": "Environment=B=2\nUser=plain",
        "@name@.service.d/ignored.txt": "Environment=B=3"},
        see={"0 env A": "1", "0 env B": "2", "0 uid": 4711}),
    Pair("drop-in-socket", LISTEN, SERVE, client=[ASK], look=["@dir@/s"], units={
        "@name@.socket.d/10-a.conf": "SocketMode=0600\nFileDescriptorName=dropped"},
        see={"nodes @dir@/s mode": "0600", "0 env LISTEN_FDNAMES": "dropped"}),
    Pair("drop-in-replaces-command", LISTEN, "ExecStart=/nosuch", client=[ASK], units={
        "@name@.service.d/x.conf": f"ExecStart=\n{SERVE} new"}, see={"0 argv 3": "new"}),
    Pair("drop-in-replaces-listener", "ListenStream=@dir@/old", SERVE, client=[ASK],
         look=["@dir@/old"], units={"@name@.socket.d/x.conf": f"ListenStream=\n{LISTEN}"},
         see={"client 0": "served\n", "nodes @dir@/old": "missing"}),
    Pair("drop-in-prefix", LISTEN, SERVE, client=[ASK], units={
        "drop-.service.d/x.conf": "[Service]\nEnvironment=PREFIX=1",
        "drop-in-.service.d/y.conf": "[Service]\nEnvironment=PREFIX=2",
        "drop-in-prefix.service.d/a.conf": "[Service]\nEnvironment=PREFIX=3"},
        see={"0 env PREFIX": "2"}),
    Pair("drop-in-template", UNIX, HELLO, client=[ASK], units={
        "@name@@.service.d/x.conf": "Environment=A=%i"}, see={"0 env A": "0-CLIENT-0"}),
    Pair("drop-in-same-name", LISTEN, SERVE, client=[ASK], units={
        "@name@.service.d/x.conf": "Environment=A=own",
        "drop-in-same-.service.d/x.conf": "Environment=A=prefix B=prefix"},
        see={"0 env A": "own", "0 env B": None}),
    Pair("drop-in-other-sections", LISTEN, SERVE, client=[ASK], units={
        "@name@.service.d/x.conf": "[X-Vendor]\nAnything=1\n[Service]\nEnvironment=A=1\n"
                                   "[X-Hark]\n[Install]\nWantedBy=multi-user.target\n"},
        see={"0 env A": "1"}),
    Pair("syntax", "[Unit]\nDescription=with = and # and ; \\\n  more\n"
         "# a comment \\\n; another\n[Socket]\n  ListenStream = @dir@/s  \nSocketMode=\\\n0600\n"
         "[Socket]\nFileDescriptorName=again\n",
         f"[Service]\n{SERVE}\\\n    one\\\n# comment\n  two\n\nEnvironment=A=1\\\n B=2\n"
         "Environment = \"C=a\\\n  b\"\n", client=[ASK], look=["@dir@/s"],
         see={"nodes @dir@/s mode": "0600", "0 env LISTEN_FDNAMES": "again", "0 argv 3": "one",
              "0 argv 4": "two", "0 env A": "1", "0 env B": "2", "0 env C": "a   b"}),
    Pair("alias-of-socket", f"{LISTEN}\nExecStartPre=@probe@ %n", SERVE, client=[ASK], records=2,
         start=["@name@-other.socket"], units={"@name@-other.socket": "-> @name@.socket"},
         see={"0 argv 2": "@name@-other.socket", "1 env LISTEN_FDNAMES": "@name@.socket"},
         deviates={"0 argv 2": BY_LOADING}),
    Pair("alias-of-service", f"{LISTEN}\nService=@name@-other.service",
         f"{SERVE} %n\nEnvironment=N=%N", client=[ASK],
         units={"@name@-other.service": "-> @name@.service"},
         see={"0 argv 3": "@name@-other.service", "0 env N": "@name@-other"},
         deviates={"0 argv 3|0 env N": BY_LOADING}),
    Pair("other-service", f"{LISTEN}\nService=@name@-real.service", "", client=[ASK],
         units={"@name@-real.service": f"{SERVE} %n"},
         see={"0 argv 3": "@name@-real.service", "0 env LISTEN_FDNAMES": "@name@.socket"}),
    Pair("other-service-specifier", f"{LISTEN}\nService=%N-real.service", "", client=[ASK],
         units={"@name@-real.service": f"{SERVE} %n"}, see={"0 argv 3": "@name@-real.service"}),
    Pair("other-service-instance", f"{LISTEN}\nService=@name@@x-y.service", "", client=[ASK],
         units={"@name@@.service": f"{SERVE} %n %i %I"},
         see={"0 argv 4": "x-y", "0 argv 5": "x/y"}),
    Pair("missing-service", f"{LISTEN}\nService=@name@-none.service", "", records=0,
         see={"start": "failed"}),
    Pair("missing-template", UNIX, "", records=0, client=[ASK], see={"start": "ok"},
         refused="missing-template@.service"),
    Pair("service-without-command", LISTEN, "Environment=A=1", records=0,
         see={"start": "failed"}),
    Pair("sockets-of-service", "", "", start=["@name@-a.socket", "@name@-b.socket"],
         client=[("ask", "@dir@/b")], unordered=True, units={
             "@name@-a.socket": "ListenStream=@dir@/a\nListenFIFO=@dir@/f\n"
                                "FileDescriptorName=one\nService=@name@.service",
             "@name@-b.socket": "ListenStream=@dir@/b\nFileDescriptorName=two\n"
                                "Service=@name@.service",
             "@name@.service": "ExecStart=@probe@ --accept-any\nSockets=@name@-a.socket\n"
                               "Sockets=@name@-b.socket"},
         see={"0 env LISTEN_FDS": "3", "0 env LISTEN_FDNAMES": "one:one:two"}),
    Pair("sockets-without-service", "", "", start=["@name@-a.socket", "@name@-b.socket"],
         client=[("ask", "@dir@/b")], unordered=True, units={
             "@name@-a.socket": "ListenStream=@dir@/a\nService=@name@.service",
             "@name@-b.socket": "ListenStream=@dir@/b\nService=@name@.service",
             "@name@.service": "ExecStart=@probe@ --accept-any"},
         see={"0 env LISTEN_FDS": "2",
              "0 env LISTEN_FDNAMES": "@name@-a.socket:@name@-b.socket"}),
    Pair("two-pairs", "", "", start=["@name@-a.socket", "@name@-b.socket"], records=2,
         client=[("ask", "@dir@/a"), ("records", 1), ("ask", "@dir@/b")], units={
             "@name@-a.socket": "ListenStream=@dir@/a", "@name@-a.service": f"{SERVE} a",
             "@name@-b.socket": "ListenStream=@dir@/b\nAccept=yes",
             "@name@-b@.service": f"{HELLO} b"},
         see={"0 argv 3": "a", "1 argv 3": "b"}),
    Pair("instance", "", "", start=["@name@@a-b\\x2dc.socket"], client=[("ask", "@dir@/b-c")],
         units={"@name@@.socket": "ListenStream=@dir@/%J\nListenStream=@dir@/b-c",
                "@name@@.service": "ExecStart=@probe@ --serve=4 %i %I %f %n %p"},
         look=["@dir@/@name@"],
         see={"0 argv 3": "a-b\\x2dc", "0 argv 4": "a/b-c", "0 argv 5": "/a/b-c",
              "0 env LISTEN_FDNAMES": "@name@@a-b\\x2dc.socket:@name@@a-b\\x2dc.socket"}),
    Pair("two-instances", "", "", start=["@name@@a.socket", "@name@@b.socket"], records=2,
         client=[("ask", "@dir@/a"), ("records", 1), ("ask", "@dir@/b")],
         units={"@name@@.socket": "ListenStream=@dir@/%i",
                "@name@@.service": f"{SERVE} %i"},
         see={"0 argv 3": "a", "1 argv 3": "b"}),
    Pair("instance-drop-in", "", "", start=["@name@@a.socket"], client=[ASK],
         units={"@name@@.socket": LISTEN, "@name@@.service": f"{SERVE} %i",
                "@name@@.socket.d/x.conf": "FileDescriptorName=all-%i",
                "@name@@a.service.d/y.conf": "Environment=ONLY=a"},
         see={"0 env ONLY": "a", "0 env LISTEN_FDNAMES": re.compile("all-.*")}),
    Pair("instance-file", "", "", start=["@name@@a.socket"], client=[ASK],
         units={"@name@@.socket": LISTEN, "@name@@.service": "ExecStart=/nosuch",
                "@name@@a.service": f"{SERVE} %i"}, see={"0 argv 3": "a"}),
    Pair("name-of-descriptor", f"{LISTEN}\nFileDescriptorName=with space.%%1", SERVE, client=[ASK],
         see={"0 env LISTEN_FDNAMES": re.compile("with space.*")}),
    Pair("flush-pending", "ListenDatagram=@dir@/s\nFlushPending=yes",
         "ExecStart=@probe@ --until=@dir@/go --serve=3", records=1,
         client=[("send", "@dir@/s", "1"), ("send", "@dir@/s", "2"), ("records", 1),
                 ("write", "@dir@/go", "")], see={"1 uid": None}),
    Pair("flush-pending-no", "ListenDatagram=@dir@/s\nFlushPending=no",
         "ExecStart=@probe@ --until=@dir@/go --serve=3", records=2,
         client=[("send", "@dir@/s", "1"), ("send", "@dir@/s", "2"), ("records", 1),
                 ("write", "@dir@/go", "")], see={"1 env LISTEN_FDS": "1"}),
    Pair("flush-pending-stream", f"{LISTEN}\nFlushPending=yes",
         "ExecStart=@probe@ --until=@dir@/go --serve=3", records=1,
         client=[("join", "a", "@dir@/s"), ("join", "b", "@dir@/s"), ("records", 1),
                 ("write", "@dir@/go", ""), ("finish", "a"), ("finish", "b")],
         see={"client 4": "served\n", "client 5": "", "1 uid": None}),
    Pair("trigger-limit-off", f"{LISTEN}\nTriggerLimitIntervalSec=0",
         "[Unit]\nStartLimitIntervalSec=0\n[Service]\n" + SERVE, client=[ASK] * 25, records=25,
         see={"client 24": "served\n"}),
    Pair("handler-stays", LISTEN, "ExecStart=@probe@ --serve=3 --stay", client=[ASK],
         see={"client 0": "served\n"}),
]

HOOK = "@probe@ --label"
ALL_HOOKS = f"""ExecStartPre={HOOK}=start-pre
ExecStartPost={HOOK}=start-post
ExecStopPre={HOOK}=stop-pre
ExecStopPost={HOOK}=stop-post"""

COMMANDS = [
    Pair("hooks", f"{LISTEN}\n{ALL_HOOKS}", SERVE, client=[ASK], records=3,
         see={"0 argv 2": "--label=start-pre", "1 argv 2": "--label=start-post",
              "2 argv 2": "--serve=3", "3 argv 2": "--label=stop-pre",
              "4 argv 2": "--label=stop-post", "0 env LISTEN_FDS": None,
              "1 env LISTEN_FDS": None, "3 env LISTEN_FDS": None, "0 fd 3 type": None,
              "1 fd 3 type": None, "0 fd 0 target": "/dev/null"}),
    Pair("hooks-several", f"{LISTEN}\nExecStartPre={HOOK}=1\nExecStartPre={HOOK}=2 ; {HOOK}=3\n"
         f"ExecStartPre=-{HOOK}=4 --exit=1\nExecStartPre=:{HOOK}=$A %n\n"
         f"ExecStartPost={HOOK}=${{A}}\nEnvironment=A=a", SERVE, client=[ASK], records=7,
         see={"0 argv 2": "--label=1", "2 argv 2": "--label=3", "4 argv 2": "--label=$A",
              "4 argv 3": "@name@.socket", "5 argv 2": "--label=a"}),
    # hark keeps a lock file beside each node.
    Pair("hooks-see-nodes", "\n".join([
        LISTEN, "RemoveOnStop=yes",
        *[f"Exec{key}=sh -c 'ls -I \"*.lock\" @dir@ >@dir@/{name}'" for key, name in (
            ("StartPre", "pre"), ("StartPost", "post"), ("StopPre", "stop-pre"),
            ("StopPost", "stop-post"))]]), SERVE, client=[ASK],
         read=[f"@dir@/{name}" for name in ("pre", "post", "stop-pre", "stop-post")],
         see={"files @dir@/pre": "pre\n", "files @dir@/post": "post\npre\ns\n",
              "files @dir@/stop-post": "post\npre\nstop-post\nstop-pre\n"}),
    Pair("hooks-accept", f"{UNIX}\n{ALL_HOOKS}", HELLO, client=[ASK], records=3,
         see={"0 argv 2": "--label=start-pre", "4 argv 2": "--label=stop-post"}),
    Pair("hook-start-pre-fails", f"{LISTEN}\nExecStartPre={HOOK}=1 --exit=1\n"
         f"ExecStartPre={HOOK}=2\nExecStartPost={HOOK}=3\nExecStopPre={HOOK}=4\n"
         f"ExecStopPost={HOOK}=5", SERVE, look=["@dir@/s"], see={
             "start": "failed", "nodes @dir@/s": "missing", "0 argv 2": "--label=1"}),
    Pair("hook-start-pre-fails-minus", f"{LISTEN}\nExecStartPre=-{HOOK}=1 --exit=1\n"
         "ExecStartPre=-/nosuch/program", SERVE, client=[ASK], records=2,
         see={"start": "ok", "client 0": "served\n"}),
    Pair("hook-start-pre-missing", f"{LISTEN}\nExecStartPre=/nosuch/program", SERVE, records=0,
         see={"start": "failed"}),
    Pair("hook-start-pre-killed", f"{LISTEN}\nExecStartPre={HOOK}=1 --kill=15", SERVE, records=1,
         see={"start": "failed"}),
    Pair("hook-start-post-fails", f"{LISTEN}\nExecStartPost={HOOK}=1 --exit=1\n"
         f"ExecStopPre={HOOK}=2\nExecStopPost={HOOK}=3", SERVE, look=["@dir@/s"],
         see={"start": "failed", "0 argv 2": "--label=1"}),
    Pair("hook-stop-pre-fails", f"{LISTEN}\nExecStopPre={HOOK}=1 --exit=1\nExecStopPre={HOOK}=2\n"
         f"ExecStopPost={HOOK}=3", SERVE, client=[ASK],
         see={"0 argv 2": "--serve=3", "1 argv 2": "--label=1"}),
    Pair("hook-timeout", f"{LISTEN}\nTimeoutSec=300ms\nExecStartPre={HOOK}=1 --stay\n"
         f"ExecStopPost={HOOK}=2", SERVE, look=["@dir@/s"],
         see={"start": "failed", "nodes @dir@/s": "missing", "0 argv 2": "--label=1"}),
    Pair("hook-post-timeout", f"{LISTEN}\nTimeoutSec=300ms\nExecStartPost={HOOK}=1 --stay",
         SERVE, see={"start": "failed"}),
    Pair("hook-stop-timeout", f"{LISTEN}\nTimeoutSec=300ms\nExecStopPre={HOOK}=1 --stay\n"
         f"ExecStopPost={HOOK}=2", SERVE, client=[ASK], see={"1 argv 2": "--label=1"}),
    Pair("hook-output", f"{LISTEN}\nExecStartPre=@probe@ --say=1:pre --say=2:error\n"
         "ExecStopPost=@probe@ --say=1:post\nStandardOutput=append:@dir@/out\n"
         "StandardError=append:@dir@/err", SERVE, client=[ASK], records=2,
         read=["@dir@/out", "@dir@/err"],
         see={"files @dir@/out": "pre\npost\n", "files @dir@/err": "error\n"}),
    Pair("hook-output-truncate", f"{LISTEN}\nExecStartPre=@probe@ --say=1:pre\n"
         "ExecStartPost=@probe@ --say=1:p\nStandardOutput=truncate:@dir@/out\n"
         "StandardError=null", SERVE, client=[ASK], records=3, read=["@dir@/out"],
         see={"files @dir@/out": "p\n", "0 fd 2 target": "/dev/null"}),
    Pair("hook-input-text", f"{LISTEN}\n{ALL_HOOKS}\nStandardInput=data\nStandardInputText=text",
         SERVE, client=[ASK], records=3, see={"0 fd 0 content": "text\n"}),
    Pair("hook-input-data-alone", f"{LISTEN}\n{ALL_HOOKS}\nStandardInputData=aGFyaw==", SERVE,
         client=[ASK], records=3, see={"0 argv 2": "--label=start-pre"}),
    Pair("hook-input-file", f"{LISTEN}\n{ALL_HOOKS}\nStandardInput=file:@dir@/in\n"
         "StandardOutput=inherit", SERVE, client=[ASK], records=3, files={"in": "x\n"},
         see={"0 fd 0 content": "x\n"}),
    Pair("hook-output-inherit", f"{LISTEN}\n{ALL_HOOKS}\nStandardOutput=inherit\n"
         "StandardError=inherit", SERVE, client=[ASK], records=3,
         see={"0 fd 0 target": "/dev/null"}),
    Pair("hook-identity", f"{LISTEN}\n{ALL_HOOKS}\nUser=plain\nGroup=other\n"
         "SupplementaryGroups=more\nUMask=0077\nWorkingDirectory=~\nNoNewPrivileges=yes\n"
         "Nice=3\nOOMScoreAdjust=42\n"
         "IgnoreSIGPIPE=no\nSocketMode=0660", SERVE, client=[ASK], records=3,
         look=["@dir@/s"],
         see={"0 uid": 4711, "0 gid": 4722, "0 Umask": "0077", "0 cwd": "/home/plain",
              "0 NoNewPrivs": "1", "0 SigIgn": "0" * 16, "0 env HOME": "/home/plain",
              "1 uid": 4711, "2 uid": 0, "nodes @dir@/s mode": "0660", "nodes @dir@/s uid": 0}),
    Pair("hook-full-privileges", f"{LISTEN}\nExecStartPre=+{HOOK}=1\nExecStartPost=!{HOOK}=2\n"
         "User=plain", SERVE, client=[ASK], records=3,
         see={"0 uid": 0, "1 uid": 0, "0 env USER": "plain"},
         deviates={"0 CapInh": "nspawn gives PID 1 inheritable capabilities",
                   "0 limits .*": "the limits of the manager itself"}),
    Pair("hook-environment", f"{LISTEN}\n{ALL_HOOKS}\nEnvironment=A=1 B=%n C=1\n"
         "EnvironmentFile=@dir@/e\nEnvironmentFile=-@dir@/none\nPassEnvironment=container\n"
         "UnsetEnvironment=C LANG", SERVE, client=[ASK], records=3, files={"e": "A=file\n"},
         see={"0 env A": "file", "0 env B": "@name@.socket", "0 env C": None, "0 env LANG": None,
              "0 env container": "systemd-nspawn", "2 env A": None}),
    Pair("hook-limits", f"{LISTEN}\n{ALL_HOOKS}\nLimitCPU=10\nLimitFSIZE=1G\nLimitDATA=1G\n"
         "LimitSTACK=4M\nLimitCORE=0\nLimitRSS=1G\nLimitNOFILE=100:200\nLimitAS=4G\n"
         "LimitNPROC=1000\nLimitMEMLOCK=64K\nLimitLOCKS=7\nLimitSIGPENDING=100\n"
         "LimitMSGQUEUE=1000\nLimitNICE=0\nLimitRTPRIO=0\nLimitRTTIME=1s", SERVE, client=[ASK],
         records=3, see={"0 limits NOFILE": "[100, 200]", "0 limits CPU": "[10, 10]",
                         "2 limits NOFILE": re.compile(r"\[1024, .*")}),
    Pair("hook-user-unknown", f"{LISTEN}\nExecStartPre={HOOK}=1\nUser=nosuchuser", SERVE,
         records=0, see={"start": "failed"}),
]

PAIRS = UNITS + COMMANDS
