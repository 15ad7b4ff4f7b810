/* SPDX-License-Identifier: MIT */
/* The interface that every Varlink service has. */
#include <errno.h>
#include <string.h>

#include "basic/cleanup.h"
#include "varlink/varlink-connection.h"

static const char description[] =
    "# Every service has this interface: what it is, and what it can be asked.\n"
    "interface org.varlink.service\n"
    "\n"
    "# Who made the service, and the interfaces that it has.\n"
    "method GetInfo() -> (\n"
    "  vendor: string,\n"
    "  product: string,\n"
    "  version: string,\n"
    "  url: string,\n"
    "  interfaces: []string\n"
    ")\n"
    "\n"
    "# The text of an interface's definition.\n"
    "method GetInterfaceDescription(interface: string) -> (description: string)\n"
    "\n"
    "# There is no interface of that name.\n"
    "error InterfaceNotFound (interface: string)\n"
    "\n"
    "# The interface has no method of that name.\n"
    "error MethodNotFound (method: string)\n"
    "\n"
    "# The method is known, but not to be had here.\n"
    "error MethodNotImplemented (method: string)\n"
    "\n"
    "# A parameter is missing, or not what it must be.\n"
    "error InvalidParameter (parameter: string)\n"
    "\n"
    "# Not for this client.\n"
    "error PermissionDenied ()\n"
    "\n"
    "# The method answers more than once, and must be called so.\n"
    "error ExpectedMore ()\n";

const struct varlink_interface *varlink_find_interface(const struct varlink_server *server,
                                                       const char *name, size_t length)
{
    for (size_t i = 0; i <= server->options.n_interfaces; i++) {
        const struct varlink_interface *interface =
            i == 0 ? &varlink_service : &server->options.interfaces[i - 1];

        if (strlen(interface->name) == length && memcmp(interface->name, name, length) == 0)
            return interface;
    }
    return NULL;
}

static const char *or_empty(const char *text)
{
    return text != NULL ? text : "";
}

static int get_info(struct varlink_call *call, void *userdata)
{
    const struct varlink_server_options *options = &varlink_call_server(call)->options;
    cleanup(varlink_json_unref) json_t *names = json_pack("[s]", varlink_service.name);

    (void)userdata;
    for (size_t i = 0; i < options->n_interfaces; i++)
        if (json_array_append_new(names, json_string(options->interfaces[i].name)) < 0)
            return -ENOMEM;
    return varlink_reply(
        call, json_pack("{s:s, s:s, s:s, s:s, s:O}", "vendor", or_empty(options->vendor), "product",
                        or_empty(options->product), "version", or_empty(options->version), "url",
                        or_empty(options->url), "interfaces", names));
}

static int get_interface_description(struct varlink_call *call, void *userdata)
{
    const json_t *name = json_object_get(varlink_call_parameters(call), "interface");

    (void)userdata;
    if (!json_is_string(name))
        return varlink_invalid_parameter(call, "interface");
    const struct varlink_interface *interface = varlink_find_interface(
        varlink_call_server(call), json_string_value(name), json_string_length(name));
    if (interface == NULL)
        return varlink_error(call, VARLINK_ERROR_INTERFACE_NOT_FOUND,
                             json_pack("{s:O}", "interface", name));
    return varlink_reply(call, json_pack("{s:s}", "description", interface->description));
}

static const struct varlink_method methods[] = {
    {.name = "GetInfo", .function = get_info},
    {.name = "GetInterfaceDescription", .function = get_interface_description},
};

const struct varlink_interface varlink_service = {
    .name = "org.varlink.service",
    .description = description,
    .methods = methods,
    .n_methods = sizeof(methods) / sizeof(methods[0]),
};
