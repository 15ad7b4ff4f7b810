/* SPDX-License-Identifier: MIT */
#include "unit/socket-unit.h"

#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "unit/process-values.h"
#include "unit/socket-listener.h"
#include "unit/unit-name.h"
#include "unit/unit-values.h"
#include "unit/values.h"
#include "unit/words.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

#define USEC_PER_SEC UINT64_C(1000000)
#define BURST_UNSET  UINT_MAX

struct socket_unit *socket_unit_free(struct socket_unit *unit)
{
    if (!unit)
        return NULL;
    listener_list_done(&unit->listeners);
    free(unit->service_key);
    free(unit->service);
    free(unit->fd_name);
    free(unit->passed_name);
    string_list_done(&unit->symlinks);
    free(unit->socket_user);
    free(unit->socket_group);
    free(unit->device);
    free(unit->tcp_congestion);
    command_list_done(&unit->exec_start_pre);
    command_list_done(&unit->exec_start_post);
    command_list_done(&unit->exec_stop_pre);
    command_list_done(&unit->exec_stop_post);
    exec_context_done(&unit->exec);
    free(unit);
    return NULL;
}

static void free_helper(struct socket_unit **unit)
{
    socket_unit_free(*unit);
}

static void set_defaults(struct socket_unit *unit)
{
    unit->socket_mode = 0666;
    unit->directory_mode = 0755;
    unit->max_connections = 64;
    unit->trigger_limit = (struct rate_limit){2 * USEC_PER_SEC, BURST_UNSET};
    unit->poll_limit = (struct rate_limit){2 * USEC_PER_SEC, BURST_UNSET};
    unit->backlog = INT_MAX;
    unit->priority = unit->ip_tos = unit->ip_ttl = unit->mark = -1;
    unit->accept_file_descriptors = true;
    unit->timeout = 90 * USEC_PER_SEC;
    exec_context_init(&unit->exec);
    unit->exec.std[1].kind = EXEC_STREAM_JOURNAL;
}

static int read_protocol(const struct value_source *source, void *field)
{
    static const char *const names[] = {"", "udplite", "sctp", "mptcp", NULL};
    static const int protocols[] = {0, IPPROTO_UDPLITE, IPPROTO_SCTP, IPPROTO_MPTCP};
    int choice = value_choice(source->use->value, names);

    if (choice < 0)
        return value_fault(source, "not udplite, sctp or mptcp");
    *(int *)field = protocols[choice];
    return 0;
}

static int read_ipv6_only(const struct value_source *source, void *field)
{
    static const char *const names[] = {
        [IPV6_ONLY_DEFAULT] = "default",
        [IPV6_ONLY_BOTH] = "both",
        [IPV6_ONLY_YES] = "ipv6-only",
        NULL,
    };
    int choice = value_choice(source->use->value, names);
    bool yes;

    if (choice < 0 && value_boolean(source->use->value, &yes) == 0)
        choice = yes ? IPV6_ONLY_YES : IPV6_ONLY_BOTH;
    if (choice < 0)
        return value_fault(source, "not default, both or ipv6-only");
    *(enum ipv6_only *)field = (enum ipv6_only)choice;
    return 0;
}

static int read_timestamping(const struct value_source *source, void *field)
{
    static const struct {
        const char *name;
        enum socket_timestamping value;
    } names[] = {
        {"off", TIMESTAMPING_OFF}, {"us", TIMESTAMPING_US}, {"usec", TIMESTAMPING_US},
        {"µs", TIMESTAMPING_US},   {"μs", TIMESTAMPING_US}, {"ns", TIMESTAMPING_NS},
        {"nsec", TIMESTAMPING_NS},
    };
    enum socket_timestamping *timestamping = field;
    bool yes;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i].name, source->use->value) != 0)
            continue;
        *timestamping = names[i].value;
        return 0;
    }
    if (value_boolean(source->use->value, &yes) < 0)
        return value_fault(source, "not off, us or ns");
    *timestamping = yes ? TIMESTAMPING_NS : TIMESTAMPING_OFF;
    return 0;
}

static bool is_interface_name(const char *name)
{
    size_t length = strlen(name);

    if (length == 0 || length >= IFNAMSIZ || name[strspn(name, "0123456789")] == '\0')
        return false;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, "all") == 0 ||
        strcmp(name, "default") == 0)
        return false;
    for (size_t i = 0; i < length; i++)
        if (name[i] <= ' ' || name[i] >= 127 || strchr(":/%", name[i]))
            return false;
    return true;
}

static int read_device(const struct value_source *source, void *field)
{
    const char *value = source->use->value;

    if (*value == '\0' || strcmp(value, "*") == 0)
        return value_replace(field, NULL);
    if (!is_interface_name(value))
        return value_fault(source, "not the name of an interface");
    return read_text(source, field);
}

static int read_ip_tos(const struct value_source *source, void *field)
{
    return value_check(source, value_ip_tos(source->use->value, field),
                       "low-delay, throughput, reliability, low-cost or 0 to 255");
}

static int read_service(const struct value_source *source, void *field)
{
    cleanup_free char *name = NULL;
    int r = value_expand(source, source->use->value, EXPAND_UNIT_NAME, &name);

    if (r != 0)
        return r;
    enum unit_name_kind kind = unit_name_classify(name);
    if (kind == UNIT_NAME_TEMPLATE)
        return value_fault(source, "it is a template: name an instance of it");
    if (kind == UNIT_NAME_INVALID || strcmp(unit_name_type(name), "service") != 0)
        return value_fault(source, "not the name of a .service");
    return value_replace(field, take_pointer(&name));
}

/* Service= of [X-Hark]: with its Accept=yes a template, which is looked at when both are known. */
static int read_own_service(const struct value_source *source, void *field)
{
    cleanup_free char *name = NULL;
    int r = value_expand(source, source->use->value, EXPAND_UNIT_NAME, &name);

    if (r != 0)
        return r;
    if (unit_name_classify(name) == UNIT_NAME_INVALID ||
        strcmp(unit_name_type(name), "service") != 0)
        return value_fault(source, "not the name of a .service");
    return value_replace(field, take_pointer(&name));
}

static int read_fd_name(const struct value_source *source, void *field)
{
    cleanup_free char *name = NULL;

    if (*source->use->value == '\0')
        return value_replace(field, NULL);
    int r = value_expand(source, source->use->value, EXPAND_TEXT, &name);
    if (r == 0)
        r = value_check(source, value_fd_name(name),
                        "at most 255 printable ASCII characters without \":\"");
    return r != 0 ? r : value_replace(field, *name ? take_pointer(&name) : NULL);
}

static int read_symlinks(const struct value_source *source, void *field)
{
    const char *text = source->use->value;
    int result = 0;

    if (*text == '\0')
        string_list_done(field);
    for (;;) {
        cleanup_free char *word = NULL;
        char *path;
        int r = word_next(&text, NULL, WORDS_NAMES, &word);
        if (r == 0 || r == -ENOMEM)
            return r == 0 ? result : r;
        if (r < 0)
            return value_fault(source, "an open quote, or a backslash at the end");
        r = value_expand_path(source, word, &path);
        if (r == 0)
            r = string_list_take(field, path);
        if (r < 0)
            return r;
        if (r > 0)
            result = r;
    }
}

static int read_overflow(const struct value_source *source, void *field)
{
    static const char *const names[] = {
        [SOCKET_OVERFLOW_CLOSE] = "close",
        [SOCKET_OVERFLOW_WAIT] = "wait",
        NULL,
    };
    int choice = value_choice(source->use->value, names);

    if (choice < 0)
        return value_fault(source, "not close or wait");
    *(enum socket_overflow *)field = (enum socket_overflow)choice;
    return 0;
}

static int read_fork_servers(const struct value_source *source, void *field)
{
    uint64_t n = 0;

    if (value_unsigned(source->use->value, SOCKET_FORK_SERVERS_MAX, &n) < 0 || n == 0)
        return value_fault(source, "not a number from 1 to 256");
    *(unsigned *)field = (unsigned)n;
    return 0;
}

#define FIELD(name_) offsetof(struct socket_unit, name_)

/* [X-Hark]. unit-file has read Ignore= by itself. */
static const struct unit_key own_keys[] = {
    {"Accept", read_boolean, FIELD(accept)},
    {"ForkServers", read_fork_servers, FIELD(fork_servers)},
    {"Ignore", read_nothing, 0},
    {"Overflow", read_overflow, FIELD(overflow)},
    {"Service", read_own_service, FIELD(service_key)},
};

static const struct unit_key keys[] = {
    {"Accept", read_boolean, FIELD(accept)},
    {"AcceptFileDescriptors", read_boolean, FIELD(accept_file_descriptors)},
    {"Backlog", read_unsigned, FIELD(backlog)},
    {"BindIPv6Only", read_ipv6_only, FIELD(ipv6_only)},
    {"BindToDevice", read_device, FIELD(device)},
    {"Broadcast", read_boolean, FIELD(broadcast)},
    {"DeferAcceptSec", read_time, FIELD(defer_accept)},
    {"DirectoryMode", read_mode, FIELD(directory_mode)},
    {"ExecStartPost", read_commands, FIELD(exec_start_post)},
    {"ExecStartPre", read_commands, FIELD(exec_start_pre)},
    {"ExecStopPost", read_commands, FIELD(exec_stop_post)},
    {"ExecStopPre", read_commands, FIELD(exec_stop_pre)},
    {"FileDescriptorName", read_fd_name, FIELD(fd_name)},
    {"FlushPending", read_boolean, FIELD(flush_pending)},
    {"FreeBind", read_boolean, FIELD(free_bind)},
    {"IPTOS", read_ip_tos, FIELD(ip_tos)},
    {"IPTTL", read_integer, FIELD(ip_ttl)},
    {"KeepAlive", read_boolean, FIELD(keep_alive)},
    {"KeepAliveIntervalSec", read_time, FIELD(keep_alive_interval)},
    {"KeepAliveProbes", read_unsigned, FIELD(keep_alive_probes)},
    {"KeepAliveTimeSec", read_time, FIELD(keep_alive_time)},
    {"ListenDatagram", read_listener, FIELD(listeners)},
    {"ListenFIFO", read_listener, FIELD(listeners)},
    {"ListenMessageQueue", read_listener, FIELD(listeners)},
    {"ListenNetlink", read_listener, FIELD(listeners)},
    {"ListenSequentialPacket", read_listener, FIELD(listeners)},
    {"ListenSpecial", read_listener, FIELD(listeners)},
    {"ListenStream", read_listener, FIELD(listeners)},
    {"ListenUSBFunction", read_listener, FIELD(listeners)}, /* empty; else it is refused */
    {"Mark", read_integer, FIELD(mark)},
    {"MaxConnections", read_unsigned, FIELD(max_connections)},
    {"MaxConnectionsPerSource", read_unsigned, FIELD(max_connections_per_source)},
    {"MessageQueueMaxMessages", read_long, FIELD(queue_max_messages)},
    {"MessageQueueMessageSize", read_long, FIELD(queue_message_size)},
    {"NoDelay", read_boolean, FIELD(no_delay)},
    {"PassCredentials", read_boolean, FIELD(pass_credentials)},
    {"PassFileDescriptorsToExec", read_boolean, FIELD(pass_descriptors_to_exec)},
    {"PassPIDFD", read_boolean, FIELD(pass_pidfd)},
    {"PassPacketInfo", read_boolean, FIELD(pass_packet_info)},
    {"PassSecurity", read_boolean, FIELD(pass_security)},
    {"PipeSize", read_size, FIELD(pipe_size)},
    {"PollLimitBurst", read_unsigned, FIELD(poll_limit.burst)},
    {"PollLimitIntervalSec", read_time, FIELD(poll_limit.interval)},
    {"Priority", read_integer, FIELD(priority)},
    {"ReceiveBuffer", read_size, FIELD(receive_buffer)},
    {"RemoveOnStop", read_boolean, FIELD(remove_on_stop)},
    {"ReusePort", read_boolean, FIELD(reuse_port)},
    {"SendBuffer", read_size, FIELD(send_buffer)},
    {"Service", read_service, FIELD(service_key)},
    {"SocketGroup", read_user, FIELD(socket_group)},
    {"SocketMode", read_mode, FIELD(socket_mode)},
    {"SocketProtocol", read_protocol, FIELD(protocol)},
    {"SocketUser", read_user, FIELD(socket_user)},
    {"Symlinks", read_symlinks, FIELD(symlinks)},
    {"TCPCongestion", read_text, FIELD(tcp_congestion)},
    {"TimeoutSec", read_timeout, FIELD(timeout)},
    {"Timestamping", read_timestamping, FIELD(timestamping)},
    {"Transparent", read_boolean, FIELD(transparent)},
    {"TriggerLimitBurst", read_unsigned, FIELD(trigger_limit.burst)},
    {"TriggerLimitIntervalSec", read_time, FIELD(trigger_limit.interval)},
    {"Writable", read_boolean, FIELD(writable)},
};

/* What depends on several keys. */
static int settle(struct socket_unit *unit)
{
    cleanup_free char *prefix = NULL;
    int r;

    if (unit->trigger_limit.burst == BURST_UNSET)
        unit->trigger_limit.burst = unit->accept ? 200 : 20;
    if (unit->poll_limit.burst == BURST_UNSET)
        unit->poll_limit.burst = unit->accept ? 150 : 15;
    if (!unit->fd_name && !(unit->fd_name = strdup(unit->file->name)))
        return -ENOMEM;
    unit->passed_name = strdup(unit->fd_name);
    if (!unit->passed_name)
        return -ENOMEM;
    if (unit->accept) {
        char *name = strdup("connection");
        if (!name)
            return -ENOMEM;
        value_replace(&unit->fd_name, name);
    }
    if (unit->service_key && (!unit->accept || unit->is_adopted)) {
        unit->service = strdup(unit->service_key);
        return unit->service ? 0 : -ENOMEM;
    }
    if (!unit->accept)
        return unit_name_change_type(unit->file->name, "service", &unit->service);
    r = unit_name_prefix(unit->file->name, &prefix);
    return r < 0 ? r : unit_name_build(prefix, "", "service", &unit->service);
}

const struct directive_use *socket_unit_use(const struct socket_unit *unit, const char *key)
{
    return unit_file_last_use(unit->file, unit->is_adopted ? SECTION_X_HARK : SECTION_SOCKET, key);
}

/* What [Socket] says of an adopted unit is whom systemd gives the socket to: hark. */
static void forget_adopter(struct socket_unit *unit)
{
    unit->is_adopted = unit_file_last_use(unit->file, SECTION_X_HARK, "Accept") != NULL ||
                       unit_file_last_use(unit->file, SECTION_X_HARK, "Service") != NULL;
    if (!unit->is_adopted)
        return;
    unit->accept = false;
    value_replace(&unit->service_key, NULL);
}

static void verify_own_service(struct socket_unit *unit, struct problems *problems)
{
    bool is_template = unit_name_classify(unit->service) == UNIT_NAME_TEMPLATE;

    if (!unit->is_adopted || *unit->service == '\0' || is_template == unit->accept)
        return;
    const struct directive_use *use = socket_unit_use(unit, "Service");
    problems_add(problems, PROBLEM_ERROR, use ? use->file : unit->file->main, use ? use->line : 0,
                 unit->accept ? "cannot use \"Service=%s\" with Accept=yes: name a template, such "
                                "as foo@.service"
                              : "cannot use \"Service=%s\" without Accept=yes: it is a template",
                 unit->service);
    *unit->service = '\0'; /* it is told */
}

static bool can_accept(enum listener_kind kind)
{
    return kind == LISTENER_STREAM || kind == LISTENER_SEQPACKET;
}

/* Whether the listener makes a node that a symbolic link can lead to. */
static bool has_node(const struct socket_listener *listener)
{
    return listener->kind == LISTENER_FIFO ||
           (listener->kind <= LISTENER_SEQPACKET && *listener->address == '/');
}

/* An error about a key, at its last use. */
static void refuse(const struct socket_unit *unit, const char *key, struct problems *problems,
                   const char *text)
{
    const struct directive_use *use = unit_file_last_use(unit->file, SECTION_SOCKET, key);

    problems_add(problems, PROBLEM_ERROR, use ? use->file : unit->file->main, use ? use->line : 0,
                 "%s", text);
}

static void verify_accept(const struct socket_unit *unit, struct problems *problems)
{
    for (size_t i = 0; i < unit->listeners.n; i++) {
        const struct socket_listener *listener = &unit->listeners.items[i];
        char address[UNIT_QUOTE_MAX];
        if (!can_accept(listener->kind))
            problems_add(problems, PROBLEM_ERROR, listener->file, listener->line,
                         "cannot use \"%s=%s\" with Accept=yes: there are no connections to accept",
                         listener_key(listener->kind), unit_quote(listener->address, address));
    }
    if (unit->max_connections == 0)
        refuse(unit, "MaxConnections", problems,
               "cannot use \"MaxConnections=0\" with Accept=yes: every connection would be "
               "refused");
    if (unit->service_key && !unit->is_adopted)
        refuse(unit, "Service", problems,
               "cannot use \"Service\" with Accept=yes: connections are served by the template of "
               "the socket's own name");
}

/* Whether there was any attempt at a listener that was not reset. */
static bool tried_to_listen(const struct unit_file *file)
{
    for (size_t i = file->n_uses; i-- > 0;)
        if (file->uses[i].section == SECTION_SOCKET &&
            strncmp(file->uses[i].key, "Listen", strlen("Listen")) == 0)
            return *file->uses[i].value != '\0';
    return false;
}

/* systemd's socket_verify(). */
static void verify(const struct socket_unit *unit, struct problems *problems)
{
    size_t n_nodes = 0;

    for (size_t i = 0; i < unit->listeners.n; i++)
        n_nodes += has_node(&unit->listeners.items[i]);
    if (unit->listeners.n == 0 && !unit->file->incomplete && !tried_to_listen(unit->file))
        problems_add(problems, PROBLEM_ERROR, unit->file->main, 0,
                     "\"%s\" listens on nothing: add ListenStream= or another Listen setting",
                     unit->file->name);
    if (unit->accept)
        verify_accept(unit, problems);
    if (unit->symlinks.n > 0 && n_nodes != 1)
        refuse(unit, "Symlinks", problems,
               "cannot use \"Symlinks\": it needs exactly one socket or FIFO in the file system");
    if ((unit->queue_max_messages > 0) != (unit->queue_message_size > 0)) {
        const char *key =
            unit->queue_max_messages > 0 ? "MessageQueueMaxMessages" : "MessageQueueMessageSize";
        const struct directive_use *use = unit_file_last_use(unit->file, SECTION_SOCKET, key);
        problems_add(problems, PROBLEM_WARNING, use->file, use->line,
                     "\"%s\" has no effect: it needs MessageQueueMaxMessages= and "
                     "MessageQueueMessageSize= together",
                     key);
    }
}

int socket_unit_new(const struct unit_file *file, struct problems *problems,
                    struct socket_unit **ret_unit)
{
    cleanup(free_helper) struct socket_unit *unit = NULL;
    const char *type = unit_name_type(file->name);

    if (!type || strcmp(type, "socket") != 0)
        return -EINVAL;
    unit = calloc(1, sizeof(*unit));
    if (!unit)
        return -ENOMEM;
    unit->file = file;
    set_defaults(unit);
    struct unit_keys tables[] = {
        {keys, sizeof(keys) / sizeof(keys[0]), unit},
        exec_context_keys(&unit->exec),
    };
    const struct unit_keys own_table = {own_keys, sizeof(own_keys) / sizeof(own_keys[0]), unit};
    int r = unit_values_read(file, SECTION_SOCKET, tables, 2, problems);
    if (r == 0) {
        forget_adopter(unit);
        r = unit_values_read(file, SECTION_X_HARK, &own_table, 1, problems);
    }
    if (r == 0)
        r = settle(unit);
    if (r == -ENAMETOOLONG || r == -EINVAL) {
        problems_add(problems, PROBLEM_ERROR, file->main, 0,
                     "cannot name the service of \"%s\": its name would be too long", file->name);
        unit->service = strdup("");
        r = unit->service ? 0 : -ENOMEM;
    }
    if (r < 0)
        return r;
    verify_own_service(unit, problems);
    verify(unit, problems);
    *ret_unit = take_pointer(&unit);
    return 0;
}
