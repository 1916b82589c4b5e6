/* The parts of ELF that a loader of programs needs. Source: System V ABI, edition 4.1, chapters 4 and 5. */
#pragma once

#include "lib/types.h"

#define ELF_MAGIC       0x464c457fu /* "\177ELF" */
#define ELF_CLASS_32    1
#define ELF_CLASS_64    2
#define ELF_LITTLE      1 /* data encoding */
#define ELF_MACHINE_386 3
#define ELF_MACHINE_X64 62
#define ELF_PT_LOAD     1

struct elf_ident {
    uint32_t magic;
    uint8_t class;
    uint8_t data;
    uint8_t version;
    uint8_t rest[9];
} __packed;

struct elf32_header {
    struct elf_ident ident;
    uint16_t type, machine;
    uint32_t version;
    uint32_t entry; /* virtual address */
    uint32_t phoff; /* program headers' place in the file */
    uint32_t shoff;
    uint32_t flags;
    uint16_t ehsize;
    uint16_t phentsize, phnum;
    uint16_t shentsize, shnum, shstrndx;
} __packed;

struct elf64_header {
    struct elf_ident ident;
    uint16_t type, machine;
    uint32_t version;
    uint64_t entry, phoff, shoff;
    uint32_t flags;
    uint16_t ehsize;
    uint16_t phentsize, phnum;
    uint16_t shentsize, shnum, shstrndx;
} __packed;

struct elf32_phdr {
    uint32_t type;
    uint32_t offset;
    uint32_t vaddr, paddr;
    uint32_t filesz, memsz;
    uint32_t flags;
    uint32_t align;
} __packed;

struct elf64_phdr {
    uint32_t type;
    uint32_t flags;
    uint64_t offset;
    uint64_t vaddr, paddr;
    uint64_t filesz, memsz;
    uint64_t align;
} __packed;

static_assert(sizeof(struct elf32_header) == 52, "chapter 4");
static_assert(sizeof(struct elf64_header) == 64, "chapter 4");
static_assert(sizeof(struct elf32_phdr) == 32, "chapter 5");
static_assert(sizeof(struct elf64_phdr) == 56, "chapter 5");
