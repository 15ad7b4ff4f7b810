/* SPDX-License-Identifier: MIT */
#include "exec/exec-identity.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/io.h"
#include "basic/user-database.h"
#include "unit/host-facts.h"

#define ANY_ID ((uid_t)-1)

/* Who hark is. */
struct self {
    uid_t uid[3]; /* real, effective, saved */
    gid_t gid[3];
    gid_t *groups;
    size_t n_groups;
    bool may_set_user, may_set_groups;
};

static void self_done(struct self *self)
{
    free(self->groups);
}

/* In a user namespace that anybody can make setgroups(2) is forbidden, for root too. */
static bool groups_are_denied(void)
{
    char text[16];

    return read_text_file("/proc/self/setgroups", text, sizeof(text)) > 0 &&
           strncmp(text, "deny", 4) == 0;
}

static int self_init(struct self *self)
{
    int n = getgroups(0, NULL);

    *self = (struct self){0};
    if (n < 0 || getresuid(&self->uid[0], &self->uid[1], &self->uid[2]) < 0 ||
        getresgid(&self->gid[0], &self->gid[1], &self->gid[2]) < 0)
        return -errno;
    self->groups = calloc((size_t)n + 1, sizeof(*self->groups));
    if (!self->groups)
        return -ENOMEM;
    n = getgroups(n, self->groups);
    if (n < 0) {
        self_done(self);
        return -errno;
    }
    self->n_groups = (size_t)n;
    self->may_set_user = exec_has_capability(CAP_SETUID);
    self->may_set_groups = exec_has_capability(CAP_SETGID) && !groups_are_denied();
    return 0;
}

static bool is_all(const uid_t ids[3], uid_t id)
{
    return ids[0] == id && ids[1] == id && ids[2] == id;
}

/* ---- Lists of groups ------------------------------------------------------------------------- */

static bool has_group(const gid_t *groups, size_t n, gid_t group)
{
    for (size_t i = 0; i < n; i++)
        if (groups[i] == group)
            return true;
    return false;
}

static bool are_same_groups(const struct exec_identity *identity, const struct self *self)
{
    for (size_t i = 0; i < identity->n_groups; i++)
        if (!has_group(self->groups, self->n_groups, identity->groups[i]))
            return false;
    for (size_t i = 0; i < self->n_groups; i++)
        if (!has_group(identity->groups, identity->n_groups, self->groups[i]))
            return false;
    return true;
}

static int add_group(struct exec_identity *identity, gid_t group)
{
    if (has_group(identity->groups, identity->n_groups, group))
        return 0;
    gid_t *larger =
        reallocarray(identity->groups, identity->n_groups + 1, sizeof(*identity->groups));
    if (!larger)
        return -ENOMEM;
    identity->groups = larger;
    identity->groups[identity->n_groups++] = group;
    return 0;
}

/* ---- What the unit says ---------------------------------------------------------------------- */

/* What is to be found out, and where to say what is wrong. */
struct search {
    const struct exec_request *request;
    struct problems *problems;
    struct self self;
    uid_t uid; /* ANY_ID: nothing is said */
    gid_t gid;
    bool gid_is_explicit;
    size_t n_implied; /* groups that the name service adds; SupplementaryGroups= come behind */
};

static void say_not_found(const struct search *search, const char *key, const char *what,
                          const char *name, int error)
{
    char quoted[UNIT_QUOTE_MAX];

    if (error == -ESRCH)
        exec_problem(search->request, search->problems, PROBLEM_ERROR, key, "there is no %s \"%s\"",
                     what, unit_quote(name, quoted));
    else
        exec_problem(search->request, search->problems, PROBLEM_ERROR, key,
                     "cannot look up the %s \"%s\": %s", what, unit_quote(name, quoted),
                     strerror(-error));
}

static bool depends_on_connection(const struct search *search, const char *key, const char *text)
{
    if (!exec_text_has_instance(search->request, text))
        return false;
    exec_problem(search->request, search->problems, PROBLEM_ERROR, key,
                 "hark looks it up once, so it cannot depend on the connection");
    return true;
}

/* A number without an entry: systemd would not start the service. */
static int take_number(struct search *search, uid_t uid, struct exec_identity *identity)
{
    const struct exec_request *request = search->request;

    search->uid = uid;
    if (!request->context->group) {
        exec_problem(request, search->problems, PROBLEM_ERROR, "User",
                     "no user has this number, so its group is not known: set Group= too");
        return 0;
    }
    exec_problem(request, search->problems, PROBLEM_WARNING, "User",
                 "no user has this number; systemd would not start it");
    identity->user = strdup(request->context->user);
    return identity->user ? 0 : -ENOMEM;
}

static int find_user(struct search *search, struct exec_identity *identity)
{
    const char *name = search->request->context->user;
    struct user_record user;
    uid_t number;

    if (!name || depends_on_connection(search, "User", name))
        return 0;
    int r = user_find(name, &user);
    if (r == -ENOMEM)
        return r;
    if (r == -ESRCH && user_parse_number(name, &number))
        return take_number(search, number, identity);
    if (r < 0) {
        say_not_found(search, "User", "user", name, r);
        return 0;
    }
    search->uid = user.uid;
    search->gid = user.gid;
    identity->user = take_pointer(&user.name);
    identity->home = take_pointer(&user.home);
    identity->shell = take_pointer(&user.shell);
    return 0;
}

/* 0 also when there is none, which is in problems then: *ret_gid is ANY_ID. */
static int find_group(const struct search *search, const char *key, const char *name,
                      gid_t *ret_gid)
{
    gid_t gid = ANY_ID;

    *ret_gid = ANY_ID;
    if (depends_on_connection(search, key, name))
        return 0;
    int r = group_find(name, &gid);
    if (r == -ESRCH && user_parse_number(name, &gid)) {
        exec_problem(search->request, search->problems, PROBLEM_WARNING, key,
                     "no group has the number %s; systemd would not start it", name);
        r = 0;
    }
    if (r < 0 && r != -ENOMEM) {
        say_not_found(search, key, "group", name, r);
        return 0;
    }
    *ret_gid = gid;
    return r;
}

static int find_own_group(struct search *search)
{
    const char *name = search->request->context->group;
    gid_t gid;

    if (!name)
        return 0;
    int r = find_group(search, "Group", name, &gid);
    if (r >= 0 && gid != ANY_ID) {
        search->gid = gid;
        search->gid_is_explicit = true;
    }
    return r;
}

/* systemd has the name service give the groups of the user, before it looks at "+" and "!"; but
 * where the group is root's it spares itself the question. */
static int find_user_groups(struct search *search, struct exec_identity *identity)
{
    if (!identity->user || search->gid == ANY_ID || search->gid == 0)
        return 0;
    int r = user_find_groups(identity->user, search->gid, &identity->groups, &identity->n_groups);
    search->n_implied = identity->n_groups;
    return r;
}

static int find_supplementary_groups(const struct search *search, struct exec_identity *identity)
{
    const struct string_list *names = &search->request->context->supplementary_groups;
    gid_t gid;
    int r = 0;

    for (size_t i = 0; i < names->n && r >= 0; i++) {
        r = find_group(search, "SupplementaryGroups", names->items[i], &gid);
        if (r >= 0 && gid != ANY_ID && !exec_keeps_user(search->request))
            r = add_group(identity, gid);
    }
    return r;
}

/* WorkingDirectory=~ is the caller's own home when the user has none, and then also $HOME. */
static int find_home(const struct search *search, struct exec_identity *identity)
{
    if (!search->request->context->working_directory_home || identity->home)
        return 0;
    int r = host_user_home(&identity->home);
    if (r == -ENOMEM)
        return r;
    if (r < 0)
        exec_problem(search->request, search->problems, PROBLEM_ERROR, "WorkingDirectory",
                     "the user has no home directory");
    return 0;
}

/* ---- What has to be set ---------------------------------------------------------------------- */

static bool says_anything(const struct exec_context *context)
{
    return context->user || context->group || context->supplementary_groups.n > 0;
}

/* Without rights a unit can still say who hark is anyway. What the name service adds to a user's
 * groups is not insisted on: hark has what it was given. */
static void check_unprivileged(const struct search *search, const struct exec_identity *identity)
{
    const struct exec_request *request = search->request;
    const struct self *self = &search->self;

    if (exec_keeps_user(request))
        return;
    if (search->uid != ANY_ID && !is_all(self->uid, search->uid) &&
        !(self->may_set_user && self->may_set_groups))
        exec_problem(request, search->problems, PROBLEM_ERROR, "User",
                     "hark runs as user %u and may not become another one: start it as root, or as "
                     "this user",
                     self->uid[1]);
    if (self->may_set_groups)
        return;
    if (search->gid_is_explicit && !is_all(self->gid, search->gid))
        exec_problem(request, search->problems, PROBLEM_ERROR, "Group",
                     "hark runs as group %u and may not become another one: start it as root, or "
                     "with this group",
                     self->gid[1]);
    for (size_t i = search->n_implied; i < identity->n_groups; i++)
        if (!has_group(self->groups, self->n_groups, identity->groups[i]) &&
            identity->groups[i] != self->gid[1]) {
            exec_problem(request, search->problems, PROBLEM_ERROR, "SupplementaryGroups",
                         "hark does not have the group %u and may not take it: start it as root",
                         identity->groups[i]);
            return;
        }
}

/* What differs from what hark is. */
static void choose_flags(const struct search *search, struct exec_identity *identity)
{
    const struct self *self = &search->self;
    bool is_root = self->uid[1] == 0 && !search->request->unit->user;
    bool sets_user = !exec_keeps_user(search->request);
    uid_t uid = sets_user ? search->uid : ANY_ID;
    gid_t gid = sets_user ? search->gid : ANY_ID;

    if (!is_root && (!sets_user || !says_anything(search->request->context)))
        return;
    if (uid == ANY_ID)
        uid = is_root ? 0 : self->uid[1];
    if (gid == ANY_ID)
        gid = is_root ? 0 : self->gid[1];
    identity->uid = uid;
    identity->gid = gid;
    if (!is_all(self->uid, uid) && self->may_set_user)
        identity->flags |= SPAWN_SET_UID | SPAWN_SET_GID | SPAWN_SET_GROUPS;
    if (!is_all(self->gid, gid) && self->may_set_groups)
        identity->flags |= SPAWN_SET_GID | SPAWN_SET_GROUPS;
    if (!are_same_groups(identity, self) && self->may_set_groups)
        identity->flags |= SPAWN_SET_GROUPS;
}

static int find(struct search *search, struct exec_identity *identity)
{
    int r = find_user(search, identity);

    if (r >= 0)
        r = find_own_group(search);
    if (r >= 0)
        r = find_user_groups(search, identity);
    if (r >= 0)
        r = find_supplementary_groups(search, identity);
    if (r >= 0)
        r = find_home(search, identity);
    if (r < 0)
        return r;
    check_unprivileged(search, identity);
    choose_flags(search, identity);
    return 0;
}

int exec_identity_find(const struct exec_request *request, struct problems *problems,
                       struct exec_identity *ret_identity)
{
    cleanup(exec_identity_done) struct exec_identity identity = {0};
    struct search search = {.request = request, .problems = problems, .uid = ANY_ID, .gid = ANY_ID};
    int r = self_init(&search.self);

    if (r < 0)
        return r;
    r = find(&search, &identity);
    self_done(&search.self);
    if (r < 0)
        return r;
    *ret_identity = identity;
    identity = (struct exec_identity){0};
    return 0;
}

void exec_identity_done(struct exec_identity *identity)
{
    free(identity->user);
    free(identity->home);
    free(identity->shell);
    free(identity->groups);
    *identity = (struct exec_identity){0};
}
