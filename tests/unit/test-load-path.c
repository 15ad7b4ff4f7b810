/* SPDX-License-Identifier: MIT */
#include "unit/load-path.h"

#include <sys/stat.h>

#include "directory.h"
#include "test.h"

/* Directories a (first) and b below the root. */
static void make_tree(void)
{
    directory_make();
    ASSERT_CALL(mkdir(in("a"), 0755));
    ASSERT_CALL(mkdir(in("b"), 0755));
}

static void make(const char *name)
{
    char *path = strdup(in(name)), *slash = strrchr(path, '/');

    *slash = '\0';
    (void)mkdir(path, 0755);
    *slash = '/';
    write_file(path, "[Unit]\n");
    free(path);
}

static void link_to(const char *target, const char *name)
{
    ASSERT_CALL(symlink(target, in(name)));
}

static struct load_path *new_path(void)
{
    struct load_path_options options = {.root = directory_path, .unit_path = "/a:/b"};
    struct load_path *path;

    ASSERT_OK(load_path_new(&options, &path));
    return path;
}

static const char *without_root(const char *path)
{
    size_t length = strlen(directory_path);

    return strncmp(path, directory_path, length) == 0 ? path + length + 1 : path;
}

/* "NAME MAIN (ALIASES) DROP-INS", or the error. */
static const char *find_in(struct load_path *path, const char *name, size_t n_problems)
{
    static char text[4096];
    struct unit_files *files;
    struct problems problems = {0};
    int r = load_path_find(path, name, &problems, &files);

    ASSERT_INT(problems.n, n_problems);
    problems_done(&problems);
    if (r < 0)
        return strerrorname_np(-r);
    size_t used = (size_t)snprintf(text, sizeof(text), "%s %s", files->name,
                                   files->masked ? "masked" : without_root(files->main));
    for (size_t i = 0; i < files->aliases.n; i++)
        used +=
            (size_t)snprintf(text + used, sizeof(text) - used, " (%s)", files->aliases.items[i]);
    for (size_t i = 0; i < files->drop_ins.n; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, " %s",
                                 without_root(files->drop_ins.items[i]));
    unit_files_free(files);
    return text;
}

static const char *find(const char *name)
{
    struct load_path *path = new_path();
    const char *text = find_in(path, name, 0);

    load_path_free(path);
    return text;
}

TEST(the_first_directory_wins)
{
    make_tree();
    make("a/x.service");
    make("b/x.service");
    make("b/y.service");
    ASSERT_STRING(find("x.service"), "x.service a/x.service");
    ASSERT_STRING(find("y.service"), "y.service b/y.service");
    ASSERT_STRING(find("z.service"), "ENOENT");
    ASSERT_STRING(find("x"), "EINVAL");
    ASSERT_STRING(find("x@.service"), "EINVAL");
    directory_remove();
}

TEST(templates)
{
    make_tree();
    make("b/x@.service");
    make("b/x@own.service");
    ASSERT_STRING(find("x@1.service"), "x@1.service b/x@.service");
    ASSERT_STRING(find("x@own.service"), "x@own.service b/x@own.service");
    directory_remove();
}

TEST(masks)
{
    make_tree();
    make("b/x.service");
    make("b/y@.service");
    link_to("/dev/null", "a/y@.service");
    ASSERT_CALL(mkdir(in("dev"), 0755));
    write_file(in("dev/null"), "");
    write_file(in("a/x.service"), "");
    ASSERT_STRING(find("x.service"), "x.service masked");
    ASSERT_STRING(find("y@1.service"), "y@1.service masked");
    directory_remove();
}

TEST(aliases)
{
    make_tree();
    make("b/x.service");
    make("b/t@.service");
    make("b/t@own.service");
    link_to("x.service", "b/one.service");
    link_to("/b/one.service", "a/two.service");
    link_to("../b/x.service", "a/x.service"); /* of the same name: no alias */
    link_to("t@.service", "b/u@.service");
    link_to("t@.service", "b/v@1.service");
    ASSERT_STRING(find("x.service"), "x.service b/x.service (one.service) (two.service)");
    ASSERT_STRING(find("two.service"), "x.service b/x.service (one.service) (two.service)");
    ASSERT_STRING(find("t@1.service"), "t@1.service b/t@.service (u@1.service) (v@1.service)");
    ASSERT_STRING(find("u@2.service"), "t@2.service b/t@.service (u@2.service)");
    ASSERT_STRING(find("v@1.service"), "t@1.service b/t@.service (u@1.service) (v@1.service)");
    ASSERT_STRING(find("t@own.service"), "t@own.service b/t@own.service");
    directory_remove();
}

TEST(links_elsewhere_and_bad_links)
{
    make_tree();
    make("opt/y.service");
    link_to("/opt/y.service", "a/x.service");
    ASSERT_STRING(find("x.service"), "x.service opt/y.service");
    link_to("x.socket", "a/z.service");
    link_to("x@.service", "a/w.service");
    link_to("loop2.service", "a/loop1.service");
    link_to("loop1.service", "a/loop2.service");
    struct load_path *path = new_path();
    ASSERT_STRING(find_in(path, "z.service", 2), "ENOENT");
    ASSERT_STRING(find_in(path, "loop1.service", 0), "ELOOP");
    load_path_free(path);
    directory_remove();
}

TEST(drop_ins)
{
    make_tree();
    make("b/a-b@.service");
    make("b/a-b@.service.d/50.conf");
    make("b/a-b@x.service.d/40.conf");
    make("a/a-@x.service.d/30.conf");
    make("a/a-.service.d/20.conf");
    make("b/service.d/60.conf");
    make("a/service.d/40.conf"); /* hidden by the more specific one */
    make("b/a-b@x.service.d/20.conf");
    make("b/a-b@x.service.d/.hidden.conf");
    make("b/a-b@x.service.d/other.txt");
    ASSERT_STRING(find("a-b@x.service"),
                  "a-b@x.service b/a-b@.service a/a-.service.d/20.conf a/a-@x.service.d/30.conf "
                  "b/a-b@x.service.d/40.conf b/a-b@.service.d/50.conf b/service.d/60.conf");
    write_file(in("a/service.d/60.conf"), "");
    link_to("/dev/null", "a/a-@x.service.d/50.conf");
    ASSERT_CALL(mkdir(in("dev"), 0755));
    write_file(in("dev/null"), "");
    ASSERT_STRING(find("a-b@x.service"),
                  "a-b@x.service b/a-b@.service a/a-.service.d/20.conf a/a-@x.service.d/30.conf "
                  "b/a-b@x.service.d/40.conf");
    directory_remove();
}

TEST(drop_ins_of_aliases)
{
    make_tree();
    make("b/x.service");
    link_to("x.service", "b/y.service");
    make("a/y.service.d/1.conf");
    make("b/x.service.d/1.conf");
    make("a/y.service.d/2.conf");
    ASSERT_STRING(find("x.service"),
                  "x.service b/x.service (y.service) b/x.service.d/1.conf a/y.service.d/2.conf");
    directory_remove();
}

TEST(units_given_as_files)
{
    make_tree();
    make("a/x.service");
    make("c/x.service");
    make("c/x.service.d/1.conf");
    make("c/z.service");
    struct load_path *path = new_path();
    char *name;
    ASSERT_OK(load_path_add_file(path, in("c/x.service"), &name));
    ASSERT_STRING(name, "x.service");
    free(name);
    ASSERT_ERROR(load_path_add_file(path, in("c/x"), &name), -EINVAL);
    ASSERT_STRING(find_in(path, "x.service", 0), "x.service c/x.service c/x.service.d/1.conf");
    ASSERT_STRING(find_in(path, "z.service", 0), "z.service c/z.service");
    ASSERT_ERROR(load_path_add_file(path, in("c/x.service"), &name), -EBUSY);
    load_path_free(path);
    directory_remove();
}

static const char *directories_of(const struct load_path_options *options)
{
    static char text[4096];
    struct load_path *path;
    size_t used = 0;

    text[0] = '\0';
    ASSERT_OK(load_path_new(options, &path));
    const struct string_list *list = load_path_directories(path);
    for (size_t i = 0; i < list->n; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", i ? " " : "",
                                 list->items[i]);
    load_path_free(path);
    return text;
}

TEST(directories)
{
    static const char *const first[] = {"/x//y/", NULL};
    struct load_path_options options = {.unit_path = "/a:/b//:/a", .directories = first};

    ASSERT_STRING(directories_of(&options), "/x/y /a /b");
    options.root = "/r/";
    ASSERT_STRING(directories_of(&options), "/x/y /r/a /r/b");
    options = (struct load_path_options){.unit_path = "/a:"};
    ASSERT(strncmp(directories_of(&options), "/a /etc/systemd/system.control /run", 35) == 0);
    options = (struct load_path_options){.unit_path = ""};
    ASSERT_STRING(directories_of(&options), "");
    options = (struct load_path_options){.user = true};
    static const char *const unset[] = {"XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME",
                                        "XDG_CONFIG_DIRS", "XDG_DATA_DIRS"};
    for (size_t i = 0; i < sizeof(unset) / sizeof(unset[0]); i++)
        ASSERT_CALL(unsetenv(unset[i]));
    ASSERT_CALL(setenv("HOME", "/h", 1));
    ASSERT_STRING(directories_of(&options),
                  "/h/.config/systemd/user.control /h/.config/systemd/user /etc/xdg/systemd/user "
                  "/etc/systemd/user /run/systemd/user /h/.local/share/systemd/user "
                  "/usr/local/share/systemd/user /usr/share/systemd/user "
                  "/usr/local/lib/systemd/user /usr/lib/systemd/user");
}
