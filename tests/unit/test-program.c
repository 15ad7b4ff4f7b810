/* SPDX-License-Identifier: MIT */
#include "directory.h"
#include "test.h"

#include "cli/program.h"

static char directory_before[4096];

/* Files p1 (executable), data (not), d (a directory), fifo; the same in sub/, and p2 only there. */
static void begin(void)
{
    ASSERT(getcwd(directory_before, sizeof(directory_before)));
    directory_make();
    ASSERT_CALL(mkdir(in("d"), 0755));
    ASSERT_CALL(mkdir(in("sub"), 0755));
    ASSERT_CALL(mkfifo(in("fifo"), 0755));
    static const char *const files[] = {"p1", "data", "sub/p1", "sub/p2", "sub/data"};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        write_file(in(files[i]), "#!/bin/sh\n");
        ASSERT_CALL(chmod(in(files[i]), strstr(files[i], "data") ? 0644 : 0755));
    }
    ASSERT_CALL(symlink("p1", in("link")));
    ASSERT_CALL(chdir(directory_path));
}

static void end(void)
{
    ASSERT_CALL(chdir(directory_before));
    directory_remove();
}

static void assert_found(const char *name, const char *expected)
{
    char *path = NULL;

    ASSERT_OK(program_find(name, &path));
    ASSERT_STRING(path, expected);
    free(path);
}

static void assert_not_found(const char *name, int error)
{
    char *path = NULL;

    ASSERT_ERROR(program_find(name, &path), error);
    ASSERT(!path);
}

static void set_path(const char *first, const char *second)
{
    char text[512];

    (void)snprintf(text, sizeof(text), "%s:%s", first, second);
    ASSERT_CALL(setenv("PATH", text, 1));
}

TEST(with_a_slash_it_is_taken_as_it_is)
{
    char expected[128];

    begin();
    assert_found(in("p1"), in("p1"));
    (void)snprintf(expected, sizeof(expected), "%s/./p1", directory_path);
    assert_found("./p1", expected);
    assert_found("sub/p1", in("sub/p1"));
    assert_found(in("link"), in("link")); /* links stay */
    assert_not_found("./missing", -ENOENT);
    assert_not_found("./data", -EACCES);
    assert_not_found("./d", -EISDIR);
    assert_not_found("./fifo", -EACCES);
    end();
}

TEST(without_a_slash_path_is_searched_in_order)
{
    begin();
    set_path(in("sub"), directory_path);
    assert_found("p1", in("sub/p1"));
    assert_found("p2", in("sub/p2"));
    set_path(directory_path, in("sub"));
    assert_found("p1", in("p1"));
    assert_found("p2", in("sub/p2"));
    assert_not_found("missing", -ENOENT);
    end();
}

TEST(what_cannot_be_run_is_passed_over)
{
    begin();
    set_path(directory_path, "/nowhere");
    assert_not_found("data", -EACCES);
    assert_not_found("d", -ENOENT);
    ASSERT_CALL(chmod(in("sub/data"), 0755));
    set_path(directory_path, in("sub"));
    assert_found("data", in("sub/data"));
    end();
}
TEST(empty_and_relative_elements_of_path)
{
    char expected[128];

    begin();
    (void)snprintf(expected, sizeof(expected), "%s/./p1", directory_path);
    static const char *const with_empty[] = {"", ":/nowhere", "/nowhere:", "/nowhere::/other"};
    for (size_t i = 0; i < sizeof(with_empty) / sizeof(with_empty[0]); i++) {
        ASSERT_CALL(setenv("PATH", with_empty[i], 1));
        assert_found("p1", expected);
    }
    ASSERT_CALL(setenv("PATH", "sub", 1));
    assert_found("p2", in("sub/p2"));
    end();
}

TEST(without_path_there_is_a_default)
{
    char *path;

    begin();
    ASSERT_CALL(unsetenv("PATH"));
    ASSERT_OK(program_find("sh", &path));
    ASSERT_INT(path[0], '/');
    ASSERT_INT(access(path, X_OK), 0);
    free(path);
    assert_not_found("p1", -ENOENT); /* the working directory is not in it */
    end();
}

TEST(no_name_is_no_program)
{
    assert_not_found("", -ENOENT);
}
