/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <grp.h>
#include <pwd.h>
#include <sys/socket.h>

#include "basic/parse.h"
#include "cli/activate-options.h"
#include "supervisor/slots.h"

#define ARGUMENTS_MAX 16

static struct activate_options options;
static char message[4096]; /* what went to standard output and standard error */

/* Parses "hark-activate" and those, NULL-terminated. The texts need not be writable. */
static int parse(const char *const *arguments)
{
    static char *argv[ARGUMENTS_MAX + 2];
    FILE *capture = tmpfile();
    int argc = 1, saved[2], r;

    argv[0] = (char *)(uintptr_t) "activate";
    while (arguments[argc - 1]) {
        ASSERT(argc < ARGUMENTS_MAX);
        argv[argc] = (char *)(uintptr_t)arguments[argc - 1];
        argc++;
    }
    argv[argc] = NULL;
    ASSERT(capture);
    fflush(NULL);
    for (int i = 0; i < 2; i++) {
        saved[i] = fcntl(i + 1, F_DUPFD_CLOEXEC, 3);
        ASSERT_CALL(dup2(fileno(capture), i + 1));
    }
    r = activate_options_parse(&options, argc, argv);
    fflush(NULL);
    for (int i = 0; i < 2; i++) {
        ASSERT_CALL(dup2(saved[i], i + 1));
        close(saved[i]);
    }
    ssize_t length = pread(fileno(capture), message, sizeof(message) - 1, 0);
    ASSERT(length >= 0);
    message[length] = '\0';
    (void)fclose(capture);
    return r;
}

#define PARSE(...) parse((const char *const[]){__VA_ARGS__, NULL})

/* Is taken, without a word. */
#define ASSERT_GOOD(...)                                                                           \
    do {                                                                                           \
        int good_ = PARSE(__VA_ARGS__);                                                            \
        ASSERT_STRING(message, "");                                                                \
        ASSERT_INT(good_, 1);                                                                      \
        activate_options_done(&options);                                                           \
    } while (0)

/* Is refused, with these words, and how to learn more. */
#define ASSERT_BAD(words, ...)                                                                     \
    do {                                                                                           \
        int bad_ = PARSE(__VA_ARGS__);                                                             \
        if (!strstr(message, words))                                                               \
            TEST_FAIL("no \"%s\" in \"%s\"", words, message);                                      \
        ASSERT(strstr(message, "; \"hark activate --help\" lists the options\n"));                 \
        ASSERT_ERROR(bad_, -EINVAL);                                                               \
        activate_options_done(&options);                                                           \
    } while (0)

TEST(defaults)
{
    ASSERT_INT(PARSE("prog"), 1);
    ASSERT_INT(options.n_listen, 0);
    ASSERT_INT(options.n_setenv, 0);
    ASSERT_INT(options.n_fd_names, 0);
    ASSERT_INT(options.type, SOCK_STREAM);
    ASSERT(!options.accept && !options.inetd && !options.once);
    ASSERT_INT(options.mode, 0600);
    ASSERT(options.owner == (uid_t)-1 && options.group == (gid_t)-1);
    ASSERT_INT(options.lock_timeout_ms, 1000);
    ASSERT_INT(options.max_connections, 64);
    ASSERT_INT(options.supervisor.n_servers, 0);
    ASSERT_INT(options.supervisor.stop_timeout_usec, 90000000);
    ASSERT_INT(options.supervisor.to_manager, REPORT_EXITS);
    ASSERT_INT(options.supervisor.to_log, REPORT_FAILURES);
    activate_options_done(&options);
}

TEST(the_program_and_its_arguments)
{
    ASSERT_INT(PARSE("-a", "prog", "-l", "x", "--help"), 1);
    ASSERT_STRING(options.program[0], "prog");
    ASSERT_STRING(options.program[1], "-l");
    ASSERT_STRING(options.program[3], "--help");
    ASSERT(!options.program[4]);
    ASSERT_INT(options.n_listen, 0);
    activate_options_done(&options);
    ASSERT_INT(PARSE("--", "-prog"), 1);
    ASSERT_STRING(options.program[0], "-prog");
    activate_options_done(&options);
    ASSERT_BAD("the program to run is missing", "-a");
    ASSERT_BAD("the program to run is missing", "-a", "--");
}

TEST(help_and_version_end_it)
{
    ASSERT_INT(PARSE("--help"), 0);
    ASSERT(strstr(message, "--max-connections=N"));
    activate_options_done(&options);
    ASSERT_INT(PARSE("-h", "--nonsense"), 0);
    activate_options_done(&options);
    ASSERT_INT(PARSE("--version"), 0);
    ASSERT_STRING(message, "hark " HARK_VERSION "\n");
    activate_options_done(&options);
}

TEST(listen_addresses)
{
    ASSERT_INT(PARSE("-l", "/run/x", "--listen=80", "-l@abstract", "-l", "./x", "--listen",
                     "[::1]:80", "prog"),
               1);
    ASSERT_INT(options.n_listen, 5);
    ASSERT_STRING(options.listen[0], "/run/x");
    ASSERT_STRING(options.listen[1], "80");
    ASSERT_STRING(options.listen[2], "@abstract");
    ASSERT_STRING(options.listen[3], "./x");
    ASSERT_STRING(options.listen[4], "[::1]:80");
    activate_options_done(&options);
    ASSERT_GOOD("-l", "127.0.0.1:80", "prog");
    ASSERT_GOOD("-l", "vsock:2:1024", "prog");
    ASSERT_BAD("\"\" is no address", "-l", "", "prog");
    ASSERT_BAD("a socket file in this directory is \"./foo.sock\"", "-l", "foo.sock", "prog");
    ASSERT_BAD("\"a:b:c\" is no address", "-l", "a:b:c", "prog");
    ASSERT_BAD("\"65536\" is no address", "-l", "65536", "prog");
}

TEST(socket_types)
{
    ASSERT_INT(PARSE("-d", "prog"), 1);
    ASSERT_INT(options.type, SOCK_DGRAM);
    activate_options_done(&options);
    ASSERT_INT(PARSE("--datagram", "-d", "prog"), 1);
    ASSERT_INT(options.type, SOCK_DGRAM);
    activate_options_done(&options);
    ASSERT_INT(PARSE("--seqpacket", "prog"), 1);
    ASSERT_INT(options.type, SOCK_SEQPACKET);
    activate_options_done(&options);
    ASSERT_BAD("exclude each other", "-d", "--seqpacket", "prog");
    ASSERT_BAD("exclude each other", "--seqpacket", "-d", "prog");
}

TEST(flags)
{
    ASSERT_INT(PARSE("-a", "prog"), 1);
    ASSERT(options.accept && !options.inetd && !options.once);
    activate_options_done(&options);
    ASSERT_INT(PARSE("--accept", "--inetd", "prog"), 1);
    ASSERT(options.accept && options.inetd && !options.once);
    activate_options_done(&options);
    ASSERT_INT(PARSE("--once", "prog"), 1);
    ASSERT(!options.accept && !options.inetd && options.once);
    activate_options_done(&options);
}

TEST(combinations)
{
    ASSERT_BAD("--datagram and --accept exclude each other", "-d", "-a", "prog");
    ASSERT_BAD("excludes --accept", "--once", "-a", "prog");
    ASSERT_GOOD("--seqpacket", "-a", "--inetd", "prog");
    ASSERT_GOOD("-d", "--once", "prog");
}

TEST(environment_variables)
{
    ASSERT_INT(PARSE("-E", "A=1", "--setenv=_b2", "-EC=", "--setenv", "D=x=y", "prog"), 1);
    ASSERT_INT(options.n_setenv, 4);
    ASSERT_STRING(options.setenv[0], "A=1");
    ASSERT_STRING(options.setenv[1], "_b2");
    ASSERT_STRING(options.setenv[2], "C=");
    ASSERT_STRING(options.setenv[3], "D=x=y");
    activate_options_done(&options);
    ASSERT_BAD("\"=x\" is no variable name", "-E", "=x", "prog");
    ASSERT_BAD("is no variable name", "-E", "", "prog");
    ASSERT_BAD("is no variable name", "-E", "1A=x", "prog");
    ASSERT_BAD("\"A B\" is no variable name", "-E", "A B=x", "prog");
    ASSERT_BAD("\"A-B\" is no variable name", "-E", "A-B", "prog");
}

TEST(names)
{
    char longest[300];

    ASSERT_INT(PARSE("--fdname=a:b c", "--fdname=d", "prog"), 1);
    ASSERT_INT(options.n_fd_names, 3);
    ASSERT_STRING(options.fd_names[0], "a");
    ASSERT_STRING(options.fd_names[1], "b c");
    ASSERT_STRING(options.fd_names[2], "d");
    activate_options_done(&options);
    static const char *const bad[] = {"", ":", "a:", ":a", "a::b", "a\tb", "\x7f", "\xc3\xa4"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ASSERT_BAD("names of 1 to 255 printable characters", "--fdname", bad[i], "prog");
    memset(longest, 'x', sizeof(longest));
    longest[256] = '\0';
    ASSERT_BAD("names of 1 to 255", "--fdname", longest, "prog");
    longest[255] = '\0';
    ASSERT_GOOD("--fdname", longest, "prog");
}

TEST(modes)
{
    ASSERT_INT(PARSE("--mode=0666", "prog"), 1);
    ASSERT_INT(options.mode, 0666);
    activate_options_done(&options);
    ASSERT_INT(PARSE("--mode=0", "prog"), 1);
    ASSERT_INT(options.mode, 0);
    activate_options_done(&options);
    ASSERT_BAD("octal mode such as 0660, not \"0688\"", "--mode=0688", "prog");
    ASSERT_BAD("octal mode", "--mode=", "prog");
    ASSERT_BAD("octal mode", "--mode=1777", "prog"); /* a socket has no sticky bit */
    ASSERT_BAD("octal mode", "--mode=u=rw", "prog");
    ASSERT_BAD("octal mode", "--mode=77777777777777777777", "prog");
}

TEST(owners)
{
    const struct passwd *nobody = getpwnam("nobody");
    uid_t uid = nobody ? nobody->pw_uid : 0; /* the next call overwrites it */
    gid_t gid = nobody ? nobody->pw_gid : 0;

    ASSERT_INT(PARSE("--owner=0", "prog"), 1);
    ASSERT_INT(options.owner, 0);
    ASSERT(options.group == (gid_t)-1);
    activate_options_done(&options);
    ASSERT_INT(PARSE("--owner=1234:5678", "prog"), 1);
    ASSERT_INT(options.owner, 1234);
    ASSERT_INT(options.group, 5678);
    activate_options_done(&options);
    ASSERT_INT(PARSE("--owner=root:root", "prog"), 1);
    ASSERT_INT(options.owner, 0);
    ASSERT_INT(options.group, 0);
    activate_options_done(&options);
    if (nobody) {
        ASSERT_INT(PARSE("--owner=nobody", "prog"), 1);
        ASSERT(options.owner == uid && options.group == gid); /* the user's own group */
        activate_options_done(&options);
    }
    ASSERT_BAD("no user \"no such\"", "--owner=no such", "prog");
    ASSERT_BAD("no user \"\"", "--owner=", "prog");
    ASSERT_BAD("no user \"-1\"", "--owner=-1", "prog");
    ASSERT_BAD("no user \"4294967295\"", "--owner=4294967295", "prog"); /* (uid_t)-1 */
    ASSERT_BAD("no group \"no such\"", "--owner=root:no such", "prog");
    ASSERT_BAD("no group \"\"", "--owner=root:", "prog");
    ASSERT_BAD("no group \"4294967295\"", "--owner=root:4294967295", "prog");
}

TEST(times)
{
    ASSERT_INT(PARSE("--lock-timeout=2500ms", "--stop-timeout=1min 30s", "prog"), 1);
    ASSERT_INT(options.lock_timeout_ms, 2500);
    ASSERT_INT(options.supervisor.stop_timeout_usec, 90000000);
    activate_options_done(&options);
    ASSERT_INT(PARSE("--lock-timeout=0", "--stop-timeout=0", "prog"), 1);
    ASSERT_INT(options.lock_timeout_ms, 0);
    ASSERT_INT(options.supervisor.stop_timeout_usec, 0);
    activate_options_done(&options);
    ASSERT_INT(PARSE("--lock-timeout=infinity", "--stop-timeout=infinity", "prog"), 1);
    ASSERT_INT(options.lock_timeout_ms, -1);
    ASSERT(options.supervisor.stop_timeout_usec == TIME_INFINITY);
    activate_options_done(&options);
    ASSERT_INT(PARSE("--lock-timeout=365d", "prog"), 1); /* more milliseconds than an int has */
    ASSERT_INT(options.lock_timeout_ms, INT32_MAX);
    activate_options_done(&options);
    ASSERT_BAD("--lock-timeout takes a time", "--lock-timeout=soon", "prog");
    ASSERT_BAD("--lock-timeout takes a time", "--lock-timeout=-1", "prog");
    ASSERT_BAD("--stop-timeout takes a time", "--stop-timeout=", "prog");
    ASSERT_BAD("not \"5x\"", "--stop-timeout=5x", "prog");
}

TEST(counts)
{
    ASSERT_INT(PARSE("--max-connections=1", "--fork-servers=256", "prog"), 1);
    ASSERT_INT(options.max_connections, 1);
    ASSERT_INT(options.supervisor.n_servers, SERVERS_MAX);
    activate_options_done(&options);
    ASSERT_GOOD("--max-connections=65536", "prog");
    ASSERT_BAD("from 1 to 65536, not \"65537\"", "--max-connections=65537", "prog");
    ASSERT_BAD("--max-connections takes a number", "--max-connections=0", "prog");
    ASSERT_BAD("--max-connections takes a number", "--max-connections=", "prog");
    ASSERT_BAD("--max-connections takes a number", "--max-connections=ten", "prog");
    ASSERT_BAD("--fork-servers takes a number from 1 to 256", "--fork-servers=257", "prog");
    ASSERT_BAD("--fork-servers takes a number", "--fork-servers=0", "prog");
    ASSERT_BAD("--fork-servers takes a number", "--fork-servers=-1", "prog");
}

TEST(reports)
{
    ASSERT_INT(PARSE("--report=exits", "prog"), 1);
    ASSERT_INT(options.supervisor.to_log, REPORT_EXITS);
    ASSERT_INT(options.supervisor.to_manager, REPORT_EXITS);
    activate_options_done(&options);
    ASSERT_INT(PARSE("--report=none", "prog"), 1);
    ASSERT_INT(options.supervisor.to_manager, REPORT_NONE);
    activate_options_done(&options);
    ASSERT_INT(PARSE("--report=failures", "prog"), 1);
    ASSERT_INT(options.supervisor.to_manager, REPORT_FAILURES);
    activate_options_done(&options);
    ASSERT_BAD("exits, failures or none, not \"all\"", "--report=all", "prog");
}

TEST(options_there_are_not)
{
    ASSERT_BAD("\"-x\"", "-x", "prog");
    ASSERT_BAD("\"-x\"", "-ax", "prog");
    ASSERT_BAD("\"--nonsense\"", "--nonsense", "prog");
    ASSERT_BAD("\"--nonsense=1\"", "--nonsense=1", "prog");
    ASSERT_BAD("\"--once=1\"", "--once=1", "prog"); /* takes no value */
    ASSERT_BAD("\"--accept=1\"", "--accept=1", "prog");
    ASSERT_BAD("\"--help=1\"", "--help=1", "prog");
    ASSERT_BAD("\"-x\"", "--inetd", "-xa", "prog");
}

TEST(values_that_are_missing)
{
    ASSERT_BAD("option \"-l\" needs a value", "-l");
    ASSERT_BAD("option \"--listen\" needs a value", "--listen");
    ASSERT_BAD("option \"--mode\" needs a value", "-a", "--mode");
}
