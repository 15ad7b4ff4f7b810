/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <limits.h>
#include <netinet/in.h>

#include "unit-text.h"
#include "unit/directives.h"
#include "unit/socket-unit.h"
#include "unit/values.h"

static struct unit_file *file;
static struct socket_unit *unit;
static const char *problems_text;

/* Makes file, unit and problems_text of the lines of [Socket], which are those from 2 on. */
static void parse_as(const char *name, const char *lines)
{
    struct problems problems = {0};
    char *text = NULL;

    ASSERT_CALL(asprintf(&text, "[Socket]\n%s", lines));
    file = parse_unit(name, text, &problems);
    ASSERT_OK(socket_unit_new(file, &problems, &unit));
    problems_text = list_problems(&problems);
    free(text);
}

static void done(void)
{
    unit = socket_unit_free(unit);
    file = unit_file_free(file);
}

static void parse(const char *lines)
{
    parse_as("a.socket", lines);
}

/* Parses what has no faults. */
static void parse_good(const char *lines)
{
    parse(lines);
    ASSERT_STRING(problems_text, "");
}

TEST(defaults)
{
    parse_good("ListenStream=/run/x\n");
    ASSERT_INT(unit->listeners.n, 1);
    ASSERT(!unit->accept && !unit->remove_on_stop && !unit->writable && !unit->flush_pending);
    ASSERT_STRING(unit->service, "a.service");
    ASSERT_STRING(unit->fd_name, "a.socket");
    ASSERT_INT(unit->socket_mode, 0666);
    ASSERT_INT(unit->directory_mode, 0755);
    ASSERT_INT(unit->max_connections, 64);
    ASSERT_INT(unit->max_connections_per_source, 0);
    ASSERT_INT(unit->trigger_limit.interval, 2000000);
    ASSERT_INT(unit->trigger_limit.burst, 20);
    ASSERT_INT(unit->poll_limit.interval, 2000000);
    ASSERT_INT(unit->poll_limit.burst, 15);
    ASSERT_INT(unit->backlog, INT_MAX);
    ASSERT_INT(unit->timeout, 90000000);
    ASSERT_INT(unit->priority, -1);
    ASSERT(unit->accept_file_descriptors);
    ASSERT_INT(unit->exec.std[1].kind, EXEC_STREAM_JOURNAL);
    done();
    parse_good("ListenStream=/run/x\nAccept=yes\n");
    ASSERT_INT(unit->trigger_limit.burst, 200);
    ASSERT_INT(unit->poll_limit.burst, 150);
    ASSERT_STRING(unit->service, "a@.service");
    ASSERT_STRING(unit->fd_name, "connection");
    done();
}

TEST(every_honoured_key_has_a_reader)
{
    size_t n;
    const struct directive *table = directive_table(&n);

    for (size_t i = 0; i < n; i++) {
        char line[128];
        if (!(table[i].sections & SECTION_SOCKET) || table[i].class != CLASS_HONOURED)
            continue;
        (void)snprintf(line, sizeof(line), "%s=\001\n", table[i].name);
        parse(line);
        if (strstr(problems_text, "no reader"))
            TEST_FAIL("%s has no reader", table[i].name);
        done();
    }
}

static void check_listener(size_t i, enum listener_kind kind, const char *address)
{
    ASSERT(i < unit->listeners.n);
    ASSERT_INT(unit->listeners.items[i].kind, kind);
    ASSERT_STRING(unit->listeners.items[i].address, address);
    ASSERT_INT(unit->listeners.items[i].line, i + 2);
}

TEST(listeners)
{
    parse_good("ListenStream=/var/run//%p.sock\n"
               "ListenDatagram=@abstract\n"
               "ListenSequentialPacket=/run/seq\n"
               "ListenStream=8080\n"
               "ListenDatagram=127.0.0.1:53\n"
               "ListenStream=[::1]:80\n"
               "ListenStream=vsock::1024\n"
               "ListenFIFO=/run/./fifo/\n"
               "ListenSpecial=/dev/null\n"
               "ListenNetlink=kobject-uevent 1\n"
               "ListenMessageQueue=/queue\n");
    check_listener(0, LISTENER_STREAM, "/run/a.sock");
    check_listener(1, LISTENER_DATAGRAM, "@abstract");
    check_listener(2, LISTENER_SEQPACKET, "/run/seq");
    check_listener(3, LISTENER_STREAM, "8080");
    check_listener(4, LISTENER_DATAGRAM, "127.0.0.1:53");
    check_listener(5, LISTENER_STREAM, "[::1]:80");
    check_listener(6, LISTENER_STREAM, "vsock::1024");
    check_listener(7, LISTENER_FIFO, "/run/fifo");
    check_listener(8, LISTENER_SPECIAL, "/dev/null");
    check_listener(9, LISTENER_NETLINK, "kobject-uevent 1");
    check_listener(10, LISTENER_MESSAGE_QUEUE, "/queue");
    ASSERT_INT(unit->listeners.n, 11);
    done();
}

TEST(one_empty_listener_resets_all)
{
    parse_good("ListenStream=1\nListenFIFO=/x\nListenDatagram=\nListenFIFO=/y\n");
    ASSERT_INT(unit->listeners.n, 1);
    ASSERT_STRING(unit->listeners.items[0].address, "/y");
    done();
    parse("ListenStream=1\nListenUSBFunction=\n");
    ASSERT_STRING(problems_text, "u:0: \"a.socket\" listens on nothing: add ListenStream= or "
                                 "another Listen setting\n");
    done();
}

/* A line that is one error, in which the message has the given part. */
static void check_bad(const char *line, const char *part)
{
    char lines[512];

    (void)snprintf(lines, sizeof(lines), "%s\nListenStream=1\n", line);
    parse(lines);
    if (strncmp(problems_text, "u:2: ", 5) != 0 || !strstr(problems_text, part) ||
        strchr(problems_text, '\n')[1] != '\0')
        TEST_FAIL("%s: \"%s\", not %s", line, problems_text, part);
    done();
}

TEST(bad_listeners)
{
    char line[256];

    check_bad("ListenStream=0", "out of range");
    check_bad("ListenStream=65536", "out of range");
    check_bad("ListenStream=localhost:80", "not an address");
    check_bad("ListenStream=a/b", "not an address");
    check_bad("ListenStream=./b", "not an address");
    check_bad("ListenStream=/a/../b", "absolute path");
    check_bad("ListenStream=@", "not an address");
    check_bad("ListenStream=[fe80::1]:80%%no-such-if", "no such interface");
    check_bad("ListenStream=/%X", "unknown specifier \"%X\"");
    check_bad("ListenStream=%c", "not supported");
    check_bad("ListenSequentialPacket=80", "sequential packets");
    check_bad("ListenFIFO=x", "absolute path");
    check_bad("ListenSpecial=x", "absolute path");
    check_bad("ListenNetlink=nonsense", "netlink family");
    check_bad("ListenNetlink=route x", "netlink family");
    check_bad("ListenMessageQueue=queue", "absolute path");
    check_bad("ListenMessageQueue=/a/b", "message queue");
    check_bad("ListenMessageQueue=/", "message queue");
    check_bad("ListenUSBFunction=/x", "cannot honour");
    (void)snprintf(line, sizeof(line), "ListenStream=/%0107d", 0);
    check_bad(line, "at most 107");
    (void)snprintf(line, sizeof(line), "ListenStream=/%0106d\n", 0);
    parse_good(line);
    done();
}

TEST(options_of_sockets)
{
    parse_good("ListenStream=1\n"
               "SocketProtocol=sctp\nBindIPv6Only=ipv6-only\nBacklog=5\nBindToDevice=eth0\n"
               "KeepAlive=yes\nKeepAliveTimeSec=2min\nKeepAliveIntervalSec=3\nKeepAliveProbes=4\n"
               "NoDelay=on\nPriority=6\nDeferAcceptSec=1s\nReceiveBuffer=8K\nSendBuffer=1M\n"
               "IPTOS=low-delay\nIPTTL=64\nMark=7\nReusePort=1\nFreeBind=t\nTransparent=y\n"
               "Broadcast=true\nPassCredentials=yes\nPassSecurity=yes\nPassPacketInfo=yes\n"
               "PassPIDFD=yes\nAcceptFileDescriptors=no\nTimestamping=us\nTCPCongestion=bbr\n"
               "PipeSize=64K\nMessageQueueMaxMessages=10\nMessageQueueMessageSize=100\n");
    ASSERT_INT(unit->protocol, IPPROTO_SCTP);
    ASSERT_INT(unit->ipv6_only, IPV6_ONLY_YES);
    ASSERT_INT(unit->backlog, 5);
    ASSERT_STRING(unit->device, "eth0");
    ASSERT(unit->keep_alive && unit->no_delay && unit->reuse_port && unit->free_bind);
    ASSERT_INT(unit->keep_alive_time, 120000000);
    ASSERT_INT(unit->keep_alive_interval, 3000000);
    ASSERT_INT(unit->keep_alive_probes, 4);
    ASSERT_INT(unit->priority, 6);
    ASSERT_INT(unit->defer_accept, 1000000);
    ASSERT_INT(unit->receive_buffer, 8192);
    ASSERT_INT(unit->send_buffer, 1048576);
    ASSERT_INT(unit->ip_tos, 16);
    ASSERT_INT(unit->ip_ttl, 64);
    ASSERT_INT(unit->mark, 7);
    ASSERT(unit->transparent && unit->broadcast && unit->pass_credentials && unit->pass_security);
    ASSERT(unit->pass_packet_info && unit->pass_pidfd && !unit->accept_file_descriptors);
    ASSERT_INT(unit->timestamping, TIMESTAMPING_US);
    ASSERT_STRING(unit->tcp_congestion, "bbr");
    ASSERT_INT(unit->pipe_size, 65536);
    ASSERT_INT(unit->queue_max_messages, 10);
    ASSERT_INT(unit->queue_message_size, 100);
    done();
}

TEST(choices)
{
    parse_good("ListenStream=1\nSocketProtocol=udplite\nSocketProtocol=\nBindIPv6Only=no\n"
               "Timestamping=yes\nBindToDevice=x\nBindToDevice=*\nTCPCongestion=x\n"
               "TCPCongestion=\n");
    ASSERT_INT(unit->protocol, 0);
    ASSERT_INT(unit->ipv6_only, IPV6_ONLY_BOTH);
    ASSERT_INT(unit->timestamping, TIMESTAMPING_NS);
    ASSERT(!unit->device && !unit->tcp_congestion);
    done();
    parse_good("ListenStream=1\nSocketProtocol=mptcp\nBindIPv6Only=both\nTimestamping=μs\n");
    ASSERT_INT(unit->protocol, 262);
    ASSERT_INT(unit->timestamping, TIMESTAMPING_US);
    done();
}

/* The same for each of some keys, which end with NULL. */
static void check_all_bad(const char *const *keys, const char *value, const char *part)
{
    for (; *keys; keys++) {
        char line[64];
        (void)snprintf(line, sizeof(line), "%s=%s", *keys, value);
        check_bad(line, part);
    }
}

TEST(bad_options)
{
    static const char *const numbers[] = {"Backlog",
                                          "KeepAliveProbes",
                                          "MaxConnections",
                                          "MaxConnectionsPerSource",
                                          "PollLimitBurst",
                                          "TriggerLimitBurst",
                                          NULL};
    static const char *const times[] = {"DeferAcceptSec",
                                        "KeepAliveIntervalSec",
                                        "KeepAliveTimeSec",
                                        "PollLimitIntervalSec",
                                        "TimeoutSec",
                                        "TriggerLimitIntervalSec",
                                        NULL};
    static const char *const booleans[] = {"Accept",
                                           "AcceptFileDescriptors",
                                           "Broadcast",
                                           "FlushPending",
                                           "FreeBind",
                                           "KeepAlive",
                                           "NoDelay",
                                           "PassCredentials",
                                           "PassFileDescriptorsToExec",
                                           "PassPIDFD",
                                           "PassPacketInfo",
                                           "PassSecurity",
                                           "RemoveOnStop",
                                           "ReusePort",
                                           "Transparent",
                                           "Writable",
                                           NULL};
    static const char *const integers[] = {"IPTTL", "Mark", "Priority", NULL};
    static const char *const longs[] = {"MessageQueueMaxMessages", "MessageQueueMessageSize", NULL};
    static const char *const sizes[] = {"PipeSize", "ReceiveBuffer", "SendBuffer", NULL};

    check_all_bad(numbers, "-1", "not between 0 and 4294967295");
    check_all_bad(numbers, "x", "not a number");
    check_all_bad(times, "soon", "not a time span");
    check_all_bad(times, "", "not a time span");
    check_all_bad(booleans, "maybe", "not yes or no");
    check_all_bad(booleans, "", "not yes or no");
    check_all_bad(integers, "3000000000", "not between -2147483648");
    check_all_bad(longs, "x", "not a number");
    check_all_bad(sizes, "big", "not a size");
    check_bad("IPTOS=urgent", "low-delay");
    check_bad("SocketProtocol=tcp", "mptcp");
    check_bad("BindIPv6Only=never", "ipv6-only");
    check_bad("Timestamping=ms", "off, us or ns");
    check_bad("BindToDevice=a/b", "interface");
    check_bad("BindToDevice=0123456789abcdef", "interface");
    check_bad("BindToDevice=12", "interface");
}

TEST(owners_and_modes)
{
    parse_good("ListenStream=1\nSocketUser=www-%p\nSocketGroup=33\nSocketMode=0660\n"
               "DirectoryMode=700\n");
    ASSERT_STRING(unit->socket_user, "www-a");
    ASSERT_STRING(unit->socket_group, "33");
    ASSERT_INT(unit->socket_mode, 0660);
    ASSERT_INT(unit->directory_mode, 0700);
    done();
    parse_good("ListenStream=1\nSocketUser=x\nSocketUser=\n");
    ASSERT(!unit->socket_user);
    done();
    check_bad("SocketUser=a:b", "user's or group's");
    check_bad("SocketGroup=-1", "user's or group's");
    check_bad("SocketUser=65535", "user's or group's");
    check_bad("SocketUser=4294967295", "user's or group's");
    check_bad("SocketMode=0999", "octal");
    check_bad("DirectoryMode=10000", "octal");
}

TEST(names)
{
    parse_good("ListenStream=/run/x\nService=other@%N.service\nFileDescriptorName=fd-%p\n"
               "Symlinks=/run/a '/run/b c'\nSymlinks=\nSymlinks=/run/%n\nRemoveOnStop=yes\n");
    ASSERT_STRING(unit->service, "other@a.service");
    ASSERT_STRING(unit->fd_name, "fd-a");
    ASSERT_INT(unit->symlinks.n, 1);
    ASSERT_STRING(unit->symlinks.items[0], "/run/a.socket");
    ASSERT(unit->remove_on_stop);
    done();
    parse_good("ListenStream=1\nFileDescriptorName=x\nFileDescriptorName=\n");
    ASSERT_STRING(unit->fd_name, "a.socket");
    done();
    check_bad("Service=a.socket", "not the name of a .service");
    check_bad("Service=", "not the name of a .service");
    check_bad("Service=a@.service", "template");
    check_bad("Service=%H%t.service", "unknown specifier \"%t\"");
    check_bad("FileDescriptorName=a:b", "ASCII");
    parse("ListenStream=/run/x\nSymlinks=relative /ok\n");
    ASSERT_STRING(problems_text,
                  "u:3: cannot parse \"Symlinks=relative /ok\": not an absolute path\n");
    done();
}

TEST(the_service_of_an_instance)
{
    parse_as("web@one.socket", "ListenStream=1\n");
    ASSERT_STRING(unit->service, "web@one.service");
    done();
    parse_as("web@one.socket", "ListenStream=1\nAccept=yes\n");
    ASSERT_STRING(unit->service, "web@.service");
    done();
}

/* What a drop-in of "hark adopt" says. */
TEST(adopted)
{
    parse_good("ListenStream=1\nAccept=no\nService=hark@a.service\nTriggerLimitIntervalSec=0\n"
               "[X-Hark]\nAccept=yes\nService=%p@.service\n");
    ASSERT(unit->is_adopted && unit->accept);
    ASSERT_STRING(unit->service, "a@.service");
    ASSERT_STRING(unit->fd_name, "connection");
    ASSERT_STRING(unit->passed_name, "a.socket");
    ASSERT_INT(socket_unit_use(unit, "Service")->line, 8);
    done();
    parse_good("ListenStream=1\nAccept=yes\n[X-Hark]\nAccept=no\nService=b.service\n");
    ASSERT(unit->is_adopted && !unit->accept);
    ASSERT_STRING(unit->service, "b.service");
    done();
    parse_good("ListenStream=1\nService=hark@a.service\n[X-Hark]\nAccept=no\n");
    ASSERT_STRING(unit->service, "a.service");
    done();
    parse_good("ListenStream=1\nService=hark@a.service\n[X-Hark]\nAccept=yes\n");
    ASSERT_STRING(unit->service, "a@.service");
    done();
    parse_good("ListenStream=1\nAccept=yes\n[X-Hark]\nService=b.service\n");
    ASSERT(!unit->accept);
    done();
    parse_good("ListenStream=1\nService=b.service\n[X-Hark]\nOverflow=wait\n");
    ASSERT(!unit->is_adopted);
    ASSERT_STRING(unit->service, "b.service");
    ASSERT_INT(socket_unit_use(unit, "Service")->line, 3);
    done();
}

TEST(adopted_wrongly)
{
    parse("ListenStream=1\n[X-Hark]\nAccept=yes\nService=b.service\n");
    ASSERT_STRING(problems_text,
                  "u:5: cannot use \"Service=b.service\" with Accept=yes: name a template, such as "
                  "foo@.service\n");
    ASSERT_STRING(unit->service, "");
    done();
    parse("ListenStream=1\n[X-Hark]\nService=b@.service\n");
    ASSERT_STRING(problems_text,
                  "u:4: cannot use \"Service=b@.service\" without Accept=yes: it is a template\n");
    done();
    parse("ListenStream=1\n[X-Hark]\nService=b.socket\nService=\nAccept=maybe\n");
    ASSERT_STRING(problems_text,
                  "u:4: cannot parse \"Service=b.socket\": not the name of a .service\n"
                  "u:5: cannot parse \"Service=\": not the name of a .service\n"
                  "u:6: cannot parse \"Accept=maybe\": not yes or no\n");
    done();
}

TEST(commands)
{
    parse_good("ListenStream=1\n"
               "ExecStartPre=/bin/a\nExecStartPre=-/bin/b %p 'x y'\nExecStartPost=/bin/c ; /bin/d\n"
               "ExecStopPre=/bin/e\nExecStopPre=\nExecStopPost=+/bin/f\nTimeoutSec=0\n"
               "PassFileDescriptorsToExec=yes\nUser=nobody\nStandardOutput=null\n");
    ASSERT_INT(unit->exec_start_pre.n, 2);
    ASSERT_STRING(unit->exec_start_pre.items[1].argv.items[1], "a");
    ASSERT_STRING(unit->exec_start_pre.items[1].argv.items[2], "x y");
    ASSERT_INT(unit->exec_start_pre.items[1].flags, COMMAND_IGNORE_FAILURE);
    ASSERT_INT(unit->exec_start_post.n, 2);
    ASSERT_INT(unit->exec_stop_pre.n, 0);
    ASSERT_INT(unit->exec_stop_post.items[0].flags, COMMAND_FULL_PRIVILEGES);
    ASSERT(unit->timeout == TIME_INFINITY);
    ASSERT(unit->pass_descriptors_to_exec);
    ASSERT_STRING(unit->exec.user, "nobody");
    ASSERT_INT(unit->exec.std[1].kind, EXEC_STREAM_NULL);
    done();
    check_bad("ExecStartPre=bin/a", "absolute path");
    check_bad("ExecStartPost=/bin/a 'x", "cannot parse");
    check_bad("ExecStopPre=/bin/a %X", "unknown specifier \"%X\"");
    check_bad("ExecStopPost=/bin/", "a directory");
    check_bad("ExecStopPost=-bin/x", "warning: ");
    check_bad("ExecStopPost=/bin/x \\q", "warning: unknown escape");
}

TEST(limits)
{
    parse_good("ListenStream=1\nAccept=yes\nMaxConnections=5\nMaxConnectionsPerSource=2\n"
               "TriggerLimitIntervalSec=1\nTriggerLimitBurst=0\nPollLimitIntervalSec=infinity\n"
               "PollLimitBurst=3\nFlushPending=yes\nWritable=yes\n");
    ASSERT_INT(unit->max_connections, 5);
    ASSERT_INT(unit->max_connections_per_source, 2);
    ASSERT_INT(unit->trigger_limit.interval, 1000000);
    ASSERT_INT(unit->trigger_limit.burst, 0);
    ASSERT(unit->poll_limit.interval == TIME_INFINITY);
    ASSERT_INT(unit->poll_limit.burst, 3);
    ASSERT(unit->flush_pending && unit->writable);
    done();
}

TEST(fork_servers)
{
    parse_good("ListenStream=1\n[X-Hark]\nForkServers=3");
    ASSERT_INT(unit->fork_servers, 3);
    done();
    parse_good("ListenStream=1");
    ASSERT_INT(unit->fork_servers, 0);
    done();
    parse("ListenStream=1\n[X-Hark]\nStayOnCPU=yes");
    ASSERT(strstr(problems_text, "\"StayOnCPU=yes\": this is no key of a .socket"));
    done();
    parse("ListenStream=1\n[X-Hark]\nForkServers=0\nForkServers=257\nForkServers=two");
    ASSERT(strstr(problems_text, ":4: ") != NULL && strstr(problems_text, ":5: ") != NULL &&
           strstr(problems_text, ":6: ") != NULL);
    done();
}

TEST(verification)
{
    parse("");
    ASSERT(strstr(problems_text, "u:0: \"a.socket\" listens on nothing"));
    done();
    parse("Accept=yes\nListenStream=1\nListenDatagram=2\nListenFIFO=/x\nMaxConnections=0\n"
          "Service=b.service\n");
    ASSERT_STRING(
        problems_text,
        "u:4: cannot use \"ListenDatagram=2\" with Accept=yes: there are no connections to accept\n"
        "u:5: cannot use \"ListenFIFO=/x\" with Accept=yes: there are no connections to accept\n"
        "u:6: cannot use \"MaxConnections=0\" with Accept=yes: every connection would be refused\n"
        "u:7: cannot use \"Service\" with Accept=yes: connections are served by the template of "
        "the socket's own name\n");
    done();
    parse("ListenStream=/a\nListenStream=/b\nSymlinks=/c\n");
    ASSERT_STRING(problems_text, "u:4: cannot use \"Symlinks\": it needs exactly one socket or "
                                 "FIFO in the file system\n");
    done();
    parse("ListenStream=1\nMessageQueueMaxMessages=3\n");
    ASSERT_STRING(problems_text,
                  "u:3: warning: \"MessageQueueMaxMessages\" has no effect: it needs "
                  "MessageQueueMaxMessages= and MessageQueueMessageSize= together\n");
    done();
    parse_good("ListenStream=1\nListenFIFO=/b\nSymlinks=/c\n");
    done();
}

TEST(twenty_faults)
{
    static const char lines[] =
        "ListenStream=host:1\nListenDatagram=0\nListenFIFO=x\n"
        "ListenNetlink=x\nListenMessageQueue=x\nBacklog=x\nAccept=maybe\n"
        "SocketMode=9\nDirectoryMode=9\nSocketUser=a/b\nIPTOS=x\nIPTTL=x\n"
        "KeepAliveTimeSec=x\nReceiveBuffer=x\nTimestamping=x\n"
        "Service=x\nFileDescriptorName=a:b\nExecStartPre=x/y\n"
        "Environment=1x=2\nLimitNOFILE=x\nPrivateTmp=yes\nFrob=1\nnothing\n";
    bool seen[25] = {false};
    unsigned line;

    parse(lines);
    for (const char *p = problems_text; *p; p = strchr(p, '\n') + 1) {
        ASSERT_INT(sscanf(p, "u:%u:", &line), 1);
        ASSERT(line >= 2 && line < 25 && !seen[line]);
        seen[line] = true;
    }
    for (line = 2; line < 25; line++)
        ASSERT(seen[line]);
    done();
}

/* As Debian has them. */
TEST(real_units)
{
    struct problems problems = {0};

    file = parse_unit("tangd.socket",
                      "[Unit]\nDescription=Tang Server socket\n\n[Socket]\nListenStream=80\n"
                      "Accept=true\n\n[Install]\nWantedBy=multi-user.target\n",
                      &problems);
    ASSERT_OK(socket_unit_new(file, &problems, &unit));
    ASSERT_STRING(list_problems(&problems), "");
    ASSERT_STRING(unit->service, "tangd@.service");
    done();
    file = parse_unit("fcgiwrap.socket",
                      "[Unit]\nDescription=fcgiwrap Socket\n\n[Socket]\n"
                      "ListenStream=/run/fcgiwrap.socket\n# comment\nSocketUser=www-data\n\n"
                      "[Install]\nWantedBy=sockets.target\n",
                      &problems);
    ASSERT_OK(socket_unit_new(file, &problems, &unit));
    ASSERT_STRING(list_problems(&problems), "");
    ASSERT_STRING(unit->service, "fcgiwrap.service");
    ASSERT_STRING(unit->socket_user, "www-data");
    done();
}

TEST(not_a_socket)
{
    struct problems problems = {0};

    file = parse_unit("a.service", "[Service]\nExecStart=/bin/true\n", &problems);
    ASSERT_ERROR(socket_unit_new(file, &problems, &unit), -EINVAL);
    ASSERT_INT(problems.n, 0);
    file = unit_file_free(file);
}
