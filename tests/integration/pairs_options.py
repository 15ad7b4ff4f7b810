# SPDX-License-Identifier: MIT
"""Pairs: the options of sockets, on listeners and on accepted connections."""

from __future__ import annotations

from typing import Any

from differential import Pair

# A part of the name, the lines, and what the socket then says, on the listener and if that is
# another value on the connection.
TCP: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("plain", "", {"SO_KEEPALIVE": 0, "TCP_NODELAY": 0, "IP_TTL": 64}, {}),
    ("keepalive", "KeepAlive=yes", {"SO_KEEPALIVE": 1}, {}),
    ("keepalive-time", "KeepAliveTimeSec=77", {"TCP_KEEPIDLE": 77, "SO_KEEPALIVE": 0}, {}),
    ("keepalive-interval", "KeepAliveIntervalSec=1min 1s", {"TCP_KEEPINTVL": 61}, {}),
    ("keepalive-probes", "KeepAliveProbes=4", {"TCP_KEEPCNT": 4}, {}),
    ("nodelay", "NoDelay=yes", {"TCP_NODELAY": 1}, {}),
    ("priority", "Priority=5", {"SO_PRIORITY": 5}, {}),
    ("defer-accept", "DeferAcceptSec=5", {"TCP_DEFER_ACCEPT": 7}, {"TCP_DEFER_ACCEPT": 7}),
    ("receive-buffer", "ReceiveBuffer=1M", {"SO_RCVBUF": 2097152}, {}),
    ("send-buffer", "SendBuffer=100K", {"SO_SNDBUF": 204800}, {}),
    ("tos", "IPTOS=low-delay", {"IP_TOS": 16}, {}),
    ("tos-number", "IPTOS=4", {"IP_TOS": 4}, {}),
    ("ttl", "IPTTL=33", {"IP_TTL": 33}, {}),
    ("ttl-too-big", "IPTTL=300", {"IP_TTL": 64}, {}),
    ("mark", "Mark=17", {"SO_MARK": 17}, {}),
    ("reuse-port", "ReusePort=yes", {"SO_REUSEPORT": 1}, {}),
    ("freebind", "FreeBind=yes", {"IP_FREEBIND": 1}, {}),
    ("transparent", "Transparent=yes", {"IP_TRANSPARENT": 1}, {}),
    ("timestamping", "Timestamping=us", {"SO_TIMESTAMP": 1}, {}),
    ("broadcast", "Broadcast=yes", {"SO_BROADCAST": 1}, {}),
    ("packet-info", "PassPacketInfo=yes", {"IP_PKTINFO": 1}, {}),
]


def options(values: dict[str, Any]) -> dict[str, Any]:
    """As Pair.see has them, of the passed socket."""
    return {f"0 fd 3 options {name}": value for name, value in values.items()}


def tcp_pairs(name: str, lines: str, listener: dict[str, Any],
              connection: dict[str, Any]) -> list[Pair]:
    """For one option: a listener, and a connection."""
    client = [("ask", "127.0.0.1:@port@", "x")]
    text = f"ListenStream=127.0.0.1:@port@\n{lines}"
    return [
        Pair(f"tcp-listener-{name}", text, client=client, see=options(listener)),
        Pair(f"tcp-connection-{name}", f"{text}\nAccept=yes",
             "ExecStart=@probe@ --say=3:hello",
             client=client, see=options(connection or listener))]


UDP = [("send", "127.0.0.1:@port@", "x")]
UDP6 = [("send", "[::1]:@port@", "x")]
ASK4 = [("ask", "127.0.0.1:@port@")]
ASK6 = [("ask", "[::1]:@port@")]
HELLO = "ExecStart=@probe@ --say=3:hello"

OTHERS = [
    Pair("tcp-listener-congestion", "ListenStream=127.0.0.1:@port@\nTCPCongestion=reno",
         client=ASK4, see={"0 fd 3 congestion": "reno"}),
    Pair("tcp-connection-congestion", "ListenStream=127.0.0.1:@port@\nTCPCongestion=reno\n"
         "Accept=yes", HELLO, client=ASK4, see={"0 fd 3 congestion": "reno"}),
    Pair("tcp-congestion-unknown", "ListenStream=127.0.0.1:@port@\nTCPCongestion=nosuch",
         client=ASK4, see={"client 0": "served\n"}),
    Pair("tcp-device", "ListenStream=127.0.0.1:@port@\nBindToDevice=lo", client=ASK4,
         see={"0 fd 3 device": "lo"}),
    Pair("tcp-connection-device", "ListenStream=127.0.0.1:@port@\nBindToDevice=lo\nAccept=yes",
         HELLO, client=ASK4, see={"0 fd 3 device": "lo"}),
    Pair("tcp6-only", "ListenStream=@port@\nBindIPv6Only=ipv6-only", client=[*ASK6, *ASK4],
         see={"0 fd 3 options IPV6_V6ONLY": 1, "client 0": "served\n",
              "client 1": "error: Connection refused"}),
    Pair("tcp6-both", "ListenStream=@port@\nBindIPv6Only=both", client=[*ASK6, *ASK4], records=2,
         see={"0 fd 3 options IPV6_V6ONLY": 0, "client 1": "served\n"}),
    Pair("tcp6-only-connection", "ListenStream=@port@\nBindIPv6Only=ipv6-only\nAccept=yes", HELLO,
         client=ASK6, see={"0 fd 3 options IPV6_V6ONLY": 1}),
    Pair("tcp6-options", "ListenStream=[::1]:@port@\nIPTTL=44\nIPTOS=8\nFreeBind=yes\n"
         "Transparent=yes\nPassPacketInfo=yes\nMark=3\nPriority=2", client=ASK6,
         see=options({"IPV6_UNICAST_HOPS": 44, "IPV6_TCLASS": 0, "IP_TOS": 8, "IP_TTL": 64})),
    Pair("tcp6-options-connection", "ListenStream=[::1]:@port@\nIPTTL=44\nIPTOS=8\nAccept=yes\n"
         "FreeBind=yes\nTransparent=yes\nPassPacketInfo=yes\nMark=3\nPriority=2", HELLO,
         client=ASK6, see=options({"IPV6_UNICAST_HOPS": 44, "IP_TOS": 8})),
    Pair("udp-options", "ListenDatagram=127.0.0.1:@port@\nBroadcast=yes\nPassPacketInfo=yes\n"
         "Timestamping=ns\nReceiveBuffer=300K\nIPTTL=9\nIPTOS=throughput\nPriority=1", client=UDP,
         see=options({"SO_BROADCAST": 1, "IP_PKTINFO": 1, "SO_TIMESTAMPNS": 1,
                      "SO_RCVBUF": 614400, "IP_TTL": 9, "IP_TOS": 8})),
    Pair("udp6-options", "ListenDatagram=[::1]:@port@\nBroadcast=yes\nPassPacketInfo=yes\n"
         "Timestamping=us\nReusePort=yes\nIPTTL=9", client=UDP6,
         see=options({"IPV6_RECVPKTINFO": 1, "SO_TIMESTAMP": 1, "SO_REUSEPORT": 1})),
    Pair("udp-freebind", "ListenDatagram=192.0.2.1:@port@\nListenDatagram=127.0.0.1:@port@\n"
         "FreeBind=yes", "ExecStart=@probe@ --serve=4", client=UDP,
         see={"0 fd 3 name": "192.0.2.1:@port@", "0 fd 4 name": "127.0.0.1:@port@"}),
    Pair("tcp-not-there", "ListenStream=192.0.2.1:@port@", records=0, see={"start": "failed"}),
    Pair("netlink-options", "ListenNetlink=kobject-uevent 1\nReceiveBuffer=128M\nPassSecurity=yes\n"
         "PassCredentials=yes\nPassPacketInfo=yes", client=[("uevent", "change@/x")],
         see=options({"SO_RCVBUF": 268435456, "SO_PASSCRED": 1, "NETLINK_PKTINFO": 1})),
    Pair("unix-options", "ListenStream=@dir@/s\nPassCredentials=yes\nPassSecurity=yes\n"
         "Timestamping=ns\nReceiveBuffer=64K\nSendBuffer=32K\nPriority=3\nKeepAlive=yes\n"
         "Broadcast=yes\nMark=9", client=[("ask", "@dir@/s")],
         see=options({"SO_PASSCRED": 1, "SO_TIMESTAMPNS": 1, "SO_RCVBUF": 131072,
                      "SO_SNDBUF": 65536, "SO_PRIORITY": 3, "SO_MARK": 9})),
    Pair("unix-options-connection", "ListenStream=@dir@/s\nPassCredentials=yes\nPassSecurity=yes\n"
         "Timestamping=ns\nReceiveBuffer=64K\nSendBuffer=32K\nPriority=3\nKeepAlive=yes\n"
         "Broadcast=yes\nAccept=yes", HELLO, client=[("ask", "@dir@/s")],
         see=options({"SO_PASSCRED": 1, "SO_TIMESTAMPNS": 1, "SO_RCVBUF": 131072,
                      "SO_SNDBUF": 65536, "SO_PRIORITY": 3})),
    Pair("unix-dgram-options", "ListenDatagram=@dir@/s\nPassCredentials=yes\nTimestamping=off\n"
         "ReceiveBuffer=8M\nPassPacketInfo=yes", client=[("send", "@dir@/s", "x")],
         see=options({"SO_PASSCRED": 1, "SO_RCVBUF": 16777216, "SO_TIMESTAMP": 0})),
    Pair("unix-options-that-fail", "ListenStream=@dir@/s\nIPTTL=20\nNoDelay=yes\nIPTOS=8\n"
         "KeepAliveTimeSec=5\nDeferAcceptSec=5\nTCPCongestion=reno\nFreeBind=yes\nTransparent=yes",
         client=[("ask", "@dir@/s")], see={"client 0": "served\n"}),
]

PAIRS = [pair for row in TCP for pair in tcp_pairs(*row)] + OTHERS
