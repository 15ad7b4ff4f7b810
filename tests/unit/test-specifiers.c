/* SPDX-License-Identifier: MIT */
#include "unit/specifiers.h"

#include <limits.h>
#include <sys/stat.h>

#include "directory.h"
#include "test.h"

static struct specifier_context context = {.unit = "foo-bar\\x2dbaz@x-y\\x20z.service",
                                           .fragment = "/etc/u/foo@.service",
                                           .max_length = 4095};

static const char *expand_in(const char *text, enum specifier_set set)
{
    static char output[4200];
    char *expanded = NULL;
    int r = specifiers_expand(text, set, &context, &expanded);

    if (r < 0)
        (void)snprintf(output, sizeof(output), "?%s", strerrorname_np(-r));
    else
        (void)snprintf(output, sizeof(output), "%s", expanded);
    free(expanded);
    return output;
}

static const char *expand(const char *text)
{
    return expand_in(text, SPECIFIERS_FULL);
}

TEST(literals)
{
    ASSERT_STRING(expand(""), "");
    ASSERT_STRING(expand("a%%b%-c%"), "a%b%-c%");
    ASSERT_STRING(expand("%%%"), "%%");
    ASSERT_STRING(expand("%%n"), "%n");
    ASSERT_STRING(expand("%\xc3\xa4"), "%\xc3\xa4");
}

TEST(names)
{
    ASSERT_STRING(expand("%n"), "foo-bar\\x2dbaz@x-y\\x20z.service");
    ASSERT_STRING(expand("%N"), "foo-bar\\x2dbaz@x-y\\x20z");
    ASSERT_STRING(expand("%p %P"), "foo-bar\\x2dbaz foo/bar-baz");
    ASSERT_STRING(expand("%i %I"), "x-y\\x20z x/y z");
    ASSERT_STRING(expand("%j %J"), "bar\\x2dbaz bar-baz");
    ASSERT_STRING(expand("%f"), "/x/y z");
    ASSERT_STRING(expand("%y %Y"), "/etc/u/foo@.service /etc/u");
    const char *unit = context.unit;
    context.unit = "a.b.socket";
    ASSERT_STRING(expand("%n %p [%i] [%I] %j %f"), "a.b.socket a.b [] [] a.b /a.b");
    context.unit = "a@b\\.socket";
    ASSERT_STRING(expand("%i"), "b\\");
    ASSERT_STRING(expand("%I"), "?EINVAL");
    context.unit = unit;
}

TEST(unknown_letters)
{
    ASSERT_STRING(expand("%k"), "?EBADSLT");
    ASSERT_STRING(expand("%%k"), "%k");
    ASSERT_STRING(expand("%1"), "?EBADSLT");
    ASSERT_STRING(expand("%D"), "?EBADSLT");
    ASSERT_STRING(expand("%c"), "?EOPNOTSUPP");
    ASSERT(*specifiers_find_unknown("%n%%%k", SPECIFIERS_FULL) == 'k');
    ASSERT(!specifiers_find_unknown("%n%%k%", SPECIFIERS_FULL));
    ASSERT_STRING(expand_in("%t", SPECIFIERS_UNIT_NAME), "?EBADSLT");
    ASSERT_STRING(expand_in("%p.%%", SPECIFIERS_UNIT_NAME), "foo-bar\\x2dbaz.%");
    for (const char *letter = "PIJfyYtSCLETVdhs"; *letter; letter++) {
        char text[] = {'%', *letter, '\0'};
        ASSERT_STRING(expand_in(text, SPECIFIERS_UNIT_NAME), "?EBADSLT");
    }
}

TEST(lengths)
{
    context.max_length = 5;
    ASSERT_STRING(expand("12345"), "12345");
    ASSERT_STRING(expand("123456"), "?ENAMETOOLONG");
    ASSERT_STRING(expand("1234%%"), "1234%");
    ASSERT_STRING(expand("12%n"), "?ENAMETOOLONG");
    context.max_length = 4095;
}

TEST(directories)
{
    ASSERT_STRING(expand("%t %S %C %L %E"), "/run /var/lib /var/cache /var/log /etc");
    ASSERT_CALL(unsetenv("TMPDIR"));
    ASSERT_CALL(unsetenv("TEMP"));
    ASSERT_CALL(unsetenv("TMP"));
    ASSERT_STRING(expand("%T %V"), "/tmp /var/tmp");
    ASSERT_CALL(setenv("TMPDIR", "/", 1));
    ASSERT_STRING(expand("%T %V"), "/ /");
    ASSERT_CALL(unsetenv("TMPDIR"));
    ASSERT_STRING(expand("%d"), "/run/credentials/foo-bar\\x2dbaz@x-y\\x20z.service");
    context.user = true;
    ASSERT_CALL(setenv("HOME", "/h", 1));
    ASSERT_CALL(unsetenv("XDG_CONFIG_HOME"));
    ASSERT_CALL(unsetenv("XDG_CACHE_HOME"));
    ASSERT_CALL(unsetenv("XDG_RUNTIME_DIR"));
    ASSERT_STRING(expand("%S %C %L %E %h"), "/h/.config /h/.cache /h/.config/log /h/.config /h");
    ASSERT_STRING(expand("%t"), "?ENXIO");
    ASSERT_CALL(setenv("XDG_RUNTIME_DIR", "/r", 1));
    ASSERT_CALL(setenv("XDG_CONFIG_HOME", "/c", 1));
    ASSERT_STRING(expand("%t %E %L"), "/r /c /c/log");
    context.user = false;
}

TEST(host)
{
    directory_make();
    context.root = directory_path;
    ASSERT_STRING(expand("%o"), "?ENOENT");
    ASSERT_STRING(expand("%m"), "?ENOENT");
    ASSERT_CALL(mkdir(in("etc"), 0755));
    write_file(in("etc/os-release"), "# ID=no\nID=old\nXID=x\n ID='a b' \nVERSION_ID=\"1\\\"2\"\n"
                                     "BUILD_ID=\"open\n");
    write_file(in("etc/machine-id"), "0123456789ABCDEF0123456789abcdef\n");
    write_file(in("etc/machine-info"), "PRETTY_HOSTNAME=\"A Host\"\n");
    ASSERT_STRING(expand("%o|%w|%W|%B|%q"), "a b|1\"2|||A Host");
    ASSERT_STRING(expand("%m"), "0123456789abcdef0123456789abcdef");
    write_file(in("etc/machine-id"), "uninitialized\n");
    ASSERT_STRING(expand("%m"), "?EINVAL");
    context.root = NULL;
    ASSERT_INT(strlen(expand("%b")), 32);
    ASSERT(strlen(expand("%v")) > 0 && strlen(expand("%a")) > 0);
    char name[256];
    ASSERT_CALL(gethostname(name, sizeof(name)));
    ASSERT_STRING(expand("%H"), name);
    name[strcspn(name, ".")] = '\0';
    ASSERT_STRING(expand("%l"), name);
    directory_remove();
}

TEST(user)
{
    char ids[64];

    (void)snprintf(ids, sizeof(ids), "%u %u", getuid(), getgid());
    ASSERT_STRING(expand("%U %G"), ids);
    ASSERT(strlen(expand("%u")) > 0 && strlen(expand("%g")) > 0);
    ASSERT_CALL(setenv("SHELL", "/bin/x", 1));
    ASSERT_STRING(expand("%s"), "/bin/x");
}
