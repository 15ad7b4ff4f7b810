/* SPDX-License-Identifier: MIT */
#include "supervisor/processors.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/io.h"
#include "supervisor/slots.h"

#define UNLIMITED UINT64_MAX

/* A group's path below its controller's mount point, or a whole line of /proc. */
#define LINE_MAX_SIZE 4352

/* ---- Quota -----------------------------------------------------------------------------------
 */

static uint64_t divide_up(uint64_t quota, uint64_t period)
{
    return period == 0 ? UNLIMITED : quota / period + (quota % period != 0);
}

static uint64_t read_number(const char *directory, const char *file)
{
    char path[LINE_MAX_SIZE + 32], text[64];
    uint64_t value;

    (void)snprintf(path, sizeof(path), "%s/%s", directory, file);
    if (read_text_file(path, text, sizeof(text)) < 0 || sscanf(text, "%" SCNu64, &value) != 1)
        return UNLIMITED;
    return value;
}

/* Of one group. */
static uint64_t quota_at(const char *directory, bool unified)
{
    char path[LINE_MAX_SIZE + 32], text[64];
    uint64_t quota, period;

    if (!unified) { /* -1: none */
        (void)snprintf(path, sizeof(path), "%s/cpu.cfs_quota_us", directory);
        if (read_text_file(path, text, sizeof(text)) < 0 || text[0] == '-' ||
            sscanf(text, "%" SCNu64, &quota) != 1)
            return UNLIMITED;
        period = read_number(directory, "cpu.cfs_period_us");
        return period == UNLIMITED ? UNLIMITED : divide_up(quota, period);
    }
    (void)snprintf(path, sizeof(path), "%s/cpu.max", directory); /* "max 100000" */
    if (read_text_file(path, text, sizeof(text)) < 0 ||
        sscanf(text, "%" SCNu64 " %" SCNu64, &quota, &period) != 2)
        return UNLIMITED;
    return divide_up(quota, period);
}

/* The least of the group and those above it, up to the mount point. */
static uint64_t quota_up_from(const char *mount, const char *group, bool unified)
{
    char directory[LINE_MAX_SIZE];
    uint64_t least = UNLIMITED;
    size_t top = strlen(mount);

    if ((size_t)snprintf(directory, sizeof(directory), "%s%s", mount, group) >= sizeof(directory))
        return UNLIMITED;
    for (;;) {
        uint64_t quota = quota_at(directory, unified);
        if (quota < least)
            least = quota;
        char *slash = strrchr(directory, '/');
        if (slash == NULL || (size_t)(slash - directory) < top)
            return least;
        *slash = '\0';
    }
}

/* Whether a word is one of those between commas. */
static bool is_among(const char *list, const char *word)
{
    size_t length = strlen(word);

    for (const char *at = list; at != NULL; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (strncmp(at, word, length) == 0 && (at[length] == ',' || at[length] == '\0'))
            return true;
    return false;
}

/* This process's group in /proc/self/cgroup: "ID:CONTROLLERS:PATH", of version 2 without
 * controllers. */
static bool find_group(const char *root, bool unified, char *group, size_t size)
{
    char line[LINE_MAX_SIZE];
    bool found = false;

    (void)snprintf(line, sizeof(line), "%s/proc/self/cgroup", root);
    FILE *file = fopen(line, "re");
    while (file != NULL && !found && fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (path == NULL)
            continue;
        *controllers++ = *path++ = '\0';
        found = unified ? *controllers == '\0' : is_among(controllers, "cpu");
        if (found)
            (void)snprintf(group, size, "%s", strcmp(path, "/") == 0 ? "" : path);
    }
    if (file != NULL)
        (void)fclose(file);
    return found;
}

/* The parts of a line of /proc/self/mountinfo (proc(5)): root of the mount, mount point, type and
 * options of the file system. */
struct mount {
    char *root, *point, *type, *options;
};

static bool parse_mount(char *line, struct mount *ret_mount)
{
    char *rest = NULL, *word = strtok_r(line, " \n", &rest);
    struct mount mount = {0};

    for (int i = 1; word != NULL && strcmp(word, "-") != 0; i++) {
        word = strtok_r(NULL, " \n", &rest);
        if (i == 3)
            mount.root = word;
        if (i == 4)
            mount.point = word;
    }
    mount.type = strtok_r(NULL, " \n", &rest);
    (void)strtok_r(NULL, " \n", &rest);
    mount.options = strtok_r(NULL, " \n", &rest);
    *ret_mount = mount;
    return mount.root != NULL && mount.point != NULL && mount.options != NULL;
}

/* Where the controller of processors is mounted, and the group's path below: a container sees its
 * own group as the root of the mount. */
static bool find_mount(const char *root, bool unified, const char **group, char *point, size_t size)
{
    char line[LINE_MAX_SIZE];
    struct mount mount;
    bool found = false, below = false;

    (void)snprintf(line, sizeof(line), "%s/proc/self/mountinfo", root);
    FILE *file = fopen(line, "re");
    while (file != NULL && !below && fgets(line, sizeof(line), file) != NULL) {
        if (!parse_mount(line, &mount))
            continue;
        if (unified ? strcmp(mount.type, "cgroup2") != 0
                    : strcmp(mount.type, "cgroup") != 0 || !is_among(mount.options, "cpu"))
            continue;
        size_t length = strcmp(mount.root, "/") == 0 ? 0 : strlen(mount.root);
        below = strncmp(*group, mount.root, length) == 0 &&
                ((*group)[length] == '/' || (*group)[length] == '\0');
        if (below)
            *group += length;
        if (below || !found)
            (void)snprintf(point, size, "%s%s", root, mount.point);
        found = true;
    }
    if (file != NULL)
        (void)fclose(file);
    if (found && !below) /* it is elsewhere in the tree: the mount point is all that we see */
        *group = "";
    return found;
}

uint32_t processors_quota(const char *root)
{
    uint64_t least = UNLIMITED;

    for (int unified = 0; unified <= 1; unified++) {
        char text[LINE_MAX_SIZE], point[LINE_MAX_SIZE];
        const char *group = text;

        if (find_group(root, unified, text, sizeof(text)) &&
            find_mount(root, unified, &group, point, sizeof(point))) {
            least = quota_up_from(point, group, unified);
            break; /* a controller is in one hierarchy */
        }
    }
    if (least == UNLIMITED)
        return 0;
    return least < 1 ? 1 : least > UINT32_MAX ? UINT32_MAX : (uint32_t)least;
}

/* ---- Affinity ----------------------------------------------------------------------------------
 */

static const cpu_set_t *every_processor(void)
{
    static cpu_set_t every;

    memset(&every, 0xff, sizeof(every));
    return &every;
}

/* All there are, asked for, give no more than what we have: that was all there are. */
static void ask_for_all(struct processors *processors)
{
    const cpu_set_t *affinity = &processors->affinity;
    cpu_set_t widest;

    if (sched_setaffinity(0, sizeof(*affinity), every_processor()) < 0) {
        processors->is_fixed = true;
        return;
    }
    processors->is_whole =
        sched_getaffinity(0, sizeof(widest), &widest) >= 0 && CPU_EQUAL(affinity, &widest);
    if (!processors->is_whole)
        (void)sched_setaffinity(0, sizeof(*affinity), affinity);
}

int processors_read(struct processors *ret_processors)
{
    struct processors processors = {0};

    if (sched_getaffinity(0, sizeof(processors.affinity), &processors.affinity) < 0)
        return -errno;
    ask_for_all(&processors);
    processors.quota = processors_quota("");
    *ret_processors = processors;
    return 0;
}

uint32_t processors_count_servers(const struct processors *processors)
{
    uint32_t n = (uint32_t)CPU_COUNT(&processors->affinity);

    if (processors->quota != 0 && processors->quota < n)
        n = processors->quota;
    return n < 1 ? 1 : n > SERVERS_MAX ? SERVERS_MAX : n;
}

static bool can_choose(const struct processors *processors)
{
    return CPU_COUNT(&processors->affinity) > 1 && !processors->is_fixed;
}

int processors_choose(const struct processors *processors, uint32_t n_servers, uint32_t index)
{
    uint32_t n = (uint32_t)CPU_COUNT(&processors->affinity);

    if (!can_choose(processors) || n_servers < n)
        return -1;
    index %= n;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET((size_t)cpu, &processors->affinity) && index-- == 0)
            return cpu;
    return -1;
}

const cpu_set_t *processors_of_handlers(const struct processors *processors)
{
    if (!can_choose(processors))
        return NULL;
    /* The kernel leaves of it what the cpuset has at that moment. */
    return processors->is_whole ? every_processor() : &processors->affinity;
}
