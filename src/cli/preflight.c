/* SPDX-License-Identifier: MIT */
#include "cli/preflight.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "basic/user-database.h"

/* A number needs no entry in the database: then the group stays what it is. */
static bool find_user(const char *name, struct socket_owner *owner)
{
    struct user_record user;

    if (user_find(name, &user) == 0) {
        owner->user = user.uid;
        owner->group = user.gid;
        user_record_done(&user);
        return true;
    }
    return user_parse_number(name, &owner->user);
}

static bool find_group(const char *name, struct socket_owner *owner)
{
    uid_t number;

    if (group_find(name, &owner->group) == 0)
        return true;
    if (!user_parse_number(name, &number))
        return false;
    owner->group = (gid_t)number;
    return true;
}

bool socket_owner_find(const struct socket_unit *unit, struct socket_owner *ret_owner,
                       const char **ret_unknown)
{
    struct socket_owner owner = {.user = (uid_t)-1, .group = (gid_t)-1};

    if (unit->socket_user && !find_user(unit->socket_user, &owner)) {
        *ret_unknown = "SocketUser";
        return false;
    }
    if (unit->socket_group && !find_group(unit->socket_group, &owner)) {
        *ret_unknown = "SocketGroup";
        return false;
    }
    *ret_owner = owner;
    return true;
}

/* Whether this process may give files away. */
static bool may_change_owners(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};

    return syscall(SYS_capget, &header, data) == 0 &&
           (data[0].effective & (UINT32_C(1) << CAP_CHOWN));
}

/* Whether the group is one of this process. */
static bool is_own_group(gid_t group)
{
    gid_t groups[1024];
    int n = getgroups(sizeof(groups) / sizeof(groups[0]), groups);

    for (int i = 0; i < n; i++)
        if (groups[i] == group)
            return true;
    return group == getegid();
}

static void refuse(const struct socket_unit *unit, const char *key, struct problems *problems,
                   const char *reason)
{
    const struct directive_use *use = unit_file_last_use(unit->file, SECTION_SOCKET, key);
    char value[UNIT_QUOTE_MAX];

    problems_add(problems, PROBLEM_ERROR, use ? use->file : unit->file->main, use ? use->line : 0,
                 "cannot use \"%s=%s\": %s", key, unit_quote(use ? use->value : "", value), reason);
}

static void check_owner(const struct socket_unit *unit, struct problems *problems)
{
    struct socket_owner owner;
    const char *unknown;

    if (!socket_owner_find(unit, &owner, &unknown)) {
        refuse(unit, unknown, problems,
               strcmp(unknown, "SocketUser") == 0 ? "there is no such user"
                                                  : "there is no such group");
        return;
    }
    if (may_change_owners())
        return;
    if (owner.user != (uid_t)-1 && owner.user != geteuid())
        refuse(unit, "SocketUser", problems, "only root can give a socket to another user");
    else if (owner.group != (gid_t)-1 && !is_own_group(owner.group))
        refuse(unit, unit->socket_group ? "SocketGroup" : "SocketUser", problems,
               "only root can give a socket to a group that it is no member of");
}

/* They would have to be evaluated for each connection, which is not so yet. */
static void check_conditions(const struct unit_set *set, const struct unit_set_service *service,
                             struct problems *problems)
{
    for (size_t i = 0; i < service->conditions.n; i++) {
        const struct condition *condition = &service->conditions.items[i];
        char value[UNIT_QUOTE_MAX];

        if (strstr(condition->parameter, set->instance) ||
            strstr(condition->parameter, set->instance_unescaped))
            problems_add(problems, PROBLEM_ERROR, condition->file, condition->line,
                         "cannot honour \"%s=%s\": the instance is not known before there is a "
                         "connection; ask in the program",
                         condition->key, unit_quote(condition->value, value));
    }
}

/* The connection goes to the first; a second one would have to get it from there. */
static void check_programs(const struct unit_set_service *service, struct problems *problems)
{
    const struct directive_use *use;

    if (!service->is_template || service->unit->exec_start.n <= 1)
        return;
    use = unit_file_last_use(service->file, SECTION_SERVICE, "ExecStart");
    problems_add(problems, PROBLEM_ERROR, use ? use->file : service->file->main,
                 use ? use->line : 0,
                 "cannot honour several ExecStart= with Accept=yes in this version of hark: put "
                 "them in a script");
}

int preflight(const struct unit_set *set, struct problems *problems, struct unit_plans **ret_plans)
{
    for (size_t i = 0; i < set->n_sockets; i++) {
        problems->unit = set->sockets[i].file->name;
        check_owner(set->sockets[i].unit, problems);
    }
    for (size_t i = 0; i < set->n_services; i++) {
        problems->unit = set->services[i].name;
        check_conditions(set, &set->services[i], problems);
        check_programs(&set->services[i], problems);
    }
    problems->unit = NULL;
    return unit_plans_new(set, NULL, problems, ret_plans);
}
