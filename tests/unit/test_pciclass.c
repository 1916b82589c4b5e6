/* Words for PCI class codes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "lib/pciclass.h"

static void classes_have_words(void **state)
{
    (void)state;
    assert_string_equal(pci_class_name(0x02, 0x00), "Ethernet controller");
    assert_string_equal(pci_class_name(0x06, 0x04), "PCI-to-PCI bridge");
    assert_string_equal(pci_class_name(0x01, 0x06), "SATA controller");
}

static void unknown_ones_say_what_is_known(void **state)
{
    (void)state;
    assert_string_equal(pci_class_name(0x02, 0x7f), "network controller");
    assert_string_equal(pci_class_name(0x00, 0x00), "device without a class");
    assert_string_equal(pci_class_name(0xff, 0x00), "unknown class");
    assert_string_equal(pci_class_name(0x14, 0x00), "unknown class");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_have_words),
        cmocka_unit_test(unknown_ones_say_what_is_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
