/* SPDX-License-Identifier: MIT */
/* A service with real fork servers: the test is the supervisor. */
#include "test.h"

#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "basic/clock.h"
#include "supervisor/service.h"
#include "supervisor/waiting.h"

#define DEADLINE_USEC (20 * USEC_PER_SEC)

static sd_event *event;
static struct slots *slots;
static struct waiting *waiting;
static struct server_pool *pool;
static struct service *service;
static sigset_t mask_before;
static struct listener *listener;
static int client;
static unsigned n_exits, n_deaths;
static bool ready;
static struct spawn_plan plan;
static struct plan_source program;
static struct fork_server_listener server_listener;
static struct fork_server_unit unit;

static void on_exit_of_handler(void *userdata, uint32_t slot, const struct handler_exit *end)
{
    (void)userdata;
    (void)slot;
    n_exits++;
    service_on_exit(service, end->code == CLD_EXITED && end->status == 0);
}

static void on_nothing(void *userdata)
{
    (void)userdata;
}

static void on_stuck(void *userdata, uint32_t slot)
{
    (void)userdata;
    TEST_FAIL("slot %u is stuck", slot);
}

static bool is_waited_for(void *userdata, pid_t pid)
{
    (void)userdata;
    return server_pool_has_pid(pool, pid);
}

static pid_t server_pid(void *userdata, uint32_t index)
{
    (void)userdata;
    return server_pool_pid(pool, index);
}

static void on_ready(void *userdata)
{
    (void)userdata;
    ready = true;
    service_on_servers(service);
}

static void on_message(void *userdata, const struct server_message *message)
{
    (void)userdata;
    ASSERT_INT(message->type, SERVER_MESSAGE_STARTED);
    service_on_started(service, message);
}

static void on_death(void *userdata)
{
    (void)userdata;
    n_deaths++;
    waiting_look(waiting);
    service_on_servers(service);
}

static const struct fork_server_unit *units(void *userdata, size_t *ret_n)
{
    (void)userdata;
    *ret_n = 1;
    return &unit;
}

static void make_sockets(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct hark_listener *wrapped;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ASSERT_CALL(fd);
    ASSERT_CALL(bind(fd, (struct sockaddr *)&address, sizeof(sa_family_t)));
    ASSERT_CALL(listen(fd, 16));
    ASSERT_OK(hark_listener_from_fd(fd, SOCK_STREAM, NULL, &wrapped));
    ASSERT_OK(listener_from_socket(wrapped, &listener));
    client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_CALL(client);
    program = (struct plan_source){.fixed = &plan};
    server_listener = (struct fork_server_listener){.fd = fd, .is_shared = true};
    unit = (struct fork_server_unit){
        .programs = &program, .n_programs = 1, .listeners = &server_listener, .n_listeners = 1};
}

static void send_traffic(void)
{
    struct sockaddr_un address;
    socklen_t size = sizeof(address);

    ASSERT_CALL(getsockname(listener_fd(listener), (struct sockaddr *)&address, &size));
    ASSERT_CALL(connect(client, (struct sockaddr *)&address, size));
}

static void make_pool(void)
{
    static const struct server_pool_callbacks callbacks = {
        .on_ready = on_ready, .on_message = on_message, .on_death = on_death, .units = units};
    struct rlimit open_files;
    struct processors processors;

    ASSERT_CALL(getrlimit(RLIMIT_NOFILE, &open_files));
    ASSERT_OK(processors_read(&processors));
    const struct server_pool_options options = {.n_servers = 2,
                                                .processors = &processors,
                                                .open_files = &open_files,
                                                .wake_fd = waiting_wake_fd(waiting)};
    ASSERT_OK(server_pool_new(event, slots, &options, &callbacks, &pool));
}

/* The program runs that script; it never accepts. */
static void begin(const char *script)
{
    static const char *arguments[] = {"sh", "-c", NULL, NULL};
    static const char *const environment[] = {NULL};
    static const struct waiting_callbacks callbacks = {.on_exit = on_exit_of_handler,
                                                       .on_room = on_nothing,
                                                       .on_stuck = on_stuck,
                                                       .on_looked = on_nothing,
                                                       .on_child_signal = on_nothing,
                                                       .is_waited_for = is_waited_for,
                                                       .server_pid = server_pid};
    const struct slots_request request = {.n_slots = 1};
    sigset_t all;

    arguments[2] = script;
    plan = (struct spawn_plan){.program = "/bin/sh",
                               .arguments = arguments,
                               .environment = environment,
                               .flags = SPAWN_SIBLING,
                               .listener = -1,
                               .first_fd = 3};
    sigfillset(&all);
    ASSERT_CALL(sigprocmask(SIG_SETMASK, &all, &mask_before));
    n_exits = n_deaths = 0;
    ready = false;
    make_sockets();
    ASSERT_OK(sd_event_new(&event));
    ASSERT_OK(slots_new(&request, 1, 2, &slots));
    ASSERT_OK(waiting_new(event, slots, &callbacks, &waiting));
    make_pool();
    ASSERT_OK(service_new(
        &(struct service_options){
            .event = event, .pool = pool, .slots = slots, .name = "test", .n_programs = 1},
        &service));
    ASSERT_OK(service_set_listeners(service, &(struct service_listener){.listener = listener}, 1));
}

static void end(void)
{
    pid_t pid = slots->records[0].pid;

    service_stop(service);
    server_pool_free(pool);
    if (pid > 0) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
    }
    ASSERT(!service_free(service));
    waiting_free(waiting);
    slots_free(slots);
    sd_event_unref(event);
    listener_free(listener);
    close(client);
    ASSERT_CALL(sigprocmask(SIG_SETMASK, &mask_before, NULL));
}

#define RUN_UNTIL(condition)                                                                       \
    do {                                                                                           \
        uint64_t deadline_ = monotonic_usec() + DEADLINE_USEC;                                     \
        while (!(condition)) {                                                                     \
            if (monotonic_usec() > deadline_)                                                      \
                TEST_FAIL("not in time: %s", #condition);                                          \
            ASSERT_OK(sd_event_run(event, 50 * USEC_PER_MSEC));                                    \
        }                                                                                          \
    } while (0)

static void run_for(uint64_t usec)
{
    uint64_t until = monotonic_usec() + usec;

    RUN_UNTIL(monotonic_usec() >= until);
}

TEST(without_traffic_nothing_is_started)
{
    begin("exec sleep 1000");
    ASSERT_OK(server_pool_start(pool));
    RUN_UNTIL(ready);
    run_for(100 * USEC_PER_MSEC);
    ASSERT(!service_is_running(service));
    ASSERT_INT(slots_used(slots, 0), 0);
    end();
}

TEST(traffic_starts_the_program_once)
{
    begin("exec sleep 1000");
    ASSERT_OK(server_pool_start(pool));
    RUN_UNTIL(ready);
    send_traffic();
    RUN_UNTIL(slots->records[0].step == SPAWN_EXEC);
    run_for(300 * USEC_PER_MSEC); /* the traffic is still there */
    ASSERT(service_is_running(service));
    ASSERT_INT(slots->units[0].instance, 1);
    ASSERT_INT(n_exits, 0);
    end();
}

TEST(traffic_before_the_servers_are_ready_waits_for_them)
{
    begin("exec sleep 1000");
    send_traffic();
    for (int i = 0; i < 5; i++)
        ASSERT_OK(sd_event_run(event, 10 * USEC_PER_MSEC));
    ASSERT(!service_is_running(service));
    ASSERT_INT(sd_event_run(event, 50 * USEC_PER_MSEC), 0); /* and nobody spins meanwhile */
    ASSERT_OK(server_pool_start(pool));
    RUN_UNTIL(slots->records[0].step == SPAWN_EXEC);
    ASSERT(service_is_running(service));
    end();
}

TEST(it_is_started_again_after_it_ended)
{
    begin("exec sleep 1000");
    ASSERT_OK(server_pool_start(pool));
    send_traffic();
    for (unsigned i = 0; i < 3; i++) {
        RUN_UNTIL(slots->units[0].instance == i + 1 && slots->records[0].step == SPAWN_EXEC);
        ASSERT_CALL(kill(slots->records[0].pid, SIGKILL));
        RUN_UNTIL(n_exits == i + 1);
    }
    end();
}

TEST(a_program_that_leaves_its_traffic_is_suspended_not_given_up)
{
    begin("exit 0");
    ASSERT_OK(server_pool_start(pool));
    send_traffic();
    unsigned before;
    do { /* a slow machine may need more than one window of the limit */
        before = n_exits;
        run_for(500 * USEC_PER_MSEC);
    } while (n_exits != before);
    ASSERT(n_exits >= 20);
    ASSERT(!service_is_running(service));
    RUN_UNTIL(n_exits > before); /* back after the pause */
    end();
}

TEST(after_stop_there_is_no_start)
{
    begin("exec sleep 1000");
    ASSERT_OK(server_pool_start(pool));
    RUN_UNTIL(ready);
    service_stop(service);
    send_traffic();
    run_for(200 * USEC_PER_MSEC);
    ASSERT_INT(slots->units[0].instance, 0);
    end();
}

TEST(the_servers_may_die)
{
    begin("exec sleep 1000");
    ASSERT_OK(server_pool_start(pool));
    RUN_UNTIL(ready);
    ASSERT_CALL(kill(server_pool_pid(pool, 0), SIGKILL));
    ASSERT_CALL(kill(server_pool_pid(pool, 1), SIGKILL));
    send_traffic();
    RUN_UNTIL(slots->units[0].instance == 1 && slots->records[0].step == SPAWN_EXEC);
    RUN_UNTIL(n_deaths == 2);
    ASSERT(service_is_running(service));
    end();
}
