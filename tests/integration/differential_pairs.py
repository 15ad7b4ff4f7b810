# SPDX-License-Identifier: MIT
"""All pairs of the differential suite, and the keys that no pair can compare."""

from __future__ import annotations

import pairs_accept
import pairs_conditions
import pairs_exec
import pairs_listen
import pairs_options
import pairs_units

PAIRS = (pairs_listen.PAIRS + pairs_options.PAIRS + pairs_accept.PAIRS + pairs_exec.PAIRS
         + pairs_units.PAIRS + pairs_conditions.PAIRS)

# systemd 252 does not know these, so there is nothing to compare them with.
NOT_COMPARED = {
    "Socket.AcceptFileDescriptors": "new in 258",
    "Socket.PassFileDescriptorsToExec": "new in 256",
    "Socket.PassPIDFD": "new in 258",
    "Socket.PollLimitBurst": "new in 255",
    "Socket.PollLimitIntervalSec": "new in 255",
}
