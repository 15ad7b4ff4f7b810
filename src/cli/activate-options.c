/* SPDX-License-Identifier: MIT */
#include "cli/activate-options.h"

#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "basic/parse.h"
#include "cli/serve-options.h"
#include "libhark/address.h"
#include "supervisor/log.h"
#include "supervisor/slots.h"

#define DEFAULT_MODE            0600
#define DEFAULT_LOCK_TIMEOUT_MS 1000
#define DEFAULT_MAX_CONNECTIONS 64 /* as systemd.socket(5) */

#define VERB    "activate"
#define LETTERS "hda" /* those without a value */

enum option_code {
    OPTION_HELP = 'h',
    OPTION_LISTEN = 'l',
    OPTION_DATAGRAM = 'd',
    OPTION_ACCEPT = 'a',
    OPTION_SETENV = 'E',
    OPTION_VERSION = 256,
    OPTION_SEQPACKET,
    OPTION_INETD,
    OPTION_FDNAME,
    OPTION_ONCE,
    OPTION_MODE,
    OPTION_OWNER,
    OPTION_LOCK_TIMEOUT,
    OPTION_MAX_CONNECTIONS,
    OPTION_STAY_ON_CPU,
    OPTION_STAY_IN_SESSION,
};

static const struct option long_options[] = {
    {"help", no_argument, NULL, OPTION_HELP},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"listen", required_argument, NULL, OPTION_LISTEN},
    {"datagram", no_argument, NULL, OPTION_DATAGRAM},
    {"seqpacket", no_argument, NULL, OPTION_SEQPACKET},
    {"accept", no_argument, NULL, OPTION_ACCEPT},
    {"inetd", no_argument, NULL, OPTION_INETD},
    {"setenv", required_argument, NULL, OPTION_SETENV},
    {"fdname", required_argument, NULL, OPTION_FDNAME},
    {"once", no_argument, NULL, OPTION_ONCE},
    {"mode", required_argument, NULL, OPTION_MODE},
    {"owner", required_argument, NULL, OPTION_OWNER},
    {"lock-timeout", required_argument, NULL, OPTION_LOCK_TIMEOUT},
    {"max-connections", required_argument, NULL, OPTION_MAX_CONNECTIONS},
    {"stay-on-cpu", no_argument, NULL, OPTION_STAY_ON_CPU},
    {"stay-in-session", no_argument, NULL, OPTION_STAY_IN_SESSION},
    SERVE_OPTIONS,
    {NULL, 0, NULL, 0},
};

static void print_help(void)
{
    printf("hark activate [OPTION…] PROGRAM [ARGUMENT…]\n\n"
           "Listen on sockets, and run PROGRAM for their traffic.\n\n"
           "Sockets (those passed by LISTEN_FDS are taken as well):\n"
           "  -l, --listen=ADDRESS      /PATH, ./PATH, @ABSTRACT, PORT, IPV4:PORT,\n"
           "                            [IPV6]:PORT[%%IF], vsock:CID:PORT; repeatable\n"
           "  -d, --datagram            datagram sockets instead of streams\n"
           "      --seqpacket           sequential packet sockets instead of streams\n"
           "      --fdname=NAME[:NAME…] names of the sockets, in their order\n"
           "      --mode=OCTAL          mode of a socket with a path (0600)\n"
           "      --owner=USER[:GROUP]  its owner\n"
           "      --lock-timeout=TIME   how long to wait for the last owner (1s)\n\n"
           "Handlers:\n"
           "  -a, --accept              one process for each connection\n"
           "      --inetd               the socket is standard input and output\n"
           "  -E, --setenv=NAME[=VALUE] an environment variable for PROGRAM\n"
           "      --max-connections=N   with -a: how many at once (64); the others wait\n"
           "      --stay-on-cpu         with -a: on the CPU of its fork server: faster\n"
           "      --stay-in-session     no session of its own, only a process group: faster\n"
           "      --once                without -a: end with the status of "
           "PROGRAM\n" SERVE_OPTIONS_HELP "\n"
           "  -h, --help                show this help and exit\n"
           "      --version             show the version and exit\n\n"
           "hark(1) has the whole story.\n");
}

static int append(const char ***list, size_t *n, const char *item)
{
    const char **longer = reallocarray(*list, *n + 1, sizeof(**list));

    if (longer == NULL) {
        log_error("out of memory");
        return -ENOMEM;
    }
    *list = longer;
    longer[(*n)++] = item;
    return 0;
}

static int parse_listen(struct activate_options *options, const char *text)
{
    struct address address;
    int r = address_parse(text, &address);

    if (r == -EINVAL && text[0] != '\0' && strpbrk(text, "/:@[") == NULL)
        return usage_error(
            VERB, "\"%s\" is no address; a socket file in this directory is \"./%s\"", text, text);
    if (r < 0)
        return usage_error(VERB, "\"%s\" is no address to listen on: %s", text, strerror(-r));
    return append(&options->listen, &options->n_listen, text);
}

static int parse_setenv(struct activate_options *options, const char *text)
{
    size_t length = strcspn(text, "=");

    if (length == 0 || (text[0] >= '0' && text[0] <= '9'))
        return usage_error(VERB, "\"%s\" is no variable name", text);
    for (size_t i = 0; i < length; i++)
        if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_", text[i]) ==
            NULL)
            return usage_error(VERB, "\"%.*s\" is no variable name", (int)length, text);
    return append(&options->setenv, &options->n_setenv, text);
}

/* As systemd: 1 to 255 printable ASCII characters; the colon separates. */
static int parse_fd_names(struct activate_options *options, const char *text)
{
    for (;;) {
        size_t length = strcspn(text, ":");

        for (size_t i = 0; i < length; i++)
            if (text[i] < ' ' || text[i] > '~')
                length = 0;
        if (length == 0 || length > 255)
            return usage_error(VERB, "--fdname takes names of 1 to 255 printable characters");
        char **longer = reallocarray(options->fd_names, options->n_fd_names + 1, sizeof(*longer));
        if (longer != NULL) {
            options->fd_names = longer;
            longer[options->n_fd_names] = strndup(text, length);
        }
        if (longer == NULL || longer[options->n_fd_names++] == NULL) {
            log_error("out of memory");
            return -ENOMEM;
        }
        text += length;
        if (*text++ == '\0')
            return 0;
    }
}

static int parse_lock_timeout(struct activate_options *options, const char *text)
{
    uint64_t usec;
    int r = take_time(VERB, "lock-timeout", text, &usec);

    if (r < 0)
        return r;
    if (usec == TIME_INFINITY)
        options->lock_timeout_ms = -1;
    else
        options->lock_timeout_ms =
            usec / USEC_PER_MSEC > INT32_MAX ? INT32_MAX : (int)(usec / USEC_PER_MSEC);
    return 0;
}

static int parse_owner(struct activate_options *options, const char *text)
{
    cleanup_free char *user = strdup(text);
    uint64_t number;

    if (user == NULL)
        return -ENOMEM;
    char *group = strchr(user, ':');
    if (group != NULL)
        *group++ = '\0';
    const struct passwd *entry = getpwnam(user);
    if (entry != NULL) {
        options->owner = entry->pw_uid;
        options->group = entry->pw_gid;
    } else if (parse_unsigned(user, UINT32_MAX - 1, &number) >= 0) {
        options->owner = (uid_t)number;
    } else {
        return usage_error(VERB, "there is no user \"%s\"", user);
    }
    if (group == NULL)
        return 0;
    const struct group *group_entry = getgrnam(group);
    if (group_entry != NULL)
        options->group = group_entry->gr_gid;
    else if (parse_unsigned(group, UINT32_MAX - 1, &number) >= 0)
        options->group = (gid_t)number;
    else
        return usage_error(VERB, "there is no group \"%s\"", group);
    return 0;
}

static int set_type(struct activate_options *options, int type)
{
    if (options->type != SOCK_STREAM && options->type != type)
        return usage_error(VERB, "--datagram and --seqpacket exclude each other");
    options->type = type;
    return 0;
}

/* 1 to go on, 0 to end, negative for a wrong argument. */
static int parse_option(struct activate_options *options, int option, const char *value)
{
    int r = 0;

    switch (option) {
    case OPTION_HELP:
        print_help();
        return 0;
    case OPTION_VERSION:
        printf("hark %s\n", HARK_VERSION);
        return 0;
    case OPTION_LISTEN:
        r = parse_listen(options, value);
        break;
    case OPTION_DATAGRAM:
        r = set_type(options, SOCK_DGRAM);
        break;
    case OPTION_SEQPACKET:
        r = set_type(options, SOCK_SEQPACKET);
        break;
    case OPTION_ACCEPT:
        options->accept = true;
        break;
    case OPTION_INETD:
        options->inetd = true;
        break;
    case OPTION_ONCE:
        options->once = true;
        break;
    case OPTION_SETENV:
        r = parse_setenv(options, value);
        break;
    case OPTION_FDNAME:
        r = parse_fd_names(options, value);
        break;
    case OPTION_MODE:
        if (parse_mode(value, &options->mode) < 0 || options->mode > 0777)
            r = usage_error(VERB, "--mode takes an octal mode such as 0660, not \"%s\"", value);
        break;
    case OPTION_OWNER:
        r = parse_owner(options, value);
        break;
    case OPTION_LOCK_TIMEOUT:
        r = parse_lock_timeout(options, value);
        break;
    case OPTION_MAX_CONNECTIONS:
        r = take_count(VERB, "max-connections", value, SLOTS_MAX, &options->max_connections);
        break;
    case OPTION_STAY_ON_CPU:
        options->stay_on_cpu = true;
        break;
    case OPTION_STAY_IN_SESSION:
        options->stay_in_session = true;
        break;
    default:
        r = serve_options_take(&options->supervisor, VERB, option, value);
    }
    return r < 0 ? r : 1;
}

static int check_combination(const struct activate_options *options)
{
    if (options->program == NULL)
        return usage_error(VERB, "the program to run is missing");
    if (options->accept && options->type == SOCK_DGRAM)
        return usage_error(VERB, "datagram sockets do not accept connections: "
                                 "--datagram and --accept exclude each other");
    if (options->once && options->accept)
        return usage_error(VERB, "--once is for a program that has the listeners, "
                                 "it excludes --accept");
    return 1;
}

int activate_options_parse(struct activate_options *options, int argc, char *argv[])
{
    int option;

    *options = (struct activate_options){
        .type = SOCK_STREAM,
        .mode = DEFAULT_MODE,
        .owner = (uid_t)-1,
        .group = (gid_t)-1,
        .lock_timeout_ms = DEFAULT_LOCK_TIMEOUT_MS,
        .max_connections = DEFAULT_MAX_CONNECTIONS,
    };
    serve_options_init(&options->supervisor);
    opterr = 0; /* the messages are our own */
    optind = 0; /* begin anew, even after a parse that ended in the middle of "-ab" */
    /* '+': options behind the program are the program's. */
    while ((option = getopt_long(argc, argv, "+:hl:daE:", long_options, NULL)) >= 0) {
        if (option == ':' || option == '?')
            return option_error(VERB, option, argv, LETTERS);
        int r = parse_option(options, option, optarg);
        if (r <= 0)
            return r;
    }
    if (optind < argc)
        options->program = argv + optind;
    return check_combination(options);
}

void activate_options_done(struct activate_options *options)
{
    for (size_t i = 0; i < options->n_fd_names; i++)
        free(options->fd_names[i]);
    free(options->fd_names);
    free(options->listen);
    free(options->setenv);
}
