# SPDX-License-Identifier: MIT
"""Pairs: Accept=yes, its instances and limits; and standard input and output of services."""

from __future__ import annotations

import re

from differential import Pair

UNIX = "ListenStream=@dir@/s\nAccept=yes"
TCP4 = "ListenStream=127.0.0.1:@port@\nAccept=yes"
TCP6 = "ListenStream=[::1]:@port@\nAccept=yes"
ASK = ("ask", "@dir@/s")
ASK4 = ("ask", "127.0.0.1:@port@")
ASK6 = ("ask", "[::1]:@port@")
NAMES = ("ExecStart=@probe@ --say=3:hello %i %I %n %N %p %P %j %J %f %%\n"
         "Environment=I=%i N=%n P=%p F=%f")
HOLD = "ExecStart=@probe@ --say=3:hello --wait=3"

INSTANCES = [
    Pair("accept-unix", UNIX, NAMES, client=[ASK], look=["@dir@/s"],
         see={"client 0": "hello\n", "0 env I": "0-CLIENT-0", "0 env LISTEN_FDS": "1",
              "0 env LISTEN_FDNAMES": "connection", "0 env REMOTE_ADDR": None,
              "0 argv 5": "@name@@0-CLIENT-0.service",
              "0 fd 3 listening": False, "0 fd 3 flags": "", "0 fd 3 name": "@dir@/s"}),
    Pair("accept-abstract", "ListenStream=@@name@\nAccept=yes", NAMES, client=[("ask", "@@name@")],
         see={"0 env I": "0-CLIENT-0"}),
    Pair("accept-tcp4", TCP4, NAMES, client=[ASK4],
         see={"0 env I": re.compile(r"0-127\.0\.0\.1:\d+-127\.0\.0\.1:PORT0"),
              "0 env REMOTE_ADDR": "127.0.0.1", "0 env REMOTE_PORT": "PORT0"}),
    Pair("accept-tcp6", TCP6, NAMES, client=[ASK6],
         see={"0 env I": re.compile(r"0-::1:\d+-::1:PORT0"), "0 env REMOTE_ADDR": "::1",
              "0 env REMOTE_PORT": "PORT0"}),
    Pair("accept-mapped", "ListenStream=@port@\nAccept=yes", NAMES, client=[ASK4],
         see={"0 env I": re.compile(r"0-127\.0\.0\.1:\d+-127\.0\.0\.1:PORT0"),
              "0 env REMOTE_ADDR": "127.0.0.1", "0 fd 3 domain": 10}),
    Pair("accept-seqpacket", "ListenSequentialPacket=@dir@/s\nAccept=yes", NAMES,
         client=[("ask_packet", "@dir@/s")], see={"0 env I": "0-CLIENT-0"}),
    Pair("accept-counts", UNIX, NAMES, client=[ASK, ("records", 1), ASK, ("records", 2), ASK],
         records=3, see={"1 env I": "1-CLIENT-0", "2 env I": "2-CLIENT-0"}),
    Pair("accept-two-listeners", f"{UNIX}\nListenStream=127.0.0.1:@port@", NAMES,
         client=[ASK, ("records", 1), ASK4], records=2,
         see={"0 env I": "0-CLIENT-0", "1 env REMOTE_ADDR": "127.0.0.1",
              "1 env LISTEN_FDS": "1"}),
    Pair("accept-name-is-connection", f"{UNIX}\nFileDescriptorName=mine", NAMES, client=[ASK],
         see={"0 env LISTEN_FDNAMES": "connection"}),
    Pair("accept-non-blocking", UNIX, f"{NAMES}\nNonBlocking=yes", client=[ASK],
         see={"0 fd 3 flags": "nonblocking"}),
    Pair("accept-paths", UNIX, "ExecStart=@probe@ --say=3:hello\nWorkingDirectory=@dir@/%p\n"
         "Environment=D=@dir@/%i\nEnvironmentFile=@dir@/env-%p\nUser=plain",
         client=[ASK], files={"accept-paths/x": "", "env-accept-paths": "A=b\n"},
         see={"0 cwd": "@dir@/@name@", "0 env D": "@dir@/0-CLIENT-0", "0 env A": "b"}),
    Pair("accept-handler-fails", UNIX, "ExecStart=@probe@ --say=3:hello --exit=3",
         client=[ASK, ASK], records=2, see={"client 1": "hello\n"}),
    Pair("accept-handler-crashes", UNIX, "ExecStart=@probe@ --say=3:hello --kill=9",
         client=[ASK, ASK], records=2, see={"client 1": "hello\n"}),
    Pair("accept-no-program", UNIX, "ExecStart=/nosuch/program", client=[ASK, ASK], records=0,
         see={"start": "ok", "client 0": "", "client 1": ""}, refused="cannot run"),
    Pair("accept-no-program-minus", UNIX, "ExecStart=-/nosuch/program", client=[ASK], records=0,
         see={"start": "ok", "client 0": ""}),
    Pair("accept-template-of-socket", "", "", start=["@name@@a-b\\x2dc.socket"],
         client=[ASK], units={
        "@name@@.socket": f"{UNIX}\nFileDescriptorName=%i\nSymlinks=@dir@/%i",
        "@name@@.service": NAMES}, look=["@dir@/a-b\\x2dc"],
        see={"0 env I": "0-CLIENT-0", "0 env P": "@name@"}),
    Pair("accept-max-connections", f"{UNIX}\nMaxConnections=1", HOLD,
         client=[("open", "a", "@dir@/s"), ASK, ASK, ("finish", "a"),
                 ("open_again", "b", "@dir@/s")],
         records=2, see={"client 0": "hello\n", "client 1": "", "client 4": "hello\n"}),
    Pair("accept-max-connections-two", f"{UNIX}\nMaxConnections=2", HOLD,
         client=[("open", "a", "@dir@/s"), ("open", "b", "@dir@/s"), ASK, ("finish", "b"),
                 ("open_again", "c", "@dir@/s")],
         records=3, see={"client 1": "hello\n", "client 2": "", "client 4": "hello\n"}),
    Pair("accept-max-connections-name", f"{UNIX}\nMaxConnections=1",
         HOLD + "\nEnvironment=I=%i",
         client=[("open", "a", "@dir@/s"), ASK, ("finish", "a"),
                 ("open_again", "b", "@dir@/s")],
         records=2, see={"1 env I": "1-CLIENT-0"}),
    Pair("accept-per-source", "ListenStream=0.0.0.0:@port@\nAccept=yes\nMaxConnectionsPerSource=1",
         HOLD, client=[("open", "a", "127.0.0.1:@port@", "127.0.0.1"),
                       ("ask", "127.0.0.1:@port@", "", "127.0.0.1"),
                       ("open", "b", "127.0.0.1:@port@", "127.0.0.2"), ("finish", "a"),
                       ("open_again", "c", "127.0.0.1:@port@", "127.0.0.1")],
         records=3, see={"client 0": "hello\n", "client 1": "", "client 2": "hello\n",
                         "client 4": "hello\n"}),
    Pair("accept-per-source-unix", f"{UNIX}\nMaxConnectionsPerSource=1", HOLD,
         client=[("open", "a", "@dir@/s"), ("open", "b", "@dir@/s")], records=2,
         see={"client 1": "hello\n"},
         deviates={"client 1|1 .*": "counted by user, as systemd does since 256",
                   "missing": "the same"}),
    Pair("accept-trigger-limit-off", f"{UNIX}\nTriggerLimitIntervalSec=0\nTriggerLimitBurst=1",
         HOLD.replace(" --wait=3", ""), client=[ASK, ASK, ASK, ASK], records=4,
         see={"client 3": "hello\n"}),
    Pair("accept-backlog", f"{UNIX}\nBacklog=3", HOLD.replace(" --wait=3", ""),
         client=[("backlog", "@dir@/s"), ASK], see={"client 0": "3"}),
    Pair("accept-half-close", UNIX, "ExecStart=@probe@ --wait=3 --say=3:bye",
         client=[("join", "a", "@dir@/s"), ("finish", "a")], see={"client 1": "bye\n"}),
    Pair("accept-sends-first", UNIX, "ExecStart=@probe@ --receive=3 --say=3:bye",
         client=[("ask", "@dir@/s", "first")], see={"0 received": "first"}),
    Pair("accept-yes-with-datagram", "ListenDatagram=@dir@/s\nAccept=yes", NAMES, records=0,
         see={"start": "failed"}),
]

SAY = "ExecStart=@probe@ --say=1:out --say=2:err"
INETD = "StandardInput=socket"

STREAMS = [
    Pair("stdio-inetd", UNIX, f"{SAY}\n{INETD}", client=[ASK],
         see={"client 0": "out\nerr\n", "0 env LISTEN_FDS": None, "0 fd 3 type": None,
              "0 fd 0 flags": "", "0 env LISTEN_PID": None}),
    Pair("stdio-inetd-tcp", TCP4, f"{SAY}\n{INETD}", client=[ASK4],
         see={"client 0": "out\nerr\n", "0 env REMOTE_ADDR": "127.0.0.1"}),
    Pair("stdio-inetd-non-blocking", UNIX, f"{SAY}\n{INETD}\nNonBlocking=yes", client=[ASK],
         see={"0 fd 0 flags": ""}),
    Pair("stdio-inetd-error-journal", UNIX, f"{SAY}\n{INETD}\nStandardError=journal", client=[ASK],
         see={"client 0": "out\n"}),
    Pair("stdio-inetd-error-null", UNIX, f"{SAY}\n{INETD}\nStandardError=null", client=[ASK],
         see={"client 0": "out\n", "0 fd 2 target": "/dev/null", "0 fd 2 access": "write"}),
    Pair("stdio-inetd-output-journal", UNIX, f"{SAY}\n{INETD}\nStandardOutput=journal",
         client=[ASK], see={"client 0": ""}),
    Pair("stdio-inetd-output-null", UNIX, f"{SAY}\n{INETD}\nStandardOutput=null", client=[ASK],
         see={"client 0": "", "0 fd 2 target": "/dev/null"}),
    Pair("stdio-output-socket", UNIX, f"{SAY}\nStandardOutput=socket", client=[ASK],
         see={"client 0": "out\nerr\n", "0 fd 0 target": "/dev/null", "0 env LISTEN_FDS": None}),
    Pair("stdio-error-socket", UNIX, f"{SAY}\nStandardError=socket", client=[ASK],
         see={"client 0": "err\n", "0 fd 3 type": None}),
    Pair("stdio-inetd-listener", "ListenStream=@dir@/s",
         "ExecStart=@probe@ --serve=0\nStandardInput=socket", client=[ASK],
         see={"client 0": "served\n", "0 fd 0 listening": True, "0 fd 2 listening": True,
              "0 env LISTEN_FDS": None}),
    Pair("stdio-inetd-listener-journal", "ListenStream=@dir@/s",
         "ExecStart=@probe@ --serve=0\nStandardInput=socket\nStandardOutput=journal\n"
         "StandardError=journal", client=[ASK], see={"client 0": "served\n"}),
    Pair("stdio-default", UNIX, "ExecStart=@probe@ --say=3:hello", client=[ASK],
         see={"0 fd 0 target": "/dev/null", "0 fd 0 access": "read",
              "0 fd 1 log": re.compile(".*"), "0 fd 2 log": re.compile(".*")}),
    Pair("stdio-null", UNIX, "ExecStart=@probe@ --say=3:hello\nStandardInput=null\n"
         "StandardOutput=null\nStandardError=null", client=[ASK],
         see={"0 fd 1 target": "/dev/null", "0 fd 2 access": "write"}),
    Pair("stdio-output-null-error-inherit", UNIX, "ExecStart=@probe@ --say=3:hello\n"
         "StandardOutput=null\nStandardError=inherit", client=[ASK],
         see={"0 fd 2 target": "/dev/null"}),
    Pair("stdio-output-inherit", UNIX, "ExecStart=@probe@ --say=3:hello\nStandardOutput=inherit",
         client=[ASK], see={"0 fd 1 log": re.compile(".*")}),
    Pair("stdio-text", UNIX, "ExecStart=@probe@ --say=3:hello\nStandardInput=data\n"
         "StandardInputText=one \\x41 %% two\nStandardInputText=  three", client=[ASK],
         see={"0 fd 0 content": "one A % two\nthree\n", "0 fd 0 offset": 0}),
    Pair("stdio-data", UNIX, "ExecStart=@probe@ --say=3:hello\nStandardInputData=aGFy\n"
         "StandardInputData=aw==\nStandardInputText=\\n!", client=[ASK],
         see={"0 fd 0 content": "hark\n!\n"}),
    Pair("stdio-text-reset", UNIX, "ExecStart=@probe@ --say=3:hello\nStandardInputText=gone\n"
         "StandardInputText=\nStandardInputText=here", client=[ASK],
         see={"0 fd 0 content": "here\n"}),
    Pair("stdio-text-implies", UNIX, "ExecStart=@probe@ --say=3:hello\nStandardInputText=text\n"
         "User=plain", client=[ASK], see={"0 fd 0 content": "text\n"}),
    Pair("stdio-file", UNIX, "ExecStart=@probe@ --say=3:hello\nStandardInput=file:@dir@/in",
         client=[ASK], files={"in": "content\n"},
         see={"0 fd 0 content": "content\n", "0 fd 0 access": "read"}),
    Pair("stdio-file-missing", UNIX, "ExecStart=@probe@ --say=3:hello\n"
         "StandardInput=file:@dir@/in", client=[ASK], records=0, see={"client 0": ""}),
    Pair("stdio-files", UNIX, "ExecStart=@probe@ --say=1:o --say=2:e --say=3:hello\n"
         "StandardOutput=file:@dir@/out\nStandardError=append:@dir@/err",
         client=[ASK, ("until", "@dir@/err", "e\n"), ASK, ("until", "@dir@/err", "e\ne\n")],
         files={"out": "old content", "err": "old\n"}, read=["@dir@/out", "@dir@/err"], records=2,
         look=["@dir@/out"],
         see={"files @dir@/out": "o\nd content", "files @dir@/err": "old\ne\ne\n",
              "0 fd 1 access": "write", "0 fd 2 flags": "append"}),
    Pair("stdio-files-new", UNIX, "ExecStart=@probe@ --say=1:o --say=3:hello\nUMask=0027\n"
         "StandardOutput=file:@dir@/out\nStandardError=append:@dir@/err\nUser=plain",
         client=[ASK], read=["@dir@/out", "@dir@/err"],
         see={"0 fd 1 mode": "0640", "0 fd 1 owner 0": 0, "0 fd 2 mode": "0640",
              "files @dir@/out": "o\n"}),
    Pair("stdio-truncate", UNIX, "ExecStart=@probe@ --say=1:o --say=2:e --say=3:hello\n"
         "StandardOutput=truncate:@dir@/out", client=[ASK], files={"out": "old content"},
         read=["@dir@/out"], see={"files @dir@/out": "o\ne\n", "0 fd 2 size": 0}),
    Pair("stdio-same-file", UNIX, "ExecStart=@probe@ --say=1:o --say=3:hello\n"
         "StandardInput=file:@dir@/f\nStandardOutput=file:@dir@/f", client=[ASK],
         files={"f": "old content"}, read=["@dir@/f"],
         see={"0 fd 0 access": "read and write", "0 fd 1 access": "read and write",
              "files @dir@/f": "o\nd content"}),
    Pair("stdio-same-file-append", UNIX, "ExecStart=@probe@ --say=1:o --say=2:e --say=3:hello\n"
         "StandardOutput=append:@dir@/f\nStandardError=append:@dir@/f", client=[ASK],
         read=["@dir@/f"], see={"files @dir@/f": "o\ne\n"}),
    Pair("stdio-same-file-twice", UNIX, "ExecStart=@probe@ --say=1:out --say=2:e --say=3:hello\n"
         "StandardOutput=file:@dir@/f\nStandardError=file:@dir@/f", client=[ASK],
         read=["@dir@/f"], see={"0 fd 2 access": "write"}),
    Pair("stdio-specifiers", UNIX, "ExecStart=@probe@ --say=1:o --say=3:hello\n"
         "StandardOutput=append:@dir@/%p.out", client=[ASK], read=["@dir@/@name@.out"],
         see={"files @dir@/@name@.out": "o\n"}),
    Pair("stdio-fd", "ListenStream=@dir@/s\nListenFIFO=@dir@/f\nFileDescriptorName=both",
         "ExecStart=@probe@ --serve=3\nStandardInput=fd:both", client=[ASK],
         see={"0 fd 0 listening": True, "0 env LISTEN_FDS": "2"}),
    Pair("stdio-fd-default", "ListenStream=@dir@/s\nFileDescriptorName=stdin",
         "ExecStart=@probe@ --serve=0\nStandardInput=fd", client=[ASK],
         see={"0 fd 0 listening": True, "0 fd 1 listening": True, "0 env LISTEN_FDS": "1"}),
    Pair("stdio-fd-unknown", UNIX, "ExecStart=@probe@ --say=3:hello\nStandardInput=fd:other",
         client=[ASK], records=0, see={"client 0": ""}, refused="StandardInput=fd:other"),
    Pair("stdio-fd-connection", UNIX, f"{SAY} --say=3:three\nStandardInput=fd:connection",
         client=[ASK], see={"client 0": "out\nerr\nthree\n"}),
    Pair("stdio-output-fd", UNIX, f"{SAY}\nStandardOutput=fd:connection", client=[ASK],
         see={"client 0": "out\nerr\n", "0 fd 0 target": "/dev/null"}),
    Pair("stdio-error-fd", UNIX, f"{SAY}\nStandardError=fd:connection", client=[ASK],
         see={"client 0": "err\n"}),
]

PAIRS = INSTANCES + STREAMS
