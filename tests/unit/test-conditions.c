/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <grp.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/utsname.h>

#include "unit-text.h"
#include "unit/conditions.h"
#include "unit/directives.h"
#include "unit/version.h"
#include "unit/virtualization.h"

static struct unit_file *file;
static struct condition_list list;
static const char *problems_text;

/* Makes file, list and problems_text of the lines of [Unit], which are those from 2 on. */
static void parse(const char *lines)
{
    struct problems problems = {0};
    char *text = NULL;

    ASSERT_CALL(asprintf(&text, "[Unit]\n%s\n", lines));
    file = parse_unit("a@i.service", text, &problems);
    ASSERT_OK(conditions_read(file, &problems, &list));
    problems_text = list_problems(&problems);
    free(text);
}

static void done(void)
{
    conditions_done(&list);
    file = unit_file_free(file);
}

/* Whether the conditions of the lines are met: "" or what is not, with the error's name. */
static const char *evaluate(const char *lines)
{
    static char result[512];
    struct condition_failure failure;

    parse(lines);
    ASSERT_STRING(problems_text, "");
    int r = conditions_evaluate(&list, CONDITIONS, &failure);
    ASSERT_OK(r);
    result[0] = '\0';
    if (r == 0)
        (void)snprintf(result, sizeof(result), "%s=%s%s%s", failure.condition->key,
                       failure.condition->value, failure.error < 0 ? " " : "",
                       failure.error < 0 ? strerrorname_np(-failure.error) : "");
    done();
    return result;
}

/* A condition that is met, and not so when negated; or the other way round. */
__attribute__((format(printf, 3, 4))) static void check(bool met, const char *key,
                                                        const char *format, ...)
{
    char parameter[5000], line[6000], negated[6000];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(parameter, sizeof(parameter), format, arguments);
    va_end(arguments);
    (void)snprintf(line, sizeof(line), "Condition%s=%s", key, parameter);
    (void)snprintf(negated, sizeof(negated), "Condition%s=!%s", key, parameter);
    ASSERT_STRING(evaluate(line), met ? "" : line);
    ASSERT_STRING(evaluate(negated), met ? negated : "");
}

/* A line that is one error, in which the message has the given part. */
static void check_bad(const char *line, const char *part)
{
    parse(line);
    if (strncmp(problems_text, "u:2: ", 5) != 0 || !strstr(problems_text, part) ||
        strchr(problems_text, '\n')[1] != '\0')
        TEST_FAIL("%s: \"%s\", not %s", line, problems_text, part);
    ASSERT_INT(list.n, 0);
    done();
}

TEST(every_honoured_key_has_a_reader)
{
    size_t n, n_found = 0;
    const struct directive *table = directive_table(&n);

    for (size_t i = 0; i < n; i++) {
        char line[128];
        if ((strncmp(table[i].name, "Condition", 9) != 0 &&
             strncmp(table[i].name, "Assert", 6) != 0) ||
            table[i].class != CLASS_HONOURED)
            continue;
        (void)snprintf(line, sizeof(line), "%s=/x", table[i].name);
        parse(line);
        if (strstr(problems_text, "no reader"))
            TEST_FAIL("%s has no reader", table[i].name);
        done();
        n_found++;
    }
    ASSERT_INT(n_found, 42);
}

TEST(what_is_read)
{
    parse("ConditionPathExists=|!/a//%i/./b\nAssertHost=| ! x%%y\nDescription=z");
    ASSERT_STRING(problems_text, "");
    ASSERT_INT(list.n, 2);
    ASSERT_INT(list.items[0].group, CONDITIONS);
    ASSERT(list.items[0].is_triggering && list.items[0].is_negated);
    ASSERT_STRING(list.items[0].parameter, "/a/i/b");
    ASSERT_STRING(list.items[0].key, "ConditionPathExists");
    ASSERT_STRING(list.items[0].value, "|!/a//%i/./b");
    ASSERT_STRING(list.items[0].file, "u");
    ASSERT_INT(list.items[0].line, 2);
    ASSERT_INT(list.items[1].group, ASSERTIONS);
    ASSERT(list.items[1].is_triggering && list.items[1].is_negated);
    ASSERT_STRING(list.items[1].parameter, "x%y");
    done();
    parse("ConditionHost=!|x");
    ASSERT(list.items[0].is_negated && !list.items[0].is_triggering);
    ASSERT_STRING(list.items[0].parameter, "|x");
    done();
}

TEST(an_empty_one_resets_its_group)
{
    parse("ConditionPathExists=/a\nAssertPathExists=/b\nConditionHost=bad%X\nConditionUser=\n"
          "ConditionGroup=root");
    ASSERT_STRING(problems_text, "");
    ASSERT_INT(list.n, 2);
    ASSERT_STRING(list.items[0].key, "AssertPathExists");
    ASSERT_STRING(list.items[1].key, "ConditionGroup");
    done();
    /* Also one of a key that is refused otherwise. */
    parse("AssertPathExists=/a\nConditionPathExists=/b\nAssertSecurity=");
    ASSERT_STRING(problems_text, "");
    ASSERT_INT(list.n, 1);
    ASSERT_STRING(list.items[0].key, "ConditionPathExists");
    done();
}

TEST(faults)
{
    check_bad("ConditionPathExists=a", "not an absolute path");
    check_bad("ConditionPathExists=!", "not an absolute path");
    check_bad("ConditionPathExists=| /a", "not an absolute path");
    check_bad("AssertPathExists=/a/../b", "not an absolute path");
    check_bad("ConditionPathExists=/%X", "unknown specifier");
    check_bad("ConditionHost=%X", "unknown specifier");
    check_bad("ConditionHost=|!", "nothing to check");
    check_bad("ConditionEnvironment=!", "nothing to check");
    check_bad("ConditionArchitecture=pdp11", "not an architecture");
    check_bad("ConditionArchitecture=mips", "not an architecture");
    check_bad("ConditionKernelVersion=>=", "not versions");
    check_bad("ConditionKernelVersion=> 1 < 9", "not versions");
    check_bad("ConditionKernelVersion='6", "not versions");
    check_bad("ConditionOSRelease=ID", "os-release");
    check_bad("ConditionOSRelease=ID=", "os-release");
    check_bad("ConditionOSRelease=ID=x =y", "os-release");
    check_bad("ConditionOSRelease=1D=x", "os-release");
    check_bad("ConditionOSRelease=\"ID= x\"", "os-release");
    check_bad("ConditionCPUs=x", "number of CPUs");
    check_bad("ConditionCPUs=$=1", "number of CPUs");
    check_bad("ConditionCPUs=4294967296", "out of range");
    check_bad("ConditionMemory=1X", "size of memory");
    check_bad("ConditionCapability=NET_ADMIN", "not a capability");
    check_bad("ConditionCapability=64", "not a capability");
    check_bad("ConditionUser=a:b", "not a user");
    check_bad("ConditionUser=@x", "not a user");
    check_bad("ConditionGroup=@system", "not a group");
    check_bad("ConditionVirtualization=google", "not yes, no");
    check_bad("ConditionVirtualization=none", "not yes, no");
}

TEST(what_cannot_be_evaluated_is_refused)
{
    check_bad("ConditionSecurity=selinux", "cannot honour");
    check_bad("ConditionFirstBoot=no", "cannot honour");
    check_bad("ConditionNeedsUpdate=!/etc", "cannot honour");
    check_bad("AssertACPower=true", "cannot honour");
    check_bad("ConditionCredential=x", "cannot honour");
    check_bad("ConditionFirmware=uefi", "cannot honour");
    check_bad("ConditionControlGroupController=v2", "cannot honour");
}

TEST(all_plain_ones_and_one_of_the_triggering)
{
    const char *first = "ConditionPathExists=|/none/1";

    ASSERT_STRING(evaluate(""), "");
    ASSERT_STRING(evaluate("ConditionPathExists=/\nConditionHost=*"), "");
    ASSERT_STRING(evaluate("ConditionHost=*\nConditionPathExists=/none/1\nConditionUser=no-user"),
                  "ConditionPathExists=/none/1");
    ASSERT_STRING(evaluate("ConditionPathExists=|/none/1\nConditionPathExists=|/"), "");
    ASSERT_STRING(evaluate("ConditionPathExists=|/none/1\nConditionPathExists=|!/none/2"), "");
    ASSERT_STRING(evaluate("ConditionPathExists=|/none/1\nConditionPathExists=|/none/2"), first);
    ASSERT_STRING(evaluate("ConditionPathExists=/\nConditionPathExists=|/none/1"), first);
    ASSERT_STRING(evaluate("ConditionPathExists=|/\nConditionPathExists=/none/1"),
                  "ConditionPathExists=/none/1");
    ASSERT_STRING(evaluate("ConditionPathExists=|/none/1\nConditionPathExists=/none/2"),
                  "ConditionPathExists=/none/2");
}

TEST(groups_are_apart)
{
    struct condition_failure failure = {0};

    parse("ConditionPathExists=/none\nAssertPathExists=/\nAssertPathExists=|/");
    ASSERT_INT(conditions_evaluate(&list, CONDITIONS, &failure), 0);
    ASSERT_STRING(failure.condition->key, "ConditionPathExists");
    ASSERT_INT(conditions_evaluate(&list, ASSERTIONS, &failure), 1);
    done();
    parse("ConditionPathExists=/\nAssertPathExists=!/");
    ASSERT_INT(conditions_evaluate(&list, CONDITIONS, &failure), 1);
    ASSERT_INT(conditions_evaluate(&list, ASSERTIONS, &failure), 0);
    ASSERT_STRING(failure.condition->value, "!/");
    done();
}

TEST(paths)
{
    directory_make();
    write_file(in("empty"), "");
    write_file(in("full"), "x");
    ASSERT_CALL(mkdir(in("d"), 0755));
    ASSERT_CALL(symlink("d", in("link")));
    ASSERT_CALL(symlink("nowhere", in("dangling")));
    ASSERT_CALL(symlink("loop", in("loop")));
    check(true, "PathExists", "%s", in("link"));
    check(false, "PathExists", "%s", in("dangling"));
    check(false, "PathExists", "%s", in("loop"));
    check(false, "PathExists", "%s", in("full/x"));
    check(true, "PathIsDirectory", "%s", in("link"));
    check(false, "PathIsDirectory", "%s", in("full"));
    check(true, "PathIsSymbolicLink", "%s", in("link/"));
    check(false, "PathIsSymbolicLink", "%s", in("d"));
    check(true, "FileNotEmpty", "%s", in("full"));
    check(false, "FileNotEmpty", "%s", in("empty"));
    check(false, "FileNotEmpty", "%s", in("d"));
    check(false, "FileIsExecutable", "%s", in("full"));
    ASSERT_CALL(chmod(in("full"), 0645));
    check(true, "FileIsExecutable", "%s", in("full"));
    check(false, "FileIsExecutable", "%s", in("d"));
    check(true, "PathIsReadWrite", "%s", directory_path);
    check(false, "PathIsReadWrite", "%s", in("none"));
    check(true, "PathIsMountPoint", "/proc");
    check(true, "PathIsMountPoint", "/");
    check(false, "PathIsMountPoint", "%s", in("link"));
    check(false, "PathIsMountPoint", "%s", in("none"));
    directory_remove();
}

TEST(filled_directories)
{
    static const char *const names[] = {"d/.hidden", "d/a~", "d/b.dpkg-old", "d/lost+found"};

    directory_make();
    ASSERT_CALL(mkdir(in("d"), 0755));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        check(false, "DirectoryNotEmpty", "%s", in("d"));
        write_file(in(names[i]), "");
    }
    check(false, "DirectoryNotEmpty", "%s", in("d"));
    check(false, "DirectoryNotEmpty", "%s", in("none"));
    check(false, "DirectoryNotEmpty", "%s", in("d/a~"));
    check(false, "PathExistsGlob", "%s", in("d/[c-z]*.conf"));
    write_file(in("d/x.conf"), "");
    check(true, "DirectoryNotEmpty", "%s", in("d"));
    check(true, "PathExistsGlob", "%s", in("d/[c-z]*.conf"));
    check(true, "PathExistsGlob", "%s", in("d/{y,x}.conf"));
    check(true, "PathExistsGlob", "%s", in("d/x.conf"));
    check(false, "PathExistsGlob", "%s", in("?/y*"));
    ASSERT_CALL(mkdir(in("d/e"), 0755));
    check(false, "PathExistsGlob", "%s", in("d/e/.*"));
    directory_remove();
}

static void check_unknown(const char *key, const char *path, const char *error)
{
    char line[5000], result[5100];

    for (unsigned negated = 0; negated < 2; negated++) {
        (void)snprintf(line, sizeof(line), "Condition%s=%s%s", key, negated ? "!" : "", path);
        (void)snprintf(result, sizeof(result), "%s %s", line, error);
        ASSERT_STRING(evaluate(line), result);
    }
}

/* Neither way round: it would be a guess. */
TEST(what_may_not_be_looked_at)
{
    directory_make();
    ASSERT_CALL(chmod(directory_path, 0755));
    ASSERT_CALL(mkdir(in("d"), 0755));
    write_file(in("d/x"), "x");
    ASSERT_CALL(chmod(in("d"), 0));
    IN_CHILD(if (getuid() == 0) {
        ASSERT_CALL(setgroups(0, NULL));
        ASSERT_CALL(setuid(65534));
    } check_unknown("PathExists", in("d/x"), "EACCES");
             check_unknown("PathIsDirectory", in("d/x"), "EACCES");
             check_unknown("PathIsMountPoint", in("d/x"), "EACCES");
             check_unknown("PathIsReadWrite", in("d/x"), "EACCES");
             check_unknown("FileNotEmpty", in("d/x"), "EACCES");
             check_unknown("DirectoryNotEmpty", in("d"), "EACCES");
             check_unknown("PathExistsGlob", in("d/*"), "EACCES");
             check_unknown("PathExistsGlob", in("d/x"), "EACCES"););
    check_unknown("PathIsReadWrite", in("d/x/y"), getuid() == 0 ? "ENOTDIR" : "EACCES");
    ASSERT_CALL(chmod(in("d"), 0755));
    directory_remove();
}

TEST(environment_and_command_line)
{
    ASSERT_CALL(setenv("HARK_TEST", "a b", 1));
    check(true, "Environment", "HARK_TEST");
    check(true, "Environment", "HARK_TEST=a b");
    check(false, "Environment", "HARK_TEST=a");
    check(false, "Environment", "HARK_TES");
    ASSERT_CALL(unsetenv("HARK_TEST"));
    check(false, "Environment", "HARK_TEST");
    check(false, "KernelCommandLine", "no.such.option");
    check(false, "KernelCommandLine", "no.such.option=1");
}

TEST(users_and_groups)
{
    check(true, "User", "%u", getuid());
    check(false, "User", "%u", getuid() + 1);
    check(false, "User", "no-such-user");
    check(getuid() == 0, "User", "root");
    check(getuid() <= 999, "User", "@system");
    check(true, "Group", "%u", getgid());
    check(false, "Group", "no-such-group");
    check(false, "Group", "4000000000");
    if (getuid() != 0)
        SKIP("needs root");
    IN_CHILD(gid_t own = 12345; ASSERT_CALL(setgroups(1, &own)); ASSERT_CALL(setgid(1000));
             check(true, "Group", "12345"); check(true, "Group", "1000");
             check(false, "Group", "root"); ASSERT_CALL(setresuid(1000, 0, 0));
             check(true, "User", "1000"); check(true, "User", "root");
             check(true, "User", "@system"); ASSERT_CALL(setresuid(1000, 1000, 1000));
             check(false, "User", "root"); check(false, "User", "@system"););
}

TEST(host_and_kernel)
{
    struct utsname host;

    ASSERT_CALL(uname(&host));
    check(true, "Host", "%s", host.nodename);
    check(true, "Host", "*%s", host.nodename);
    check(false, "Host", "%s-not", host.nodename);
    check(true, "Architecture", "native");
    check(false, "Architecture", "m68k");
    check(true, "KernelVersion", "%s", host.release);
    check(true, "KernelVersion", ">= 3 <999");
    check(true, "KernelVersion", "==%s $=%c*", host.release, host.release[0]);
    check(false, "KernelVersion", "< 3");
    check(false, "KernelVersion", "> 3 >999");
    check(true, "KernelVersion", "<>3 $=*");
    check(true, "OSRelease", "NO_SUCH_FIELD!=x \"ID!$=no such\"");
    check(false, "OSRelease", "NO_SUCH_FIELD=x");
    check(false, "Capability", "63");
    check(true, "CPUs", "1");
    check(true, "CPUs", ">= 1");
    check(false, "CPUs", "> 100000");
    check(true, "CPUs", "!=0");
    check(true, "Memory", "1M");
    check(true, "Memory", "< 1000T");
    check(false, "Memory", "=1M");
}

TEST(cpus_of_this_process)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET((unsigned)sched_getcpu(), &one);
    IN_CHILD(ASSERT_CALL(sched_setaffinity(0, sizeof(one), &one)); check(true, "CPUs", "=1");
             check(false, "CPUs", "2"););
}

TEST(versions)
{
    /* From old to new. */
    static const char *const versions[] = {"~1",      "",        "122.1",  "123~rc1-1", "123",
                                           "123-a",   "123-a.1", "123-1",  "123-1.1",   "123^post1",
                                           "123.a-1", "123.1-1", "123a-1", "124-1",     "1000"};
    const size_t n = sizeof(versions) / sizeof(versions[0]);

    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++) {
            int order = version_compare(versions[i], versions[k]);
            if (((order > 0) - (order < 0)) != (i > k) - (i < k))
                TEST_FAIL("%s, %s: %d", versions[i], versions[k], order);
        }
    ASSERT_INT(version_compare("1.01", "1.1"), 0);
    ASSERT_INT(version_compare("12_3+", "12+3"), 0);
    ASSERT(version_compare("6.1.0-10-amd64", "6.1.0-9-amd64") > 0);
}

static void check_virtualization(const char *container, const char *vm)
{
    struct virtualization found;

    ASSERT_OK(virtualization_detect_container(directory_path, &found));
    ASSERT_INT(found.kind, container ? VIRTUALIZATION_CONTAINER : VIRTUALIZATION_NONE);
    if (container)
        ASSERT_STRING(found.name, container);
    if (!vm)
        return;
    ASSERT_OK(virtualization_detect_vm(directory_path, &found));
    ASSERT_INT(found.kind, VIRTUALIZATION_VM);
    ASSERT_STRING(found.name, vm);
    ASSERT(virtualization_is_name(vm));
}

static void make_directories(const char *const *names)
{
    directory_make();
    for (; *names; names++)
        ASSERT_CALL(mkdir(in(*names), 0755));
}

TEST(containers)
{
    static const char *const directories[] = {"run",      "run/host",        "run/systemd", "proc",
                                              "proc/sys", "proc/sys/kernel", "proc/1",      NULL};
    static const char environment[] = "A=1\0container=podman\0B=2";

    make_directories(directories);
    check_virtualization(NULL, NULL);
    write_file(in(".dockerenv"), "");
    check_virtualization("docker", NULL);
    write_file(in("run/.containerenv"), "");
    check_virtualization("podman", NULL);
    write_file(in("run/systemd/container"), "systemd-nspawn\n");
    check_virtualization("systemd-nspawn", NULL);
    write_file(in("run/systemd/container"), "oci\n");
    check_virtualization("podman", NULL);
    write_file(in("run/host/container-manager"), "something-new\n");
    check_virtualization("container-other", NULL);
    write_file(in("proc/sys/kernel/osrelease"), "5.15.90.1-microsoft-standard-WSL2\n");
    check_virtualization("wsl", NULL);
    ASSERT_CALL(mkdir(in("proc/vz"), 0755));
    check_virtualization("openvz", NULL);
    directory_remove();
    make_directories(directories);
    int fd = open(in("proc/1/environ"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    ASSERT_INT(write(fd, environment, sizeof(environment)), sizeof(environment));
    ASSERT_CALL(close(fd));
    check_virtualization("podman", NULL);
    directory_remove();
}

TEST(virtual_machines)
{
#if defined(__i386__) || defined(__x86_64__)
    static const char *const directories[] = {
        "sys",      "sys/class", "sys/class/dmi", "sys/class/dmi/id", "sys/hypervisor", "proc",
        "proc/xen", NULL};

    make_directories(directories);
    check_virtualization(NULL, "xen");
    write_file(in("proc/cpuinfo"), "processor\t: 0\nvendor_id\t: User Mode Linux\nmodel\t: x\n");
    check_virtualization(NULL, "uml");
    write_file(in("sys/class/dmi/id/sys_vendor"), "innotek GmbH\n");
    check_virtualization(NULL, "oracle");
    write_file(in("sys/class/dmi/id/product_name"), "Amazon EC2\n");
    check_virtualization(NULL, "amazon");
    directory_remove();
#else
    SKIP("the places to look at are those of x86");
#endif
}

TEST(private_users)
{
    static const char *const directories[] = {"proc", "proc/self", NULL};

    make_directories(directories);
    ASSERT_INT(virtualization_has_private_users(directory_path), 0);
    write_file(in("proc/self/uid_map"), "         0          0 4294967295\n");
    write_file(in("proc/self/gid_map"), "         0          0 4294967295\n");
    ASSERT_INT(virtualization_has_private_users(directory_path), 0);
    write_file(in("proc/self/setgroups"), "deny\n");
    ASSERT_INT(virtualization_has_private_users(directory_path), 1);
    write_file(in("proc/self/setgroups"), "allow\n");
    ASSERT_INT(virtualization_has_private_users(directory_path), 0);
    write_file(in("proc/self/gid_map"), "0 100000 65536\n");
    ASSERT_INT(virtualization_has_private_users(directory_path), 1);
    write_file(in("proc/self/uid_map"), "x\n");
    ASSERT_ERROR(virtualization_has_private_users(directory_path), -EBADMSG);
    directory_remove();
}

TEST(virtualization_is_consistent)
{
    bool is_vm = *evaluate("ConditionVirtualization=vm") == '\0';
    bool is_container = *evaluate("ConditionVirtualization=container") == '\0';

    ASSERT(!is_vm || !is_container);
    check(is_vm || is_container, "Virtualization", "yes");
    check(!is_vm && !is_container, "Virtualization", "no");
    check(false, "Virtualization", "rkt");
}
