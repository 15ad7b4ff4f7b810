/* SPDX-License-Identifier: MIT */
/* Which virtual machine this is: several places know, and the order in which they are asked says
 * whom to believe. */
#include "unit/virtualization.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(__i386__) || defined(__x86_64__)
#include <cpuid.h>
#endif

#include "basic/cleanup.h"
#include "basic/io.h"

#if defined(__i386__) || defined(__x86_64__) || defined(__arm__) || defined(__aarch64__) ||        \
    defined(__loongarch64)
#define HAS_DMI 1
#else
#define HAS_DMI 0
#endif

/* The answer of one place: a name, also this one for a machine that it does not know; NULL for no
 * virtual machine. */
static const char other[] = "vm-other";
/* Of Google's machines systemd tells one name or another, and the same of their bare metal. */
static const char google[] = "google";

static bool has_prefix(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* What the processor says. */
static const char *find_by_cpuid(void)
{
#if defined(__i386__) || defined(__x86_64__)
    static const struct {
        const char *signature, *name;
    } signatures[] = {
        {"XenVMMXenVMM", "xen"},   {"KVMKVMKVM", "kvm"},       {"Linux KVM Hv", "kvm"},
        {"TCGTCGTCGTCG", "qemu"},  {"VMwareVMware", "vmware"}, {"Microsoft Hv", "microsoft"},
        {"bhyve bhyve ", "bhyve"}, {"QNXQVMBSQG", "qnx"},      {"ACRNACRNACRN", "acrn"},
    };
    unsigned eax, ebx, ecx, edx;
    char signature[13] = "";

    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & UINT32_C(1) << 31))
        return NULL;
    __cpuid(0x40000000U, eax, ebx, ecx, edx);
    memcpy(signature, &ebx, 4);
    memcpy(signature + 4, &ecx, 4);
    memcpy(signature + 8, &edx, 4);
    for (size_t i = 0; i < sizeof(signatures) / sizeof(signatures[0]); i++)
        if (strcmp(signature, signatures[i].signature) == 0)
            return signatures[i].name;
    return other;
#else
    return NULL;
#endif
}

/* What the firmware calls the machine and its makers. */
static int find_by_vendor(const char *root, const char **ret_name)
{
    static const char *const files[] = {"product_name", "sys_vendor", "board_vendor", "bios_vendor",
                                        "product_version"};
    static const struct {
        const char *prefix, *name;
    } vendors[] = {
        {"KVM", "kvm"},
        {"OpenStack", "kvm"},
        {"KubeVirt", "kvm"},
        {"Amazon EC2", "amazon"},
        {"QEMU", "qemu"},
        {"VMware", "vmware"},
        {"VMW", "vmware"},
        {"innotek GmbH", "oracle"},
        {"VirtualBox", "oracle"},
        {"Xen", "xen"},
        {"Bochs", "bochs"},
        {"Parallels", "parallels"},
        {"BHYVE", "bhyve"},
        {"Hyper-V", "microsoft"},
        {"Apple Virtualization", "apple"},
        {"Google Compute Engine", google},
    };

    *ret_name = NULL;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char path[64], vendor[256];
        (void)snprintf(path, sizeof(path), "/sys/class/dmi/id/%s", files[i]);
        int r = virtualization_read_line(root, path, vendor, sizeof(vendor));
        if (r == -ENOENT)
            continue;
        if (r < 0)
            return r;
        for (size_t k = 0; k < sizeof(vendors) / sizeof(vendors[0]); k++)
            if (has_prefix(vendor, vendors[k].prefix)) {
                *ret_name = vendors[k].name;
                return 0;
            }
    }
    return 0;
}

/* The bit of the SMBIOS table that says "virtual machine": 1, 0, or -1 for unknown; others than
 * root cannot read it. */
static int read_smbios_bit(const char *root)
{
    char path[PATH_MAX];
    unsigned char table[256];

    (void)snprintf(path, sizeof(path), "%s/sys/firmware/dmi/entries/0-0/raw", root);
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : read_up_to(fd, table, sizeof(table));
    if (n < 20 || table[1] < 20)
        return -1;
    return (table[19] & 1 << 4) != 0;
}

static int find_by_firmware(const char *root, const char **ret_name)
{
    char product[256];

    *ret_name = NULL;
    if (!HAS_DMI)
        return 0;
    int r = find_by_vendor(root, ret_name);
    if (r < 0)
        return r;
    bool is_amazon = *ret_name && strcmp(*ret_name, "amazon") == 0;
    if (*ret_name && !is_amazon)
        return 0;
    int bit = read_smbios_bit(root);
    if (!is_amazon)
        *ret_name = bit > 0 ? other : NULL;
    else if (bit == 0) /* Amazon's bare metal has the same names */
        *ret_name = NULL;
    else if (bit < 0 && virtualization_read_line(root, "/sys/class/dmi/id/product_name", product,
                                                 sizeof(product)) >= 0) {
        size_t length = strlen(product);
        if (length >= 6 && strcmp(product + length - 6, ".metal") == 0)
            *ret_name = NULL;
    }
    return 0;
}

static bool is_user_mode_linux(const char *root)
{
    char path[PATH_MAX], text[1024]; /* it is near the beginning */

    (void)snprintf(path, sizeof(path), "%s/proc/cpuinfo", root);
    if (read_text_file(path, text, sizeof(text)) < 0)
        return false;
    const char *vendor = strstr(text, "vendor_id\t: ");
    return vendor && has_prefix(vendor, "vendor_id\t: User Mode Linux");
}

/* Whether this is the domain that runs Xen, which is not a virtual machine: 1, 0, or an error. */
static int is_xen_host(const char *root)
{
    char text[256];
    int r =
        virtualization_read_line(root, "/sys/hypervisor/properties/features", text, sizeof(text));

    if (r < 0 && r != -ENOENT)
        return r;
    if (r > 0) {
        char *end;
        unsigned long features = strtoul(text, &end, 16);
        if (end != text)
            return (features & 1UL << 11) != 0; /* XENFEAT_dom0 */
    }
    r = virtualization_read_line(root, "/proc/xen/capabilities", text, sizeof(text));
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    for (char *rest = text, *word; (word = strsep(&rest, ","));)
        if (strcmp(word, "control_d") == 0)
            return 1;
    return 0;
}

static int find_by_hypervisor_type(const char *root, const char **ret_name)
{
    char type[64];
    int r = virtualization_read_line(root, "/sys/hypervisor/type", type, sizeof(type));

    if (r < 0 && r != -ENOENT)
        return r;
    *ret_name = r < 0 ? NULL : strcmp(type, "xen") == 0 ? "xen" : other;
    return 0;
}

#if defined(__arm__) || defined(__aarch64__) || defined(__powerpc__)
static int find_qemu_device(const char *root, const char **ret_name)
{
    char path[PATH_MAX];
    DIR *directory;

    (void)snprintf(path, sizeof(path), "%s/proc/device-tree", root);
    directory = opendir(path);
    *ret_name = NULL;
    if (!directory)
        return errno == ENOENT ? 0 : -errno;
    for (struct dirent *entry; (entry = readdir(directory));)
        if (strstr(entry->d_name, "fw-cfg"))
            *ret_name = "qemu";
    closedir(directory);
    return 0;
}

static int find_by_device_tree(const char *root, const char **ret_name)
{
    char type[256];
    int r = virtualization_read_line(root, "/proc/device-tree/hypervisor/compatible", type,
                                     sizeof(type));

    if (r == -ENOENT) {
        *ret_name = "powervm";
        if (virtualization_has_file(root, "/proc/device-tree/ibm,partition-name") &&
            virtualization_has_file(root, "/proc/device-tree/hmc-managed?") &&
            !virtualization_has_file(root, "/proc/device-tree/chosen/qemu,graphic-width"))
            return 0;
        return find_qemu_device(root, ret_name);
    }
    if (r < 0)
        return r;
    if (strcmp(type, "linux,kvm") == 0)
        *ret_name = "kvm";
    else
        *ret_name = strstr(type, "xen") ? "xen" : strstr(type, "vmware") ? "vmware" : other;
    return 0;
}
#else
static int find_by_device_tree(const char *root, const char **ret_name)
{
    (void)root;
    *ret_name = NULL;
    return 0;
}
#endif

/* Those that firmware tells better than the processor does. */
static bool is_told_by_firmware(const char *name)
{
    static const char *const names[] = {"oracle", "xen", "amazon", "parallels"};

    for (size_t i = 0; name && i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* Behind the processor, each place that does not say "vm-other" is the last to be asked. */
static int find_by_others(const char *root, const char *by_firmware, const char **name)
{
    static int (*const finders[])(const char *root, const char **ret_name) = {
        find_by_hypervisor_type,
        find_by_device_tree,
    };
    bool is_other = *name || by_firmware == other;

    if (by_firmware && by_firmware != other) {
        *name = by_firmware;
        return 0;
    }
    for (size_t i = 0; i < sizeof(finders) / sizeof(finders[0]); i++) {
        int r = finders[i](root, name);
        if (r < 0)
            return r;
        if (*name && *name != other)
            return 0;
        is_other = is_other || *name;
    }
#if defined(__s390__)
    return -EOPNOTSUPP; /* /proc/sysinfo is not read so far */
#else
    *name = is_other ? other : NULL;
    return 0;
#endif
}

static int find_vm(const char *root, const char **ret_name)
{
    const char *by_firmware = NULL;
    int firmware_error = find_by_firmware(root, &by_firmware);
    int is_host = 0;

    *ret_name = by_firmware;
    if (is_told_by_firmware(by_firmware))
        return 0;
    *ret_name = "uml";
    if (is_user_mode_linux(root))
        return 0;
    if (virtualization_has_file(root, "/proc/xen")) {
        *ret_name = "xen";
        is_host = is_xen_host(root);
        if (is_host <= 0)
            return is_host;
    }
    *ret_name = find_by_cpuid();
    if (by_firmware == google) {
        if (!*ret_name)
            return -EOPNOTSUPP;
        *ret_name = google;
    }
    if ((*ret_name && *ret_name != other) || is_host > 0)
        return 0;
    return firmware_error < 0 ? firmware_error : find_by_others(root, by_firmware, ret_name);
}

int virtualization_detect_vm(const char *root, struct virtualization *ret)
{
    const char *name;
    int r = find_vm(root, &name);

    if (r < 0)
        return r;
    ret->kind = name ? VIRTUALIZATION_VM : VIRTUALIZATION_NONE;
    ret->name = name == google ? NULL : name;
    return 0;
}
