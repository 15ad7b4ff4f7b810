/* SPDX-License-Identifier: MIT */
/* Users and groups: what the database says, and who a unit's process is. */
#include "test-exec.h"

#include <linux/capability.h>

#include "basic/user-database.h"

/* daemon, mail and sync are in every Debian; what a real systemd 252 makes of them is below. */
#define NEEDS_ROOT                                                                                 \
    do {                                                                                           \
        if (getuid() != 0)                                                                         \
            SKIP("only root can become others");                                                   \
    } while (0)

/* ---- The database ---------------------------------------------------------------------------- */

TEST(root_and_nobody_are_known_anyway)
{
    struct user_record user;

    ASSERT_OK(user_find("0", &user));
    ASSERT_STRING(user.name, "root");
    ASSERT_INT(user.uid, 0);
    ASSERT_INT(user.gid, 0);
    ASSERT_STRING(user.home, "/root");
    ASSERT(user.shell);
    user_record_done(&user);
    ASSERT_OK(user_find("nobody", &user));
    ASSERT_INT(user.uid, 65534);
    ASSERT_INT(user.gid, 65534);
    ASSERT(!user.home && !user.shell);
    user_record_done(&user);
}

TEST(users_by_name_and_number)
{
    struct user_record user;

    ASSERT_OK(user_find("daemon", &user));
    ASSERT_INT(user.uid, 1);
    ASSERT_STRING(user.home, "/usr/sbin");
    ASSERT(!user.shell); /* nologin says nothing */
    user_record_done(&user);
    ASSERT_OK(user_find("1", &user));
    ASSERT_STRING(user.name, "daemon");
    user_record_done(&user);
    ASSERT_OK(user_find("sync", &user));
    ASSERT_STRING(user.shell, "/bin/sync");
    user_record_done(&user);
    ASSERT_ERROR(user_find("no-such-user", &user), -ESRCH);
    ASSERT_ERROR(user_find("123456", &user), -ESRCH);
    ASSERT_ERROR(user_find("", &user), -ESRCH);
}

TEST(groups_by_name_and_number)
{
    gid_t gid = 77;

    ASSERT_OK(group_find("mail", &gid));
    ASSERT_INT(gid, 8);
    ASSERT_OK(group_find("8", &gid));
    ASSERT_INT(gid, 8);
    ASSERT_OK(group_find("root", &gid));
    ASSERT_INT(gid, 0);
    gid = 77;
    ASSERT_ERROR(group_find("no-such-group", &gid), -ESRCH);
    ASSERT_ERROR(group_find("123456", &gid), -ESRCH);
    ASSERT_INT(gid, 77);
}

TEST(groups_of_a_user)
{
    gid_t *groups;
    size_t n;

    ASSERT_OK(user_find_groups("daemon", 8, &groups, &n));
    ASSERT(n >= 1);
    ASSERT_INT(groups[0], 8);
    free(groups);
}

TEST(numbers)
{
    uid_t number = 77;

    ASSERT(user_parse_number("0", &number));
    ASSERT(user_parse_number("4294967294", &number));
    ASSERT_INT(number, 4294967294);
    ASSERT(!user_parse_number("4294967295", &number));
    ASSERT(!user_parse_number("65535", &number));
    ASSERT(!user_parse_number("1x", &number));
    ASSERT(!user_parse_number("-1", &number));
}

/* ---- As root --------------------------------------------------------------------------------- */

/* uid and gid as /proc has them, all four the same. */
static void assert_ids(const char *text, unsigned uid, unsigned gid, const char *groups)
{
    char line[128];

    (void)snprintf(line, sizeof(line), "uid %u\t%u\t%u\t%u", uid, uid, uid, uid);
    assert_line(text, line);
    (void)snprintf(line, sizeof(line), "gid %u\t%u\t%u\t%u", gid, gid, gid, gid);
    assert_line(text, line);
    (void)snprintf(line, sizeof(line), "groups %s%s", groups, *groups ? " " : "");
    if (!strstr(text, line))
        TEST_FAIL("no \"%s\" in:\n%s", line, text);
}

static const char *see_as(const char *prefix, const char *lines)
{
    load_as("foo.service", false, prefix, "", lines);
    make_plan();
    struct spawn_plan plan = build();
    open_to_everyone(&plan);
    const char *text = observed(&plan);
    unload();
    return text;
}

TEST(as_systemd_has_it)
{
    static const struct {
        const char *prefix, *lines;
        unsigned uid, gid;
        const char *groups;
    } cases[] = {
        {"", "", 0, 0, ""},
        {"", "User=daemon", 1, 1, "1"},
        {"", "User=1", 1, 1, "1"},
        {"", "User=daemon\nSupplementaryGroups=mail adm", 1, 1, "1 4 8"},
        {"", "User=daemon\nGroup=mail", 1, 8, "8"},
        {"", "User=daemon\nGroup=root\nSupplementaryGroups=mail", 1, 0, "8"},
        {"", "User=root", 0, 0, ""},
        {"", "User=nobody", 65534, 65534, "65534"},
        {"", "User=sync", 4, 65534, "65534"},
        {"", "Group=mail", 0, 8, ""},
        {"", "SupplementaryGroups=mail", 0, 0, "8"},
        {"", "SupplementaryGroups=mail mail adm", 0, 0, "4 8"},
        {"+", "User=daemon\nSupplementaryGroups=mail", 0, 0, "1"},
        {"!", "User=daemon\nGroup=mail", 0, 0, "8"},
        {"!!", "User=daemon", 1, 1, "1"},
    };

    NEEDS_ROOT;
    begin();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_ids(see_as(cases[i].prefix, cases[i].lines), cases[i].uid, cases[i].gid,
                   cases[i].groups);
    end();
}

TEST(the_environment_says_who)
{
    NEEDS_ROOT;
    begin();
    const char *text = see_as("", "User=1");
    assert_line(text, "env HOME=/usr/sbin");
    assert_line(text, "env USER=daemon");
    assert_line(text, "env LOGNAME=daemon");
    assert_no_line(text, "env SHELL");
    text = see_as("+", "User=sync");
    assert_line(text, "env HOME=/bin");
    assert_line(text, "env SHELL=/bin/sync");
    text = see_as("", "User=nobody");
    assert_line(text, "env USER=nobody");
    assert_no_line(text, "env HOME");
    text = see_as("", "Group=mail");
    assert_no_line(text, "env USER");
    text = see_as("", "User=daemon\nWorkingDirectory=~");
    assert_line(text, "directory /usr/sbin");
    end();
}

TEST(groups_of_an_administrator_do_not_leak)
{
    const gid_t group = 8;

    NEEDS_ROOT;
    begin();
    IN_CHILD({
        ASSERT_CALL(setgroups(1, &group));
        ASSERT_CALL(setresgid(8, 8, 8));
        assert_ids(see_as("", ""), 0, 0, "");
        ASSERT_CALL(setgroups(0, NULL));
        ASSERT_CALL(setresgid(0, 0, 0));
        ASSERT_INT(plan_of("").flags & (SPAWN_SET_UID | SPAWN_SET_GID | SPAWN_SET_GROUPS), 0);
        unload();
    });
    end();
}

TEST(numbers_without_an_entry)
{
    NEEDS_ROOT;
    begin();
    assert_bad("User=123456", "u:3: cannot use \"User=123456\": no user has this number, so its "
                              "group is not known: set Group= too");
    assert_bad("Group=123456", "u:3: warning: \"Group=123456\": no group has the number");
    load("User=123456\nGroup=mail");
    make_plan_with_problems();
    assert_problem("u:3: warning: \"User=123456\": no user has this number");
    struct spawn_plan plan = build();
    open_to_everyone(&plan);
    const char *text = observed(&plan);
    assert_ids(text, 123456, 8, "8");
    assert_line(text, "env USER=123456");
    assert_no_line(text, "env HOME");
    unload();
    end();
}

TEST(names_that_nobody_has)
{
    begin();
    assert_bad("User=no-such-user", "u:3: cannot use \"User=no-such-user\": there is no user");
    assert_bad("Group=no-such-group", "u:3: cannot use \"Group=no-such-group\": there is no group");
    assert_bad("\nSupplementaryGroups=no-such",
               "u:4: cannot use \"SupplementaryGroups=no-such\": there is no group");
    end();
}

/* ---- Without rights -------------------------------------------------------------------------- */

static void assert_unchanged(const char *lines)
{
    struct spawn_plan plan = plan_of(lines);

    ASSERT_INT(plan.flags & (SPAWN_SET_UID | SPAWN_SET_GID | SPAWN_SET_GROUPS), 0);
    unload();
}

TEST(without_rights_only_what_hark_is_anyway)
{
    const gid_t group = 8;

    NEEDS_ROOT;
    begin();
    IN_CHILD({
        ASSERT_CALL(setgroups(1, &group));
        ASSERT_CALL(setresgid(1, 1, 1));
        ASSERT_CALL(setresuid(1, 1, 1));
        assert_unchanged("");
        assert_unchanged("User=daemon");
        assert_unchanged("User=daemon\nGroup=daemon\nSupplementaryGroups=mail");
        assert_unchanged("Group=daemon");
        assert_bad("User=root", "u:3: cannot use \"User=root\": hark runs as user 1 and may not "
                                "become another one: start it as root, or as this user");
        assert_bad("Group=mail", "u:3: cannot use \"Group=mail\": hark runs as group 1");
        assert_bad("User=daemon\nSupplementaryGroups=adm",
                   "u:4: cannot use \"SupplementaryGroups=adm\": hark does not have the group 4");
        load_as("foo.service", false, "+", "", "User=root");
        make_plan();
        unload();
    });
    end();
}

/* As a container's root is after --cap-drop. */
TEST(root_without_capabilities)
{
    const gid_t group = 8;

    NEEDS_ROOT;
    begin();
    IN_CHILD({
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
        ASSERT_CALL(setgroups(1, &group));
        ASSERT_CALL(syscall(SYS_capset, &header, none));
        assert_unchanged("");
        assert_unchanged("User=root");
        assert_bad("User=daemon", "u:3: cannot use \"User=daemon\": hark runs as user 0");
    });
    end();
}
