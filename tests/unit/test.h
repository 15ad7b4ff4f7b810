/* SPDX-License-Identifier: MIT */
/*
 * The harness of the C tests. One program per module, which includes this header once and has no
 * main() of its own:
 *
 *     TEST(parses_a_port)
 *     {
 *         ASSERT_INT(parse("80"), 80);
 *     }
 *
 * Tests run in the order of the file, or only those named on the command line. A failed assertion
 * prints file, line and values and ends the program (a forked child too) with status 1. After each
 * test the open descriptors must be the same as before, and no child may be left, not even a
 * zombie. SKIP(reason) leaves the test; when all were skipped the status is 77, which meson shows
 * as "skipped".
 */
#pragma once

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct test {
    const char *name;
    void (*run)(void);
    struct test *next;
};

static struct test *test_first, **test_end = &test_first;
static const char *test_skip_reason;

#define TEST(test_name)                                                                            \
    static void test_##test_name(void);                                                            \
    __attribute__((constructor)) static void test_register_##test_name(void)                       \
    {                                                                                              \
        static struct test self = {.name = #test_name, .run = test_##test_name};                   \
        *test_end = &self;                                                                         \
        test_end = &self.next;                                                                     \
    }                                                                                              \
    static void test_##test_name(void)

#define TEST_FAIL(...)                                                                             \
    do {                                                                                           \
        fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                                            \
        fprintf(stderr, __VA_ARGS__);                                                              \
        fputc('\n', stderr);                                                                       \
        fflush(NULL);                                                                              \
        _exit(1);                                                                                  \
    } while (0)

#define SKIP(reason)                                                                               \
    do {                                                                                           \
        test_skip_reason = (reason);                                                               \
        return;                                                                                    \
    } while (0)

#define ASSERT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition))                                                                          \
            TEST_FAIL("not true: %s", #condition);                                                 \
    } while (0)

/* Two numbers of whatever integer type. */
#define ASSERT_INT(actual, expected)                                                               \
    do {                                                                                           \
        intmax_t actual_ = (intmax_t)(actual), expected_ = (intmax_t)(expected);                   \
        if (actual_ != expected_)                                                                  \
            TEST_FAIL("%s is %" PRIdMAX ", not %" PRIdMAX " (%s)", #actual, actual_, expected_,    \
                      #expected);                                                                  \
    } while (0)

#define ASSERT_STRING(actual, expected)                                                            \
    do {                                                                                           \
        const char *actual_ = (actual), *expected_ = (expected);                                   \
        if (!actual_ || strcmp(actual_, expected_) != 0)                                           \
            TEST_FAIL("%s is \"%s\", not \"%s\"", #actual, actual_ ? actual_ : "(null)",           \
                      expected_);                                                                  \
    } while (0)

/* A result in the manner of this project: negative is an errno. */
#define ASSERT_OK(call)                                                                            \
    do {                                                                                           \
        intmax_t result_ = (intmax_t)(call);                                                       \
        if (result_ < 0)                                                                           \
            TEST_FAIL("%s failed: %s", #call, strerror((int)-result_));                            \
    } while (0)

/* expected is negative: ASSERT_ERROR(call, -ENOENT). */
#define ASSERT_ERROR(call, expected)                                                               \
    do {                                                                                           \
        intmax_t result_ = (intmax_t)(call);                                                       \
        if (result_ != (expected))                                                                 \
            TEST_FAIL("%s gave %" PRIdMAX " (%s), not %s", #call, result_,                         \
                      result_ < 0 ? strerror((int)-result_) : "success", #expected);               \
    } while (0)

/* A result in the manner of libc: -1 and errno. */
#define ASSERT_CALL(call)                                                                          \
    do {                                                                                           \
        if ((call) < 0)                                                                            \
            TEST_FAIL("%s failed: %s", #call, strerror(errno));                                    \
    } while (0)

/* Runs code in a child and waits for it; an assertion that fails there fails here. */
#define IN_CHILD(...)                                                                              \
    do {                                                                                           \
        int status_;                                                                               \
        fflush(NULL);                                                                              \
        pid_t pid_ = fork();                                                                       \
        ASSERT_CALL(pid_);                                                                         \
        if (pid_ == 0) {                                                                           \
            __VA_ARGS__;                                                                           \
            _exit(0);                                                                              \
        }                                                                                          \
        ASSERT_INT(waitpid(pid_, &status_, 0), pid_);                                              \
        ASSERT_INT(status_, 0);                                                                    \
    } while (0)

/* The open descriptors and what they lead to, as text. */
static void test_list_descriptors(char *text, size_t size)
{
    DIR *directory = opendir("/proc/self/fd");
    size_t used = 0;

    if (!directory)
        TEST_FAIL("cannot open \"/proc/self/fd\": %s", strerror(errno));
    text[0] = '\0';
    for (struct dirent *entry; (entry = readdir(directory));) {
        char target[256];
        ssize_t length = readlinkat(dirfd(directory), entry->d_name, target, sizeof(target) - 1);
        int number = atoi(entry->d_name);

        if (length < 0 || number == dirfd(directory))
            continue;
        target[length] = '\0';
        int n = snprintf(text + used, size - used, "%d %s\n", number, target);
        if (n < 0 || (size_t)n >= size - used)
            TEST_FAIL("too many descriptors");
        used += (size_t)n;
    }
    closedir(directory);
}

static void test_check_leftovers(const char *name, const char *descriptors_before)
{
    static char descriptors_after[65536];
    siginfo_t child = {0};

    test_list_descriptors(descriptors_after, sizeof(descriptors_after));
    if (strcmp(descriptors_before, descriptors_after) != 0)
        TEST_FAIL("%s: descriptors before:\n%sand after:\n%s", name, descriptors_before,
                  descriptors_after);
    if (waitid(P_ALL, 0, &child, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0 || errno != ECHILD)
        TEST_FAIL("%s: a child is left (%d)", name, child.si_pid);
}

static bool test_is_wanted(const struct test *test, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], test->name) == 0)
            return true;
    return argc <= 1;
}

int main(int argc, char **argv)
{
    static char descriptors[65536];
    int n_run = 0, n_skipped = 0;

    for (struct test *test = test_first; test; test = test->next) {
        if (!test_is_wanted(test, argc, argv))
            continue;
        test_skip_reason = NULL;
        test_list_descriptors(descriptors, sizeof(descriptors));
        test->run();
        test_check_leftovers(test->name, descriptors);
        printf("%s %s%s%s\n", test_skip_reason ? "skip" : "ok  ", test->name,
               test_skip_reason ? ": " : "", test_skip_reason ? test_skip_reason : "");
        fflush(stdout);
        if (test_skip_reason)
            n_skipped++;
        n_run++;
    }
    if (n_run == 0)
        TEST_FAIL("no such test");
    return n_skipped == n_run ? 77 : 0;
}
