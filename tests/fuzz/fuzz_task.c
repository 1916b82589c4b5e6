/*
 * Task switches with hostile TSSs and descriptors. Input: eight bytes of request and state, then memory. What
 * comes out is either the old task untouched, or a new one that a VM entry would accept; nothing else than
 * the tables and the stack is touched.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "lib/errno.h"
#include "vmx/task.h"

#define BYTES  0x800u /* of memory, from linear 0 on; what is beyond faults */
#define HEADER 8u

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t bytes[BYTES], before[BYTES];
static unsigned accesses;
static unsigned fault_at; /* the access that finds its page gone, as another CPU can do it; 0: none */
static bool lost;         /* ... and did */

static int reach(gva_t at, unsigned size, uint8_t **out, struct emu_fault *fault)
{
    CHECK(at.raw <= UINT32_MAX && size <= 0x68);
    accesses++;
    CHECK(accesses < 200);
    if (accesses == fault_at)
        lost = true;
    if (accesses == fault_at || at.raw + size > BYTES) {
        *fault = (struct emu_fault){ 14, true, 0, at.raw };
        return -EFAULT;
    }
    *out = bytes + at.raw;
    return 0;
}

static int do_read(void *context, gva_t at, unsigned size, uint64_t *value, struct emu_fault *fault)
{
    uint8_t *from;
    int err = reach(at, size, &from, fault);

    (void)context;
    if (err)
        return err;
    *value = 0;
    memcpy(value, from, size);
    return 0;
}

static int do_write(void *context, gva_t at, unsigned size, uint64_t value, struct emu_fault *fault)
{
    uint8_t *to;
    int err = reach(at, size, &to, fault);

    (void)context;
    CHECK(size == 8 || value < BIT(8 * size));
    if (!err)
        memcpy(to, &value, size);
    return err;
}

static int do_mark(void *context, gva_t at, uint8_t clear, uint8_t set, struct emu_fault *fault)
{
    uint8_t *to;
    int err = reach(at, 1, &to, fault);

    (void)context;
    if (!err)
        *to = (uint8_t)((*to & ~clear) | set);
    return err;
}

static int do_probe(void *context, gva_t at, unsigned size, struct emu_fault *fault)
{
    uint8_t *to;

    (void)context;
    return reach(at, size, &to, fault);
}

static int do_push(void *context, const struct task_cpu *cpu, gva_t at, unsigned size, uint64_t value,
                   struct emu_fault *fault)
{
    CHECK(cpu->system.segment[SEG_SS].attributes & SEG_ATTR_P);
    return do_write(context, at, size, value, fault);
}

static int do_cr3(void *context, uint64_t value, bool load, struct emu_fault *fault)
{
    (void)context;
    (void)load;
    CHECK(value <= UINT32_MAX);
    if ((value & 0xff) == 0xbd) {
        *fault = (struct emu_fault){ 13, true, 0, 0 };
        return -EFAULT;
    }
    return 0;
}

/* Intel SDM vol. 3, 27.3.1.2 to 27.3.1.4. */
static void check_segment(const struct task_cpu *cpu, unsigned seg)
{
    const struct vcpu_segment *s = &cpu->system.segment[seg];
    unsigned type = s->attributes & SEG_ATTR_TYPE, dpl = s->attributes >> 5 & 3, cpl = task_cpl(&cpu->system);

    CHECK(s->base <= UINT32_MAX);
    if (cpu->rflags & BIT(17)) {
        CHECK(s->attributes == 0xf3 && s->limit == 0xffff && s->base == (uint32_t)s->selector << 4);
        return;
    }
    if (seg != SEG_CS && !(s->attributes & SEG_ATTR_P))
        return;
    CHECK((s->attributes & SEG_ATTR_P) && (s->attributes & SEG_ATTR_S) && (type & 1));
    CHECK(!(s->limit & 0xfff00000) || (s->attributes & SEG_ATTR_G));
    CHECK(!(~s->limit & 0xfff) || !(s->attributes & SEG_ATTR_G));
    if (seg == SEG_CS)
        CHECK(type >= 8 && (type & 4 ? dpl <= cpl : dpl == cpl) && (s->selector & 3) == cpl);
    else if (seg == SEG_SS)
        CHECK((type == 3 || type == 7) && dpl == cpl);
    else
        CHECK(!(type & 8) || (type & 2));
}

static void check_new(const struct task_cpu *cpu, const struct task_request *request)
{
    for (unsigned i = 0; i < SEG_COUNT; i++)
        check_segment(cpu, i);
    CHECK(cpu->system.tr.selector == request->selector);
    CHECK((cpu->system.tr.attributes & 0x97) == 0x83);
    CHECK(!(cpu->system.ldtr.attributes & SEG_ATTR_P) || (cpu->system.ldtr.attributes & 0x9f) == 0x82);
    CHECK((cpu->rflags & ~UINT64_C(0x3f7fd5)) == 2);
    CHECK(cpu->rip <= UINT32_MAX && (cpu->system.cr0 & 8) && !(cpu->system.dr7 & 0x55));
}

static void make_cpu(struct task_cpu *cpu, const uint8_t *data)
{
    memset(cpu, 0, sizeof(*cpu));
    for (unsigned i = 0; i < GPR_COUNT; i++)
        cpu->gpr[i] = UINT64_C(0x0101010101010101) * i;
    cpu->system.tr = (struct vcpu_segment){ 0x18, data[2] & 1 ? 0x8b : 0x83, data[3], data[4] * 8u };
    cpu->system.gdtr.limit = (uint16_t)(data[5] * 4u);
    cpu->system.cr0 = (data[2] & 2 ? BIT(31) : 0) | 1;
    cpu->system.dr7 = 0x755;
    cpu->rip = 0xfffffffe;
    cpu->rflags = 0x4002;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct task_memory memory = { do_read, do_write, do_mark, do_probe, do_push, do_cr3, NULL };
    struct task_request request;
    struct task_cpu cpu, old;
    struct emu_fault fault = { 0 };
    int status;

    if (size <= HEADER)
        return 0;
    request = (struct task_request){ .selector = (uint16_t)(data[0] | (data[1] & 4) << 8),
                                     .source = data[1] & 3,
                                     .length = data[6] & 7,
                                     .has_error = data[6] & 8,
                                     .error = 0x12345678 };
    memset(bytes, 0, BYTES);
    memcpy(bytes, data + HEADER, min_u64(size - HEADER, BYTES));
    memcpy(before, bytes, BYTES);
    make_cpu(&cpu, data);
    old = cpu;
    fault_at = data[7];
    accesses = 0;
    lost = false;
    status = task_switch(&request, &cpu, &memory, &fault);
    CHECK(status == 0 || status == -EFAULT);
    if (cpu.entered) {
        check_new(&cpu, &request);
    } else {
        CHECK(status == -EFAULT && memcmp(&cpu, &old, sizeof(cpu)) == 0);
        CHECK(lost || memcmp(bytes, before, BYTES) == 0);
    }
    if (status)
        CHECK(fault.has_error && fault.vector >= 10 && fault.vector <= 14);
    else
        CHECK(cpu.rip <= cpu.system.segment[SEG_CS].limit);
    return 0;
}
