#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Runs a program as a service manager would, and writes down what it tells by sd_notify.

show-notify.py SOCKET OUTPUT PROGRAM [ARGUMENT…]
"""

import signal
import socket
import subprocess
import sys


def main() -> int:
    path, output, *command = sys.argv[1:]
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(path)
    receiver.settimeout(0.05)
    child = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda *unused: child.terminate())
    with open(output, "w", encoding="utf-8", buffering=1) as lines:
        while True:
            ended = child.poll() is not None
            try:
                lines.write(receiver.recv(65536).decode().rstrip("\n") + "\n")
            except TimeoutError:
                if ended:
                    return child.returncode


if __name__ == "__main__":
    sys.exit(main())
