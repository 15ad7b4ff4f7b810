/* SPDX-License-Identifier: MIT */
/* What the supervisor and a fork server tell each other over their SOCK_SEQPACKET pair: one
 * fixed-size message each, so that a message is either whole or refused. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum server_message_type {
    /* supervisor to server */
    SERVER_MESSAGE_START = 1, /* run program `slot` of `unit` now (no accept); number comes back */
    SERVER_MESSAGE_PING,      /* number comes back */
    SERVER_MESSAGE_LEAVE,     /* exit at once */
    /* server to supervisor */
    SERVER_MESSAGE_READY,   /* every listener is in its epoll set */
    SERVER_MESSAGE_PONG,    /* answer to PING */
    SERVER_MESSAGE_STARTED, /* answer to START: error is 0 or the errno, slot the program's */
    SERVER_MESSAGE_TROUBLE, /* it stopped accepting for a while: error says why */
    SERVER_MESSAGE_LIMIT,   /* it stopped accepting because of the unit's trigger or poll limit */
    SERVER_MESSAGE_TYPE_END_,
};

/* With TROUBLE, as number: what failed. */
enum server_trouble {
    SERVER_TROUBLE_ACCEPT = 0, /* accept(2): something ran out, or is forbidden */
    SERVER_TROUBLE_CREATE,     /* clone(2) */
    SERVER_TROUBLE_PREPARE,    /* what has to be there before */
    SERVER_TROUBLE_SET_UP,     /* the server itself: it exits, and another one will try */
};

/* In words, to follow "cannot"; of any number. */
const char *server_trouble_name(uint64_t trouble);

struct server_message {
    uint32_t type;
    uint32_t unit;
    uint32_t slot;
    int32_t error;
    uint64_t number;
};

/* Checks what recv(2) gave: -EBADMSG for any other size, unknown type, or fields out of range. */
int server_message_parse(const void *data, size_t size, struct server_message *ret_message);

/* Never waits. 0; -EAGAIN when the other side does not read; -EPIPE, -ECONNRESET when it is gone.
 */
int server_message_send(int fd, const struct server_message *message);

/* Never waits. 1: a message; 0: the other side is gone; -EAGAIN: none; -EBADMSG: not a message. */
int server_message_receive(int fd, struct server_message *ret_message);
