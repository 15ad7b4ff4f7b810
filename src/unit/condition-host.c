/* SPDX-License-Identifier: MIT */
/* Conditions about the host and its kernel. */
#include "unit/condition-kinds.h"

#include <errno.h>
#include <fnmatch.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "basic/cleanup.h"
#include "basic/io.h"
#include "unit/host-facts.h"
#include "unit/text.h"
#include "unit/values.h"
#include "unit/version.h"
#include "unit/virtualization.h"
#include "unit/words.h"

#define COMMAND_LINE_MAX ((size_t)1 << 20)
#define CPUS_MAX         ((size_t)1 << 16)

/* What "native" stands for; NULL where host_architecture() may not tell. */
static const char *native_architecture(void)
{
#if defined(__x86_64__)
    return "x86-64";
#elif defined(__i386__)
    return "x86";
#elif defined(__AARCH64EB__)
    return "arm64-be";
#elif defined(__aarch64__)
    return "arm64";
#elif defined(__ARMEB__)
    return "arm-be";
#elif defined(__arm__)
    return "arm";
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
    return "ppc64-le";
#elif defined(__powerpc64__)
    return "ppc64";
#elif defined(__powerpc__) && !defined(__LITTLE_ENDIAN__)
    return "ppc";
#elif defined(__riscv) && __riscv_xlen == 64
    return "riscv64";
#elif defined(__s390x__)
    return "s390x";
#elif defined(__loongarch64)
    return "loongarch64";
#else
    return NULL;
#endif
}

int check_architecture(const char *name)
{
    /* Those of systemd that host_architecture() tells alike: not of mips, sh, arc, which have other
     * names to the kernel. */
    static const char *const names[] = {
        "x86-64",  "x86",    "arm64", "arm64-be", "arm",     "arm-be",      "ppc64", "ppc64-le",
        "ppc",     "ppc-le", "s390x", "s390",     "riscv64", "riscv32",     "alpha", "ia64",
        "sparc64", "sparc",  "m68k",  "parisc64", "parisc",  "loongarch64",
    };

    if (strcmp(name, "native") == 0)
        return native_architecture() ? 0 : -EINVAL;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(name, names[i]) == 0)
            return 0;
    return -EINVAL;
}

int test_architecture(const char *name)
{
    cleanup_free char *own = NULL;
    const char *wanted = strcmp(name, "native") == 0 ? native_architecture() : name;
    int r = host_architecture(&own);

    if (r < 0)
        return r;
    return wanted ? strcmp(own, wanted) == 0 : -EOPNOTSUPP;
}

/* The 32 digits of a machine's id, also written with the dashes of a UUID. */
static bool parse_machine_id(const char *text, char id[33])
{
    size_t length = strlen(text), n = 0;

    if (length != 32 && length != 36)
        return false;
    for (size_t i = 0; i < length; i++) {
        bool is_dash = length == 36 && (i == 8 || i == 13 || i == 18 || i == 23);
        if (is_dash ? text[i] != '-' : !strchr("0123456789abcdefABCDEF", text[i]))
            return false;
        if (!is_dash)
            id[n++] = text[i];
    }
    id[n] = '\0';
    return true;
}

int test_host(const char *text)
{
    cleanup_free char *own = NULL;
    char id[33];
    int r;

    if (parse_machine_id(text, id)) {
        r = host_machine_id("", &own);
        return r < 0 ? r : strcasecmp(id, own) == 0;
    }
    r = host_name(&own);
    if (r < 0)
        return r;
    r = fnmatch(text, own, FNM_CASEFOLD);
    return r == 0 || r == FNM_NOMATCH ? r == 0 : -EINVAL;
}

/* In a container it is the command line of PID 1. The NUL bytes of that become blanks. */
static int read_command_line(char **ret_line)
{
    cleanup_free char *line = malloc(COMMAND_LINE_MAX);
    struct virtualization container;
    int r = virtualization_detect_container("", &container);

    if (!line)
        return -ENOMEM;
    if (r < 0)
        return r;
    bool is_of_kernel = container.kind == VIRTUALIZATION_NONE;
    ssize_t length =
        read_text_file(is_of_kernel ? "/proc/cmdline" : "/proc/1/cmdline", line, COMMAND_LINE_MAX);
    if (length < 0)
        return (int)length;
    if ((size_t)length == COMMAND_LINE_MAX - 1)
        return -E2BIG;
    for (ssize_t i = 0; i < length; i++)
        if (line[i] == '\0')
            line[i] = ' ';
    *ret_line = take_pointer(&line);
    return 0;
}

/* "NAME=VALUE" is exactly that, a mere "NAME" also one with a value. */
static bool is_setting(const char *setting, const char *wanted)
{
    size_t length = strlen(wanted);

    if (strchr(wanted, '='))
        return strcmp(setting, wanted) == 0;
    return strncmp(setting, wanted, length) == 0 &&
           (setting[length] == '\0' || setting[length] == '=');
}

int test_kernel_command_line(const char *text)
{
    cleanup_free char *line = NULL;
    int r = read_command_line(&line);

    if (r < 0)
        return r;
    for (const char *rest = line;;) {
        cleanup_free char *word = NULL;
        r = word_next(&rest, NULL, WORDS_VARIABLE, &word);
        if (r <= 0)
            return r;
        if (is_setting(word, text))
            return 1;
    }
}

int test_environment(const char *text)
{
    for (char **variable = environ; variable && *variable; variable++)
        if (is_setting(*variable, text))
            return 1;
    return 0;
}

/* One comparison; a blank between operator and version is fine in the first one, which *rest is
 * given for. Without a release only its form counts. */
static int test_release(const char *expression, const char **rest, const char *release)
{
    cleanup_free char *word = NULL, *next = NULL;
    const char *version = expression + strspn(expression, BLANKS);
    enum comparison comparison = comparison_take(&version, true);

    version += strspn(version, BLANKS);
    word = strdup(version);
    if (!word)
        return -ENOMEM;
    for (size_t length = strlen(word); length > 0 && strchr(BLANKS, word[length - 1]); length--)
        word[length - 1] = '\0';
    if (*word == '\0') {
        int r = rest ? word_next(rest, NULL, WORDS_PLAIN, &next) : 0;
        if (r <= 0)
            return r < 0 ? r : -EINVAL;
    }
    if (!release)
        return 1;
    return version_matches(comparison == COMPARISON_NONE ? COMPARISON_PATTERN : comparison, release,
                           next ? next : word);
}

static int test_releases(const char *text, const char *release)
{
    for (bool is_first = true;; is_first = false) {
        cleanup_free char *expression = NULL;
        int r = word_next(&text, NULL, WORDS_NAMES, &expression);

        if (r <= 0)
            return r < 0 ? r : 1;
        r = test_release(expression, is_first ? &text : NULL, release);
        if (r <= 0)
            return r;
    }
}

int check_kernel_version(const char *text)
{
    int r = test_releases(text, NULL);

    return r < 0 ? r : 0;
}

int test_kernel_version(const char *text)
{
    cleanup_free char *release = NULL;
    int r = host_kernel_release(&release);

    return r < 0 ? r : test_releases(text, release);
}

/* One FIELD, operator and value; only its form counts unless it is to be compared. */
static int test_os_release_field(char *expression, bool compare)
{
    cleanup_free char *actual = NULL;
    const char *wanted = expression + strcspn(expression, "<>=!$");
    size_t length = (size_t)(wanted - expression);
    enum comparison comparison = comparison_take(&wanted, true);

    if (!text_is_variable_name(expression, length) || comparison == COMPARISON_NONE ||
        *wanted == '\0' || strchr(BLANKS, *wanted))
        return -EINVAL;
    if (!compare)
        return 1;
    cleanup_free char *field = strndup(expression, length);
    if (!field)
        return -ENOMEM;
    int r = host_os_release("", field, &actual);
    return r < 0 ? r : version_matches(comparison, actual, wanted);
}

static int test_os_release_fields(const char *text, bool compare)
{
    for (;;) {
        cleanup_free char *expression = NULL;
        int r = word_next(&text, NULL, WORDS_NAMES, &expression);

        if (r <= 0)
            return r < 0 ? r : 1;
        r = test_os_release_field(expression, compare);
        if (r <= 0)
            return r;
    }
}

int check_os_release(const char *text)
{
    int r = test_os_release_fields(text, false);

    return r < 0 ? r : 0;
}

int test_os_release(const char *text)
{
    return test_os_release_fields(text, true);
}

/* "4", ">= 4": at least, unless it says otherwise. */
static enum comparison take_number_comparison(const char **text)
{
    enum comparison comparison = comparison_take(text, false);

    *text += strspn(*text, BLANKS);
    return comparison == COMPARISON_NONE ? COMPARISON_GREATER_OR_EQUAL : comparison;
}

static int compare_numbers(enum comparison comparison, uint64_t actual, uint64_t wanted)
{
    return comparison_holds(comparison, (actual > wanted) - (actual < wanted));
}

int check_cpus(const char *text)
{
    uint64_t wanted;

    take_number_comparison(&text);
    return value_unsigned(text, UINT32_MAX, &wanted);
}

/* The CPUs that this process may run on. */
static int count_cpus(uint64_t *ret_n)
{
    for (size_t size = 1024; size <= CPUS_MAX; size *= 2) {
        cpu_set_t *set = CPU_ALLOC(size);
        if (!set)
            return -ENOMEM;
        int r = sched_getaffinity(0, CPU_ALLOC_SIZE(size), set) < 0 ? -errno : 0;
        if (r == 0)
            *ret_n = (uint64_t)CPU_COUNT_S(CPU_ALLOC_SIZE(size), set);
        CPU_FREE(set);
        if (r != -EINVAL) /* the set is too small */
            return r;
    }
    return -EINVAL;
}

int test_cpus(const char *text)
{
    enum comparison comparison = take_number_comparison(&text);
    uint64_t wanted, n = 0;
    int r = value_unsigned(text, UINT32_MAX, &wanted);

    if (r == 0)
        r = count_cpus(&n);
    return r < 0 ? r : compare_numbers(comparison, n, wanted);
}

static bool is_cgroup2(const char *path)
{
    struct statfs status;

    return statfs(path, &status) == 0 && status.f_type == CGROUP2_SUPER_MAGIC;
}

/* The path in the line of /proc/1/cgroup that begins with a number and hierarchy; NULL for none. */
static const char *find_cgroup(char *text, const char *hierarchy)
{
    char *rest = text;

    for (char *line; (line = strsep(&rest, "\n"));) {
        line += strspn(line, "0123456789");
        if (strncmp(line, hierarchy, strlen(hierarchy)) == 0)
            return line + strlen(hierarchy);
    }
    return NULL;
}

/* The limit of the cgroup that PID 1 has made its root; UINT64_MAX for none. */
static uint64_t memory_limit(void)
{
    static const char *const below_root[] = {"/init.scope", "/system.slice", "/system"};
    char cgroups[4096], file[4500], value[64];
    bool unified = is_cgroup2("/sys/fs/cgroup");
    bool hybrid = is_cgroup2("/sys/fs/cgroup/unified") || is_cgroup2("/sys/fs/cgroup/systemd");
    uint64_t limit;

    if (read_text_file("/proc/1/cgroup", cgroups, sizeof(cgroups)) < 0)
        return UINT64_MAX;
    const char *group = find_cgroup(cgroups, unified || hybrid ? "::" : ":name=systemd:");
    if (!group)
        return UINT64_MAX;
    size_t length = strlen(group);
    for (size_t i = 0; i < sizeof(below_root) / sizeof(below_root[0]); i++) {
        size_t n = strlen(below_root[i]);
        if (length >= n && strcmp(group + length - n, below_root[i]) == 0) {
            length -= n;
            break;
        }
    }
    int n = snprintf(file, sizeof(file), "/sys/fs/cgroup%s%.*s/memory.%s", unified ? "" : "/memory",
                     (int)length, group, unified ? "max" : "limit_in_bytes");
    if (n < 0 || (size_t)n >= sizeof(file) || read_text_file(file, value, sizeof(value)) < 0)
        return UINT64_MAX;
    value[strcspn(value, "\n")] = '\0';
    return value_unsigned(value, UINT64_MAX, &limit) < 0 ? UINT64_MAX : limit; /* "max", too */
}

int check_memory(const char *text)
{
    uint64_t wanted;

    take_number_comparison(&text);
    return value_size(text, &wanted);
}

int test_memory(const char *text)
{
    enum comparison comparison = take_number_comparison(&text);
    long pages = sysconf(_SC_PHYS_PAGES), page_size = sysconf(_SC_PAGESIZE);
    uint64_t wanted;
    int r = value_size(text, &wanted);

    if (r < 0)
        return r;
    if (pages <= 0 || page_size <= 0)
        return -EIO;
    uint64_t limit = memory_limit(), memory = (uint64_t)pages * (uint64_t)page_size;
    limit -= limit == UINT64_MAX ? 0 : limit % (uint64_t)page_size;
    return compare_numbers(comparison, limit < memory ? limit : memory, wanted);
}

int check_virtualization(const char *text)
{
    static const char *const kinds[] = {"vm", "container", "private-users"};
    bool unused;

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(text, kinds[i]) == 0)
            return 0;
    return value_boolean(text, &unused) == 0 || virtualization_is_name(text) ? 0 : -EINVAL;
}

int test_virtualization(const char *text)
{
    struct virtualization found;
    bool wanted;

    if (strcmp(text, "private-users") == 0)
        return virtualization_has_private_users("");
    int r = virtualization_detect("", &found);
    if (r < 0)
        return r;
    if (value_boolean(text, &wanted) == 0)
        return wanted == (found.kind != VIRTUALIZATION_NONE);
    if (strcmp(text, "vm") == 0)
        return found.kind == VIRTUALIZATION_VM;
    if (strcmp(text, "container") == 0)
        return found.kind == VIRTUALIZATION_CONTAINER;
    if (found.kind == VIRTUALIZATION_NONE)
        return 0;
    return found.name ? strcmp(text, found.name) == 0 : -EOPNOTSUPP;
}
