/*
 * How a config is read: the schema's words, and the checks of single values. Part of config.c; nobody else
 * includes this.
 */
#pragma once

#include "kernel/config.h"
#include "kernel/config_check.h"

enum kind {
    KIND_TEXT,    /* a string, not empty */
    KIND_WORDS,   /* a string */
    KIND_PATH,    /* a string: the path of an image */
    KIND_MEMORY,  /* a string: bytes, into uint64_t */
    KIND_COUNT,   /* an integer, 1 .. limit, into unsigned */
    KIND_FLAG,    /* a boolean */
    KIND_LIMIT,   /* an integer, 0 .. limit, into unsigned */
    KIND_CHOICE,  /* a string out of `choices`, their index into an enum */
    KIND_PREFIX,  /* a string: a control key, into char */
    KIND_MODULES, /* an array of modules */
    KIND_AFTER,   /* an array of names of VMs */
    KIND_PIN,     /* a string: CPUs, into uint64_t */
    KIND_RESERVE, /* a string: time in a period, into struct config_share */
    KIND_DISKS,   /* an array of tables */
    KIND_SOURCE,  /* a string: what a disk is */
    KIND_RATE,    /* a string: bytes a second, into uint64_t */
    KIND_NICS,    /* an array of network cards */
    KIND_NETWORK, /* a string: the name of a network */
    KIND_MAC,     /* a string: an address, into 6 bytes */
    KIND_BITRATE, /* a string: bits a second, into uint64_t */
    KIND_UPLINK,  /* a string: a network card of the machine */
    KIND_MTU,     /* an integer, into unsigned */
    KIND_TRUNK,   /* an array of integers: VLANs, into struct config_nic */
};

struct key {
    const char *name;
    enum kind kind;
    bool required;
    size_t offset; /* of the field in its struct */
    size_t limit;  /* size of a string field in bytes; the largest number; how many choices */
    const char *example;
    const char *const *choices;
};

/* One of the config's tables; the keys stand in the order of its enum config_*_key. */
struct table {
    const struct key *keys;
    unsigned count;
};

#define STRING(type, field) offsetof(struct type, field), sizeof(((struct type *)NULL)->field)

struct reader {
    struct config *config;
    struct config_vm *vm;      /* whose text is being read; NULL: nobody's */
    bool ignore;               /* below a header that nobody knows */
    struct toml_place refused; /* the last step that was refused: what is below it is not refused again */
    char where[24 + CONFIG_NAME_MAX]; /* the table being read, for messages */
};

/* Appends an error, which breaks the VM being read. */
#define add_error(r, place, ...) config_error((r)->config, (r)->vm, place, __VA_ARGS__)

/*
 * Each checks a value of a key and stores it in its field; what is refused is said, and not stored. The event
 * has the type that the key's kind wants.
 */
typedef void value_fn(struct reader *r, const struct key *key, void *field, const struct toml_event *event);
value_fn value_text, value_path, value_memory, value_count, value_flag, value_choice, value_prefix,
    value_cpus, value_source, value_rate;

/* value_text() for those who look closer: false if the text was refused. */
bool config_take_text(struct reader *r, const struct key *key, char *to, const struct toml_event *event);

/* config_net.c: those of networks and their cards; of a trunk the element path[level]. */
value_fn value_network, value_mtu, value_mac, value_bitrate, value_uplink;
void value_trunk(struct reader *r, struct config_nic *nic, unsigned level, const struct toml_event *event);
extern const struct table config_nic_table, config_network_table;

/* Letters, digits, '-' and '_', as VMs and networks are called. */
bool config_is_name(const char *name);

/* Finds a network, or adds it with its defaults; NULL: there are CONFIG_MAX_NETWORKS, or the name is none. */
struct config_network *config_make_network(struct config *config, const char *name, struct toml_place place);

/* Why `path` cannot name a file of the image, to follow the key in a sentence; NULL if it can. */
const char *config_path_fault(const char *path);
