/* The scan of the PCI buses, on a configuration space of this test's own. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "drivers/pci.h"
#include "lib/errno.h"

#define FUNCTIONS 4
#define WORDS     64

/* config[] is what is read; only bits of writable[] change. Reading a BAR while it is decoded is noted. */
static struct function {
    struct pci_address at;
    uint32_t config[WORDS], writable[WORDS];
} functions[FUNCTIONS];
static unsigned writes_while_decoding, reads;

static struct function *find(struct pci_address at)
{
    for (unsigned i = 0; i < FUNCTIONS; i++)
        if (functions[i].config[0] && memcmp(&functions[i].at, &at, sizeof(at)) == 0)
            return &functions[i];
    return NULL;
}

uint32_t pci_read(struct pci_address at, unsigned offset)
{
    struct function *f = find(at);

    assert_true(offset < 256 && offset % 4 == 0);
    reads++;
    return f ? f->config[offset / 4] : 0xffffffff;
}

void pci_write(struct pci_address at, unsigned offset, uint32_t value)
{
    struct function *f = find(at);
    unsigned i = offset / 4;

    assert_true(offset < 256 && offset % 4 == 0);
    assert_non_null(f);
    if (offset >= PCI_BAR(0) && offset < PCI_BAR(PCI_BARS) && (f->config[1] & 3))
        writes_while_decoding++;
    f->config[i] = (f->config[i] & ~f->writable[i]) | (value & f->writable[i]);
}

static struct function *add(unsigned i, struct pci_address at, uint32_t id, uint32_t class)
{
    struct function *f = &functions[i];

    f->at = at;
    f->config[0] = id;
    f->config[1] = PCI_COMMAND_IO | PCI_COMMAND_MEMORY;
    f->writable[1] = 0x407;
    f->config[2] = class;
    return f;
}

static int setup(void **state)
{
    (void)state;
    memset(functions, 0, sizeof(functions));
    writes_while_decoding = 0;
    return 0;
}

static struct pci_device device_of(const struct function *f)
{
    struct pci_device device;

    assert_true(pci_identify(&device, f->at));
    return device;
}

static void bars_are_measured(void **state)
{
    struct function *f = add(0, (struct pci_address){ 0, 3, 0 }, 0x56781234, 0x01080203);
    struct pci_device device;
    struct pci_bar bar;

    (void)state;
    f->config[4] = 0xfebf0004; /* 64 bits, 16 KiB, at 0x7febf0000 */
    f->writable[4] = 0xffffc000;
    f->config[5] = 7;
    f->writable[5] = 0xffffffff;
    f->config[6] = 0xc041; /* 32 ports; the upper half is fixed */
    f->writable[6] = 0xffe0;
    f->config[7] = 0xfe000008; /* 16 MiB, prefetchable */
    f->writable[7] = 0xff000000;
    f->config[8] = 0x0000000c; /* 64 bits, 8 GiB at 32 GiB: nothing in the low half but the type */
    f->config[9] = 8;
    f->writable[9] = 0xfffffffe;
    device = device_of(f);
    assert_int_equal(device.vendor, 0x1234);
    assert_int_equal(device.device, 0x5678);
    assert_int_equal(device.class, 0x0108);
    assert_int_equal(device.interface, 2);
    assert_int_equal(device.revision, 3);
    bar = pci_bar(&device, 0);
    assert_true(bar.base == UINT64_C(0x7febf0000) && bar.size == 0x4000 && !bar.io && !bar.prefetchable);
    bar = pci_bar(&device, 2);
    assert_true(bar.base == 0xc040 && bar.size == 32 && bar.io);
    bar = pci_bar(&device, 3);
    assert_true(bar.base == 0xfe000000 && bar.size == 0x1000000 && bar.prefetchable);
    bar = pci_bar(&device, 4);
    assert_true(bar.base == 8 * (UINT64_C(4) << 30) && bar.size == UINT64_C(8) << 30);
    assert_int_equal(writes_while_decoding, 0);
    assert_int_equal(f->config[1] & 3, 3);
    assert_int_equal(f->config[4], 0xfebf0004); /* each is what it was */
    assert_int_equal(f->config[5], 7);
    assert_int_equal(f->config[6], 0xc041);
}

static void bars_that_cannot_be(void **state)
{
    static const struct {
        uint32_t value, writable;
    } rows[] = {
        { 0, 0xfffff000 },         /* no place */
        { 0, 0 },                  /* not there */
        { 0x1000, 0 },             /* of no size */
        { 0x10000, 0x00fff000 },   /* bits that are no size */
        { 0x1001000, 0xff000000 }, /* not aligned */
        { 0x1c041, 0 },            /* ports beyond the last */
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct function *f = add(0, (struct pci_address){ 0, 3, 0 }, 0x56781234, 0);
        struct pci_device device = device_of(f);

        f->config[4] = rows[i].value;
        f->writable[4] = rows[i].writable;
        assert_int_equal(pci_bar(&device, 0).size, 0);
    }
    add(0, (struct pci_address){ 0, 3, 0 }, 0x56781234, 0);
    functions[0].config[9] = 0xfe000004; /* the last BAR has no upper half */
    functions[0].writable[9] = 0xfff00000;
    {
        struct pci_device device = device_of(&functions[0]);

        assert_int_equal(pci_bar(&device, 5).size, 0x100000);
        assert_int_equal(pci_bar(&device, 6).size, 0);
    }
}

static void capabilities_are_found(void **state)
{
    struct function *f = add(0, (struct pci_address){ 1, 31, 7 }, 0x56781234, 0);
    struct pci_device device;

    (void)state;
    f->config[PCI_CAPS / 4] = 0x42; /* reserved bits are ignored */
    f->config[0x40 / 4] = 0x6009;
    f->config[0x60 / 4] = 0x5009;
    f->config[0x50 / 4] = 0x7011;
    f->config[0x70 / 4] = 0x0005;
    device = device_of(f);
    assert_int_equal(device.msix, 0); /* the status bit says that there is no list */
    f->config[1] |= PCI_STATUS_CAPS;
    device = device_of(f);
    assert_int_equal(device.msix, 0x50);
    assert_int_equal(device.msi, 0x70);
    assert_int_equal(pci_capability(&device, PCI_CAP_VENDOR, 0), 0x40);
    assert_int_equal(pci_capability(&device, PCI_CAP_VENDOR, 0x40), 0x60);
    assert_int_equal(pci_capability(&device, PCI_CAP_VENDOR, 0x60), 0);
    assert_int_equal(pci_capability(&device, PCI_CAP_EXPRESS, 0), 0);
}

static void capabilities_that_never_end(void **state)
{
    struct function *f = add(0, (struct pci_address){ 0, 1, 0 }, 0x56781234, 0);
    struct pci_device device;

    (void)state;
    f->config[1] |= PCI_STATUS_CAPS;
    f->config[PCI_CAPS / 4] = 0x40;
    f->config[0x40 / 4] = 0x4009; /* its own successor */
    reads = 0;
    device = device_of(f);
    assert_int_equal(device.msi, 0);
    assert_true(reads < 200);
    f->config[0x40 / 4] = 0x1009; /* into the header */
    assert_int_equal(pci_capability(&device, PCI_CAP_MSI, 0), 0);
}

static unsigned offered[3];
static struct pci_address last;
static int verdict;

static int probe_class(struct pci_device *device)
{
    offered[0]++;
    last = device->at;
    return verdict;
}

static int probe_id(struct pci_device *device)
{
    offered[1]++;
    last = device->at;
    return 0;
}

static const struct pci_driver by_class = { .name = "class",
                                            .by_class = true,
                                            .class = 0x0106,
                                            .interface = 1,
                                            .interface_mask = 0xff,
                                            .probe = probe_class };
static const struct pci_driver by_id = {
    .name = "id", .vendor = 0x1af4, .device = 0x1042, .probe = probe_id
};
static const struct pci_driver *const drivers[] = { &by_class, &by_id };

static void drivers_get_what_is_theirs(void **state)
{
    (void)state;
    add(0, (struct pci_address){ 0, 31, 0 }, 0x11118086, 0x06010000)->config[3] = 0x00800000; /* several */
    add(1, (struct pci_address){ 0, 31, 2 }, 0x22228086, 0x01060100);
    add(2, (struct pci_address){ 5, 0, 0 }, 0x10421af4, 0x01000000);
    add(3, (struct pci_address){ 5, 0, 1 }, 0x10421af4, 0x01000000); /* of a slot that has one function */
    memset(offered, 0, sizeof(offered));
    verdict = 0;
    pci_probe(drivers, 2);
    assert_int_equal(offered[0], 1);
    assert_int_equal(offered[1], 1);
    assert_true(last.bus == 5 && last.function == 0);
    functions[1].config[2] = 0x01060200; /* another interface */
    pci_probe(drivers, 2);
    assert_int_equal(offered[0], 1);
    functions[2].config[2] = 0x01060100; /* two drivers can, the first one does not want it */
    verdict = -ENODEV;
    pci_probe(drivers, 2);
    assert_int_equal(offered[0], 2);
    assert_int_equal(offered[1], 3);
    verdict = 0;
    pci_probe(drivers, 2);
    assert_int_equal(offered[0], 3);
    assert_int_equal(offered[1], 3);
    functions[2].config[3] = 0x00010000; /* a bridge has other registers */
    pci_probe(drivers, 2);
    assert_int_equal(offered[0], 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(bars_are_measured, setup),
        cmocka_unit_test_setup(bars_that_cannot_be, setup),
        cmocka_unit_test_setup(capabilities_are_found, setup),
        cmocka_unit_test_setup(capabilities_that_never_end, setup),
        cmocka_unit_test_setup(drivers_get_what_is_theirs, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
