/* SPDX-License-Identifier: MIT */
#include "test.h"

#include "unit-text.h"
#include "unit/directives.h"
#include "unit/service-unit.h"
#include "unit/socket-unit.h"

#define START "ExecStart=/bin/true\n"

static struct unit_file *file;
static struct service_unit *unit;
static const char *problems_text;

/* Makes file, unit and problems_text of the lines of [Service], which are those from 2 on. */
static void parse(const char *lines)
{
    struct problems problems = {0};
    char *text = NULL;

    ASSERT_CALL(asprintf(&text, "[Service]\n%s", lines));
    file = parse_unit("a@i.service", text, &problems);
    ASSERT_OK(service_unit_new(file, &problems, &unit));
    problems_text = list_problems(&problems);
    free(text);
}

static void done(void)
{
    unit = service_unit_free(unit);
    file = unit_file_free(file);
}

static void parse_good(const char *lines)
{
    parse(lines);
    ASSERT_STRING(problems_text, "");
}

/* A line that is one error, in which the message has the given part. */
static void check_bad(const char *line, const char *part)
{
    char lines[512];

    (void)snprintf(lines, sizeof(lines), "%s\n" START, line);
    parse(lines);
    if (strncmp(problems_text, "u:2: ", 5) != 0 || !strstr(problems_text, part) ||
        strchr(problems_text, '\n')[1] != '\0')
        TEST_FAIL("%s: \"%s\", not %s", line, problems_text, part);
    done();
}

/* "a|b|c" */
static const char *join(const struct string_list *list)
{
    static char text[1024];
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < list->n; i++) {
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", i > 0 ? "|" : "",
                                 list->items[i]);
        ASSERT(used < sizeof(text));
    }
    return text;
}

TEST(defaults)
{
    parse_good(START);
    ASSERT_INT(unit->type, SERVICE_SIMPLE);
    ASSERT_INT(unit->exec_start.n, 1);
    ASSERT(!unit->non_blocking);
    ASSERT(!unit->exec.user && !unit->exec.group && !unit->exec.working_directory);
    ASSERT_INT(unit->exec.umask, 0022);
    ASSERT(!unit->exec.umask_is_set);
    ASSERT(unit->exec.ignore_sigpipe && !unit->exec.no_new_privileges);
    ASSERT_INT(unit->exec.std[0].kind, EXEC_STREAM_NULL);
    ASSERT_INT(unit->exec.std[1].kind, EXEC_STREAM_JOURNAL);
    ASSERT_INT(unit->exec.std[2].kind, EXEC_STREAM_INHERIT);
    for (size_t i = 0; i < RLIM_NLIMITS; i++)
        ASSERT(!unit->exec.limits[i].is_set);
    done();
}

TEST(every_honoured_key_has_a_reader)
{
    size_t n;
    const struct directive *table = directive_table(&n);

    for (size_t i = 0; i < n; i++) {
        char line[128];
        if (!(table[i].sections & SECTION_SERVICE) || table[i].class != CLASS_HONOURED)
            continue;
        (void)snprintf(line, sizeof(line), "%s=\001\n", table[i].name);
        parse(line);
        if (strstr(problems_text, "no reader"))
            TEST_FAIL("%s has no reader", table[i].name);
        done();
    }
}

TEST(commands_and_type)
{
    parse_good("ExecStart=/bin/x\nExecStart=\nExecStart=@/bin/y z %i\nType=exec\n"
               "NonBlocking=yes\nSockets=a.socket b@%i.socket\nSockets=c.socket\n");
    ASSERT_INT(unit->exec_start.n, 1);
    ASSERT_STRING(unit->exec_start.items[0].program, "/bin/y");
    ASSERT_STRING(join(&unit->exec_start.items[0].argv), "z|i");
    ASSERT_INT(unit->type, SERVICE_EXEC);
    ASSERT(unit->non_blocking);
    ASSERT_STRING(join(&unit->sockets), "a.socket|b@i.socket|c.socket");
    done();
    parse_good("Type=oneshot\n" START START);
    ASSERT_INT(unit->exec_start.n, 2);
    done();
    parse(START START);
    ASSERT_STRING(problems_text, "u:3: \"a@i.service\" has 2 commands in ExecStart=: only with "
                                 "Type=oneshot can it have more than one\n");
    done();
    parse("ExecStart=/bin/x\nExecStart=\n");
    ASSERT_STRING(problems_text, "u:0: \"a@i.service\" runs nothing: add ExecStart=\n");
    done();
    parse("ExecStart=relative/x\n");
    ASSERT(strncmp(problems_text, "u:2: cannot parse", 17) == 0);
    ASSERT(!strstr(problems_text, "runs nothing"));
    done();
    check_bad("Type=notify", "not in this version");
    check_bad("Type=forking", "not in this version");
    check_bad("Type=", "not simple, exec or oneshot");
    check_bad("NonBlocking=", "yes or no");
    check_bad("Sockets=a.service", "not the name of a .socket");
}

TEST(environment)
{
    parse_good(START "Environment=A=0 \"B=x y\" 'C=%i'\nEnvironment=A=1\n"
                     "PassEnvironment=X Y\nUnsetEnvironment=Z Q=1\n"
                     "EnvironmentFile=/x//y\nEnvironmentFile=-/etc/%p/*.conf\n");
    ASSERT_STRING(join(&unit->exec.environment), "A=1|B=x y|C=i");
    ASSERT_STRING(join(&unit->exec.pass_environment), "X|Y");
    ASSERT_STRING(join(&unit->exec.unset_environment), "Z|Q=1");
    ASSERT_STRING(join(&unit->exec.environment_files), "/x/y|-/etc/a/*.conf");
    done();
    parse_good(START "Environment=A=1\nEnvironment=\nPassEnvironment=X\nPassEnvironment=\n"
                     "UnsetEnvironment=X\nUnsetEnvironment=\nEnvironmentFile=/x\n"
                     "EnvironmentFile=\nEnvironment=B=\n");
    ASSERT_STRING(join(&unit->exec.environment), "B=");
    ASSERT_INT(unit->exec.pass_environment.n + unit->exec.unset_environment.n +
                   unit->exec.environment_files.n,
               0);
    done();
    check_bad("Environment=A", "NAME=VALUE");
    check_bad("Environment=1A=x", "NAME=VALUE");
    check_bad("Environment=A=\\x01", "NAME=VALUE");
    check_bad("Environment=A=\\q", "unknown escape");
    check_bad("Environment='A=1", "open quote");
    check_bad("Environment=A=%X", "unknown specifier");
    check_bad("PassEnvironment=A=1", "name of a variable");
    check_bad("UnsetEnvironment=1", "NAME or NAME=VALUE");
    check_bad("EnvironmentFile=x", "absolute path");
    check_bad("EnvironmentFile=-x", "absolute path");
}

TEST(identity_and_directory)
{
    parse_good(START "User=%p\nGroup=12\nSupplementaryGroups=a b\nSupplementaryGroups=%i\n"
                     "WorkingDirectory=-/srv/%i\nUMask=077\nNoNewPrivileges=yes\n"
                     "IgnoreSIGPIPE=no\n");
    ASSERT_STRING(unit->exec.user, "a");
    ASSERT_STRING(unit->exec.group, "12");
    ASSERT_STRING(join(&unit->exec.supplementary_groups), "a|b|i");
    ASSERT_STRING(unit->exec.working_directory, "/srv/i");
    ASSERT(unit->exec.working_directory_optional && !unit->exec.working_directory_home);
    ASSERT_INT(unit->exec.umask, 077);
    ASSERT(unit->exec.umask_is_set && unit->exec.no_new_privileges && !unit->exec.ignore_sigpipe);
    done();
    parse_good(START "User=x\nUser=\nSupplementaryGroups=a\nSupplementaryGroups=\n"
                     "WorkingDirectory=/x\nWorkingDirectory=~\n");
    ASSERT(!unit->exec.user && !unit->exec.working_directory);
    ASSERT(unit->exec.working_directory_home && !unit->exec.working_directory_optional);
    ASSERT_INT(unit->exec.supplementary_groups.n, 0);
    done();
    parse_good(START "WorkingDirectory=~\nWorkingDirectory=\n");
    ASSERT(!unit->exec.working_directory_home);
    done();
    check_bad("User=a:b", "user's or group's");
    check_bad("Group=a/b", "user's or group's");
    check_bad("User=%X", "unknown specifier");
    check_bad("SupplementaryGroups=ok not/ok", "\"not/ok\" is not");
    check_bad("WorkingDirectory=x", "absolute path");
    check_bad("WorkingDirectory=~root", "absolute path");
    check_bad("UMask=8", "octal");
    check_bad("NoNewPrivileges=2", "yes or no");
    check_bad("IgnoreSIGPIPE=", "yes or no");
}

static void check_stream(const char *line, int fd, enum exec_stream_kind kind, const char *name)
{
    char lines[256];

    (void)snprintf(lines, sizeof(lines), START "%s\n", line);
    parse_good(lines);
    ASSERT_INT(unit->exec.std[fd].kind, kind);
    if (name)
        ASSERT_STRING(unit->exec.std[fd].name, name);
    else
        ASSERT(!unit->exec.std[fd].name);
    done();
}

TEST(standard_streams)
{
    check_stream("StandardInput=null", 0, EXEC_STREAM_NULL, NULL);
    check_stream("StandardInput=socket", 0, EXEC_STREAM_SOCKET, NULL);
    check_stream("StandardInput=data", 0, EXEC_STREAM_DATA, NULL);
    check_stream("StandardInput=fd", 0, EXEC_STREAM_FD, NULL);
    check_stream("StandardInput=fd:%i", 0, EXEC_STREAM_FD, "i");
    check_stream("StandardInput=file:/x//%i", 0, EXEC_STREAM_FILE, "/x/i");
    check_stream("StandardOutput=null", 1, EXEC_STREAM_NULL, NULL);
    check_stream("StandardOutput=syslog", 1, EXEC_STREAM_JOURNAL, NULL);
    check_stream("StandardOutput=kmsg", 1, EXEC_STREAM_KMSG, NULL);
    check_stream("StandardOutput=inherit", 1, EXEC_STREAM_JOURNAL, NULL);
    check_stream("StandardOutput=append:/x", 1, EXEC_STREAM_APPEND, "/x");
    check_stream("StandardError=truncate:/x", 2, EXEC_STREAM_TRUNCATE, "/x");
    check_stream("StandardError=file:/x", 2, EXEC_STREAM_FILE, "/x");
    check_stream("StandardError=fd:", 2, EXEC_STREAM_FD, NULL);
    check_stream("StandardError=journal+console", 2, EXEC_STREAM_JOURNAL_CONSOLE, NULL);
    check_stream("StandardError=kmsg+console", 2, EXEC_STREAM_KMSG_CONSOLE, NULL);
    check_stream("StandardError=socket", 2, EXEC_STREAM_SOCKET, NULL);
    check_stream("StandardOutput=file:/x\nStandardOutput=null", 1, EXEC_STREAM_NULL, NULL);
    check_stream("StandardInput=socket", 1, EXEC_STREAM_INHERIT, NULL);
    check_stream("StandardInput=fd", 1, EXEC_STREAM_INHERIT, NULL);
    check_stream("StandardInput=data", 1, EXEC_STREAM_JOURNAL, NULL);
    check_bad("StandardInput=tty", "no terminal");
    check_bad("StandardInput=tty-force", "no terminal");
    check_bad("StandardOutput=tty", "no terminal");
    check_bad("StandardInput=", "forms");
    check_bad("StandardInput=file", "forms");
    check_bad("StandardInput=file:x", "absolute path");
    check_bad("StandardInput=append:/x", "forms");
    check_bad("StandardOutput=fd:a:b", "name of a descriptor");
    check_bad("StandardError=nothing", "forms");
}

static void check_input(const char *lines, const char *data, size_t size)
{
    char text[256];

    (void)snprintf(text, sizeof(text), START "%s\n", lines);
    parse_good(text);
    ASSERT_INT(unit->exec.input_size, size);
    ASSERT(size == 0 || memcmp(unit->exec.input, data, size) == 0);
    ASSERT_INT(unit->exec.std[0].kind, size > 0 ? EXEC_STREAM_DATA : EXEC_STREAM_NULL);
    done();
}

TEST(input_data)
{
    check_input("StandardInputText=a\\tb %i\nStandardInputText=\"c\"", "a\tb i\n\"c\"\n", 10);
    check_input("StandardInputData=aGFy aw==\nStandardInputData=AP8=", "hark\0\377", 6);
    check_input("StandardInputData=QQ==\nStandardInputText=\nStandardInputText=b", "b\n", 2);
    check_input("StandardInputText=x\nStandardInputData=", "", 0);
    check_bad("StandardInputText=\\q", "unknown escape");
    check_bad("StandardInputText=%X", "unknown specifier");
    check_bad("StandardInputData=QQ", "base64");
    check_bad("StandardInputData=Q===", "base64");
    check_bad("StandardInputData=QQ==QQ==", "base64");
    check_bad("StandardInputData=QR==", "base64");
    check_bad("StandardInputData=Q!==", "base64");
    check_bad("StandardInputData=====", "base64");
}

TEST(limits)
{
    parse_good(START "LimitNOFILE=10:20\nLimitCORE=infinity\nLimitAS=1G\nLimitCPU=2min\n"
                     "LimitNICE=+5\n");
    ASSERT_INT(unit->exec.limits[RLIMIT_NOFILE].value.rlim_cur, 10);
    ASSERT_INT(unit->exec.limits[RLIMIT_NOFILE].value.rlim_max, 20);
    ASSERT(unit->exec.limits[RLIMIT_CORE].value.rlim_cur == RLIM_INFINITY);
    ASSERT_INT(unit->exec.limits[RLIMIT_AS].value.rlim_max, 1 << 30);
    ASSERT_INT(unit->exec.limits[RLIMIT_CPU].value.rlim_max, 120);
    ASSERT(unit->exec.limits[RLIMIT_NICE].is_set && !unit->exec.limits[RLIMIT_NPROC].is_set);
    done();
    check_bad("LimitNOFILE=20:10", "above the hard one");
    check_bad("LimitCPU=x", "SOFT:HARD");
    check_bad("LimitNPROC=", "SOFT:HARD");
}

TEST(keys_of_our_own)
{
    parse_good(START);
    ASSERT(!unit->stay_in_session && !unit->stay_on_cpu);
    done();
    parse_good(START "[X-Hark]\nStayInSession=yes\nStayOnCPU=on\n");
    ASSERT(unit->stay_in_session && unit->stay_on_cpu);
    done();
    parse(START "[X-Hark]\nStayOnCPU=0\nStayInSession=1,2\nOverflow=wait\n");
    ASSERT(strstr(problems_text, "\"StayInSession=1,2\": not yes or no"));
    ASSERT(strstr(problems_text, "\"Overflow=wait\": this is no key of a .service"));
    done();
}

TEST(refused_keys_are_not_read)
{
    check_bad("Restart=always", "cannot honour");
    check_bad("ExecStartPre=/bin/x", "cannot honour");
    check_bad("DynamicUser=yes", "cannot honour");
    parse_good(START "Restart=no\nKillMode=control-group\n");
    done();
}

/* The pair of Debian's micro-httpd, and tang's service. */
TEST(real_units)
{
    struct problems problems = {0};
    struct socket_unit *socket;

    file = parse_unit("micro-httpd.socket",
                      "[Unit]\nDescription=micro-httpd socket\nDocumentation=man:micro-httpd(8)\n\n"
                      "[Socket]\nListenStream=0.0.0.0:80\nAccept=true\n\n"
                      "[Install]\nWantedBy=sockets.target\n",
                      &problems);
    ASSERT_OK(socket_unit_new(file, &problems, &socket));
    ASSERT_STRING(socket->service, "micro-httpd@.service");
    socket_unit_free(socket);
    unit_file_free(file);
    file = parse_unit("micro-httpd@0.service",
                      "[Unit]\nDescription=micro-httpd\nDocumentation=man:micro-httpd(8)\n\n"
                      "[Service]\nUser=nobody\nGroup=www-data\n"
                      "ExecStart=-/usr/sbin/micro-httpd /var/www/html\nStandardInput=socket\n",
                      &problems);
    ASSERT_OK(service_unit_new(file, &problems, &unit));
    ASSERT_STRING(list_problems(&problems), "");
    ASSERT_INT(unit->exec.std[0].kind, EXEC_STREAM_SOCKET);
    ASSERT_INT(unit->exec.std[2].kind, EXEC_STREAM_INHERIT);
    ASSERT_INT(unit->exec_start.items[0].flags, COMMAND_IGNORE_FAILURE);
    done();
    file = parse_unit("tangd@0.service",
                      "[Unit]\nDescription=Tang Server\n\n[Service]\nStandardInput=socket\n"
                      "StandardOutput=socket\nStandardError=journal\n"
                      "ExecStart=/usr/libexec/tangd /var/lib/tang\nUser=_tang\n",
                      &problems);
    ASSERT_OK(service_unit_new(file, &problems, &unit));
    ASSERT_STRING(list_problems(&problems), "");
    done();
}
