/* SPDX-License-Identifier: MIT */
/* The steps that units ask for: attributes of the process, identity, variables. */
#include "test-spawn.h"

#include <ctype.h>
#include <sys/mount.h>

#define ROOT_ONLY                                                                                  \
    do {                                                                                           \
        if (getuid() != 0)                                                                         \
            SKIP("needs root, to become somebody else");                                           \
    } while (0)

static void assert_denied(const struct spawn_plan *plan, long call, enum spawn_step step)
{
    IN_CHILD({
        deny(call, EXDEV);
        assert_failed(plan, step, EXDEV);
    });
}

static void assert_not_possible(const struct spawn_plan *plan)
{
    struct prepared_plan *prepared;

    ASSERT_ERROR(spawn_plan_prepare(plan, &prepared), -EINVAL);
}

/* ---- Names ----------------------------------------------------------------------------------- */

TEST(each_step_has_a_name_and_systemd_s_exit_status)
{
    static const int expected[] = {1,   0,   0,   1,   204, 220, 1, 208, 209, 222, 206, 201,
                                   215, 204, 205, 216, 202, 217, 1, 200, 227, 207, 203};

    ASSERT_INT(sizeof(expected) / sizeof(expected[0]), SPAWN_EXEC + 1);
    for (enum spawn_step step = SPAWN_CREATED; step <= SPAWN_EXEC; step++) {
        ASSERT_INT(spawn_step_exit_status(step), expected[step]);
        for (enum spawn_step other = SPAWN_CREATED; other < step; other++)
            ASSERT(strcmp(spawn_step_name(other), spawn_step_name(step)) != 0);
    }
    ASSERT_STRING(spawn_step_name(SPAWN_STDIN), "standard input");
    ASSERT_STRING(spawn_step_name(SPAWN_USER), "user");
    ASSERT_STRING(spawn_step_name(SPAWN_NO_NEW_PRIVILEGES), "no new privileges");
}

/* ---- Attributes ------------------------------------------------------------------------------ */

TEST(the_umask)
{
    begin();
    struct spawn_plan plan = observe_plan();
    mode_t ours = umask(022);

    assert_line(observed(&plan), "umask 0022");
    plan.flags = SPAWN_SET_UMASK;
    assert_line(observed(&plan), "umask 0000");
    plan.umask = 0137;
    assert_line(observed(&plan), "umask 0137");
    ASSERT_INT(umask(ours), 022);
    end();
}

static void check_oom_score_without_permission(void)
{
    struct spawn_plan plan = observe_plan();
    char line[64];

    give_up_root(&plan);
    plan.flags = SPAWN_SET_OOM_SCORE;
    plan.oom_score = -1000;
    (void)snprintf(line, sizeof(line), "oom score %d", own_oom_score());
    assert_line(observed(&plan), line);
}

static void check_oom_score_without_proc(void)
{
    struct spawn_plan plan = observe_plan();

    plan.flags = SPAWN_SET_OOM_SCORE;
    ASSERT_CALL(unshare(CLONE_NEWNS));
    ASSERT_CALL(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    ASSERT_CALL(mount("none", "/proc", "tmpfs", 0, NULL));
    assert_failed(&plan, SPAWN_OOM_SCORE, ENOENT);
}

TEST(the_oom_score)
{
    begin();
    struct spawn_plan plan = observe_plan();
    int ours = own_oom_score();

    plan.flags = SPAWN_SET_OOM_SCORE;
    plan.oom_score = 900;
    assert_line(observed(&plan), "oom score 900");
    ASSERT_INT(own_oom_score(), ours); /* though it has the same memory */
    IN_CHILD(check_oom_score_without_permission());
    assert_denied(&plan, SYS_write, SPAWN_OOM_SCORE);
    plan.oom_score = 1001;
    assert_not_possible(&plan);
    plan.oom_score = -1001;
    assert_not_possible(&plan);
    end();
}

TEST(the_oom_score_without_proc)
{
    if (getuid() != 0)
        SKIP("needs root, for a mount namespace");
    begin();
    IN_CHILD(check_oom_score_without_proc());
    end();
}

static void check_nice_without_permission(struct spawn_plan *plan)
{
    const struct rlimit to_15 = {.rlim_cur = 5, .rlim_max = 5}, none = {0};

    ASSERT_CALL(setpriority(PRIO_PROCESS, 0, 17));
    bool raised = setrlimit(RLIMIT_NICE, &to_15) == 0; /* not even root may in some containers */
    give_up_root(plan);
    plan->nice = -5;
    assert_line(observed(plan), raised ? "nice 15" : "nice 17");
    plan->nice = 16;
    assert_line(observed(plan), raised ? "nice 16" : "nice 17");
    ASSERT_CALL(setrlimit(RLIMIT_NICE, &none));
    plan->nice = -5;
    assert_line(observed(plan), "nice 17");
    plan->nice = 19;
    assert_line(observed(plan), "nice 19");
    /* Not even more: this is about something else. */
    deny(SYS_setpriority, EPERM);
    assert_failed(plan, SPAWN_NICE, EPERM);
}

TEST(the_nice_value)
{
    begin();
    struct spawn_plan plan = observe_plan();
    int ours = getpriority(PRIO_PROCESS, 0);

    plan.flags = SPAWN_SET_NICE;
    plan.nice = 12;
    assert_line(observed(&plan), "nice 12");
    ASSERT_INT(getpriority(PRIO_PROCESS, 0), ours);
    assert_denied(&plan, SYS_setpriority, SPAWN_NICE);
    if (getuid() == 0)
        IN_CHILD(check_nice_without_permission(&plan));
    end();
}

static void check_limits_without_permission(void)
{
    const struct rlimit ours = {.rlim_cur = 100, .rlim_max = 1000};
    struct spawn_limit limit = {.resource = RLIMIT_RSS, .value = {5000, 6000}};
    struct spawn_plan plan = observe_plan();

    ASSERT_CALL(setrlimit(RLIMIT_RSS, &ours));
    give_up_root(&plan);
    plan.limits = &limit;
    plan.n_limits = 1;
    assert_line(observed(&plan), "limit rss 1000 1000");
    limit.value = (struct rlimit){50, RLIM_INFINITY};
    assert_line(observed(&plan), "limit rss 50 1000");
    limit.value = (struct rlimit){50, 60};
    assert_line(observed(&plan), "limit rss 50 60");
    deny(SYS_prlimit64, EPERM);
    assert_failed(&plan, SPAWN_LIMITS, EPERM);
}

TEST(resource_limits)
{
    begin();
    struct spawn_plan plan = observe_plan();
    struct rlimit files;
    char line[96];

    ASSERT_CALL(getrlimit(RLIMIT_NOFILE, &files));
    const struct spawn_limit limits[] = {
        {.resource = RLIMIT_RSS, .value = {0, 0}},
        {.resource = RLIMIT_NOFILE, .value = {400, files.rlim_max}},
    };
    const struct spawn_limit unknown = {.resource = 99};
    plan.limits = limits;
    plan.n_limits = 2;
    (void)snprintf(line, sizeof(line), "limit rss 0 0\nlimit nofile 400 %lld",
                   (long long)files.rlim_max);
    assert_line(observed(&plan), line);
    IN_CHILD(check_limits_without_permission());
    assert_denied(&plan, SYS_prlimit64, SPAWN_LIMITS);
    plan.limits = &unknown;
    plan.n_limits = 1;
    assert_failed(&plan, SPAWN_LIMITS, EINVAL);
    end();
}

TEST(no_new_privileges)
{
    begin();
    struct spawn_plan plan = observe_plan();
    int ours = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);

    plan.flags = SPAWN_NO_PRIVILEGE_GAIN;
    assert_line(observed(&plan), "no new privileges 1");
    ASSERT_INT(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), ours);
    assert_denied(&plan, SYS_prctl, SPAWN_NO_NEW_PRIVILEGES);
    end();
}

TEST(sigpipe_ignored)
{
    struct sigaction ours;

    begin();
    struct spawn_plan plan = observe_plan();
    plan.flags = SPAWN_IGNORE_SIGPIPE;
    assert_line(observed(&plan), "blocked 0000000000000000 ignored 0000000000001000");
    ASSERT_CALL(sigaction(SIGPIPE, NULL, &ours));
    ASSERT(ours.sa_handler == SIG_DFL);
    assert_denied(&plan, SYS_rt_sigaction, SPAWN_SIGNALS);
    end();
}

/* ---- Identity -------------------------------------------------------------------------------- */

static const gid_t some_groups[] = {10, 11};

static struct spawn_plan nobody_plan(void)
{
    struct spawn_plan plan = observe_plan();

    open_to_everyone(&plan);
    plan.flags = SPAWN_SET_UID | SPAWN_SET_GID | SPAWN_SET_GROUPS;
    plan.uid = NOBODY;
    plan.gid = NOGROUP;
    plan.groups = some_groups;
    plan.n_groups = 2;
    return plan;
}

static void check_identity(void)
{
    struct spawn_plan plan = nobody_plan();
    uid_t real, effective, saved;

    const char *text = observed(&plan);
    assert_line(text, "uid 65534\t65534\t65534\t65534");
    assert_line(text, "gid 65533\t65533\t65533\t65533");
    assert_line(text, "groups 10 11 ");
    plan.n_groups = 0;
    assert_line(observed(&plan), "groups  ");
    ASSERT_CALL(getresuid(&real, &effective, &saved));
    ASSERT(real == 0 && effective == 0 && saved == 0);
}

TEST(another_user)
{
    ROOT_ONLY;
    begin();
    IN_CHILD(check_identity());
    end();
}

static void check_groups(void)
{
    struct spawn_plan plan = nobody_plan();

    plan.flags = SPAWN_SET_GID;
    const char *text = observed(&plan);
    assert_line(text, "uid 0\t0\t0\t0");
    assert_line(text, "gid 65533\t65533\t65533\t65533");
    plan.flags = SPAWN_SET_GROUPS;
    text = observed(&plan);
    assert_line(text, "gid 0\t0\t0\t0");
    assert_line(text, "groups 10 11 ");
}

TEST(another_group)
{
    ROOT_ONLY;
    begin();
    IN_CHILD(check_groups());
    end();
}

TEST(an_identity_that_is_not_permitted)
{
    begin();
    struct spawn_plan plan = nobody_plan();
    assert_denied(&plan, SYS_setgroups, SPAWN_GROUP);
    plan.flags = SPAWN_SET_GID;
    assert_denied(&plan, SYS_setresgid, SPAWN_GROUP);
    IN_CHILD({
        plan = nobody_plan();
        deny(SYS_setgroups, 0); /* as if it had worked */
        deny(SYS_setresgid, 0);
        deny(SYS_setresuid, EPERM);
        assert_failed(&plan, SPAWN_USER, EPERM);
    });
    IN_CHILD({
        give_up_root(&plan);
        plan.flags = SPAWN_SET_GROUPS;
        assert_failed(&plan, SPAWN_GROUP, EPERM);
    });
    end();
}

TEST(a_user_without_groups_is_no_plan)
{
    begin();
    struct spawn_plan plan = nobody_plan();
    plan.flags = SPAWN_SET_UID;
    assert_not_possible(&plan);
    plan.flags = SPAWN_SET_UID | SPAWN_SET_GID;
    assert_not_possible(&plan);
    plan.flags = SPAWN_SET_UID | SPAWN_SET_GROUPS;
    assert_not_possible(&plan);
    plan = nobody_plan();
    plan.uid = (uid_t)-1;
    assert_not_possible(&plan);
    plan = nobody_plan();
    plan.gid = (gid_t)-1;
    assert_not_possible(&plan);
    end();
}

/* Linux clears it with the change of user. */
TEST(another_user_has_the_death_signal_too)
{
    ROOT_ONLY;
    begin();
    IN_CHILD({
        struct spawn_plan plan = nobody_plan();

        assert_line(observed(&plan), "death signal 0");
        plan.flags |= SPAWN_DEATH_SIGNAL_TERM;
        assert_line(observed(&plan), "death signal 15");
    });
    end();
}

/* Why the user cannot reach into the memory he shares with the creator for a moment. */
TEST(another_user_makes_the_memory_undumpable)
{
    ROOT_ONLY;
    begin();
    if (strcmp(read_file("/proc/sys/fs/suid_dumpable"), "1\n") == 0) {
        end();
        SKIP("fs.suid_dumpable is 1: insecure, for debugging");
    }
    IN_CHILD({
        struct spawn_plan plan = nobody_plan();

        ASSERT_CALL(prctl(PR_SET_DUMPABLE, 1));
        (void)observed(&plan);
        ASSERT(prctl(PR_GET_DUMPABLE) != 1);
    });
    end();
}

/* ---- Directory ------------------------------------------------------------------------------- */

TEST(a_directory_may_be_missing)
{
    char line[4200], now[4096];

    begin();
    struct spawn_plan plan = observe_plan();
    ASSERT(getcwd(now, sizeof(now)));
    (void)snprintf(line, sizeof(line), "directory %s", now);
    plan.flags = SPAWN_DIRECTORY_OPTIONAL;
    plan.directory = "/does/not/exist";
    assert_line(observed(&plan), line);
    plan.directory = "/";
    assert_line(observed(&plan), "directory /");
    end();
}

static void check_directory_of_root(void)
{
    struct spawn_plan plan = nobody_plan();

    ASSERT_CALL(mkdir(in("private"), 0700));
    ASSERT_CALL(chdir("/"));
    plan.directory = in("private");
    assert_failed(&plan, SPAWN_DIRECTORY, EACCES);
    plan.flags |= SPAWN_DIRECTORY_OPTIONAL;
    assert_line(observed(&plan), "directory /");
}

TEST(the_directory_is_the_user_s_business)
{
    ROOT_ONLY;
    begin();
    IN_CHILD(check_directory_of_root());
    end();
}

/* ---- Variables ------------------------------------------------------------------------------- */

static void find_invocation_id(const char *text, char ret_id[33])
{
    const char *id = strstr(text, "\nenv INVOCATION_ID=");

    ASSERT(id);
    id += strlen("\nenv INVOCATION_ID=");
    for (size_t i = 0; i < 32; i++)
        ASSERT(isdigit((unsigned char)id[i]) || (id[i] >= 'a' && id[i] <= 'f'));
    ASSERT_INT(id[32], '\n');
    ASSERT_INT(id[12], '4'); /* a random UUID */
    ASSERT(strchr("89ab", id[16]));
    memcpy(ret_id, id, 32);
    ret_id[32] = '\0';
}

TEST(an_invocation_id_for_each)
{
    static const char *const own[] = {"INVOCATION_ID=mine", "INVOCATION_IDS=2", NULL};
    struct prepared_plan *prepared;
    char first[33], second[33];

    begin();
    struct spawn_plan plan = observe_plan();
    plan.environment = own;
    plan.flags = SPAWN_INVOCATION_ID;
    ASSERT_OK(spawn_plan_prepare(&plan, &prepared));
    memset(&record, 0, sizeof(record));
    ASSERT_INT(exit_status_of(spawn_run(spawner, prepared, &record)), 7);
    find_invocation_id(read_file(in("output")), first);
    memset(&record, 0, sizeof(record));
    ASSERT_INT(exit_status_of(spawn_run(spawner, prepared, &record)), 7);
    const char *text = read_file(in("output"));
    find_invocation_id(text, second);
    ASSERT(strcmp(first, second) != 0);
    assert_line(text, "env INVOCATION_IDS=2");
    ASSERT(!strstr(text, "mine"));
    spawn_plan_free(prepared);
    assert_denied(&plan, SYS_getrandom, SPAWN_ENVIRONMENT);
    end();
}

TEST(the_pid_of_the_program)
{
    static const char *const own[] = {"SYSTEMD_EXEC_PID=1", "A=1", NULL};
    char expected[160];

    begin();
    struct spawn_plan plan = observe_plan();
    plan.environment = own;
    plan.flags = SPAWN_EXEC_PID;
    const char *text = strstr(observed(&plan), "\nenv ");
    (void)snprintf(expected, sizeof(expected), "\nenv A=1\nenv SYSTEMD_EXEC_PID=%d\ndone\n",
                   record.pid);
    ASSERT_STRING(text, expected);
    plan.flags |= SPAWN_LISTEN_VARIABLES;
    text = strstr(observed(&plan), "\nenv ");
    (void)snprintf(expected, sizeof(expected),
                   "\nenv A=1\nenv LISTEN_PID=%d\nenv SYSTEMD_EXEC_PID=%d\ndone\n", record.pid,
                   record.pid);
    ASSERT_STRING(text, expected);
    end();
}
