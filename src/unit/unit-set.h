/* SPDX-License-Identifier: MIT */
/*
 * The units that are served together: sockets, and the service of each.
 *
 *     r = unit_set_load(&options, names, n_names, &problems, &set);
 *     if (problems.n_errors > 0)
 *         ... may be shown, but not used ...
 *     unit_set_free(set);
 *
 * As systemd has it:
 * - A socket with Accept=yes has the template of its own name. It is loaded as an instance with a
 *   name that no real one can have, which then stands for %i in all its values. Each such socket
 *   has its own entry, also where two have the same template (foo@1.socket, foo@2.socket).
 * - Sockets without Accept= that name the same service share it. It gets the descriptors of all of
 *   them, and of those in its Sockets=, which are brought in: these start their own Service= all
 *   the same, which may be another one.
 *
 * Unlike systemd:
 * - Two listeners with the same address, in whatever units, are an error here, not when the second
 *   is bound; and so is a listener that the other one is in the way of (0.0.0.0:80, 127.0.0.1:80).
 * - Sockets= of a service must not name a socket with Accept=yes: two would accept from it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "unit/conditions.h"
#include "unit/load-path.h"
#include "unit/problem.h"
#include "unit/service-unit.h"
#include "unit/socket-unit.h"
#include "unit/unit-file.h"

#define UNIT_SET_NO_SERVICE ((size_t)-1)

/* The two forms of the instance that stands for all (%i, %I): two random numbers with "-" or "/"
 * between them. */
#define UNIT_SET_INSTANCE_MAX 64

/* Sockets= could bring in more and more of a template, without an end. */
#define UNIT_SET_SOCKETS_MAX 1024
/* Of all sockets together. */
#define UNIT_SET_LISTENERS_MAX 4096

struct unit_set_socket {
    struct unit_files *files; /* where it is, and its other names */
    struct unit_file *file;
    struct socket_unit *unit;
    struct condition_list conditions;
    size_t service; /* index, or UNIT_SET_NO_SERVICE when that could not be loaded */
};

struct unit_set_service {
    char *name; /* to show, and problems.unit: file->name, of a template "foo@.service" */
    struct unit_files *files;
    struct unit_file *file;
    struct service_unit *unit;
    struct condition_list conditions; /* of a template: of each of its instances */
    bool is_template;                 /* of a socket with Accept=yes, whose only service it is */
    size_t *sockets;                  /* that it has descriptors from: indices, in their order */
    size_t n_sockets;
};

struct unit_set {
    struct unit_set_socket *sockets; /* in the order of the names, then of Sockets= */
    size_t n_sockets;
    struct unit_set_service *services; /* in the order of the sockets */
    size_t n_services;
    char instance[UNIT_SET_INSTANCE_MAX], instance_unescaped[UNIT_SET_INSTANCE_MAX];
};

struct unit_set_options {
    const char *const *directories; /* --unit-path=, NULL-terminated, or NULL */
    const char *unit_path;          /* $SYSTEMD_UNIT_PATH as load-path.h has it, or NULL */
    bool user;
    const struct string_list *ignore; /* names of keys, "sandbox"; NULL for none */
};

/*
 * names are those of sockets ("foo.socket", "foo" for short, "foo@bar.socket") or paths of unit
 * files (with a slash; of an instance also where only the file of its template is). The same unit
 * under two names is taken once. A service may be given too, next to a socket of it: as a path, to
 * say which one. Everything that is wrong is in problems, each with its unit; a unit that cannot be
 * loaded is not in the set. 0 also then; -ENOMEM.
 *
 * In problems the instance that stands for all is shown as %i, also in what is added later:
 * problems_show() does the same for any text.
 */
int unit_set_load(const struct unit_set_options *options, const char *const *names, size_t n_names,
                  struct problems *problems, struct unit_set **ret_set);
struct unit_set *unit_set_free(struct unit_set *set);

/* Whether it is the unit's name, or another name of it. */
bool unit_set_socket_is(const struct unit_set_socket *socket, const char *name);
