/* SPDX-License-Identifier: MIT */
/* The test is the supervisor and, for want of one, the fork server too: it puts real children into
 * the slots. */
#include "directory.h"
#include "test.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "basic/clock.h"
#include "supervisor/waiting.h"

#define N_SLOTS       512
#define DEADLINE_USEC (20 * USEC_PER_SEC)

static sd_event *event;
static struct slots *slots;
static struct waiting *waiting;
static struct spawner *spawner;
static sigset_t mask_before;
static uint64_t sequence;
static uint32_t hint;
static pid_t server;

/* What was told. */
static unsigned n_exits, n_room, n_looked, n_stuck, n_signals;
static unsigned exits_in_slot[N_SLOTS];
static pid_t pid_in_slot[N_SLOTS];
static struct handler_exit last_exit;

static void on_exit_of_handler(void *userdata, uint32_t slot, const struct handler_exit *end)
{
    ASSERT(userdata == &event);
    ASSERT(slot < N_SLOTS);
    ASSERT_INT(end->pid, pid_in_slot[slot]);
    ASSERT_INT(slots->records[slot].pid, end->pid); /* is still there */
    ASSERT(slots->owners[slot] != 0);
    ASSERT(end->end_usec >= slots->records[slot].start_usec);
    exits_in_slot[slot]++;
    n_exits++;
    last_exit = *end;
}

static void on_room(void *userdata)
{
    (void)userdata;
    n_room++;
}

static void on_stuck(void *userdata, uint32_t slot)
{
    (void)userdata;
    ASSERT(slots->records[slot].pid > 0);
    n_stuck++;
}

static void on_looked(void *userdata)
{
    (void)userdata;
    n_looked++;
}

static void on_child_signal(void *userdata)
{
    (void)userdata;
    n_signals++;
}

static bool is_waited_for(void *userdata, pid_t pid)
{
    (void)userdata;
    return pid == server;
}

static pid_t server_pid(void *userdata, uint32_t index)
{
    (void)userdata;
    return index == 0 ? server : 0;
}

static void begin(uint32_t capacity)
{
    const struct waiting_callbacks callbacks = {
        .on_exit = on_exit_of_handler,
        .on_room = on_room,
        .on_stuck = on_stuck,
        .on_looked = on_looked,
        .on_child_signal = on_child_signal,
        .is_waited_for = is_waited_for,
        .server_pid = server_pid,
        .userdata = &event,
    };
    sigset_t all;

    (void)alarm(0);
    ASSERT_CALL(close_range(3, ~0U, CLOSE_RANGE_CLOEXEC));
    sigfillset(&all);
    ASSERT_CALL(sigprocmask(SIG_SETMASK, &all, &mask_before));
    ASSERT_OK(sd_event_new(&event));
    ASSERT_OK(slots_new(&(struct slots_request){.n_slots = capacity}, 1, 1, &slots));
    ASSERT_OK(waiting_new(event, slots, &callbacks, &waiting));
    ASSERT_OK(spawner_new(&spawner));
    n_exits = n_room = n_looked = n_stuck = n_signals = 0;
    memset(exits_in_slot, 0, sizeof(exits_in_slot));
    server = 0;
    hint = 0;
}

static void end(void)
{
    ASSERT_INT(slots_used(slots, 0), 0);
    ASSERT(!waiting_free(waiting));
    slots_free(slots);
    spawner_free(spawner);
    sd_event_unref(event);
    ASSERT_CALL(sigprocmask(SIG_SETMASK, &mask_before, NULL));
}

/* ---- Children -------------------------------------------------------------------------------- */

static void wake(void)
{
    uint64_t one = 1;

    if (slots_wake_needed(slots))
        ASSERT_INT(write(waiting_wake_fd(waiting), &one, sizeof(one)), sizeof(one));
}

/* A handler, as fork-server.c creates it. */
static uint32_t start(const char *const *arguments)
{
    static const char *const environment[] = {NULL};
    const struct spawn_plan plan = {
        .program = "/bin/sh", .arguments = arguments, .environment = environment, .listener = -1};
    struct prepared_plan *prepared;
    uint32_t slot;

    ASSERT_OK(slots_reserve(slots, 0, slot_key(1, ++sequence), &hint, &slot));
    wake();
    ASSERT_OK(spawn_plan_prepare(&plan, &prepared));
    pid_in_slot[slot] = spawn_run(spawner, prepared, &slots->records[slot]);
    ASSERT_OK(pid_in_slot[slot]);
    spawn_plan_free(prepared);
    return slot;
}

static uint32_t start_script(const char *script)
{
    const char *const arguments[] = {"sh", "-c", script, NULL};

    return start(arguments);
}

static uint32_t start_sleeper(void)
{
    return start_script("exec sleep 1000");
}

/* A child that claims to stand at that step since some time. */
static uint32_t fake(enum spawn_step step, uint64_t age_usec, void (*run)(void))
{
    uint32_t slot;

    ASSERT_OK(slots_reserve(slots, 0, slot_key(1, ++sequence), &hint, &slot));
    pid_in_slot[slot] = fork();
    ASSERT_CALL(pid_in_slot[slot]);
    if (pid_in_slot[slot] == 0) {
        run();
        _exit(0);
    }
    slots->records[slot].step = step;
    slots->records[slot].start_usec = monotonic_usec() - age_usec;
    slots->records[slot].pid = pid_in_slot[slot];
    wake();
    return slot;
}

/* The loop goes round until so many exits were told, or the supervisor sleeps. */
static void run_until_exits(unsigned n)
{
    uint64_t deadline = monotonic_usec() + DEADLINE_USEC;

    while (n_exits < n) {
        ASSERT(monotonic_usec() < deadline);
        ASSERT_OK(sd_event_run(event, 100 * USEC_PER_MSEC));
    }
    ASSERT_INT(n_exits, n);
}

static void run_until_asleep(void)
{
    uint64_t deadline = monotonic_usec() + DEADLINE_USEC;

    do {
        ASSERT(monotonic_usec() < deadline);
        ASSERT_OK(sd_event_run(event, 100 * USEC_PER_MSEC));
    } while (!slots->header->supervisor_asleep);
    while (sd_event_run(event, 0) > 0) /* what was on its way */
        ASSERT(monotonic_usec() < deadline);
}

static void run_for(uint64_t usec)
{
    uint64_t until = monotonic_usec() + usec;

    while (monotonic_usec() < until)
        ASSERT_OK(sd_event_run(event, 100 * USEC_PER_MSEC));
}

static void assert_no_wakeups(void)
{
    uint64_t end_usec = monotonic_usec() + 300 * USEC_PER_MSEC, now;

    while ((now = monotonic_usec()) < end_usec)
        ASSERT_INT(sd_event_run(event, end_usec - now), 0);
    ASSERT(slots->header->supervisor_asleep);
}

static void await_zombie(pid_t pid)
{
    siginfo_t info;

    ASSERT_CALL(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT));
}

/* ---- Exits ----------------------------------------------------------------------------------- */

TEST(nothing_to_do_is_no_wake_up)
{
    begin(4);
    ASSERT(slots->header->supervisor_asleep);
    assert_no_wakeups();
    ASSERT_INT(n_looked, 0);
    end();
}

TEST(a_short_life)
{
    begin(4);
    uint32_t slot = start_script("exit 3");
    run_until_exits(1);
    ASSERT_INT(exits_in_slot[slot], 1);
    ASSERT_INT(last_exit.code, CLD_EXITED);
    ASSERT_INT(last_exit.status, 3);
    ASSERT_INT(slots->owners[slot], 0);
    ASSERT(n_looked > 0);
    slot = start_script("kill -USR1 $$");
    run_until_exits(2);
    ASSERT_INT(exits_in_slot[slot], slot == 0 ? 2 : 1);
    ASSERT_INT(last_exit.code, CLD_KILLED);
    ASSERT_INT(last_exit.status, SIGUSR1);
    run_until_asleep();
    assert_no_wakeups();
    end();
}

TEST(an_exit_before_the_first_look)
{
    begin(4);
    uint32_t slot = start_script("exit 0");
    await_zombie(pid_in_slot[slot]);
    run_until_exits(1);
    ASSERT_INT(exits_in_slot[slot], 1);
    end();
}

TEST(a_long_life_costs_no_wake_ups)
{
    begin(4);
    uint32_t slot = start_sleeper(), other = start_sleeper();
    run_until_asleep();
    assert_no_wakeups();
    ASSERT_CALL(kill(pid_in_slot[slot], SIGKILL));
    run_until_exits(1);
    ASSERT_INT(exits_in_slot[slot], 1);
    ASSERT_INT(last_exit.code, CLD_KILLED);
    ASSERT_INT(last_exit.status, SIGKILL);
    run_until_asleep();
    assert_no_wakeups();
    ASSERT_CALL(kill(pid_in_slot[other], SIGTERM));
    run_until_exits(2);
    ASSERT_INT(exits_in_slot[other], 1);
    end();
}

TEST(a_slot_is_used_again_and_again)
{
    begin(1);
    for (unsigned i = 0; i < 50; i++) {
        ASSERT_INT(start_script("exit 0"), 0);
        run_until_exits(i + 1);
    }
    ASSERT_INT(exits_in_slot[0], 50);
    end();
}

/* Half of them grown up, half young; all end while nobody looks, so that their signals coalesce. */
TEST(each_of_many_exits_is_told_once)
{
    uint32_t all[200];

    begin(N_SLOTS);
    for (int i = 0; i < 200; i++) {
        all[i] = start_sleeper();
        if (i == 99)
            run_until_asleep();
    }
    for (int i = 0; i < 200; i++)
        ASSERT_CALL(kill(pid_in_slot[all[i]], SIGKILL));
    for (int i = 0; i < 200; i++)
        await_zombie(pid_in_slot[all[i]]);
    run_until_exits(200);
    run_until_asleep();
    for (int i = 0; i < 200; i++)
        ASSERT_INT(exits_in_slot[all[i]], 1);
    ASSERT_INT(n_exits, 200);
    assert_no_wakeups();
    end();
}

TEST(more_than_one_batch_of_grown_ups)
{
    begin(N_SLOTS);
    for (int i = 0; i < 300; i++)
        (void)start_sleeper();
    run_until_asleep();
    for (int i = 0; i < N_SLOTS; i++)
        if (slots->owners[i] != 0)
            ASSERT_CALL(kill(pid_in_slot[i], SIGKILL));
    run_until_exits(300);
    run_until_asleep();
    end();
}

TEST(room_is_told_when_somebody_waits_for_it)
{
    uint32_t slot, none = 0;

    begin(1);
    (void)start_script("exit 0");
    run_until_exits(1);
    ASSERT_INT(n_room, 0);
    slot = start_sleeper();
    ASSERT_ERROR(slots_reserve(slots, 0, slot_key(1, 999), &none, &none), -EBUSY);
    ASSERT_CALL(kill(pid_in_slot[slot], SIGKILL));
    run_until_exits(2);
    ASSERT_INT(n_room, 1);
    end();
}

TEST(a_reserved_slot_keeps_it_awake_until_it_is_given_back)
{
    uint32_t slot;

    begin(4);
    ASSERT_OK(slots_reserve(slots, 0, slot_key(1, ++sequence), &hint, &slot));
    wake();
    for (int i = 0; i < 10; i++)
        ASSERT_INT(sd_event_run(event, DEADLINE_USEC), 1);
    ASSERT(!slots->header->supervisor_asleep);
    slots_cancel(slots, slot);
    run_until_asleep();
    ASSERT_INT(n_exits, 0);
    assert_no_wakeups();
    end();
}

/* ---- Other children -------------------------------------------------------------------------- */

static bool no_other_children(void)
{
    siginfo_t info = {0};

    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 && errno == ECHILD;
}

static void run_until_no_children(void)
{
    uint64_t deadline = monotonic_usec() + DEADLINE_USEC;

    while (!no_other_children()) {
        ASSERT(monotonic_usec() < deadline);
        ASSERT_OK(sd_event_run(event, 100 * USEC_PER_MSEC));
    }
}

static void check_orphans(unsigned n_sleepers)
{
    ASSERT_CALL(prctl(PR_SET_CHILD_SUBREAPER, 1));
    begin(N_SLOTS);
    for (unsigned i = 0; i < n_sleepers; i++)
        (void)start_sleeper();
    if (n_sleepers > 0)
        run_until_asleep();
    /* Three that live a little longer than who left them behind. */
    uint32_t slot = start_script("sleep 0.3 & sleep 0.3 & sleep 0.4 & exit 0");
    run_until_exits(1);
    ASSERT_INT(exits_in_slot[slot], 1);
    if (n_sleepers == 0)
        ASSERT(!no_other_children()); /* there they are */
    run_until_asleep();
    for (int i = 0; i < N_SLOTS; i++)
        if (slots->owners[i] != 0)
            ASSERT_CALL(kill(pid_in_slot[i], SIGKILL));
    run_until_no_children();
    run_until_asleep();
    ASSERT_INT(n_exits, n_sleepers + 1); /* orphans are not handlers */
    assert_no_wakeups();
    end();
}

TEST(orphans_are_reaped)
{
    IN_CHILD(check_orphans(0));
    IN_CHILD(check_orphans(80)); /* many living: looks at all are rare */
}

static void check_orphan_with_living(void)
{
    uint64_t deadline = monotonic_usec() + DEADLINE_USEC;
    int reaped[2];
    char byte;

    ASSERT_CALL(prctl(PR_SET_CHILD_SUBREAPER, 1));
    begin(N_SLOTS);
    ASSERT_CALL(pipe2(reaped, O_NONBLOCK)); /* not close-on-exec: the orphan holds it */
    uint32_t slot = start_script("sleep 0.2 & echo $! > /dev/null; exit 0");
    close(reaped[1]);
    run_until_exits(1);
    ASSERT_INT(exits_in_slot[slot], 1);
    while (read(reaped[0], &byte, 1) != 0) { /* it is dead then */
        ASSERT(monotonic_usec() < deadline);
        ASSERT_OK(sd_event_run(event, 10 * USEC_PER_MSEC));
    }
    run_until_no_children();
    close(reaped[0]);
    end();
}

TEST(an_orphan_that_ends_while_we_sleep)
{
    IN_CHILD(check_orphan_with_living());
}

TEST(servers_are_left_to_who_waits_for_them)
{
    siginfo_t info;

    begin(4);
    server = fork();
    ASSERT_CALL(server);
    if (server == 0)
        _exit(9);
    await_zombie(server);
    for (int i = 0; i < 20; i++)
        ASSERT_OK(sd_event_run(event, 10 * USEC_PER_MSEC));
    ASSERT_CALL(waitid(P_PID, (id_t)server, &info, WEXITED | WNOHANG));
    ASSERT_INT(info.si_pid, server); /* nobody took it away */
    run_until_asleep();
    ASSERT_INT(n_exits, 0);
    end();
}

/* ---- When things go wrong -------------------------------------------------------------------- */

static void check_without_descriptors(void)
{
    struct rlimit before, none = {0};

    begin(4);
    ASSERT_CALL(getrlimit(RLIMIT_NOFILE, &before));
    uint32_t slot = start_sleeper(), other = start_sleeper();
    none.rlim_max = before.rlim_max; /* not one more */
    ASSERT_CALL(setrlimit(RLIMIT_NOFILE, &none));
    uint64_t until = monotonic_usec() + 300 * USEC_PER_MSEC;
    while (monotonic_usec() < until)
        ASSERT_OK(sd_event_run(event, 100 * USEC_PER_MSEC));
    ASSERT(!slots->header->supervisor_asleep); /* it has to ask */
    ASSERT_CALL(kill(pid_in_slot[slot], SIGKILL));
    run_until_exits(1);
    ASSERT_INT(exits_in_slot[slot], 1);
    ASSERT_CALL(setrlimit(RLIMIT_NOFILE, &before));
    run_until_asleep(); /* and now it need not */
    ASSERT_CALL(kill(pid_in_slot[other], SIGKILL));
    run_until_exits(2);
    ASSERT_INT(n_stuck, 0);
    end();
}

TEST(out_of_descriptors_exits_are_still_told)
{
    IN_CHILD(check_without_descriptors());
}

static void stand(void)
{
    while (true)
        (void)pause();
}

TEST(who_stands_half_made_for_a_second_is_killed)
{
    begin(4);
    uint32_t slot = fake(SPAWN_DIRECTORY, 1100 * USEC_PER_MSEC, stand);
    run_until_exits(1);
    ASSERT_INT(exits_in_slot[slot], 1);
    ASSERT_INT(last_exit.status, SIGKILL);
    ASSERT_INT(n_stuck, 1);
    end();
}

TEST(who_is_half_made_for_less_is_left_alone)
{
    begin(4);
    uint32_t slot = fake(SPAWN_DIRECTORY, 0, stand);
    run_for(300 * USEC_PER_MSEC);
    ASSERT_INT(n_exits, 0);
    slots->records[slot].step = SPAWN_EXEC; /* it is a program now, and may live */
    slots->records[slot].start_usec -= 2 * USEC_PER_SEC;
    run_until_asleep();
    ASSERT_INT(n_exits, 0);
    ASSERT_INT(n_stuck, 0);
    ASSERT_CALL(kill(pid_in_slot[slot], SIGKILL));
    run_until_exits(1);
    end();
}

/* A machine, a container or just hark that stood still: the child could do nothing meanwhile, or
 * nobody saw that it did something. */
TEST(a_second_in_which_nobody_looked_does_not_count)
{
    begin(4);
    uint32_t slot = fake(SPAWN_DIRECTORY, 5 * USEC_PER_SEC, stand);
    run_for(300 * USEC_PER_MSEC);
    ASSERT_INT(n_exits, 0);
    usleep(1200 * USEC_PER_MSEC);
    run_for(300 * USEC_PER_MSEC);
    ASSERT_INT(n_exits, 0);
    run_until_exits(1); /* but it is not forgotten */
    ASSERT_INT(exits_in_slot[slot], 1);
    ASSERT_INT(n_stuck, 1);
    end();
}

static void spin(void)
{
    while (true)
        (void)getppid();
}

TEST(who_only_waits_for_a_processor_is_left_alone)
{
    begin(4);
    uint32_t slot = fake(SPAWN_DIRECTORY, 0, spin);
    run_for(2 * USEC_PER_SEC);
    ASSERT_INT(n_exits, 0);
    ASSERT_INT(n_stuck, 0);
    ASSERT_CALL(kill(pid_in_slot[slot], SIGSTOP));
    run_until_exits(1);
    ASSERT_INT(n_stuck, 1);
    end();
}

static void on_interrupt(int number)
{
    _exit(number == SIGURG ? 77 : 1);
}

static void stand_in_accept(void)
{
    sigset_t none;

    (void)signal(SIGURG, on_interrupt);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    stand();
}

/* Killed, it could take a connection with it. */
TEST(a_blocking_accept_is_interrupted_not_killed)
{
    begin(4);
    uint32_t slot = fake(SPAWN_ACCEPT, 5 * USEC_PER_SEC, stand_in_accept);
    run_until_exits(1);
    ASSERT_INT(exits_in_slot[slot], 1);
    ASSERT_INT(last_exit.code, CLD_EXITED);
    ASSERT_INT(last_exit.status, 77);
    ASSERT_INT(n_stuck, 0);
    end();
}

/* Stopped between its last step and its program, it keeps its creator in vfork(2). */
TEST(who_keeps_its_server_waiting_is_killed)
{
    pid_t *stopped;
    int ready[2];
    char byte;

    begin(4);
    ASSERT_CALL(pipe2(ready, O_CLOEXEC));
    uint32_t slot;
    ASSERT_OK(slots_reserve(slots, 0, slot_key(1, ++sequence), &hint, &slot));
    stopped = (pid_t *)&slots->records[slot].pid;
    ASSERT_CALL(prctl(PR_SET_CHILD_SUBREAPER, 1));
    server = fork();
    ASSERT_CALL(server);
    if (server == 0) {
        slots->windows[0].slot = slot;
        slots->windows[0].start_usec = monotonic_usec();
        slots->records[slot].step = SPAWN_EXEC;
        slots->records[slot].start_usec = monotonic_usec() - 2 * USEC_PER_SEC;
        /* The child is the supervisor's, as SPAWN_SIBLING makes it. */
        if (syscall(SYS_clone, CLONE_VFORK | CLONE_PARENT | CLONE_PARENT_SETTID | SIGCHLD, NULL,
                    stopped, NULL, NULL) == 0) {
            (void)!write(ready[1], "x", 1);
            stand();
        }
        _exit(0);
    }
    ASSERT_INT(read(ready[0], &byte, 1), 1);
    pid_in_slot[slot] = *stopped;
    wake();
    run_until_exits(1);
    ASSERT_INT(last_exit.status, SIGKILL);
    ASSERT_INT(n_stuck, 1);
    ASSERT_INT(waitpid(server, NULL, 0), server); /* goes on, and leaves */
    ASSERT_CALL(prctl(PR_SET_CHILD_SUBREAPER, 0));
    close(ready[0]);
    close(ready[1]);
    end();
}
