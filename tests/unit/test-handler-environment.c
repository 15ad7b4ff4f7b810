/* SPDX-License-Identifier: MIT */
#include "test.h"

#include "cli/handler-environment.h"

/* The list with a space behind each item, in alphabetical order. */
static const char *built(const struct handler_environment *environment)
{
    static char text[1024];
    char **list;
    size_t n = 0, length = 0;

    ASSERT_OK(handler_environment_build(environment, &list));
    while (list[n])
        n++;
    for (size_t i = 0; i < n; i++)
        for (size_t j = i + 1; j < n; j++)
            if (strcmp(list[i], list[j]) > 0) {
                char *other = list[i];

                list[i] = list[j];
                list[j] = other;
            }
    text[0] = '\0';
    for (size_t i = 0; i < n; i++)
        length += (size_t)snprintf(text + length, sizeof(text) - length, "%s ", list[i]);
    ASSERT(length < sizeof(text));
    ASSERT(!handler_environment_free(list));
    return text;
}

static void set_own(void)
{
    ASSERT_CALL(clearenv());
    ASSERT_CALL(setenv("PATH", "/bin", 1));
    ASSERT_CALL(setenv("HOME", "/root", 1));
    ASSERT_CALL(setenv("SECRET", "x", 1));
    ASSERT_CALL(setenv("LISTEN_FDS", "9", 1));
}

TEST(four_variables_are_inherited)
{
    const struct handler_environment environment = {0};

    set_own();
    ASSERT_STRING(built(&environment), "HOME=/root PATH=/bin ");
    ASSERT_CALL(setenv("TERM", "vt100", 1));
    ASSERT_CALL(setenv("USER", "", 1));
    ASSERT_STRING(built(&environment), "HOME=/root PATH=/bin TERM=vt100 USER= ");
    ASSERT_CALL(clearenv());
    ASSERT_STRING(built(&environment), "");
}

TEST(setenv_adds_and_overrides)
{
    const char *const items[] = {"A=1", "PATH=/other", "EMPTY=", "A=2=3", "HOME"};
    const struct handler_environment environment = {.setenv = items, .n_setenv = 5};

    set_own();
    ASSERT_STRING(built(&environment), "A=2=3 EMPTY= HOME=/root PATH=/other ");
}

TEST(a_name_takes_our_own_value)
{
    const char *const items[] = {"SECRET", "MISSING"};
    const struct handler_environment environment = {.setenv = items, .n_setenv = 2};

    set_own();
    ASSERT_STRING(built(&environment), "HOME=/root PATH=/bin SECRET=x ");
}

TEST(names_are_compared_whole)
{
    const char *const items[] = {"PAT=1", "PATHS=2", "HOM=3"};
    const struct handler_environment environment = {.setenv = items, .n_setenv = 3};

    set_own();
    ASSERT_STRING(built(&environment), "HOM=3 HOME=/root PAT=1 PATH=/bin PATHS=2 ");
}

TEST(listen_variables)
{
    const char *const items[] = {"LISTEN_FDS=7", "LISTEN_FDNAMES=no"};
    struct handler_environment environment = {.n_listen_fds = 12, .fd_names = "a:b"};

    ASSERT_CALL(clearenv());
    ASSERT_STRING(built(&environment), "LISTEN_FDNAMES=a:b LISTEN_FDS=12 ");
    environment.fd_names = NULL;
    ASSERT_STRING(built(&environment), "LISTEN_FDS=12 ");
    environment = (struct handler_environment){.fd_names = "a"};
    ASSERT_STRING(built(&environment), "");
    /* What is true wins over what the user says. */
    environment = (struct handler_environment){
        .n_listen_fds = 1, .fd_names = "a", .setenv = items, .n_setenv = 2};
    ASSERT_STRING(built(&environment), "LISTEN_FDNAMES=a LISTEN_FDS=1 ");
}

/* A caller that follows the header gets room for all of it. */
TEST(everything_at_once_fits)
{
    const char *const items[] = {"A=1", "B=2", "C=3"};
    const struct handler_environment environment = {
        .n_listen_fds = 1, .fd_names = "a", .setenv = items, .n_setenv = 3};

    set_own();
    ASSERT_CALL(setenv("TERM", "t", 1));
    ASSERT_CALL(setenv("USER", "u", 1));
    ASSERT_STRING(built(&environment), "A=1 B=2 C=3 HOME=/root LISTEN_FDNAMES=a LISTEN_FDS=1 "
                                       "PATH=/bin TERM=t USER=u ");
}
