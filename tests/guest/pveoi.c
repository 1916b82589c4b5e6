/* Paravirtual end of interrupt by a word in memory. Source: Linux, Documentation/virt/kvm/x86/msr.rst
 * (MSR_KVM_EOI_EN) and cpuid.rst. */
#include "lib/apic.h"

#define KVM_FEATURE_PV_EOI BIT(6)
#define MSR_KVM_EOI_EN     0x4b564d04u
#define ENABLE             1u
#define VECTOR             0x61
#define HIGHER             0x91

static volatile uint32_t word __attribute__((aligned(4)));
static volatile unsigned promised, ended_early;
static volatile bool send_behind, use_register;

static void handler(struct frame *frame)
{
    (void)frame;
    promised += word & 1;
    if (send_behind) { /* of the same class: it has to wait for the end of this one */
        send_behind = false;
        apic_self(VECTOR);
        ended_early += trap_count[VECTOR] != 1;
    }
    if (!use_register && (word & 1))
        word = 0;
    else
        apic_write(APIC_EOI, 0);
}

static void reset_counts(void)
{
    trap_set(VECTOR, handler);
    trap_set(HIGHER, handler);
    promised = ended_early = 0;
    use_register = false;
    word = 0;
}

static void test_msr(void)
{
    check_equal("the MSR is 0 at first", rdmsr(MSR_KVM_EOI_EN), 0);
    check("not aligned to 4 bytes: #GP", !wrmsr_safe(MSR_KVM_EOI_EN, ((uintptr_t)&word + 2) | ENABLE));
    check("no RAM there: #GP", !wrmsr_safe(MSR_KVM_EOI_EN, UINT64_C(0xfee00000) | ENABLE));
    check("nor there: #GP", !wrmsr_safe(MSR_KVM_EOI_EN, UINT64_C(0xfffffffffffffffc) | ENABLE));
    check_equal("and nothing changed", rdmsr(MSR_KVM_EOI_EN), 0);
    check("a word in RAM", wrmsr_safe(MSR_KVM_EOI_EN, (uintptr_t)&word | ENABLE));
    check_equal("and reads back", rdmsr(MSR_KVM_EOI_EN), (uintptr_t)&word | ENABLE);
}

static void test_promise(void)
{
    reset_counts();
    sti();
    for (unsigned i = 0; i < 100; i++)
        apic_self(VECTOR);
    check("100 interrupts, ended by the word", wait_count(&trap_count[VECTOR], 100, 100));
    check_equal("each was promised", promised, 100);
    check("nothing is in service", !apic_bit(APIC_ISR, VECTOR));
    check_equal("nor does the priority say so", apic_read(APIC_PPR), 0);
    reset_counts();
    use_register = true;
    apic_self(VECTOR);
    apic_self(VECTOR);
    check("by the register although it was promised", wait_count(&trap_count[VECTOR], 2, 100));
    check("nothing is in service then", !apic_bit(APIC_ISR, VECTOR));
    cli();
}

static void test_behind(void)
{
    reset_counts();
    sti();
    send_behind = true;
    apic_self(VECTOR);
    check("one that waits comes at the end", wait_count(&trap_count[VECTOR], 2, 100));
    check_equal("and not before", ended_early, 0);
    cli();
    reset_counts();
    apic_self(VECTOR);
    apic_self(HIGHER);
    sti();
    check("two at once: the higher", wait_count(&trap_count[HIGHER], 1, 100));
    check("and the lower", wait_count(&trap_count[VECTOR], 1, 100));
    check_equal("only the last was promised", promised, 1);
    cli();
}

static void test_off(void)
{
    check("switched off", wrmsr_safe(MSR_KVM_EOI_EN, 0));
    reset_counts();
    sti();
    apic_self(VECTOR);
    check("an interrupt comes", wait_count(&trap_count[VECTOR], 1, 100));
    check_equal("and is not promised", promised, 0);
    check("it was ended by the register", !apic_bit(APIC_ISR, VECTOR));
    cli();
}

void guest_main(void)
{
    uint64_t value;

    tsc_khz();
    if (!(cpuid(0x40000001, 0).eax & KVM_FEATURE_PV_EOI)) {
        check("not offered: the MSR cannot be read", !rdmsr_safe(MSR_KVM_EOI_EN, &value));
        check("nor written", !wrmsr_safe(MSR_KVM_EOI_EN, (uintptr_t)&word | ENABLE));
        return;
    }
    apic_init();
    test_msr();
    test_promise();
    test_behind();
    test_off();
}
