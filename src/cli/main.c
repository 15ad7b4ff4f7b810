/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "basic/fd.h"
#include "cli/exit-status.h"
#include "cli/verbs.h"

static const struct {
    const char *name;
    int (*run)(int argc, char *argv[]);
    const char *summary;
} verbs[] = {
    {"run", verb_run, "serve socket units as systemd would"},
    {"activate", verb_activate, "listen on sockets, run a program for their traffic"},
    {"check", verb_check, "say what becomes of each line in units, and whether they would run"},
    {"adopt", verb_adopt, "hand socket units that systemd runs to hark"},
    {"release", verb_release, "hand them back"},
    {"status", verb_status, "show what hark is doing"},
    {"reload", verb_reload, "have hark read its units again"},
    {"drain", verb_drain, "have hark end when its handlers have"},
    {"stop", verb_stop, "have hark end, and its handlers"},
    {"kill", verb_kill, "send a signal to a handler"},
};

static void print_help(void)
{
    printf("hark VERB [OPTION…] [ARGUMENT…]\n\n"
           "Socket activation with systemd, without it, and as PID 1 of a container.\n\n"
           "Verbs:\n");
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
        printf("  %-10s %s\n", verbs[i].name, verbs[i].summary);
    printf("\nOptions:\n"
           "  -h, --help     show this help and exit\n"
           "      --version  show the version and exit\n\n"
           "\"hark VERB --help\" tells about a verb, hark(1) about everything.\n");
}

/* What was printed may have gone nowhere: a full disk, a closed pipe. */
static int finish(int status)
{
    if (fflush(stdout) == 0 && ferror(stdout) == 0)
        return status;
    fprintf(stderr, "hark: cannot write to standard output: %s\n", strerror(errno));
    return status != EXIT_STATUS_OK ? status : EXIT_STATUS_FAILURE;
}

/* A descriptor that is made must never become 0, 1 or 2 by accident. */
static int open_standard_descriptors(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (fd >= 0 && fd <= STDERR_FILENO && fcntl(fd, F_SETFD, 0) >= 0);
    if (fd < 0)
        return -1;
    return close(fd);
}

/* From this size on, a table of all slots say, memory is pages of its own, which calloc(3) need not
 * touch: it costs something only as far as it is used. */
#define OWN_PAGES_SIZE (16 * 1024)

int main(int argc, char *argv[])
{
    (void)mallopt(M_MMAP_THRESHOLD, OWN_PAGES_SIZE);
    if (open_standard_descriptors() < 0)
        return EXIT_STATUS_FAILURE;
    /* What the starter left open is for no program of ours; passed sockets are handed on by copy.
     */
    (void)fd_set_close_on_exec_from(STDERR_FILENO + 1);
    if (argc < 2) {
        fprintf(stderr, "hark: a verb is missing; \"hark --help\" lists them\n");
        return EXIT_STATUS_USAGE;
    }
    if (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0) {
        print_help();
        return finish(EXIT_STATUS_OK);
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("hark %s\n", HARK_VERSION);
        return finish(EXIT_STATUS_OK);
    }
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
        if (strcmp(argv[1], verbs[i].name) == 0)
            return finish(verbs[i].run(argc - 1, argv + 1));
    fprintf(stderr, "hark: unknown verb \"%s\"; \"hark --help\" lists them\n", argv[1]);
    return EXIT_STATUS_USAGE;
}
