/* SPDX-License-Identifier: MIT */
/* Exit statuses of hark: sysexits(3) and systemd.exec(5), documented in hark(1). */
#pragma once

enum exit_status {
    EXIT_STATUS_OK = 0,
    EXIT_STATUS_FAILURE = 1,
    EXIT_STATUS_USAGE = 64,         /* EX_USAGE */
    EXIT_STATUS_IN_USE = 69,        /* EX_UNAVAILABLE: a living server has the address */
    EXIT_STATUS_NOT_RUNNING = 69,   /* EX_UNAVAILABLE: no hark to ask */
    EXIT_STATUS_CANNOT_LISTEN = 73, /* EX_CANTCREAT */
    EXIT_STATUS_TOO_BUSY = 75,      /* EX_TEMPFAIL: the socket is hark's still */
    EXIT_STATUS_PASSED =
        78, /* EX_CONFIG: the sockets that were passed are not what they should be */
    EXIT_STATUS_UNITS = 78,    /* EX_CONFIG: the units cannot be used */
    EXIT_STATUS_PROGRAM = 203, /* systemd's EXIT_EXEC */
};
