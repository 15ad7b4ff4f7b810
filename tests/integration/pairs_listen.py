# SPDX-License-Identifier: MIT
"""Pairs: every kind of listener, its node, its owner, what stays of it."""

from __future__ import annotations

from differential import Pair

ASK = ("ask", "@dir@/s")
SEND = ("send", "@dir@/s", "hello")
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
STREAM, DGRAM, RAW, SEQPACKET = 1, 2, 3, 5

STREAMS = [
    Pair("stream-path", "ListenStream=@dir@/s", client=[ASK], look=["@dir@/s"], see={
        "nodes @dir@/s kind": "socket", "nodes @dir@/s mode": "0666", "client 0": "served\n",
        "0 env LISTEN_FDS": "1", "0 env LISTEN_PID": "PID",
        "0 env LISTEN_FDNAMES": "@name@.socket", "0 fd 3 name": "@dir@/s",
        "0 fd 3 listening": True, "0 fd 3 domain": AF_UNIX, "0 fd 3 socket_type": STREAM,
        "0 fd 3 flags": "", "0 fd 3 cloexec": False, "0 fd 3 options SO_REUSEADDR": 1,
        "0 fd 4 type": None}),
    Pair("stream-abstract", "ListenStream=@@name@", client=[("ask", "@@name@")],
         see={"0 fd 3 name": "\0@name@", "client 0": "served\n"}),
    Pair("stream-tcp4", "ListenStream=127.0.0.1:@port@", client=[("ask", "127.0.0.1:@port@")],
         see={"0 fd 3 name": "127.0.0.1:@port@", "0 fd 3 domain": AF_INET,
              "client 0": "served\n", "0 fd 3 protocol": 6}),
    Pair("stream-tcp6", "ListenStream=[::1]:@port@", client=[("ask", "[::1]:@port@")],
         see={"0 fd 3 name": "[::1]:@port@%0", "0 fd 3 options IPV6_V6ONLY": 1,
              "client 0": "served\n"}),
    Pair("stream-port", "ListenStream=@port@", client=[("ask", "127.0.0.1:@port@")],
         see={"0 fd 3 name": "[::]:@port@%0", "client 0": "served\n"}),
    Pair("stream-any4", "ListenStream=0.0.0.0:@port@", client=[("ask", "127.0.0.2:@port@")],
         see={"0 fd 3 name": "0.0.0.0:@port@", "client 0": "served\n"}),
    Pair("stream-any6-scope", "ListenStream=[::1]:@port@%%lo", client=[("ask", "[::1]:@port@")],
         see={"0 fd 3 name": "[::1]:@port@%0", "client 0": "served\n"}),
    Pair("stream-vsock", "ListenStream=vsock::@port@\nListenStream=@dir@/s",
         "ExecStart=@probe@ --serve=4", client=[ASK],
         see={"0 fd 3 domain": 40, "0 fd 3 name": "vsock:4294967295:@port@"}),
    Pair("stream-path-as-written", "ListenStream=@dir@//c/./s", client=[("ask", "@dir@/c/s")],
         look=["@dir@/c"], see={"0 fd 3 name": "@dir@//c/./s", "nodes @dir@/c mode": "0755"},
         deviates={"0 fd 3 name": "hark tidies paths, so that equal ones are equal"}),
    Pair("stream-path-specifiers", "ListenStream=@dir@/%p-%N-%%", client=[
        ("ask", "@dir@/@name@-@name@-%")], see={"client 0": "served\n"}),
    Pair("stream-twice", "ListenStream=@dir@/s", client=[ASK, ASK, ASK], records=3,
         see={"client 2": "served\n", "2 env LISTEN_FDS": "1"}),
    Pair("accept-loop", "ListenStream=@dir@/s", "ExecStart=@probe@ --serve=3 --serve=3",
         client=[ASK, ASK], see={"client 1": "served\n", "1 uid": None}),
]

PACKETS = [
    Pair("dgram-path", "ListenDatagram=@dir@/s", client=[SEND], look=["@dir@/s"],
         see={"0 fd 3 socket_type": DGRAM, "nodes @dir@/s mode": "0666", "0 fd 3 flags": ""}),
    Pair("dgram-abstract", "ListenDatagram=@@name@", client=[("send", "@@name@", "x")],
         see={"0 fd 3 name": "\0@name@"}),
    Pair("dgram-udp4", "ListenDatagram=127.0.0.1:@port@", client=[
        ("send", "127.0.0.1:@port@", "x")], see={"0 fd 3 name": "127.0.0.1:@port@",
                                                 "0 fd 3 protocol": 17}),
    Pair("dgram-udp6", "ListenDatagram=[::1]:@port@", client=[("send", "[::1]:@port@", "x")],
         see={"0 fd 3 name": "[::1]:@port@%0"}),
    Pair("dgram-port", "ListenDatagram=@port@", client=[("send", "127.0.0.1:@port@", "x")],
         see={"0 fd 3 name": "[::]:@port@%0"}),
    Pair("dgram-udplite", "ListenDatagram=127.0.0.1:@port@\nSocketProtocol=udplite", client=[
        ("send", "lite:127.0.0.1:@port@", "x")], see={"0 fd 3 protocol": 136}),
    Pair("dgram-received", "ListenDatagram=@dir@/s", "ExecStart=@probe@ --receive=3",
         client=[SEND], see={"0 received": "hello"}),
    Pair("dgram-inetd", "ListenDatagram=@dir@/s",
         "ExecStart=@probe@ --receive=0\nStandardInput=socket", client=[SEND],
         see={"0 received": "hello", "0 env LISTEN_FDS": None, "0 fd 1 socket_type": DGRAM,
              "0 fd 2 socket_type": DGRAM, "0 fd 3 type": None}),
    Pair("seqpacket-path", "ListenSequentialPacket=@dir@/s",
         client=[("ask_packet", "@dir@/s")],
         see={"0 fd 3 socket_type": SEQPACKET, "client 0": "served\n"}),
    Pair("seqpacket-abstract", "ListenSequentialPacket=@@name@",
         client=[("ask_packet", "@@name@")], see={"client 0": "served\n"}),
]

FIFO = ("fifo", "@dir@/f", "hello")
OTHERS = [
    Pair("fifo", "ListenFIFO=@dir@/f", client=[FIFO], look=["@dir@/f"],
         see={"nodes @dir@/f kind": "fifo", "nodes @dir@/f mode": "0666",
              "0 fd 3 access": "read and write", "0 fd 3 flags": "", "after @dir@/f kind": "fifo"}),
    Pair("fifo-stdin", "ListenFIFO=@dir@/f",
         "ExecStart=@probe@ --serve=0\nStandardInput=fd:@name@.socket\nStandardOutput=journal",
         client=[FIFO], see={"0 fd 0 type": "fifo", "0 env LISTEN_FDS": "1"}),
    Pair("fifo-pipe-size", "ListenFIFO=@dir@/f\nPipeSize=256K", client=[FIFO],
         see={"0 fd 3 pipe_size": 262144}),
    Pair("fifo-owner", "ListenFIFO=@dir@/d/f\nSocketUser=plain\nSocketMode=0640\n"
         "DirectoryMode=0711", client=[("fifo", "@dir@/d/f", "x")],
         look=["@dir@/d", "@dir@/d/f"],
         see={"nodes @dir@/d/f uid": 4711, "nodes @dir@/d/f gid": 4711,
              "nodes @dir@/d/f mode": "0640", "nodes @dir@/d mode": "0711",
              "nodes @dir@/d uid": 0}),
    Pair("fifo-non-blocking", "ListenFIFO=@dir@/f", "ExecStart=@probe@ --serve=3\nNonBlocking=yes",
         client=[FIFO], see={"0 fd 3 flags": "nonblocking"}),
    Pair("fifo-removed", "ListenFIFO=@dir@/f\nRemoveOnStop=yes", client=[FIFO], look=["@dir@/f"],
         see={"after @dir@/f": "missing"}),
    # Readable at once and for ever: the handler stays until it is stopped.
    Pair("special-proc", "ListenSpecial=/proc/sys/kernel/hostname", "ExecStart=@probe@ --stay",
         see={"0 fd 3 type": "file", "0 fd 3 access": "read", "0 fd 3 flags": ""}),
    Pair("special-mounts", "ListenSpecial=/proc/self/mounts", "ExecStart=@probe@ --stay",
         see={"0 fd 3 type": "file", "0 env LISTEN_FDS": "1"},
         deviates={"0 fd 3 (content|target)": "shows the mounts of who opened it"}),
    Pair("special-device", "ListenSpecial=/dev/random", "ExecStart=@probe@ --stay",
         see={"0 fd 3 type": "character", "0 fd 3 access": "read"}),
    Pair("special-writable", "ListenSpecial=/dev/random\nWritable=yes",
         "ExecStart=@probe@ --stay", see={"0 fd 3 access": "read and write"}),
    Pair("special-not-pollable", "ListenSpecial=/dev/null", "ExecStart=@probe@ --stay",
         records=0, see={"start": "failed"}),
    Pair("special-missing", "ListenSpecial=/dev/nosuch", records=0, see={"start": "failed"}),
    Pair("netlink-uevent", "ListenNetlink=kobject-uevent 1", client=[("uevent", "change@/x")],
         see={"0 fd 3 domain": AF_NETLINK, "0 fd 3 socket_type": RAW, "0 fd 3 protocol": 15,
              "0 fd 3 name": "netlink:1"}),
    Pair("netlink-route", "ListenNetlink=route 1",
         "ExecStart=@probe@ --serve=3 --serve=3", client=[("route",)],
         see={"0 fd 3 protocol": 0, "0 fd 3 name": "netlink:1"}),
    Pair("queue", "ListenMessageQueue=/@name@", client=[("queue", "/@name@", "x")],
         queues=["/@name@"], see={"0 fd 3 mq_maxmsg": 10, "0 fd 3 mq_msgsize": 8192,
                                  "0 fd 3 access": "read", "0 fd 3 mq_flags": 0}),
    Pair("queue-sizes", "ListenMessageQueue=/@name@\nMessageQueueMaxMessages=5\n"
         "MessageQueueMessageSize=100\nRemoveOnStop=yes\nSocketMode=0600",
         client=[("queue", "/@name@", "x")], queues=["/@name@"],
         see={"0 fd 3 mq_maxmsg": 5, "0 fd 3 mq_msgsize": 100}),
    Pair("queue-half-sizes", "ListenMessageQueue=/@name@\nMessageQueueMaxMessages=5",
         client=[("queue", "/@name@", "x")], queues=["/@name@"],
         see={"0 fd 3 mq_maxmsg": 10, "0 fd 3 mq_msgsize": 8192}),
    Pair("mixed-order", "ListenSequentialPacket=@dir@/a\nListenFIFO=@dir@/b\n"
         "ListenStream=@dir@/s\nListenMessageQueue=/@name@\nListenDatagram=@dir@/c\n"
         "FileDescriptorName=each", "ExecStart=@probe@ --serve=5", client=[ASK],
         queues=["/@name@"],
         see={"0 env LISTEN_FDNAMES": "each:each:each:each:each", "0 fd 3 name": "@dir@/a",
              "0 fd 4 type": "fifo", "0 fd 5 name": "@dir@/s", "0 fd 6 mq_maxmsg": 10,
              "0 fd 7 name": "@dir@/c", "0 env LISTEN_FDS": "5"}),
    Pair("reset-listeners", "ListenStream=@dir@/a\nListenFIFO=@dir@/b\nListenDatagram=\n"
         "ListenStream=@dir@/s", client=[ASK], look=["@dir@/a", "@dir@/b"],
         see={"0 env LISTEN_FDS": "1", "nodes @dir@/a": "missing", "nodes @dir@/b": "missing"}),
]

NUMBERS = "a number needs no entry"

NODES = [
    Pair("mode", "ListenStream=@dir@/s\nSocketMode=0600", client=[ASK], look=["@dir@/s"],
         see={"nodes @dir@/s mode": "0600"}),
    Pair("mode-without-bits", "ListenDatagram=@dir@/s\nSocketMode=0", client=[SEND],
         look=["@dir@/s"], see={"nodes @dir@/s mode": "0000"}),
    Pair("owner", "ListenStream=@dir@/s\nSocketUser=plain\nSocketGroup=other\nSocketMode=0660",
         client=[ASK], look=["@dir@/s"],
         see={"nodes @dir@/s uid": 4711, "nodes @dir@/s gid": 4722}),
    Pair("owner-user", "ListenStream=@dir@/s\nSocketUser=plain", client=[ASK], look=["@dir@/s"],
         see={"nodes @dir@/s uid": 4711, "nodes @dir@/s gid": 4711}),
    Pair("owner-group", "ListenStream=@dir@/s\nSocketGroup=other", client=[ASK],
         look=["@dir@/s"], see={"nodes @dir@/s uid": 0, "nodes @dir@/s gid": 4722}),
    Pair("owner-number", "ListenStream=@dir@/s\nSocketUser=4712\nSocketGroup=4722", client=[ASK],
         look=["@dir@/s"], see={"nodes @dir@/s uid": 4712, "nodes @dir@/s gid": 4722}),
    Pair("owner-unknown-number", "ListenStream=@dir@/s\nSocketUser=12345", records=0,
         see={"start": "failed"}, deviates={"start|missing": NUMBERS}),
    Pair("owner-unknown-group", "ListenStream=@dir@/s\nSocketGroup=12345", records=0,
         see={"start": "failed"}, deviates={"start|missing": NUMBERS}),
    Pair("owner-unknown", "ListenStream=@dir@/s\nSocketUser=nosuchuser", records=0,
         see={"start": "failed"}),
    Pair("directories", "ListenStream=@dir@/d/e/f/s\nDirectoryMode=0710\nSocketUser=plain",
         client=[("ask", "@dir@/d/e/f/s")], look=["@dir@/d", "@dir@/d/e", "@dir@/d/e/f"],
         see={"nodes @dir@/d mode": "0710", "nodes @dir@/d/e/f mode": "0710",
              "nodes @dir@/d/e/f uid": 0, "after @dir@/d/e/f mode": "0710"}),
    Pair("directories-wide", "ListenStream=@dir@/d/s\nDirectoryMode=1777",
         client=[("ask", "@dir@/d/s")], look=["@dir@/d"], see={"nodes @dir@/d mode": "1777"}),
    Pair("remove-on-stop", "ListenStream=@dir@/d/s\nRemoveOnStop=yes\nSymlinks=@dir@/l @dir@/e/m",
         client=[("ask", "@dir@/l")], look=["@dir@/d", "@dir@/d/s", "@dir@/l", "@dir@/e/m"],
         see={"nodes @dir@/l leads to": "@dir@/d/s", "nodes @dir@/e/m leads to": "@dir@/d/s",
              "after @dir@/d/s": "missing", "after @dir@/l": "missing",
              "after @dir@/e/m": "missing", "after @dir@/d kind": "directory"}),
    Pair("keep-on-stop", "ListenStream=@dir@/s\nSymlinks=@dir@/l", client=[("ask", "@dir@/l")],
         look=["@dir@/s", "@dir@/l"],
         see={"after @dir@/s kind": "socket", "after @dir@/l leads to": "@dir@/s"}),
    Pair("symlink-taken", "ListenStream=@dir@/s\nSymlinks=@dir@/l", client=[ASK],
         files={"l": "mine"}, look=["@dir@/l"], see={"nodes @dir@/l kind": "file"}),
    Pair("backlog-unix", "ListenStream=@dir@/s\nBacklog=5", client=[("backlog", "@dir@/s"), ASK],
         see={"client 0": "5"}),
    Pair("backlog-tcp", "ListenStream=127.0.0.1:@port@\nBacklog=7",
         client=[("backlog", "127.0.0.1:@port@"), ("ask", "127.0.0.1:@port@")],
         see={"client 0": "7", "0 fd 3 backlog": 7}),
    Pair("backlog-default", "ListenStream=127.0.0.1:@port@\nListenStream=@dir@/s",
         "ExecStart=@probe@ --serve=4",
         client=[("backlog", "127.0.0.1:@port@"), ("backlog", "@dir@/s"), ASK],
         see={"client 0": "4096", "client 1": "4096"}),
    Pair("no-listener-works", "ListenStream=@dir@/s\nListenFIFO=@dir@/plain-file", records=0,
         files={"plain-file": "x"}, see={"start": "failed"}, look=["@dir@/plain-file"]),
    Pair("address-taken", "ListenStream=@dir@/s\nListenStream=127.0.0.1:@port@\n"
         "ListenStream=127.0.0.1:@port@", records=0, look=["@dir@/s"], see={"start": "failed"},
         deviates={"(nodes|after) .*": "hark cleans up what it made"}),
]

PAIRS = STREAMS + PACKETS + OTHERS + NODES
