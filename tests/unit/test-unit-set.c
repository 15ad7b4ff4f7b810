/* SPDX-License-Identifier: MIT */
#include "test.h"

#include "unit-text.h"
#include "unit/string-list.h"
#include "unit/unit-set.h"

static struct unit_set *set;
static const char *problems_text;

static const char *contents_of(const char *name, const char *text)
{
    write_file(in(name), text);
    return in(name);
}

/* Loads up to four names from the directory alone. */
static void load(const char *first, const char *second, const char *third, const char *fourth)
{
    const char *names[] = {first, second, third, fourth};
    struct unit_set_options options = {.unit_path = directory_path};
    struct problems problems = {0};
    size_t n = 0;

    while (n < 4 && names[n])
        n++;
    ASSERT_OK(unit_set_load(&options, names, n, &problems, &set));
    ASSERT(!problems.unit);
    for (size_t i = 0; i < problems.n; i++)
        ASSERT(!strstr(problems.list[i].text, set->instance));
    problems_sort(&problems);
    problems_text = list_problems(&problems);
}

static void done(void)
{
    set = unit_set_free(set);
    directory_remove();
}

static void load_good(const char *first, const char *second)
{
    load(first, second, NULL, NULL);
    ASSERT_STRING(problems_text, "");
}

/* A pair a.socket, a.service. */
static void make_pair(const char *socket_lines, const char *service_lines)
{
    char text[4096];

    directory_make();
    (void)snprintf(text, sizeof(text), "[Socket]\nListenStream=/run/a\n%s", socket_lines);
    contents_of("a.socket", text);
    (void)snprintf(text, sizeof(text), "[Service]\nExecStart=/bin/true\n%s", service_lines);
    contents_of("a.service", text);
}

#define SOCKET(path) "[Socket]\nListenStream=" path "\n"
#define ACCEPT(path) SOCKET(path) "Accept=yes\n"
#define SERVICE      "[Service]\nExecStart=/bin/true\n"
#define SHARED(path) SOCKET(path) "Service=s.service\n"

TEST(names)
{
    make_pair("", "");
    contents_of("b@.socket", SOCKET("/run/%i"));
    contents_of("b@.service", SERVICE);
    load_good("a", "b@x");
    ASSERT_INT(set->n_sockets, 2);
    ASSERT_STRING(set->sockets[0].file->name, "a.socket");
    ASSERT_STRING(set->services[set->sockets[0].service].name, "a.service");
    ASSERT_STRING(set->sockets[1].file->name, "b@x.socket");
    ASSERT_STRING(set->services[set->sockets[1].service].name, "b@x.service");
    unit_set_free(set);
    load("a.timer", "b@", "nothing", "");
    ASSERT_STRING(problems_text,
                  "-:0: cannot load \"a.timer\": only sockets are served: give a .socket\n"
                  "-:0: cannot load \"\": not the name of a unit\n"
                  "-:0: cannot load \"b@.socket\": it is a template: name an instance of it\n"
                  "-:0: cannot load \"nothing.socket\": no such unit in the search path\n");
    ASSERT_INT(set->n_sockets, 0);
    done();
}

TEST(the_same_unit_under_two_names)
{
    make_pair("", "");
    ASSERT_CALL(symlink("a.socket", in("alias.socket")));
    load("a.socket", "alias", in("a.socket"), "a");
    ASSERT_STRING(problems_text, "");
    ASSERT_INT(set->n_sockets, 1);
    ASSERT_INT(set->n_services, 1);
    ASSERT(unit_set_socket_is(&set->sockets[0], "alias.socket"));
    ASSERT(!unit_set_socket_is(&set->sockets[0], "other.socket"));
    done();
}

TEST(files)
{
    const char *names[4];

    directory_make();
    ASSERT_CALL(mkdir(in("1"), 0755));
    ASSERT_CALL(mkdir(in("2"), 0755));
    ASSERT_CALL(mkdir(in("d.socket"), 0755));
    contents_of("1/c.socket", SOCKET("/run/1"));
    contents_of("1/c.service", SERVICE);
    contents_of("2/c.socket", SOCKET("/run/2"));
    contents_of("2/t@.socket", SOCKET("/run/%i"));
    contents_of("2/t@.service", SERVICE);
    load_good(in("1/c.socket"), in("2/t@i.socket"));
    ASSERT_STRING(set->sockets[0].unit->listeners.items[0].address, "/run/1");
    ASSERT_STRING(set->sockets[1].file->name, "t@i.socket");
    ASSERT_STRING(set->sockets[1].unit->listeners.items[0].address, "/run/i");
    unit_set_free(set);
    names[0] = in("1/c.socket");
    names[1] = in("2/c.socket");
    names[2] = in("1/none.socket");
    names[3] = in("1/none");
    load(names[0], names[1], names[2], names[3]);
    ASSERT(strstr(problems_text, "/2/c.socket\": another file of this name was given before\n"));
    ASSERT(strstr(problems_text, "/1/none.socket\": No such file or directory\n"));
    ASSERT(strstr(problems_text, "/1/none\": a file of this name is not a unit\n"));
    ASSERT_INT(set->n_sockets, 1);
    unit_set_free(set);
    load(in("d.socket"), NULL, NULL, NULL);
    ASSERT(strstr(problems_text, "d.socket:0: "));
    done();
}

TEST(a_service_in_place_of_its_socket)
{
    make_pair("", "");
    contents_of("b.socket", ACCEPT("/run/b"));
    contents_of("b@.service", SERVICE);
    load("a.service", "b@x.service", in("b@.service"), "z.service");
    ASSERT_STRING(problems_text,
                  "-:0: \"a.service\" is a service: give its socket, \"a.socket\"\n"
                  "-:0: \"b@x.service\" is a service: give its socket, \"b.socket\"\n"
                  "-:0: \"b@.service\" is a service: give its socket, \"b.socket\"\n"
                  "-:0: \"z.service\" is a service: give its socket; there is no \"z.socket\"\n");
    unit_set_free(set);
    /* Next to the socket it says which file it is. */
    load("a.socket", "a.service", "b.socket", in("b@.service"));
    ASSERT_STRING(problems_text, "");
    done();
}

TEST(templates)
{
    directory_make();
    contents_of("b@.socket", ACCEPT("/run/%i"));
    contents_of("b@.service", SERVICE "Environment=X=%i Y=%I Z=%n\n");
    load_good("b@1", "b@2");
    ASSERT_INT(set->n_services, 2);
    for (size_t i = 0; i < 2; i++) {
        const struct unit_set_service *service = &set->services[i];
        char expected[3][256];
        ASSERT(service->is_template);
        ASSERT_STRING(service->name, "b@.service");
        ASSERT_INT(set->sockets[i].service, i);
        ASSERT_INT(service->n_sockets, 1);
        ASSERT_INT(service->sockets[0], i);
        (void)snprintf(expected[0], sizeof(expected[0]), "X=%s", set->instance);
        (void)snprintf(expected[1], sizeof(expected[1]), "Y=%s", set->instance_unescaped);
        (void)snprintf(expected[2], sizeof(expected[2]), "Z=b@%s.service", set->instance);
        for (size_t k = 0; k < 3; k++)
            ASSERT_STRING(service->unit->exec.environment.items[k], expected[k]);
    }
    ASSERT(strcmp(set->instance, set->instance_unescaped) != 0);
    done();
}

TEST(a_shared_service)
{
    directory_make();
    contents_of("a.socket", SHARED("/run/a"));
    contents_of("b.socket", SHARED("/run/b"));
    contents_of("s.service", SERVICE);
    load_good("a", "b");
    ASSERT_INT(set->n_services, 1);
    ASSERT_INT(set->services[0].n_sockets, 2);
    ASSERT(!set->services[0].is_template);
    done();
}

/* What systemd starts for it is hark, what hark starts is its own. */
TEST(adopted)
{
    static const char *const drop_in = "Accept=no\nService=hark@a.service\n[X-Hark]\n";
    char text[256];

    directory_make();
    (void)snprintf(text, sizeof(text), "%s%sAccept=yes\nService=a@.service\n", ACCEPT("/run/a"),
                   drop_in);
    contents_of("a.socket", text);
    contents_of("a@.service", SERVICE);
    contents_of("hark@.service", SERVICE);
    load_good("a", NULL);
    ASSERT_INT(set->n_services, 1);
    ASSERT_STRING(set->services[0].name, "a@.service");
    ASSERT(set->services[0].is_template);
    unit_set_free(set);
    (void)snprintf(text, sizeof(text), "%s%sAccept=no\nService=gone.service\n", SOCKET("/run/a"),
                   drop_in);
    contents_of("a.socket", text);
    load("a", NULL, NULL, NULL);
    ASSERT_STRING(problems_text, "a.socket:7: \"a.socket\" needs \"gone.service\", which is not in "
                                 "the search path\n");
    done();
}

TEST(sockets_of_a_service)
{
    directory_make();
    contents_of("a.socket", SHARED("/run/a"));
    contents_of("b.socket", SHARED("/run/b"));
    contents_of("c.socket", SOCKET("/run/c"));
    contents_of("c.service", SERVICE);
    ASSERT_CALL(symlink("b.socket", in("alias.socket")));
    contents_of("s.service", SERVICE "Sockets=alias.socket a.socket c.socket\n");
    load_good("a", NULL);
    ASSERT_INT(set->n_sockets, 3);
    ASSERT_INT(set->n_services, 2);
    ASSERT_STRING(set->sockets[1].file->name, "b.socket");
    ASSERT_INT(set->services[0].n_sockets, 3);
    ASSERT_INT(set->sockets[2].service, 1);
    ASSERT_INT(set->services[1].n_sockets, 1);
    done();
}

TEST(sockets_of_a_service_that_cannot_be)
{
    directory_make();
    contents_of("a.socket", SOCKET("/run/a"));
    contents_of("a.service", SERVICE "Sockets=a.socket none.socket\nSockets=y.socket m.socket\n");
    contents_of("y.socket", ACCEPT("/run/y"));
    contents_of("y@.service", SERVICE "Sockets=a.socket\n");
    contents_of("m.socket", "");
    load("a", NULL, NULL, NULL);
    ASSERT_STRING(problems_text,
                  "a.service:3: cannot load \"none.socket\": no such unit in the search path\n"
                  "a.service:4: cannot load \"m.socket\": it is masked\n"
                  "a.service:4: \"a.service\" cannot have \"y.socket\" in Sockets=: that accepts "
                  "its connections itself (Accept=yes)\n"
                  "y@.service:3: warning: \"Sockets=\" has no effect: with Accept=yes a service "
                  "gets its connection, and nothing else\n");
    done();
}

TEST(sockets_without_an_end)
{
    directory_make();
    contents_of("t@.socket", SOCKET("/run/%i"));
    contents_of("t@.service", SERVICE "Sockets=t@%ia.socket t@%ib.socket\n");
    load("t@x", NULL, NULL, NULL);
    ASSERT_INT(set->n_sockets, UNIT_SET_SOCKETS_MAX);
    ASSERT(strstr(problems_text, ": more than 1024 sockets\n"));
    done();
}

TEST(services_that_are_not_there)
{
    directory_make();
    contents_of("a.socket", SOCKET("/run/a"));
    contents_of("b.socket", ACCEPT("/run/b"));
    contents_of("c.socket", SOCKET("/run/c") "Service=m.service\n");
    contents_of("d.socket", SOCKET("/run/d"));
    contents_of("d@.service", SERVICE);
    contents_of("b.service", SERVICE);
    contents_of("m.service", "");
    load("a", "b", "c", "d");
    ASSERT_STRING(problems_text,
                  "a.socket:0: \"a.socket\" needs \"a.service\", which is not in the search path\n"
                  "b.socket:3: \"b.socket\" needs \"b@.service\", which is not in the search path; "
                  "there is one for all connections, without Accept=yes\n"
                  "c.socket:3: \"c.socket\" needs \"m.service\", which is masked\n"
                  "d.socket:0: \"d.socket\" needs \"d.service\", which is not in the search path; "
                  "there is a template, which is for Accept=yes\n");
    for (size_t i = 0; i < 4; i++)
        ASSERT_INT(set->sockets[i].service, UNIT_SET_NO_SERVICE);
    done();
}

/* What is only a consequence of another fault is not said. */
TEST(one_fault_one_message)
{
    directory_make();
    contents_of("a.socket", SOCKET("/run/a") "Service=nonsense\n");
    contents_of("b.socket", SOCKET("/run/b") "Accept=perhaps\n");
    load("a", "b", NULL, NULL);
    ASSERT_STRING(problems_text,
                  "a.socket:3: cannot parse \"Service=nonsense\": not the name of a .service\n"
                  "b.socket:3: cannot parse \"Accept=perhaps\": not yes or no\n");
    done();
}

static void check_conflict(const char *first, const char *second, bool expected)
{
    char text[512];

    directory_make();
    (void)snprintf(text, sizeof(text), "[Socket]\nService=s.service\n%s\n", first);
    contents_of("a.socket", text);
    (void)snprintf(text, sizeof(text), "[Socket]\nService=s.service\n%s\n", second);
    contents_of("b.socket", text);
    contents_of("s.service", SERVICE);
    load("a", "b", NULL, NULL);
    if ((*problems_text != '\0') != expected)
        TEST_FAIL("%s, %s: %s", first, second, problems_text);
    if (expected)
        ASSERT(strstr(problems_text, "b.socket:3: cannot listen on \"") == problems_text);
    done();
}

TEST(listeners_in_the_way_of_each_other)
{
    check_conflict("ListenStream=/run/x", "ListenDatagram=/var/run/x", true);
    check_conflict("ListenStream=/run/x", "ListenFIFO=/run/x", true);
    check_conflict("ListenFIFO=/run/x", "ListenFIFO=/run/x", false);
    check_conflict("ListenStream=@x", "ListenStream=@x", true);
    check_conflict("ListenStream=@x", "ListenDatagram=@x", false);
    check_conflict("ListenStream=80", "ListenDatagram=80", false);
    check_conflict("ListenStream=80", "ListenStream=80", true);
    check_conflict("ListenStream=80", "ListenStream=81", false);
    check_conflict("ListenDatagram=80", "ListenDatagram=80", true);
    check_conflict("ListenStream=0.0.0.0:80", "ListenStream=127.0.0.1:80", true);
    check_conflict("ListenStream=127.0.0.1:80", "ListenStream=127.0.0.2:80", false);
    check_conflict("ListenDatagram=0.0.0.0:80", "ListenDatagram=127.0.0.1:80", false);
    check_conflict("ListenStream=[::]:80\nBindIPv6Only=both", "ListenStream=1.2.3.4:80", true);
    check_conflict("ListenStream=[::]:80\nBindIPv6Only=ipv6-only", "ListenStream=0.0.0.0:80",
                   false);
    check_conflict("ListenStream=[::1]:80", "ListenStream=0.0.0.0:80", false);
    check_conflict("ListenStream=80\nReusePort=yes", "ListenStream=80\nReusePort=yes", false);
    check_conflict("ListenStream=80\nReusePort=yes", "ListenStream=80", true);
    check_conflict("ListenStream=80\nBindToDevice=lo", "ListenStream=80\nBindToDevice=eth0", false);
    check_conflict("ListenStream=80\nSocketProtocol=sctp", "ListenStream=80", false);
    check_conflict("ListenStream=80\nSocketProtocol=mptcp", "ListenStream=80", true);
    check_conflict("ListenStream=vsock::80", "ListenStream=vsock:2:80", true);
    check_conflict("ListenStream=vsock:1:80", "ListenStream=vsock:2:80", false);
    check_conflict("ListenMessageQueue=/x", "ListenMessageQueue=/x", false);
    check_conflict("ListenNetlink=route 1", "ListenNetlink=route 1", false);
}

TEST(an_address_twice_in_one_unit)
{
    make_pair("ListenStream=/run/a\n", "");
    load("a", NULL, NULL, NULL);
    ASSERT(strstr(problems_text, "a.socket:3: cannot listen on \"/run/a\": \"a.socket\" has "
                                 "\"ListenStream=/run/a\" at "));
    done();
}

TEST(keys_that_the_operator_runs_without)
{
    const char *name = "a";
    struct string_list ignore = {0};
    struct unit_set_options options = {.unit_path = directory_path, .ignore = &ignore};
    struct problems problems = {0};

    make_pair("", "PrivateTmp=yes\n");
    ASSERT_OK(string_list_add(&ignore, "sandbox"));
    ASSERT_OK(unit_set_load(&options, &name, 1, &problems, &set));
    ASSERT_STRING(list_problems(&problems), "");
    ASSERT_INT(set->services[0].file->uses[1].verdict, VERDICT_IGNORED);
    string_list_done(&ignore);
    done();
}

/* ---- problems -------------------------------------------------------------------------------- */

TEST(problems_hide_a_text)
{
    struct problems problems = {0};

    ASSERT_OK(problems_hide(&problems, "@secret.service\"", "@.service\""));
    ASSERT_OK(problems_hide(&problems, "secret", "%i"));
    problems_add(&problems, PROBLEM_ERROR, NULL, 0, "\"a@secret.service\" secretsecret sec secre…");
    ASSERT_STRING(problems.list[0].text, "\"a@.service\" %i%i sec %i…");
    char *shown = problems_show(&problems, "/secret");
    ASSERT_STRING(shown, "/%i");
    free(shown);
    problems_done(&problems);
}

TEST(problems_are_sorted)
{
    struct problems problems = {.unit = "u"};

    problems_add(&problems, PROBLEM_ERROR, "b", 2, "1");
    problems_add(&problems, PROBLEM_WARNING, "b", 2, "2");
    problems_add(&problems, PROBLEM_ERROR, "b", 1, "3");
    problems.unit = "v";
    problems_add(&problems, PROBLEM_ERROR, "b", 2, "1");
    problems_add(&problems, PROBLEM_ERROR, "a", 0, "4");
    problems_add(&problems, PROBLEM_WARNING, NULL, 0, "5");
    problems_sort(&problems);
    ASSERT(problems_has_error(&problems, "u", "b", 2));
    ASSERT(problems_has_error(&problems, "v", "a", 0));
    ASSERT(!problems_has_error(&problems, "v", "b", 1));
    ASSERT(!problems_has_error(&problems, NULL, NULL, 0));
    ASSERT_INT(problems_count_errors(&problems, "v"), 2);
    for (size_t i = 0; i < problems.n; i++)
        ASSERT_INT(problems_is_repeated(&problems, i), i == 5);
    ASSERT_STRING(list_problems(&problems),
                  "-:0: warning: 5\na:0: 4\nb:1: 3\nb:2: 1\nb:2: warning: 2\nb:2: 1\n");
}

TEST(too_many_problems_are_counted)
{
    struct problems problems = {0};

    for (int i = 0; i < PROBLEMS_MAX + 5; i++)
        problems_add(&problems, PROBLEM_ERROR, "f", 1, "x");
    ASSERT_INT(problems.n, PROBLEMS_MAX);
    ASSERT_INT(problems.n_errors, PROBLEMS_MAX + 5);
    ASSERT_INT(problems.n_dropped, 5);
    problems_done(&problems);
}
