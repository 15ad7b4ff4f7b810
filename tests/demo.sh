#!/bin/sh
# SPDX-License-Identifier: MIT
# Serves a handler on a Unix socket with hark, talks to it, and shows the exit that hark reports.
#
#   tests/demo.sh BUILD-DIRECTORY
set -eu

hark=$1/src/cli/hark
directory=$(mktemp -d)
socket=$directory/demo.sock
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || :; rm -rf "$directory"' EXIT

say() {
    printf '\n== %s\n' "$*"
}

# The handler: greets whoever gives a name, and fails on those who do not.
# shellcheck disable=SC2016 # the handler's own variables
handler='read name && echo "hello $name, from pid $$"'
say "hark activate -l $socket -a --inetd sh -c '$handler'"
NOTIFY_SOCKET=$directory/notify python3 "$(dirname "$0")/helpers/show-notify.py" \
    "$directory/notify" "$directory/reports" "$hark" activate -l "$socket" -a --inetd \
    sh -c "$handler" &
pid=$!

tries=0
until grep -qs '^READY=1' "$directory/reports"; do
    tries=$((tries + 1))
    [ "$tries" -lt 200 ] && kill -0 "$pid" || exit 1
    sleep 0.05
done

say "three clients, the last one says nothing"
for name in Ada Grace ""; do
    python3 -c 'import socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
client.sendall(sys.argv[2].encode() + b"\n" if sys.argv[2] else b"")
client.shutdown(socket.SHUT_WR)
print("client:", client.makefile().read(), end="")' "$socket" "$name"
done

tries=0
until [ "$(grep -c '^X_HARK_EXIT=' "$directory/reports")" -eq 3 ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 200 ] || exit 1
    sleep 0.05
done
kill "$pid"
wait "$pid"
pid=

say "what hark reported to its service manager"
cat "$directory/reports"
say "what is left: no socket, no lock file"
ls "$directory"
