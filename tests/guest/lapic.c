/* The local APIC in xAPIC mode, by its registers in memory. */
#include "lib/apic.h"

static void test_identity(void)
{
    uint64_t base = rdmsr(MSR_APIC_BASE);
    uint32_t version = apic_read(APIC_VERSION);

    check_equal("APIC base: address", base & ~UINT64_C(0xfff), APIC_BASE_ADDRESS);
    check_equal("APIC base: enabled, boot CPU, not x2APIC", base & 0xfff, APIC_BASE_ENABLE | APIC_BASE_BSP);
    check_equal("ID is CPUID's initial APIC ID", apic_id(), cpuid(1, 0).ebx >> 24);
    check_range("version of an integrated APIC", version & 0xff, 0x10, 0x1f);
    check_range("highest LVT entry", version >> 16 & 0xff, 3, 7);
    apic_write(APIC_VERSION, 0);
    check_equal("version is read-only", apic_read(APIC_VERSION), version);
}

static void test_logical(void)
{
    apic_write(APIC_DFR, 0xffffffff);
    apic_write(APIC_LDR, 0x5a000000);
    check_equal("LDR reads back its top byte", apic_read(APIC_LDR), 0x5a000000);
    check_equal("DFR: flat model", apic_read(APIC_DFR), 0xffffffff);
    apic_write(APIC_DFR, 0x0fffffff);
    check_equal("DFR: cluster model", apic_read(APIC_DFR), 0x0fffffff);
    apic_write(APIC_DFR, 0xffffffff);
    apic_write(APIC_LDR, 0x01000000);
}

static void test_spiv(void)
{
    apic_write(APIC_SPIV, SPIV_ENABLE | 0xef);
    check_equal("SPIV reads back", apic_read(APIC_SPIV) & 0x1ff, SPIV_ENABLE | 0xef);
    apic_write(APIC_SPIV, SPIV_ENABLE | SPURIOUS_VECTOR);
}

static void test_errors(void)
{
    trap_set(0x71, apic_handler);
    trap_set(0x05, apic_handler); /* QEMU delivers even that */
    apic_write(APIC_ESR, 0);
    apic_write(APIC_ESR, 0);
    check_equal("ESR is clear", apic_read(APIC_ESR), 0);
    apic_write(APIC_LVT_ERROR, 0x71);
    sti();
    apic_self(0x05);
    qemu_differs();
    check("an illegal vector raises the error interrupt", wait_count(&trap_count[0x71], 1, 100));
    cli();
    apic_write(APIC_ESR, 0);
    qemu_differs();
    check("ESR: illegal vector", apic_read(APIC_ESR) & 0x60);
    apic_write(APIC_ESR, 0);
    check_equal("the next write clears it", apic_read(APIC_ESR), 0);
    apic_write(APIC_LVT_ERROR, LVT_MASKED);
    trap_set(0x05, NULL);
}

static void test_lvt(void)
{
    apic_write(APIC_LVT_LINT0, 0xffffffff);
    qemu_differs();
    check_equal("LVT LINT0: delivery status is read-only", apic_read(APIC_LVT_LINT0) & LVT_PENDING, 0);
    apic_write(APIC_LVT_LINT0, LVT_MASKED | 0x700);
    check_equal("LVT LINT0: ExtINT", apic_read(APIC_LVT_LINT0), LVT_MASKED | 0x700);
    apic_write(APIC_ICR_HIGH, 0x7f000000);
    check_equal("ICR high reads back", apic_read(APIC_ICR_HIGH) & 0xff000000, 0x7f000000);
    apic_write(APIC_DIVIDE, 0xffffffff);
    qemu_differs();
    check_equal("divide configuration: bits 0, 1 and 3", apic_read(APIC_DIVIDE), 0xb);
}

/* The 8259's output through LINT0 as ExtINT: how a PC starts. */
static void test_extint(void)
{
    apic_init();
    trap_set(PIC_BASE, pic_handler);
    apic_write(APIC_LVT_LINT0, 0x700);
    pit_program(0, 2, 1193);
    pic_unmask(0);
    sti();
    check("LINT0 as ExtINT: 8259 interrupts come", wait_count(&trap_count[PIC_BASE], 3, 500));
    cli();
    check("and leave the ISR alone", !apic_bit(APIC_ISR, PIC_BASE));
    apic_write(APIC_LVT_LINT0, LVT_MASKED);
    trap_set(PIC_BASE, pic_handler);
    sti();
    delay_us(5000);
    cli();
    check_equal("LINT0 masked: they do not", trap_count[PIC_BASE], 0);
    pit_program(0, 0, 0);
    pic_mask(0);
}

void guest_main(void)
{
    pic_init();
    tsc_khz();
    test_identity();
    test_logical();
    test_spiv();
    test_lvt();
    test_errors();
    apic_common_tests();
    test_extint();
}
