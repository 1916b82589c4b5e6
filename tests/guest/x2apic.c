/* The local APIC in x2APIC mode: mode changes, what faults, and the tests of xAPIC mode by MSR. Source: Intel
 * SDM vol. 3, 11.12; AMD APM vol. 2, 16.9 to 16.14. */
#include "lib/apic.h"

static void test_modes(void)
{
    uint64_t base = rdmsr(MSR_APIC_BASE), value;

    check("xAPIC mode: x2APIC MSRs fault", !rdmsr_safe(X2APIC_MSR(APIC_ID), &value));
    check("disabled with x2APIC bit: #GP",
          !wrmsr_safe(MSR_APIC_BASE, (base & ~APIC_BASE_ENABLE) | APIC_BASE_X2APIC));
    check("reserved bit: #GP", !wrmsr_safe(MSR_APIC_BASE, base | 1));
    check("address above the CPU's: #GP", !wrmsr_safe(MSR_APIC_BASE, base | BIT(60)));
    check("xAPIC to x2APIC", wrmsr_safe(MSR_APIC_BASE, base | APIC_BASE_X2APIC));
    check_equal("the MSR shows it", rdmsr(MSR_APIC_BASE) & 0xfff,
                APIC_BASE_ENABLE | APIC_BASE_X2APIC | APIC_BASE_BSP);
    check("x2APIC back to xAPIC: #GP", !wrmsr_safe(MSR_APIC_BASE, base));
    check("x2APIC to disabled", wrmsr_safe(MSR_APIC_BASE, base & ~APIC_BASE_ENABLE));
    check_equal("disabled: CPUID shows no APIC", cpuid(1, 0).edx >> 9 & 1, 0);
    check("disabled to x2APIC: #GP", !wrmsr_safe(MSR_APIC_BASE, base | APIC_BASE_X2APIC));
    check("disabled to xAPIC", wrmsr_safe(MSR_APIC_BASE, base));
    check("and on to x2APIC", wrmsr_safe(MSR_APIC_BASE, base | APIC_BASE_X2APIC));
}

static void test_registers(void)
{
    uint64_t value;
    uint32_t id = (uint32_t)rdmsr(X2APIC_MSR(APIC_ID));

    check_equal("ID: 32 bits, as CPUID leaf 0xb says", id, cpuid(0xb, 0).edx);
    check_equal("LDR: made of the ID", rdmsr(X2APIC_MSR(APIC_LDR)), (id >> 4) << 16 | 1u << (id & 15));
    check("ID is read-only: #GP", !wrmsr_safe(X2APIC_MSR(APIC_ID), 0));
    check("LDR is read-only: #GP", !wrmsr_safe(X2APIC_MSR(APIC_LDR), 1));
    check("version is read-only: #GP", !wrmsr_safe(X2APIC_MSR(APIC_VERSION), 0));
    check("PPR is read-only: #GP", !wrmsr_safe(X2APIC_MSR(APIC_PPR), 0));
    check("EOI is write-only: #GP", !rdmsr_safe(X2APIC_MSR(APIC_EOI), &value));
    check("EOI other than 0: #GP", !wrmsr_safe(X2APIC_MSR(APIC_EOI), 1));
    check("DFR is gone: #GP", !rdmsr_safe(X2APIC_MSR(APIC_DFR), &value));
    check("ICR high is gone: #GP", !rdmsr_safe(X2APIC_MSR(APIC_ICR_HIGH), &value));
    check("self-IPI is write-only: #GP", !rdmsr_safe(X2APIC_MSR(X2APIC_SELF), &value));
    check("ESR other than 0: #GP", !wrmsr_safe(X2APIC_MSR(APIC_ESR), 1));
    check("TPR, reserved bits: #GP", !wrmsr_safe(X2APIC_MSR(APIC_TPR), 0x100));
    check("ICR, reserved bit: #GP", !wrmsr_safe(X2APIC_MSR(APIC_ICR), BIT(20)));
    check("LVT timer, reserved bits: #GP", !wrmsr_safe(X2APIC_MSR(APIC_LVT_TIMER), BIT(31)));
    check("divide configuration, reserved bits: #GP", !wrmsr_safe(X2APIC_MSR(APIC_DIVIDE), 0x100));
    check("a register that does not exist: #GP", !rdmsr_safe(0x801, &value));
    check("above the last register: #GP", !rdmsr_safe(0x8ff, &value));
    check("ICR is one register of 64 bits",
          wrmsr_safe(X2APIC_MSR(APIC_ICR), UINT64_C(0x12345678) << 32 | ICR_OTHERS | 0x41));
    check_equal("and reads back", rdmsr(X2APIC_MSR(APIC_ICR)),
                UINT64_C(0x12345678) << 32 | ICR_OTHERS | 0x41);
}

static void test_self_register(void)
{
    trap_set(0x81, apic_handler);
    sti();
    wrmsr(X2APIC_MSR(X2APIC_SELF), 0x81);
    check("self-IPI register", wait_count(&trap_count[0x81], 1, 100));
    cli();
}

/* The registers in memory are gone in this mode: the page reads like a hole, and must not end the guest. */
static void test_memory(void)
{
    uint32_t before = apic_read(APIC_TPR);

    mmio_write32(APIC_BASE_ADDRESS + APIC_TPR, before ^ 0xf0);
    check_equal("a write to the old registers in memory does nothing", apic_read(APIC_TPR), before);
}

void guest_main(void)
{
    if (!(cpuid(1, 0).ecx >> 21 & 1)) {
        qemu_differs();
        fail("CPUID offers x2APIC", "CPUID 1 ECX bit 21 is clear");
        return;
    }
    tsc_khz();
    test_modes();
    apic_x2 = true;
    apic_init();
    test_registers();
    test_self_register();
    test_memory();
    apic_common_tests();
}
