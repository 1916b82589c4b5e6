/*
 * Checks a Plinth config on the host, by the very code that reads it at boot.
 *   checkconfig FILE            errors as FILE:LINE:COLUMN: error: text; exit 1 if there is one
 *   checkconfig --files FILE    and when there is none, each file that it names, once: LINE:COLUMN, a tab,
 * PATH
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/config.h"
#include "kernel/config_disk.h"

#define FILE_MAX (1u << 20) /* bytes: beyond this it is no config */

/* The whole of `path`, freed by the caller; NULL with the reason printed. */
static char *read_file(const char *path, size_t *size)
{
    char *text = malloc(FILE_MAX + 1);
    FILE *file = fopen(path, "rb");

    if (!file || !text) {
        perror(path);
        goto out;
    }
    *size = fread(text, 1, FILE_MAX + 1, file);
    if (ferror(file) || *size > FILE_MAX) {
        if (ferror(file))
            perror(path);
        else
            fprintf(stderr, "%s: larger than 1 MiB: this is no config\n", path);
        goto out;
    }
    fclose(file);
    return text;
out:
    if (file)
        fclose(file);
    free(text);
    return NULL;
}

static void print_errors(const struct config *config, const char *path)
{
    unsigned kept = config->error_count < CONFIG_MAX_ERRORS ? config->error_count : CONFIG_MAX_ERRORS;

    for (unsigned i = 0; i < kept; i++)
        fprintf(stderr, "%s:%u:%u: error: %s\n", path, config->error[i].line, config->error[i].column,
                config->error[i].text);
    if (config->error_count > kept)
        fprintf(stderr, "%s: and %u more errors\n", path, config->error_count - kept);
}

/* The files named so far, so that each is printed once. */
struct list {
    const char *path[CONFIG_MAX_VMS * (CONFIG_MAX_MODULES + CONFIG_MAX_DISKS + 2)];
    unsigned count;
};

static void print_file(struct list *list, const char *path, struct toml_place at)
{
    if (path[0] == '\0')
        return;
    for (unsigned i = 0; i < list->count; i++)
        if (strcmp(list->path[i], path) == 0)
            return;
    list->path[list->count++] = path;
    printf("%u:%u\t%s\n", at.line, at.column, path);
}

static void print_files(const struct config *config)
{
    static struct list list;

    for (unsigned i = 0; i < config->vm_count; i++) {
        const struct config_vm *vm = &config->vm[i];
        print_file(&list, vm->kernel, vm->at[VM_KERNEL]);
        print_file(&list, vm->initrd, vm->at[VM_INITRD]);
        for (unsigned j = 0; j < vm->module_count; j++)
            print_file(&list, vm->module[j].path, vm->module[j].at[MODULE_PATH]);
        for (unsigned j = 0; j < vm->disk_count; j++) {
            const char *file = config_disk_file(&vm->disk[j]);
            if (file)
                print_file(&list, file, vm->disk[j].at[DISK_SOURCE]);
        }
    }
}

int main(int argc, char **argv)
{
    static struct config config;
    bool files = argc == 3 && strcmp(argv[1], "--files") == 0;
    size_t size;

    if (argc != 2 + files || argv[argc - 1][0] == '-') {
        fprintf(stderr, "usage: checkconfig [--files] FILE\n");
        return 2;
    }
    char *text = read_file(argv[argc - 1], &size);
    if (!text)
        return 2;
    int error = config_parse(&config, text, size);
    free(text);
    print_errors(&config, argv[argc - 1]);
    if (files)
        print_files(&config);
    return error == 0 ? 0 : 1;
}
