/*
 * plinth.toml, parsed and checked. All strings are copies inside the config. Errors never stop the parse
 * early where something more can be said: a VM with an error is marked, the others stay usable. Compiles on
 * the host; tools/mkiso checks a config with this very code. docs/config.md is the reference for those who
 * write the file.
 */
#pragma once

#include "lib/types.h"
#include "lib/toml.h"

#define CONFIG_MAX_VMS       64
#define CONFIG_MAX_MODULES   8
#define CONFIG_MAX_AFTER     8
#define CONFIG_MAX_DISKS     8
#define CONFIG_MAX_NICS      4 /* network cards of a VM */
#define CONFIG_MAX_NETWORKS  32
#define CONFIG_MAX_TRUNK     16 /* VLANs with tags of a card */
#define CONFIG_MAX_VLAN      4094
#define CONFIG_MIN_MTU       576
#define CONFIG_MAX_MTU       65535
#define CONFIG_MAX_STORM     1000000
#define CONFIG_UPLINK_MAX    16              /* "pci:00:03.0" */
#define CONFIG_MIN_BITRATE   UINT64_C(64000) /* bits a second */
#define CONFIG_MAX_BITRATE   UINT64_C(400000000000)
#define CONFIG_MAX_ERRORS    16
#define CONFIG_NAME_MAX      32 /* VM names: [A-Za-z0-9_-]+ */
#define CONFIG_PATH_MAX      128
#define CONFIG_CMDLINE_MAX   1024
#define CONFIG_CONSOLE_MAX   32
#define CONFIG_MAX_RESTARTS  64 /* of restart-limit */
#define CONFIG_MAX_VCPUS     16
#define CONFIG_MAX_MEMORY    (1024 * GiB)
#define CONFIG_MAX_WEIGHT    1000
#define CONFIG_SOURCE_MAX    144 /* of a disk: a word, a colon, and a label or a path */
#define CONFIG_MAX_IOPS      10000000
#define CONFIG_MIN_BANDWIDTH (64 * KiB) /* bytes a second */
#define CONFIG_MAX_BANDWIDTH (1024 * GiB)

enum config_all_stopped { ALL_STOPPED_SHELL, ALL_STOPPED_POWEROFF, ALL_STOPPED_REBOOT };
enum config_restart { RESTART_NO, RESTART_YES }; /* "stop", "restart" */

/*
 * The keys of each table; they index its `at[]`, which says where the key stands in the file, for messages.
 * line 0: not given; column 0: only misspelt, in that line.
 */
enum config_host_key {
    HOST_CONSOLE,
    HOST_ATTACH,
    HOST_WHEN_ALL_STOPPED,
    HOST_PREFIX,
    HOST_ECHO_CONSOLES,
    HOST_KEYS
};
enum config_module_key { MODULE_PATH, MODULE_CMDLINE, MODULE_KEYS };
enum config_disk_key { DISK_SOURCE, DISK_READONLY, DISK_IOPS, DISK_BANDWIDTH, DISK_KEYS };
enum config_nic_key { NIC_NAME, NIC_MAC, NIC_VLAN, NIC_TRUNK, NIC_RATE, NIC_MAC_SPOOFING, NIC_KEYS };
enum config_network_key { NETWORK_UPLINK, NETWORK_MTU, NETWORK_STORM, NETWORK_KEYS };
enum config_vm_key {
    VM_CPUS,
    VM_MEMORY,
    VM_KERNEL,
    VM_INITRD,
    VM_CMDLINE,
    VM_MODULES,
    VM_AUTOSTART,
    VM_DEBUG_EXIT,
    VM_AFTER,
    VM_ON_CRASH,
    VM_ON_REBOOT,
    VM_RESTART_LIMIT,
    VM_WATCHDOG,
    VM_RNG,
    VM_HVC,
    VM_BALLOON,
    VM_WEIGHT,
    VM_CAP,
    VM_PIN,
    VM_RESERVE,
    VM_CONSOLE,
    VM_DISKS,
    VM_NETWORKS,
    VM_KEYS
};

/*
 * Paths are relative to plinth.toml: letters, digits and . _ + - = , @ ~ between slashes, no part empty, "."
 * or "..". tools/mkiso gives each boot module its path as its string, letter by letter.
 */
struct config_module {
    struct toml_place at[MODULE_KEYS];
    struct toml_place place; /* of the element in the array */
    char path[CONFIG_PATH_MAX];
    char cmdline[CONFIG_CMDLINE_MAX]; /* modules = ["file", { path = "file", cmdline = "words" }] */
};

/*
 * One of a VM's disks, in the order in which it sees them: disks = ["part:root", { source =
 * "module:data.img", readonly = true, iops = 1000, bandwidth = "50M" }]. kernel/config_disk.h reads the
 * source.
 */
struct config_disk {
    struct toml_place at[DISK_KEYS];
    struct toml_place place; /* of the element in the array */
    char source[CONFIG_SOURCE_MAX];
    bool readonly;      /* default false */
    unsigned iops;      /* requests a second, 1 .. CONFIG_MAX_IOPS; 0: no limit */
    uint64_t bandwidth; /* bytes a second, CONFIG_MIN_BANDWIDTH .. CONFIG_MAX_BANDWIDTH; 0: no limit */
};

/*
 * One of a VM's network cards, in the order in which it sees them: networks = ["lan0", { name = "lan1", mac =
 * "52:54:00:12:34:56", vlan = 10, trunk = [20, 30], rate = "100Mbit" }].
 */
struct config_nic {
    struct toml_place at[NIC_KEYS];
    struct toml_place place;    /* of the element in the array */
    char name[CONFIG_NAME_MAX]; /* of the network */
    uint8_t mac[6];             /* always there: config_derive_mac() if the file has none */
    unsigned vlan; /* of frames without a tag, 1 .. CONFIG_MAX_VLAN; 0: the network's own, or with a
                      trunk: no such frames */
    unsigned trunk_count;
    uint16_t trunk[CONFIG_MAX_TRUNK]; /* VLANs whose frames have a tag */
    uint64_t rate;                    /* bits a second that it may send, CONFIG_MIN_BITRATE ..; 0: no limit */
    bool mac_spoofing;                /* it may send with any address; default false */
};

/* A network: of [network.NAME], or one that a VM names and no table describes. */
struct config_network {
    struct toml_place at[NETWORK_KEYS];
    struct toml_place place; /* of its name, in the header or where a VM names it first */
    bool described;          /* by a table */
    char name[CONFIG_NAME_MAX];
    char uplink[CONFIG_UPLINK_MAX]; /* the machine's card that leads out; empty: none */
    unsigned mtu;                   /* CONFIG_MIN_MTU .. CONFIG_MAX_MTU; default 1500 */
    unsigned
        storm; /* broadcasts and the like that each card may send in a second; default 1000, 0: no limit */
};

/* One element of `after`. */
struct config_after {
    struct toml_place place;
    char name[CONFIG_NAME_MAX];
    unsigned vm; /* its index in config.vm */
};

/* A VM's hold on the CPUs; docs/scheduler.md. */
struct config_share {
    unsigned weight;     /* of the whole VM: 1 .. CONFIG_MAX_WEIGHT; default 100 */
    unsigned cap;        /* percent of one CPU, of the whole VM: 0 .. 100 * cpus; 0: none */
    uint64_t pin;        /* CPUs that its vCPUs may use; 0: all */
    uint32_t reserve_us; /* so long in each period, for each vCPU; 0: none */
    uint32_t period_us;
};

struct config_vm {
    struct toml_place at[VM_KEYS];
    char name[CONFIG_NAME_MAX];
    unsigned line; /* of its [vm.NAME] header, for messages */
    unsigned column;
    bool broken;                  /* an error was found in it: do not start it */
    unsigned cpus;                /* 1 .. CONFIG_MAX_VCPUS; default 1 */
    uint64_t memory;              /* bytes, multiple of 2 MiB, 2 MiB .. CONFIG_MAX_MEMORY; required */
    char kernel[CONFIG_PATH_MAX]; /* required */
    char initrd[CONFIG_PATH_MAX]; /* empty: none */
    char cmdline[CONFIG_CMDLINE_MAX];
    unsigned module_count;
    struct config_module module[CONFIG_MAX_MODULES];
    unsigned disk_count;
    struct config_disk disk[CONFIG_MAX_DISKS];
    unsigned nic_count;
    struct config_nic nic[CONFIG_MAX_NICS];
    bool autostart;                   /* default true */
    bool debug_exit;                  /* isa-debug-exit at port 0xf4; default false */
    char console[CONFIG_CONSOLE_MAX]; /* its own COM port, as uart_parse() takes it; empty: the wire */
    bool watchdog;                    /* an i6300esb on the PCI bus; default false */
    bool rng;                         /* virtio's entropy device on the PCI bus; default true */
    bool balloon;                     /* virtio's memory balloon on the PCI bus; default false */
    bool hvc;                         /* virtio's console on the PCI bus; default false */
    unsigned after_count;
    struct config_after after[CONFIG_MAX_AFTER]; /* VMs to be started before; they make no circle */
    enum config_restart on_crash;                /* default RESTART_NO */
    enum config_restart on_reboot;               /* default RESTART_YES */
    struct config_share share;
    unsigned restart_limit; /* that many crashes and resets in a minute are a loop; default 5, 0: never */
};

struct config_error {
    unsigned line, column; /* from 1 */
    char text[192]; /* what, and what to do: "unknown key 'memry' in [vm.web]; did you mean 'memory'?" */
};

struct config {
    struct toml_place at[HOST_KEYS];
    struct toml_place host; /* of [host]; line 0: not there */
    char console[64];       /* host.console, e.g. "com1,115200"; empty: not said */
    char attach[CONFIG_NAME_MAX];
    enum config_all_stopped when_all_stopped; /* default ALL_STOPPED_SHELL */
    char prefix;                              /* the control character of Plinth's own keys; default Ctrl-A */
    bool echo_consoles;                       /* every console's lines on the serial line; default false */
    unsigned vm_count;
    struct config_vm vm[CONFIG_MAX_VMS];
    unsigned network_count;
    struct config_network network[CONFIG_MAX_NETWORKS];
    unsigned error_count; /* may exceed CONFIG_MAX_ERRORS: the first ones are kept, in the order of lines */
    struct config_error error[CONFIG_MAX_ERRORS];
};

/*
 * Parses `size` bytes of UTF-8 text. 0 if there was no error, else -EINVAL with error[] filled and with
 * everything that could be understood in place; an error in [host] breaks no VM. `config` is large: allocate
 * it, do not put it on a stack.
 */
int config_parse(struct config *config, const char *text, size_t size) __must_check;
