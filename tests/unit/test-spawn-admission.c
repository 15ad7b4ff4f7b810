/* SPDX-License-Identifier: MIT */
/* The limit per source: what several processes that create children at once let through. */
#include "test-spawn.h"

#include "basic/clock.h"

#define N_RECORDS 64
#define N_SERVERS 4
#define LIMIT     3

/* Between the processes. */
struct shared {
    _Atomic uint64_t counter;
    _Atomic uint32_t next; /* record to use */
    _Atomic uint32_t n_refused, n_running, n_done;
    struct spawn_record records[N_RECORDS];
    _Atomic uint32_t sources[N_RECORDS];
};

static struct shared *shared_new(void)
{
    struct shared *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    ASSERT(shared != MAP_FAILED);
    return shared;
}

static struct spawn_plan limited_plan(int listener, struct shared *shared)
{
    static const char *const wait_arguments[] = {"program", "--role-wait", NULL};
    struct spawn_plan plan = plan_to_accept(listener);

    plan.arguments = wait_arguments;
    plan.counter = &shared->counter;
    plan.records = (struct spawn_records){shared->records, shared->sources, N_RECORDS};
    plan.max_per_source = LIMIT;
    return plan;
}

/* As the supervisor does when it has waited for the child; others read it meanwhile. */
static void clear(struct shared *shared, uint32_t number)
{
    shared->sources[number] = 0;
    memset(&shared->records[number], 0, sizeof(shared->records[number]));
}

static void end_handler(struct shared *shared, uint32_t number)
{
    int status;
    pid_t pid = shared->records[number].pid;

    ASSERT_CALL(kill(pid, SIGKILL));
    ASSERT_INT(waitpid(pid, &status, 0), pid);
    clear(shared, number);
}

static pid_t run_limited(struct prepared_plan *prepared, struct shared *shared, int number)
{
    return spawn_run(spawner, prepared, &shared->records[number]);
}

static void assert_refused(struct prepared_plan *prepared, struct shared *shared, int number)
{
    struct spawn_record *refused = &shared->records[number];

    ASSERT_ERROR(run_limited(prepared, shared, number), -EAGAIN);
    ASSERT_INT(refused->step, SPAWN_ADMISSION);
    ASSERT_INT(refused->error, ECONNREFUSED);
    ASSERT_INT(exit_status_of(refused->pid), 0);
}

static void assert_closed(int client)
{
    char byte;

    ASSERT_INT(read(client, &byte, 1), 0);
    close(client);
}

/* ---- One after the other --------------------------------------------------------------------- */

TEST(no_more_than_the_limit)
{
    struct prepared_plan *prepared;
    int clients[LIMIT];

    begin();
    struct shared *shared = shared_new();
    int listener = listen_unix();
    struct spawn_plan plan = limited_plan(listener, shared);
    ASSERT_OK(spawn_plan_prepare(&plan, &prepared));
    for (int i = 0; i < LIMIT; i++) {
        clients[i] = connect_unix(listener);
        ASSERT_OK(run_limited(prepared, shared, i));
    }
    for (int i = LIMIT; i < LIMIT + 3; i++) {
        int client = connect_unix(listener);

        assert_refused(prepared, shared, i);
        assert_closed(client);
    }
    /* Who was refused does not count, zeroed or not. */
    end_handler(shared, 1);
    int client = connect_unix(listener);
    ASSERT_OK(run_limited(prepared, shared, 1));
    ASSERT_INT(shared->records[1].number, LIMIT + 3);
    assert_closed(clients[1]);
    for (uint32_t i = 0; i < LIMIT; i++)
        end_handler(shared, i);
    assert_closed(client);
    assert_closed(clients[0]);
    assert_closed(clients[2]);
    spawn_plan_free(prepared);
    close(listener);
    munmap(shared, sizeof(*shared));
    end();
}

static int connect_from(int listener, const char *host)
{
    struct sockaddr_in own = {.sin_family = AF_INET}, server;
    socklen_t size = sizeof(server);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ASSERT_OK(fd_move_above(&fd, 40));
    ASSERT_INT(inet_pton(AF_INET, host, &own.sin_addr), 1);
    ASSERT_CALL(bind(fd, (const struct sockaddr *)&own, sizeof(own)));
    ASSERT_CALL(getsockname(listener, (struct sockaddr *)&server, &size));
    ASSERT_CALL(connect(fd, (const struct sockaddr *)&server, size));
    return fd;
}

TEST(each_address_has_its_own_limit)
{
    static const char *const hosts[] = {"127.0.0.1", "127.0.0.2", "127.1.0.1"};
    struct prepared_plan *prepared;
    int clients[3];

    begin();
    struct shared *shared = shared_new();
    int listener = make_listener(AF_INET, "127.0.0.1", 0, SOCK_NONBLOCK);
    struct spawn_plan plan = limited_plan(listener, shared);
    plan.max_per_source = 1;
    ASSERT_OK(spawn_plan_prepare(&plan, &prepared));
    for (int i = 0; i < 3; i++) {
        clients[i] = connect_from(listener, hosts[i]);
        ASSERT_OK(run_limited(prepared, shared, i));
    }
    for (int i = 0; i < 3; i++) {
        int client = connect_from(listener, hosts[i]);

        assert_refused(prepared, shared, 3 + i);
        close(client);
    }
    for (uint32_t i = 0; i < 3; i++) {
        end_handler(shared, i);
        close(clients[i]);
    }
    spawn_plan_free(prepared);
    close(listener);
    munmap(shared, sizeof(*shared));
    end();
}

TEST(who_is_not_known_is_not_limited)
{
    begin();
    struct shared *shared = shared_new();
    int listener = listen_unix();
    IN_CHILD({
        struct prepared_plan *prepared;
        struct spawn_plan plan = limited_plan(listener, shared);

        plan.max_per_source = 1;
        deny(SYS_getsockopt, EPERM); /* SO_PEERCRED */
        ASSERT_OK(spawn_plan_prepare(&plan, &prepared));
        for (int i = 0; i < 3; i++) {
            int client = connect_unix(listener);

            ASSERT_OK(run_limited(prepared, shared, i));
            ASSERT_INT(shared->records[i].number, i);
            close(client);
        }
        for (uint32_t i = 0; i < 3; i++)
            end_handler(shared, i);
    });
    close(listener);
    munmap(shared, sizeof(*shared));
    end();
}

/* Killed between two instructions: it may have taken a number, or not. */
TEST(one_that_stays_pending_counts_until_it_is_cleared)
{
    struct prepared_plan *prepared;

    begin();
    struct shared *shared = shared_new();
    int listener = listen_unix();
    struct spawn_plan plan = limited_plan(listener, shared);
    plan.max_per_source = 1;
    ASSERT_OK(spawn_plan_prepare(&plan, &prepared));
    int client = connect_unix(listener);
    ASSERT_OK(run_limited(prepared, shared, 0));
    shared->sources[0] = (shared->sources[0] & 0xfffc) | 1;
    int other = connect_unix(listener);
    assert_refused(prepared, shared, 1);
    clear(shared, 1);
    close(other);
    pid_t pid = shared->records[0].pid;
    shared->records[0].pid = 0; /* being zeroed: the pid went first */
    other = connect_unix(listener);
    ASSERT_OK(run_limited(prepared, shared, 1));
    shared->records[0].pid = pid;
    end_handler(shared, 0);
    end_handler(shared, 1);
    close(client);
    close(other);
    spawn_plan_free(prepared);
    close(listener);
    munmap(shared, sizeof(*shared));
    end();
}

TEST(plans_that_cannot_limit_are_refused)
{
    struct spawn_record records[1];
    _Atomic uint32_t sources[1];
    _Atomic uint64_t counter = 0;
    struct spawn_plan plan = plan_to_accept(30);
    struct prepared_plan *prepared;

    plan.max_per_source = 1;
    ASSERT_ERROR(spawn_plan_prepare(&plan, &prepared), -EINVAL);
    plan.counter = &counter;
    ASSERT_ERROR(spawn_plan_prepare(&plan, &prepared), -EINVAL);
    plan.records.list = records;
    ASSERT_ERROR(spawn_plan_prepare(&plan, &prepared), -EINVAL);
    plan.records.sources = sources;
    ASSERT_ERROR(spawn_plan_prepare(&plan, &prepared), -EINVAL);
    plan.records.n = 1;
    ASSERT_OK(spawn_plan_prepare(&plan, &prepared));
    spawn_plan_free(prepared);
    plan.flags = 0;
    ASSERT_ERROR(spawn_plan_prepare(&plan, &prepared), -EINVAL);
    ASSERT_STRING(spawn_step_name(SPAWN_ADMISSION), "admission");
    ASSERT_INT(spawn_step_exit_status(SPAWN_ADMISSION), 0);
}

/* ---- All at once ----------------------------------------------------------------------------- */

/* One of several processes that create children until there is nothing to accept any more. */
static void serve(struct prepared_plan *prepared, struct shared *shared)
{
    uint32_t number = atomic_fetch_add(&shared->next, 1);

    while (true) {
        struct spawn_record *own = &shared->records[number];
        pid_t pid = spawn_run(spawner, prepared, own);

        if (pid == -EAGAIN && own->step == SPAWN_ACCEPT) {
            ASSERT_INT(exit_status_of(own->pid), 0);
            clear(shared, number);
            return;
        }
        if (pid == -EAGAIN) {
            ASSERT_INT(own->error, ECONNREFUSED);
            ASSERT_INT(exit_status_of(own->pid), 0);
            atomic_fetch_add(&shared->n_refused, 1);
            clear(shared, number);
            continue;
        }
        ASSERT_OK(pid);
        atomic_fetch_add(&shared->n_running, 1);
        number = atomic_fetch_add(&shared->next, 1);
    }
}

/* One that has handlers for the whole round, and is told to end them by the end of a pipe. */
static pid_t start_server(struct prepared_plan *prepared, struct shared *shared, int start,
                          int stop)
{
    char byte;

    fflush(NULL);
    pid_t pid = fork();
    ASSERT_CALL(pid);
    if (pid > 0)
        return pid;
    (void)!read(start, &byte, 1); /* all at once */
    serve(prepared, shared);
    atomic_fetch_add(&shared->n_done, 1);
    (void)!read(stop, &byte, 1);
    _exit(0);
}

static void play_round(struct prepared_plan *prepared, struct shared *shared, int listener, int n)
{
    uint64_t deadline = monotonic_usec() + 60 * USEC_PER_SEC;
    int clients[N_RECORDS], start[2], stop[2];
    pid_t servers[N_SERVERS];

    memset(shared, 0, sizeof(*shared));
    for (int i = 0; i < n; i++)
        clients[i] = connect_unix(listener);
    ASSERT_CALL(pipe2(start, O_CLOEXEC));
    ASSERT_CALL(pipe2(stop, O_CLOEXEC));
    for (int i = 0; i < N_SERVERS; i++)
        servers[i] = start_server(prepared, shared, start[0], stop[0]);
    ASSERT_INT(write(start[1], "aaaa", N_SERVERS), N_SERVERS);
    while (shared->n_done < N_SERVERS) {
        ASSERT(monotonic_usec() < deadline);
        (void)sched_yield();
    }
    ASSERT_INT(shared->counter, n);
    ASSERT_INT(shared->n_running, LIMIT);
    ASSERT_INT(shared->n_refused, n - LIMIT);
    for (int i = 0; i < N_RECORDS; i++)
        if (shared->records[i].step == SPAWN_EXEC)
            ASSERT_CALL(kill(shared->records[i].pid, SIGKILL));
    ASSERT_INT(write(stop[1], "aaaa", N_SERVERS), N_SERVERS);
    for (int i = 0; i < N_SERVERS; i++)
        ASSERT_INT(exit_status_of(servers[i]), 0);
    for (int i = 0; i < n; i++)
        close(clients[i]);
    for (int i = 0; i < 2; i++) {
        close(start[i]);
        close(stop[i]);
    }
}

TEST(exactly_the_limit_of_many_at_once)
{
    struct prepared_plan *prepared;

    begin();
    struct shared *shared = shared_new();
    int listener = listen_unix();
    ASSERT_CALL(listen(listener, N_RECORDS));
    struct spawn_plan plan = limited_plan(listener, shared);
    ASSERT_OK(spawn_plan_prepare(&plan, &prepared));
    for (int round = 0; round < 40; round++)
        play_round(prepared, shared, listener, 50);
    /* Few, so that those who are admitted meet. */
    for (int round = 0; round < 200; round++)
        play_round(prepared, shared, listener, LIMIT + 1);
    spawn_plan_free(prepared);
    close(listener);
    munmap(shared, sizeof(*shared));
    end();
}

/* ---- Coming and going ------------------------------------------------------------------------ */

#define N_TURNS 150

/* Handlers that come and go, one at a time, in records that are used again and again. */
static void take_turns(struct shared *shared, uint32_t limit, int server, bool same_host)
{
    int listener = make_listener(AF_INET, "127.0.0.1", 0, SOCK_NONBLOCK);
    struct prepared_plan *prepared;
    struct spawn_plan plan = limited_plan(listener, shared);
    char host[32];

    (void)snprintf(host, sizeof(host), "127.0.0.%d", same_host ? 1 : 1 + server);
    plan.max_per_source = limit;
    ASSERT_OK(spawn_plan_prepare(&plan, &prepared));
    for (int turn = 0; turn < N_TURNS; turn++) {
        uint32_t number = (uint32_t)(server * 2 + turn % 2);
        struct spawn_record *own = &shared->records[number];
        int client = connect_from(listener, host);
        pid_t pid = spawn_run(spawner, prepared, own);

        if (pid == -EAGAIN) {
            ASSERT_INT(own->step, SPAWN_ADMISSION);
            ASSERT_INT(exit_status_of(own->pid), 0);
            clear(shared, number);
            atomic_fetch_add(&shared->n_refused, 1);
        } else {
            ASSERT_OK(pid);
            uint32_t others = atomic_fetch_add(&shared->n_running, 1);
            ASSERT(!same_host || others < limit);
            atomic_fetch_add(&shared->n_done, 1);
            atomic_fetch_sub(&shared->n_running, 1);
            end_handler(shared, number);
        }
        close(client);
    }
    spawn_plan_free(prepared);
}

static void take_turns_at_once(struct shared *shared, uint32_t limit, bool same_host)
{
    pid_t servers[N_SERVERS];

    for (int i = 0; i < N_SERVERS; i++) {
        fflush(NULL);
        servers[i] = fork();
        ASSERT_CALL(servers[i]);
        if (servers[i] > 0)
            continue;
        take_turns(shared, limit, i, same_host);
        _exit(0);
    }
    for (int i = 0; i < N_SERVERS; i++)
        ASSERT_INT(exit_status_of(servers[i]), 0);
    ASSERT_INT(shared->n_refused + shared->n_done, N_SERVERS * N_TURNS);
}

TEST(who_comes_and_goes_is_not_mistaken_for_another)
{
    begin();
    struct shared *shared = shared_new();
    take_turns_at_once(shared, 1, false);
    ASSERT_INT(shared->n_refused, 0);
    munmap(shared, sizeof(*shared));
    end();
}

TEST(never_more_than_the_limit_while_they_come_and_go)
{
    begin();
    struct shared *shared = shared_new();
    take_turns_at_once(shared, 2, true);
    ASSERT(shared->n_done > 0);
    munmap(shared, sizeof(*shared));
    end();
}
