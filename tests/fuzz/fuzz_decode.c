/*
 * Decodes and executes random instructions with random registers, on memory that faults here and there.
 * Input: a byte of mode, a byte that seeds registers and faults, the instruction.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "lib/errno.h"
#include "vmx/decode.h"
#include "vmx/decode_cache.h"
#include "vmx/emulate.h"

#define MEMORY 4096u

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
    uint8_t bytes[MEMORY + 8];
    uint64_t random;
    enum code_size code;
    unsigned accesses;
    bool mapped; /* no faults */
};

static uint64_t next(struct world *w)
{
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    return w->random >> 32 | w->random << 32;
}

/* Every address is somewhere in the memory; now and then there is a fault. */
static uint8_t *reach(struct world *w, gva_t at, unsigned size, struct emu_fault *fault, int *status)
{
    CHECK(size == 1 || size == 2 || size == 4 || size == 8);
    if (w->code == CODE_64)
        CHECK(at.raw + BIT(47) < BIT(48));
    else
        CHECK(at.raw <= UINT32_MAX);
    w->accesses++;
    *status = 0;
    if (!w->mapped && next(w) % 8 == 0) {
        *fault = (struct emu_fault){ 14, true, 0, at.raw };
        *status = next(w) % 4 ? -EFAULT : -EIO;
    }
    return w->bytes + at.raw % MEMORY;
}

static void get_segment(void *context, enum seg seg, struct emu_segment *out)
{
    uint64_t bits = next(context);

    CHECK((unsigned)seg < SEG_COUNT);
    *out = (struct emu_segment){
        .base = next(context),
        .limit = bits & 1 ? UINT32_MAX : (uint32_t)next(context),
        .present = bits & 14,
        .writable = bits & 0x70,
        .readable = bits & 0x80,
        .code = (bits & 0x700) == 0,
        .expand_down = (bits & 0x7000) == 0,
        .big = bits & 0x8000,
    };
}

static int read_memory(void *context, gva_t at, unsigned size, uint64_t *value, struct emu_fault *fault)
{
    int status;
    const uint8_t *bytes = reach(context, at, size, fault, &status);

    *value = 0;
    memcpy(value, bytes, size);
    return status;
}

static int write_memory(void *context, gva_t at, unsigned size, uint64_t value, struct emu_fault *fault)
{
    int status;
    uint8_t *bytes = reach(context, at, size, fault, &status);

    CHECK(size == 8 || value >> (8 * size) == 0);
    if (status == 0)
        memcpy(bytes, &value, size);
    return status;
}

static int exchange(void *context, gva_t at, unsigned size, uint64_t *expected, uint64_t value,
                    struct emu_fault *fault)
{
    int status;
    uint8_t *bytes = reach(context, at, size, fault, &status);

    CHECK(size == 8 || (value | *expected) >> (8 * size) == 0);
    if (status != 0)
        return status;
    if (next(context) % 2 == 0) {
        memcpy(expected, bytes, size);
        return -EAGAIN;
    }
    memcpy(bytes, &value, size);
    return 0;
}

static void check_operand(const struct operand *operand)
{
    if (operand->kind == OPERAND_NONE)
        return;
    CHECK(operand->kind <= OPERAND_CONTROL);
    CHECK(operand->reg < (operand->kind == OPERAND_REG_HIGH ? 4 : GPR_COUNT));
    CHECK(operand->size == 1 || operand->size == 2 || operand->size == 4 || operand->size == 8);
}

static void check_insn(const struct insn *insn, size_t size)
{
    CHECK(insn->length >= 1 && insn->length <= INSN_MAX && insn->length <= size);
    CHECK(insn->op <= OP_OTHER);
    check_operand(&insn->to);
    check_operand(&insn->from);
    CHECK(insn->seg < SEG_COUNT);
    CHECK(insn->base >= -1 && insn->base < GPR_COUNT && insn->index >= -1 && insn->index < GPR_COUNT);
    CHECK(insn->index != GPR_RSP);
    CHECK(!insn->rip_relative || (insn->base == -1 && insn->index == -1));
    CHECK(!(insn->rep && insn->repne));
}

static bool same(const struct insn *a, const struct insn *b)
{
    size_t bytes = offsetof(struct insn, rip_relative) + sizeof(a->rip_relative); /* no padding up to there */

    return memcmp(a, b, bytes) == 0 && a->displacement == b->displacement && a->immediate == b->immediate;
}

static void execute(const struct insn *insn, struct world *w, bool protected_mode)
{
    const struct emu_memory memory = { get_segment, read_memory, write_memory, exchange, w };
    uint64_t gpr[GPR_COUNT], before[GPR_COUNT];
    struct emu_cpu cpu = { gpr, next(w), next(w) & 0xcd5, w->code, protected_mode || w->code == CODE_64, 0 };
    struct emu_fault fault = { 0 };
    struct emu_cpu old = cpu;
    bool repeats = insn->rep || insn->repne;
    int status;

    for (unsigned i = 0; i < GPR_COUNT; i++)
        before[i] = gpr[i] = next(w) & 1 ? next(w) % MEMORY : next(w);
    status = emulate(insn, &cpu, &memory, &fault);
    CHECK(w->accesses <= 2 * EMU_REP_MAX + 2);
    CHECK((status == -ENOSYS) == (insn->op > OP_POP));
    if (status == 0) {
        uint64_t end = old.rip + insn->length;

        if (w->code != CODE_64)
            end = (uint32_t)end;
        CHECK(cpu.rip == end || cpu.rip == old.rip);
        return;
    }
    CHECK(status == -EFAULT || status == -EIO || status == -ENOSYS);
    CHECK(cpu.rip == old.rip);
    if (!repeats) {
        CHECK(memcmp(gpr, before, sizeof(gpr)) == 0);
        CHECK(cpu.rflags == old.rflags);
    }
    if (status == -EFAULT)
        CHECK(fault.vector >= 12 && fault.vector <= 14);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world w;
    static struct decode_cache cache;
    const struct insn *cached;
    enum code_size code;
    struct insn insn, again;
    int status;

    if (size < 2)
        return 0;
    code = (enum code_size)(data[0] % 3);
    w = (struct world){ .random = data[1] * UINT64_C(0x9e3779b97f4a7c15),
                        .code = code,
                        .mapped = data[0] & 0x40 };
    status = decode(data + 2, size - 2, code, &insn);
    CHECK(decode_cached(&cache, data + 2, size - 2, code, &cached) == status);
    if (status != 0) {
        CHECK(status == -EAGAIN || status == -EINVAL || status == -ENOSYS);
        CHECK(status != -EAGAIN || size - 2 < INSN_MAX);
        return 0;
    }
    check_insn(&insn, size - 2);
    CHECK(same(cached, &insn));
    /* What follows the instruction does not matter, and every byte of it does. */
    CHECK(decode(data + 2, insn.length, code, &again) == 0 && same(&insn, &again));
    CHECK(decode(data + 2, insn.length - 1u, code, &again) == -EAGAIN);
    for (unsigned i = 0; i < MEMORY; i += 8) {
        uint64_t word = next(&w);

        memcpy(w.bytes + i, &word, 8);
    }
    execute(&insn, &w, data[0] & 0x80);
    return 0;
}
