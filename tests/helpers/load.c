/* SPDX-License-Identifier: MIT */
/*
 * load: many clients at once, each of which checks what it gets.
 *
 *   load [--total=N] [--concurrency=C] [--send=TEXT] [--expect=TEXT] [--timeout-ms=T] ADDRESS
 *
 * ADDRESS is a path, @abstract, or PORT (of 127.0.0.1). Every connection must get exactly TEXT
 * ("ok\n") and then the end. --total=0 goes on until SIGTERM. Prints one JSON object; the exit
 * status is 0 if every connection was good. A connection that waits is a timeout after T ms
 * (10000).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static struct sockaddr_storage address;
static socklen_t address_size;
static const char *text_to_send = "";
static const char *text_expected = "ok\n";
static long timeout_ms = 10000;
static long total = 1;
static atomic_long next_connection;
static atomic_bool stopping;
static atomic_long n_good, n_connect, n_timeout, n_reset, n_short, n_wrong;
static pthread_mutex_t first_lock = PTHREAD_MUTEX_INITIALIZER;
static char first_error[128];

static void on_signal(int signal_number)
{
    (void)signal_number;
    atomic_store(&stopping, true);
}

static void count_error(atomic_long *counter, const char *what, int error)
{
    atomic_fetch_add(counter, 1);
    pthread_mutex_lock(&first_lock);
    if (first_error[0] == '\0')
        snprintf(first_error, sizeof(first_error), "%s: errno %d", what, error);
    pthread_mutex_unlock(&first_lock);
}

static void one_connection(void)
{
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        count_error(&n_connect, "socket", errno);
        return;
    }
    struct timeval limit = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    if (connect(fd, (const struct sockaddr *)&address, address_size) < 0) {
        if (errno == EAGAIN || errno == EINPROGRESS)
            count_error(&n_timeout, "connect", errno);
        else
            count_error(&n_connect, "connect", errno);
        close(fd);
        return;
    }
    if (text_to_send[0] != '\0' && send(fd, text_to_send, strlen(text_to_send), MSG_NOSIGNAL) < 0)
        count_error(&n_reset, "send", errno);
    char reply[256];
    size_t used = 0;
    ssize_t n;
    do {
        n = recv(fd, reply + used, sizeof(reply) - used, 0);
        if (n > 0)
            used += (size_t)n;
    } while ((n > 0 && used < sizeof(reply)) || (n < 0 && errno == EINTR));
    size_t expected = strlen(text_expected);
    if (n < 0 && errno == EAGAIN)
        count_error(&n_timeout, "recv", errno);
    else if (n < 0)
        count_error(&n_reset, "recv", errno);
    else if (used < expected)
        count_error(&n_short, "short reply", 0);
    else if (used > expected || memcmp(reply, text_expected, expected) != 0)
        count_error(&n_wrong, "wrong reply", 0);
    else
        atomic_fetch_add(&n_good, 1);
    close(fd);
}

static void *client(void *unused)
{
    (void)unused;
    while (!atomic_load(&stopping)) {
        long number = atomic_fetch_add(&next_connection, 1);
        if (total > 0 && number >= total)
            break;
        one_connection();
    }
    return NULL;
}

static int parse_address(const char *text)
{
    char *end = NULL;
    long port = strtol(text, &end, 10);
    if (*text != '\0' && *end == '\0' && port > 0 && port < 65536) {
        struct sockaddr_in inet = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        inet.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        memcpy(&address, &inet, sizeof(inet));
        address_size = sizeof(inet);
        return 0;
    }
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    size_t length = strlen(text);
    if (length >= sizeof(local.sun_path))
        return -ENAMETOOLONG;
    memcpy(local.sun_path, text, length + 1);
    address_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
    if (text[0] == '@') {
        local.sun_path[0] = '\0';
        address_size--;
    }
    memcpy(&address, &local, sizeof(local));
    return 0;
}

int main(int argc, char **argv)
{
    long concurrency = 1;
    const char *target = NULL;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--total=", 8) == 0)
            total = strtol(argv[i] + 8, NULL, 10);
        else if (strncmp(argv[i], "--concurrency=", 14) == 0)
            concurrency = strtol(argv[i] + 14, NULL, 10);
        else if (strncmp(argv[i], "--send=", 7) == 0)
            text_to_send = argv[i] + 7;
        else if (strncmp(argv[i], "--expect=", 9) == 0)
            text_expected = argv[i] + 9;
        else if (strncmp(argv[i], "--timeout-ms=", 13) == 0)
            timeout_ms = strtol(argv[i] + 13, NULL, 10);
        else
            target = argv[i];
    }
    if (!target || parse_address(target) < 0 || concurrency < 1 || concurrency > 1024)
        return 64;
    signal(SIGTERM, on_signal);
    signal(SIGPIPE, SIG_IGN);

    struct timespec start;
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    pthread_t *threads = calloc((size_t)concurrency, sizeof(*threads));
    if (!threads)
        return 1;
    for (long i = 0; i < concurrency; i++)
        if (pthread_create(&threads[i], NULL, client, NULL) != 0)
            return 1;
    for (long i = 0; i < concurrency; i++)
        pthread_join(threads[i], NULL);
    free(threads);
    clock_gettime(CLOCK_MONOTONIC, &end);

    long good = atomic_load(&n_good);
    long errors = n_connect + n_timeout + n_reset + n_short + n_wrong;
    printf("{\"good\":%ld,\"errors\":%ld,\"connect\":%ld,\"timeout\":%ld,\"reset\":%ld,"
           "\"short\":%ld,\"wrong\":%ld,\"first_error\":\"%s\",\"seconds\":%.3f}\n",
           good, errors, (long)n_connect, (long)n_timeout, (long)n_reset, (long)n_short,
           (long)n_wrong, first_error,
           (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9);
    return errors == 0 ? 0 : 1;
}
