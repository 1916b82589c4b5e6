/* vmx/intel/controls.c: what Plinth asks of a CPU's VMX controls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "vmx/intel/controls.h"
#include "vmx/intel/vmcs.h"

/* As a current CPU says it: the default-1 bits of the old MSRs but CR3 exiting must be 1; anything may be 1.
 */
static const struct vmx_capabilities full = {
    .control = { [CONTROL_PIN] = UINT64_C(0xffffffff00000016),
                 [CONTROL_PRIMARY] = UINT64_C(0xffffffff04006172),
                 [CONTROL_SECONDARY] = UINT64_C(0xffffffff00000000),
                 [CONTROL_EXIT] = UINT64_C(0xffffffff00036dfb),
                 [CONTROL_ENTRY] = UINT64_C(0xffffffff000011fb) },
};

static struct vmx_controls out;
static char why[80];

static struct vmx_capabilities lacking(enum vmx_control which, uint64_t bit)
{
    struct vmx_capabilities cap = full;

    cap.control[which] &= ~(bit << 32);
    return cap;
}

static void assert_missing(enum vmx_control which, uint64_t bit, const char *name)
{
    struct vmx_capabilities cap = lacking(which, bit);

    assert_int_not_equal(controls_compute(&cap, 0, &out, why, sizeof(why)), 0);
    assert_non_null(strstr(why, name));
}

static void test_all_there(void **state)
{
    (void)state;
    assert_int_equal(controls_compute(&full, 0, &out, why, sizeof(why)), 0);
    assert_int_equal(out.value[CONTROL_PIN],
                     0x16 | PIN_INTERRUPT_EXITING | PIN_NMI_EXITING | PIN_VIRTUAL_NMIS);
    assert_int_equal(out.optional[CONTROL_PIN], PIN_PREEMPTION_TIMER);
    assert_true(out.value[CONTROL_PRIMARY] & PRIMARY_TPR_SHADOW);
    assert_false(out.value[CONTROL_PRIMARY] &
                 (PRIMARY_CR3_LOAD | PRIMARY_CR3_STORE | PRIMARY_INTERRUPT_WINDOW));
    assert_int_equal(out.value[CONTROL_SECONDARY], SECONDARY_EPT | SECONDARY_UNRESTRICTED | SECONDARY_RDTSCP |
                                                       SECONDARY_WBINVD_EXITING | SECONDARY_VPID |
                                                          SECONDARY_PAUSE_LOOP);
    assert_int_equal(out.optional[CONTROL_SECONDARY], SECONDARY_APIC_ACCESSES | SECONDARY_X2APIC |
                                                          SECONDARY_APIC_REGISTERS |
                                                          SECONDARY_VIRTUAL_INTERRUPTS);
    assert_int_equal(out.optional[CONTROL_ENTRY], ENTRY_IA32E);
}

static void test_required_is_named(void **state)
{
    (void)state;
    assert_missing(CONTROL_PIN, PIN_VIRTUAL_NMIS, "virtual NMIs");
    assert_missing(CONTROL_PRIMARY, PRIMARY_SECONDARY, "secondary controls");
    assert_missing(CONTROL_PRIMARY, PRIMARY_NMI_WINDOW, "NMI-window exiting");
    assert_missing(CONTROL_SECONDARY, SECONDARY_UNRESTRICTED, "unrestricted guest");
    assert_missing(CONTROL_EXIT, EXIT_ACKNOWLEDGE_INTERRUPT, "acknowledge interrupt");
    assert_missing(CONTROL_ENTRY, ENTRY_LOAD_EFER, "IA32_EFER on entry");
}

static void test_wanted_may_lack(void **state)
{
    struct vmx_capabilities cap = lacking(CONTROL_SECONDARY, SECONDARY_VPID | SECONDARY_VIRTUAL_INTERRUPTS);

    (void)state;
    cap.control[CONTROL_PRIMARY] &= ~((uint64_t)PRIMARY_TPR_SHADOW << 32);
    assert_int_equal(controls_compute(&cap, 0, &out, why, sizeof(why)), 0);
    assert_false(out.value[CONTROL_SECONDARY] & SECONDARY_VPID);
    assert_false(out.optional[CONTROL_SECONDARY] & SECONDARY_VIRTUAL_INTERRUPTS);
    assert_false(out.value[CONTROL_PRIMARY] & PRIMARY_TPR_SHADOW);
}

/* A CPU without the "true" MSRs, or with stuck bits, would exit on each CR3 access. */
static void test_stuck_bit_is_named(void **state)
{
    struct vmx_capabilities cap = full;

    (void)state;
    cap.control[CONTROL_PRIMARY] |= PRIMARY_CR3_LOAD;
    assert_int_not_equal(controls_compute(&cap, 0, &out, why, sizeof(why)), 0);
    assert_non_null(strstr(why, "CR3-load exiting"));
}

static void test_command_line_takes_away(void **state)
{
    (void)state;
    assert_int_equal(controls_compute(&full, VMX_WITHOUT_APICV, &out, why, sizeof(why)), 0);
    assert_int_equal(out.optional[CONTROL_SECONDARY], 0);
    assert_true(out.value[CONTROL_PRIMARY] & PRIMARY_TPR_SHADOW);
    assert_int_equal(
        controls_compute(&full, VMX_WITHOUT_TPR_SHADOW | VMX_WITHOUT_TIMER, &out, why, sizeof(why)), 0);
    assert_false(out.value[CONTROL_PRIMARY] & PRIMARY_TPR_SHADOW);
    assert_int_equal(out.optional[CONTROL_PIN], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_there),
        cmocka_unit_test(test_required_is_named),
        cmocka_unit_test(test_wanted_may_lack),
        cmocka_unit_test(test_stuck_bit_is_named),
        cmocka_unit_test(test_command_line_takes_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
