/* SPDX-License-Identifier: MIT */
#include "unit/unit-set.h"

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "unit/unit-name.h"
#include "unit/unit-pairs.h"
#include "unit/values.h"

struct loading {
    struct unit_file_options file_options;
    struct load_path *path;
    struct problems *problems;
    struct unit_set *set;
    struct string_list sockets, services; /* names that were given */
    struct string_list files;             /* of those, the ones given as files */
    bool is_full;                         /* UNIT_SET_SOCKETS_MAX, which is said once */
};

struct unit_set *unit_set_free(struct unit_set *set)
{
    if (!set)
        return NULL;
    for (size_t i = 0; i < set->n_sockets; i++) {
        conditions_done(&set->sockets[i].conditions);
        socket_unit_free(set->sockets[i].unit);
        unit_file_free(set->sockets[i].file);
        unit_files_free(set->sockets[i].files);
    }
    for (size_t i = 0; i < set->n_services; i++) {
        free(set->services[i].name);
        free(set->services[i].sockets);
        conditions_done(&set->services[i].conditions);
        service_unit_free(set->services[i].unit);
        unit_file_free(set->services[i].file);
        unit_files_free(set->services[i].files);
    }
    free(set->sockets);
    free(set->services);
    free(set);
    return NULL;
}

static void free_helper(struct unit_set **set)
{
    unit_set_free(*set);
}

static void free_files_helper(struct unit_files **files)
{
    unit_files_free(*files);
}
#define cleanup_unit_files cleanup(free_files_helper)

static void loading_done(struct loading *loading)
{
    load_path_free(loading->path);
    string_list_done(&loading->sockets);
    string_list_done(&loading->services);
    string_list_done(&loading->files);
    loading->problems->unit = NULL;
}

bool unit_set_socket_is(const struct unit_set_socket *socket, const char *name)
{
    return strcmp(socket->file->name, name) == 0 ||
           string_list_contains(&socket->files->aliases, name);
}

/* ---- The instance that stands for all -------------------------------------------------------- */

static int name_instance(struct unit_set *set, struct problems *problems)
{
    cleanup_free char *in_name = NULL;
    uint64_t random[2];

    /* Fails only before Linux 3.17, where there is no such call. */
    if (getrandom(random, sizeof(random), 0) != sizeof(random))
        return -ENOMEM;
    (void)snprintf(set->instance, sizeof(set->instance), "%016" PRIx64 "-%016" PRIx64, random[0],
                   random[1]);
    (void)snprintf(set->instance_unescaped, sizeof(set->instance_unescaped),
                   "%016" PRIx64 "/%016" PRIx64, random[0], random[1]);
    if (asprintf(&in_name, "@%s.service\"", set->instance) < 0) {
        in_name = NULL;
        return -ENOMEM;
    }
    /* A quoted name of a unit is that of the template; all else is what %i and %I came out as. */
    int r = problems_hide(problems, in_name, "@.service\"");
    if (r == 0)
        r = problems_hide(problems, set->instance, "%i");
    return r < 0 ? r : problems_hide(problems, set->instance_unescaped, "%I");
}

/* ---- Names ----------------------------------------------------------------------------------- */

static void refuse_name(struct loading *loading, const char *name, const char *reason)
{
    char text[UNIT_QUOTE_MAX];

    loading->problems->unit = name;
    problems_add(loading->problems, PROBLEM_ERROR, NULL, 0, "cannot load \"%s\": %s",
                 unit_quote(name, text), reason);
    loading->problems->unit = NULL;
}

/* The file to read for an instance given as one that is not there: its template's. */
static int find_template_file(const char *file, char **ret_file)
{
    cleanup_free char *template = NULL;
    const char *name = strrchr(file, '/') + 1;
    struct stat status;

    if (unit_name_classify(name) != UNIT_NAME_INSTANCE || lstat(file, &status) == 0)
        return -ENOENT;
    int r = unit_name_template(name, &template);
    if (r < 0)
        return r;
    if (asprintf(ret_file, "%.*s%s", (int)(name - file), file, template) < 0) {
        *ret_file = NULL;
        return -ENOMEM;
    }
    return 0;
}

/* Whether another file of the same name was given before. */
static bool is_other_file(const struct loading *loading, const char *file)
{
    const char *name = strrchr(file, '/') + 1;

    for (size_t i = 0; i < loading->files.n; i++) {
        const char *other = loading->files.items[i];
        struct stat one, two;
        if (strcmp(strrchr(other, '/') + 1, name) != 0 || strcmp(file, other) == 0)
            continue;
        if (stat(file, &one) < 0 || stat(other, &two) < 0 || one.st_dev != two.st_dev ||
            one.st_ino != two.st_ino)
            return true;
    }
    return false;
}

/* The name of a unit given as a file; NULL when that is refused. */
static int add_file(struct loading *loading, const char *file, char **ret_name)
{
    cleanup_free char *template = NULL, *name = NULL, *own_name = NULL;
    struct stat status;

    if (is_other_file(loading, file)) {
        refuse_name(loading, file, "another file of this name was given before");
        return 0;
    }
    int r = string_list_add(&loading->files, file);
    if (r == 0)
        r = find_template_file(file, &template);
    if (r == -ENOMEM)
        return r;
    const char *read = template ? template : file;
    own_name = strdup(strrchr(file, '/') + 1);
    r = own_name ? load_path_add_file(loading->path, read, &name) : -ENOMEM;
    if (r == -ENOMEM)
        return r;
    if (r == 0 && stat(read, &status) < 0)
        r = -errno;
    if (r < 0)
        refuse_name(loading, file,
                    r == -EINVAL ? "a file of this name is not a unit" : strerror(-r));
    else
        *ret_name = take_pointer(&own_name);
    return 0;
}

/* The full name of what was given; NULL when that is refused. */
static int complete_name(struct loading *loading, const char *given, char **ret_name)
{
    if (strchr(given, '/'))
        return add_file(loading, given, ret_name);
    int r = unit_name_classify(given) == UNIT_NAME_INVALID ? asprintf(ret_name, "%s.socket", given)
                                                           : asprintf(ret_name, "%s", given);
    if (r < 0) {
        *ret_name = NULL;
        return -ENOMEM;
    }
    if (unit_name_classify(*ret_name) == UNIT_NAME_INVALID) {
        refuse_name(loading, given, "not the name of a unit");
        free(*ret_name);
        *ret_name = NULL;
    }
    return 0;
}

static int add_name(struct loading *loading, const char *given)
{
    cleanup_free char *name = NULL;
    int r = complete_name(loading, given, &name);

    if (r < 0 || !name)
        return r;
    if (strcmp(unit_name_type(name), "socket") == 0)
        return string_list_take(&loading->sockets, take_pointer(&name));
    if (strcmp(unit_name_type(name), "service") == 0)
        return string_list_take(&loading->services, take_pointer(&name));
    refuse_name(loading, given, "only sockets are served: give a .socket");
    return 0;
}

/* ---- Sockets --------------------------------------------------------------------------------- */

/* Who asks for a socket: the command line, or Sockets= of a service. */
struct origin {
    const char *unit;                /* whose problem it is when there is none */
    const struct directive_use *use; /* NULL: the command line */
};

/* Whether the name can be found, without saying anything about it. */
static bool is_there(const struct loading *loading, const char *name)
{
    cleanup_unit_files struct unit_files *files = NULL;

    return load_path_find(loading->path, name, loading->problems, &files) == 0 && !files->masked;
}

/* There is no such socket, or it is masked. */
static void refuse_socket(struct loading *loading, const char *name, const struct origin *origin,
                          bool masked)
{
    const struct directive_use *asked_by = origin->use;
    char text[UNIT_QUOTE_MAX];
    const char *reason = masked ? "it is masked" : "no such unit in the search path";
    const char *hint = "";

    if (!asked_by && !masked && access(name, F_OK) == 0)
        hint = "; for a file in this directory put \"./\" in front";
    loading->problems->unit = origin->unit;
    problems_add(loading->problems, PROBLEM_ERROR, asked_by ? asked_by->file : NULL,
                 asked_by ? asked_by->line : 0, "cannot load \"%s\": %s%s", unit_quote(name, text),
                 reason, hint);
    loading->problems->unit = NULL;
}

static int append_socket(struct loading *loading, struct unit_files **files,
                         struct unit_file **file, struct socket_unit **unit)
{
    struct unit_set *set = loading->set;
    struct unit_set_socket *larger =
        reallocarray(set->sockets, set->n_sockets + 1, sizeof(*larger));

    if (!larger)
        return -ENOMEM;
    set->sockets = larger;
    larger[set->n_sockets++] = (struct unit_set_socket){
        .files = take_pointer(files),
        .file = take_pointer(file),
        .unit = take_pointer(unit),
        .service = UNIT_SET_NO_SERVICE,
    };
    return 0;
}

static int read_socket(struct loading *loading, const char *name, struct unit_files **files)
{
    struct unit_file *file = NULL;
    struct socket_unit *unit = NULL;
    int r = unit_file_load(&loading->file_options, name, *files, loading->problems, &file);

    if (r < 0) /* which is in problems */
        return r == -ENOMEM ? r : 0;
    r = socket_unit_new(file, loading->problems, &unit);
    if (r == 0)
        r = append_socket(loading, files, &file, &unit);
    if (r == 0) {
        struct unit_set_socket *socket = &loading->set->sockets[loading->set->n_sockets - 1];
        r = conditions_read(socket->file, loading->problems, &socket->conditions);
    }
    socket_unit_free(unit);
    unit_file_free(file);
    return r;
}

/* Whether the name is one of a socket that is there already. */
static bool has_socket(const struct unit_set *set, const char *name)
{
    for (size_t i = 0; i < set->n_sockets; i++)
        if (unit_set_socket_is(&set->sockets[i], name))
            return true;
    return false;
}

static int add_socket(struct loading *loading, const char *name, const struct origin *origin)
{
    cleanup_unit_files struct unit_files *files = NULL;

    if (loading->is_full || has_socket(loading->set, name))
        return 0;
    int r = load_path_find(loading->path, name, loading->problems, &files);
    bool masked = r == 0 && files->masked;

    if (r == -ENOMEM)
        return r;
    if (r == -ENOENT || masked) {
        refuse_socket(loading, name, origin, masked);
        return 0;
    }
    if (r == 0 && has_socket(loading->set, files->name))
        return 0;
    if (loading->set->n_sockets >= UNIT_SET_SOCKETS_MAX) {
        loading->is_full = true;
        problems_add(loading->problems, PROBLEM_ERROR, origin->use ? origin->use->file : NULL,
                     origin->use ? origin->use->line : 0,
                     "cannot load \"%s\": more than %d sockets", name, UNIT_SET_SOCKETS_MAX);
        return 0;
    }
    loading->problems->unit = r == 0 ? files->name : name;
    r = read_socket(loading, name, &files);
    loading->problems->unit = NULL;
    return r;
}

/* ---- Services -------------------------------------------------------------------------------- */

/* Whether the socket's own settings say for sure which service it has: else a missing one is only a
 * consequence of what has been reported. */
static bool is_service_certain(const struct unit_set_socket *socket)
{
    const struct directive_use *service = socket_unit_use(socket->unit, "Service");
    const struct directive_use *accept = socket_unit_use(socket->unit, "Accept");
    bool yes;

    return !socket->file->incomplete && *socket->unit->service != '\0' &&
           !(service && !socket->unit->service_key) &&
           !(accept && value_boolean(accept->value, &yes) < 0);
}

static int refuse_service(struct loading *loading, const struct unit_set_socket *socket,
                          bool masked)
{
    const struct socket_unit *unit = socket->unit;
    const struct directive_use *use = socket_unit_use(unit, unit->accept ? "Accept" : "Service");
    cleanup_free char *prefix = NULL, *other = NULL;

    if (!is_service_certain(socket))
        return 0;
    int r = unit_name_prefix(unit->service, &prefix);
    if (r == 0) /* what it is when only Accept= is wrong */
        r = unit_name_build(prefix, unit->accept ? NULL : "x", "service", &other);
    if (r == -ENOMEM)
        return r;
    bool has_other = r == 0 && !masked && is_there(loading, other);
    const char *hint = unit->accept ? "; there is one for all connections, without Accept=yes"
                                    : "; there is a template, which is for Accept=yes";
    loading->problems->unit = socket->file->name;
    problems_add(loading->problems, PROBLEM_ERROR, use ? use->file : socket->file->main,
                 use ? use->line : 0, "\"%s\" needs \"%s\", which is %s%s", socket->file->name,
                 unit->service, masked ? "masked" : "not in the search path",
                 has_other ? hint : "");
    loading->problems->unit = NULL;
    return 0;
}

/* What is shown of a service, and told apart by. */
static int name_service(const char *name, bool is_template, char **ret_name)
{
    if (is_template)
        return unit_name_template(name, ret_name);
    *ret_name = strdup(name);
    return *ret_name ? 0 : -ENOMEM;
}

static int append_service(struct loading *loading, size_t i, struct unit_set_service *service)
{
    struct unit_set *set = loading->set;
    struct unit_set_service *larger =
        reallocarray(set->services, set->n_services + 1, sizeof(*larger));

    if (!larger)
        return -ENOMEM;
    set->services = larger;
    larger[set->n_services] = *service;
    *service = (struct unit_set_service){0};
    set->sockets[i].service = set->n_services++;
    return 0;
}

static int read_service(struct loading *loading, size_t i, const char *name,
                        struct unit_files **files)
{
    struct unit_set_service service = {.is_template = loading->set->sockets[i].unit->accept};
    int r = name_service((*files)->name, service.is_template, &service.name);

    if (r < 0)
        return r;
    loading->problems->unit = service.name;
    service.files = take_pointer(files);
    r = unit_file_load(&loading->file_options, name, service.files, loading->problems,
                       &service.file);
    if (r == 0) {
        r = service_unit_new(service.file, loading->problems, &service.unit);
        if (r == 0)
            r = conditions_read(service.file, loading->problems, &service.conditions);
        if (r == 0)
            r = append_service(loading, i, &service);
    } else if (r != -ENOMEM) {
        r = 0; /* it is in problems */
    }
    loading->problems->unit = NULL;
    conditions_done(&service.conditions);
    free(service.name);
    service_unit_free(service.unit);
    unit_file_free(service.file);
    unit_files_free(service.files);
    return r;
}

/* The name to load: of a template the instance that stands for all. */
static int name_of_service(const struct unit_set *set, const struct socket_unit *unit,
                           char **ret_name)
{
    if (unit->accept)
        return unit_name_replace_instance(unit->service, set->instance, ret_name);
    *ret_name = strdup(unit->service);
    return *ret_name ? 0 : -ENOMEM;
}

static int add_service(struct loading *loading, size_t i)
{
    cleanup_unit_files struct unit_files *files = NULL;
    cleanup_free char *name = NULL;
    struct unit_set *set = loading->set;
    struct unit_set_socket *socket = &set->sockets[i];

    if (*socket->unit->service == '\0') /* which has been reported */
        return 0;
    int r = name_of_service(set, socket->unit, &name);
    if (r == 0)
        r = load_path_find(loading->path, name, loading->problems, &files);
    if (r == -ENOMEM)
        return r;
    if (r < 0 && r != -ENOENT) {
        loading->problems->unit = socket->file->name;
        problems_add(loading->problems, PROBLEM_ERROR, socket->file->main, 0,
                     "cannot load \"%s\", the service of \"%s\": %s", socket->unit->service,
                     socket->file->name, strerror(-r));
        loading->problems->unit = NULL;
        return 0;
    }
    if (r == -ENOENT || files->masked)
        return refuse_service(loading, socket, r == 0);
    for (size_t j = 0; j < set->n_services && !socket->unit->accept; j++)
        if (!set->services[j].is_template &&
            strcmp(set->services[j].file->name, files->name) == 0) {
            socket->service = j;
            return 0;
        }
    return read_service(loading, i, name, &files);
}

/* The use of Sockets= that a name is of. */
static const struct directive_use *find_sockets_use(const struct unit_file *file, const char *name)
{
    for (size_t i = file->n_uses; i-- > 0;) {
        const struct directive_use *use = &file->uses[i];
        if (use->section == SECTION_SERVICE && strcmp(use->key, "Sockets") == 0 && use->expanded &&
            strstr(use->expanded, name))
            return use;
    }
    return unit_file_last_use(file, SECTION_SERVICE, "Sockets");
}

static int add_sockets_of(struct loading *loading, size_t s)
{
    const struct unit_set_service *service = &loading->set->services[s];
    const struct string_list *names = &service->unit->sockets;
    int r = 0;

    for (size_t i = 0; i < names->n && r == 0 && !service->is_template; i++) {
        const struct origin origin = {
            .unit = service->name,
            .use = find_sockets_use(service->file, names->items[i]),
        };
        r = add_socket(loading, names->items[i], &origin);
    }
    return r;
}

/* The service of each socket, and the sockets that come with it, whose services are to follow. */
static int add_services(struct loading *loading)
{
    int r = 0;

    for (size_t i = 0; i < loading->set->n_sockets && r == 0; i++) {
        size_t n_before = loading->set->n_services;
        r = add_service(loading, i);
        if (r == 0 && loading->set->n_services > n_before)
            r = add_sockets_of(loading, n_before);
    }
    return r;
}

/* ---- What was given as a service ------------------------------------------------------------- */

static bool has_service(const struct unit_set *set, const char *name)
{
    for (size_t i = 0; i < set->n_services; i++)
        if (strcmp(set->services[i].name, name) == 0 ||
            string_list_contains(&set->services[i].files->aliases, name))
            return true;
    return false;
}

static int refuse_service_name(struct loading *loading, const char *name)
{
    cleanup_free char *prefix = NULL, *own = NULL, *plain = NULL;
    const char *found = NULL;
    char text[UNIT_QUOTE_MAX];
    int r = unit_name_prefix(name, &prefix);

    if (r == 0)
        r = unit_name_change_type(name, "socket", &own);
    if (r == 0)
        r = unit_name_build(prefix, NULL, "socket", &plain);
    if (r < 0)
        return r == -ENOMEM ? r : 0;
    if (is_there(loading, own))
        found = own;
    else if (is_there(loading, plain))
        found = plain;
    loading->problems->unit = name;
    problems_add(loading->problems, PROBLEM_ERROR, NULL, 0,
                 "\"%s\" is a service: give its socket%s \"%s\"", unit_quote(name, text),
                 found ? "," : "; there is no", found ? found : plain);
    loading->problems->unit = NULL;
    return 0;
}

/* ---- All of it ------------------------------------------------------------------------------- */

static int load(struct loading *loading, const char *const *names, size_t n_names)
{
    int r = 0;

    for (size_t i = 0; i < n_names && r == 0; i++)
        r = add_name(loading, names[i]);
    for (size_t i = 0; i < loading->sockets.n && r == 0; i++) {
        const struct origin origin = {.unit = loading->sockets.items[i]};
        r = add_socket(loading, loading->sockets.items[i], &origin);
    }
    if (r == 0)
        r = add_services(loading);
    for (size_t i = 0; i < loading->services.n && r == 0; i++)
        if (!has_service(loading->set, loading->services.items[i]))
            r = refuse_service_name(loading, loading->services.items[i]);
    if (r == 0)
        r = unit_pairs_connect(loading->set);
    return r < 0 ? r : unit_pairs_check(loading->set, loading->problems);
}

int unit_set_load(const struct unit_set_options *options, const char *const *names, size_t n_names,
                  struct problems *problems, struct unit_set **ret_set)
{
    cleanup(free_helper) struct unit_set *set = calloc(1, sizeof(*set));
    cleanup(loading_done) struct loading loading = {.problems = problems, .set = set};
    const struct load_path_options path_options = {
        .user = options->user,
        .unit_path = options->unit_path,
        .directories = options->directories,
    };

    if (!set)
        return -ENOMEM;
    int r = load_path_new(&path_options, &loading.path);
    if (r < 0 && r != -ENOMEM) {
        problems_add(problems, PROBLEM_ERROR, NULL, 0, "cannot find the working directory: %s",
                     strerror(-r));
        *ret_set = take_pointer(&set);
        return 0;
    }
    loading.file_options = (struct unit_file_options){
        .path = loading.path,
        .user = options->user,
        .ignore = options->ignore,
    };
    if (r == 0)
        r = name_instance(set, problems);
    if (r == 0)
        r = load(&loading, names, n_names);
    if (r == 0)
        *ret_set = take_pointer(&set);
    return r;
}
