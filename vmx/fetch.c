#include "vmx/fetch.h"
#include "vmx/device.h"
#include "lib/errno.h"
#include "lib/string.h"

/* Linear address of the instruction at RIP. */
static inline gva_t insn_linear(const struct vcpu *vcpu, enum code_size code)
{
    struct emu_segment cs;

    if (likely(code == CODE_64))
        return gva(vcpu->rip);
    vmx_ops->segment(vcpu, SEG_CS, &cs);
    return gva((uint32_t)(cs.base + vcpu->rip));
}

/* Host address of the byte at `linear`, which can be executed; NULL with *fault, or where there is no RAM
 * with #UD. */
static inline const uint8_t *code_pointer(struct vcpu *vcpu, gva_t linear, struct emu_fault *fault)
{
    const uint8_t *host;
    struct gva_mode mode;
    uint32_t error;
    gpa_t at;

    vmx_ops->paging(vcpu, &mode);
    if (gva_translate_memo(&vcpu->vm->mem, &mode, linear, GVA_FETCH, &vcpu->fetch_memo, &at, &error)) {
        *fault = (struct emu_fault){
            .vector = VECTOR_PF, .has_error = true, .error = error, .cr2 = linear.raw
        };
        return NULL;
    }
    host = gmem_ptr(&vcpu->vm->mem, at, 1);
    if (!host)
        *fault = (struct emu_fault){ .vector = VECTOR_UD };
    return host;
}

/* The part of fetch_bytes() for an instruction that may lie in two pages. */
static int fetch_split(struct vcpu *vcpu, gva_t linear, const uint8_t *host, uint8_t *to, size_t size,
                       struct emu_fault *fault)
{
    size_t first = min_u64(size, PAGE_SIZE - (linear.raw & PAGE_MASK));

    memcpy(to, host, first);
    if (first == size)
        return (int)size;
    host = code_pointer(vcpu, gva(linear.raw + first), fault);
    if (!host)
        return (int)first;
    memcpy(to + first, host, size - first);
    return (int)size;
}

int fetch_bytes(struct vcpu *vcpu, uint8_t *to, size_t size, struct emu_fault *fault)
{
    gva_t linear = insn_linear(vcpu, vmx_ops->code_size(vcpu));
    const uint8_t *host = code_pointer(vcpu, linear, fault);

    return host ? fetch_split(vcpu, linear, host, to, size, fault) : -EFAULT;
}

int fetch_insn(struct vcpu *vcpu, enum code_size code, const struct insn **out, struct emu_fault *fault)
{
    gva_t linear = insn_linear(vcpu, code);
    const uint8_t *host = code_pointer(vcpu, linear, fault);
    int count = INSN_MAX, err;
    uint8_t bytes[16];

    if (unlikely(!host))
        return -EFAULT;
    /* A copy: another vCPU may be writing there. */
    if (likely((linear.raw & PAGE_MASK) <= PAGE_SIZE - sizeof(bytes)))
        memcpy(bytes, host, sizeof(bytes));
    else
        count = fetch_split(vcpu, linear, host, bytes, INSN_MAX, fault);
    err = decode_cached(&vcpu->decoded, bytes, (size_t)count, code, out);
    if (err == -EAGAIN)
        return -EFAULT; /* *fault is the second page's */
    if (err == -EINVAL) {
        *fault = (struct emu_fault){ .vector = VECTOR_UD };
        return -EFAULT;
    }
    return err;
}

void fetch_raise(struct vcpu *vcpu, const struct emu_fault *fault)
{
    if (fault->vector == VECTOR_PF)
        vcpu_raise_pf(vcpu, fault->cr2, fault->error);
    else
        vcpu_raise(vcpu, fault->vector, fault->has_error, fault->error);
}

/*
 * The length of an instruction that the CPU has just executed up to its exit, so it is there and valid.
 * Remembers its page. A guest that changes the instruction under its own feet gets the length of what is
 * there now.
 */
__cold uint8_t fetch_length_slow(struct vcpu *vcpu, gva_t linear)
{
    struct emu_fault fault;
    const struct insn *insn;
    const uint8_t *host = code_pointer(vcpu, linear, &fault);

    if (!host)
        return 0;
    vcpu->code_page = (struct vcpu_code_page){ .linear = gva(linear.raw & ~PAGE_MASK),
                                               .host = host - (linear.raw & PAGE_MASK) };
    return fetch_insn(vcpu, vmx_ops->code_size(vcpu), &insn, &fault) ? 0 : insn->length;
}

void fetch_cpu(struct vcpu *vcpu, struct emu_cpu *out)
{
    struct gva_mode mode;

    out->gpr = vcpu->gpr;
    out->rip = vcpu->rip;
    out->rflags = vcpu->rflags;
    out->code = vmx_ops->code_size(vcpu);
    out->protected_mode = true;
    out->cpl = 0;
    if (unlikely(out->code != CODE_64)) {
        vmx_ops->paging(vcpu, &mode);
        out->protected_mode = mode.cr0 & 1;
        out->cpl = mode.cpl;
    }
}

/* One piece of an access: inside one page. */
struct piece {
    gpa_t at;
    uint8_t *ram; /* NULL: a device's */
};

static int translate(struct vcpu *vcpu, gva_t at, unsigned size, unsigned access, struct piece *out,
                     struct emu_fault *fault)
{
    struct gva_mode mode;
    uint32_t error;

    /* The CPU has just walked the tables for this very access, and checked the rights. */
    if (likely(vcpu->fault_known && !((at.raw ^ vcpu->exit.memory.at.raw) & PAGE_MASK) &&
               (!(access & GVA_WRITE) || vcpu->exit.memory.write))) {
        *out = (struct piece){ .at = vcpu->exit.memory.at };
        return 0;
    }
    vmx_ops->paging(vcpu, &mode);
    if (gva_translate(&vcpu->vm->mem, &mode, at, access, &out->at, &error)) {
        *fault = (struct emu_fault){ .vector = VECTOR_PF, .has_error = true, .error = error, .cr2 = at.raw };
        return -EFAULT;
    }
    out->ram = gmem_ptr(&vcpu->vm->mem, out->at, size);
    return 0;
}

static unsigned bytes_in_page(gva_t at, unsigned size)
{
    return (unsigned)min_u64(size, PAGE_SIZE - (at.raw & PAGE_MASK));
}

static uint64_t piece_read(struct vcpu *vcpu, const struct piece *piece, unsigned size)
{
    uint64_t value = 0;

    if (piece->ram)
        memcpy(&value, piece->ram, size);
    else if (size & (size - 1))
        for (unsigned i = 0; i < size; i++)
            value |= mmio_read(vcpu, piece->at.raw + i, 1) << (8 * i);
    else
        value = mmio_read(vcpu, piece->at.raw, size);
    return value;
}

static void piece_write(struct vcpu *vcpu, const struct piece *piece, unsigned size, uint64_t value)
{
    if (piece->ram)
        memcpy(piece->ram, &value, size);
    else if (size & (size - 1))
        for (unsigned i = 0; i < size; i++)
            mmio_write(vcpu, piece->at.raw + i, 1, value >> (8 * i) & 0xff);
    else
        mmio_write(vcpu, piece->at.raw, size, value);
}

static int memory_read(void *context, gva_t at, unsigned size, uint64_t *value, struct emu_fault *fault)
{
    struct vcpu *vcpu = context;
    unsigned first = bytes_in_page(at, size);
    struct piece piece, rest;
    int err = translate(vcpu, at, first, 0, &piece, fault);

    if (err)
        return err;
    if (likely(first == size)) {
        *value = piece_read(vcpu, &piece, size);
        return 0;
    }
    err = translate(vcpu, gva(at.raw + first), size - first, 0, &rest, fault);
    if (err)
        return err;
    *value = piece_read(vcpu, &piece, first) | piece_read(vcpu, &rest, size - first) << (8 * first);
    return 0;
}

int memory_probe(struct vcpu *vcpu, gva_t at, unsigned size, struct emu_fault *fault)
{
    unsigned first = bytes_in_page(at, size);
    struct piece piece;
    int err = translate(vcpu, at, first, GVA_WRITE, &piece, fault);

    if (err || first == size)
        return err;
    return translate(vcpu, gva(at.raw + first), size - first, GVA_WRITE, &piece, fault);
}

static int memory_write(void *context, gva_t at, unsigned size, uint64_t value, struct emu_fault *fault)
{
    struct vcpu *vcpu = context;
    unsigned first = bytes_in_page(at, size);
    struct piece piece, rest;
    int err = translate(vcpu, at, first, GVA_WRITE, &piece, fault);

    if (err)
        return err;
    if (likely(first == size)) {
        piece_write(vcpu, &piece, size, value);
        return 0;
    }
    err = translate(vcpu, gva(at.raw + first), size - first, GVA_WRITE, &rest, fault);
    if (err)
        return err;
    piece_write(vcpu, &piece, first, value);
    piece_write(vcpu, &rest, size - first, value >> (8 * first));
    return 0;
}

/* Not C's atomics, since the guest's address need not be aligned; LOCK works on any (APM vol. 2, 7.3.2). */
#define EXCHANGE(suffix)                                                                                     \
    __asm__ volatile("lock cmpxchg" suffix                                                                   \
                     : "+a"(old), "+m"(*(char(*)[8])ram)                                                     \
                     : "r"(value)                                                                            \
                     : "memory", "c"                                                                         \
                                 "c")

static int ram_exchange(uint8_t *ram, unsigned size, uint64_t *expected, uint64_t value)
{
    uint64_t old = *expected;
    bool same;

    switch (size) {
    case 1:
        EXCHANGE("b %b2, %1");
        break;
    case 2:
        EXCHANGE("w %w2, %1");
        break;
    case 4:
        EXCHANGE("l %k2, %1");
        break;
    default:
        EXCHANGE("q %2, %1");
        break;
    }
    same = old == *expected;
    *expected = old;
    return same ? 0 : -EAGAIN;
}

static int memory_compare_exchange(void *context, gva_t at, unsigned size, uint64_t *expected, uint64_t value,
                                   struct emu_fault *fault)
{
    struct vcpu *vcpu = context;
    struct piece piece;
    int err;

    if (bytes_in_page(at, size) != size)
        return memory_write(context, at, size, value, fault);
    err = translate(vcpu, at, size, GVA_WRITE, &piece, fault);
    if (err)
        return err;
    if (piece.ram)
        return ram_exchange(piece.ram, size, expected, value);
    piece_write(vcpu, &piece, size, value);
    return 0;
}

static void memory_segment(void *context, enum seg seg, struct emu_segment *out)
{
    vmx_ops->segment(context, seg, out);
}

void memory_ops(struct vcpu *vcpu, struct emu_memory *out)
{
    *out = (struct emu_memory){
        .segment = memory_segment,
        .read = memory_read,
        .write = memory_write,
        .compare_exchange = memory_compare_exchange,
        .context = vcpu,
    };
}
