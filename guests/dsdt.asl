/*
 * The guest's DSDT: exactly the devices that Plinth gives a VM. ACPI specification 6.4, chapters 6 and 19.
 * Addresses are those of vmx/guestmap.h and of the models in devices/.
 */
DefinitionBlock ("", "DSDT", 2, "PLINTH", "PLINTHVM", 1)
{
    /* Power off is SLP_TYP 5 (devices/vpm.h); there is no other sleep state. */
    Name (\_S5, Package () { 5, 5, 0, 0 })

    Scope (\_SB)
    {
        /*
         * One PCI bus behind ports 0xcf8-0xcff and, as the MCFG says, in memory. Interrupts are messages, or the pin for those who do not know
         * messages: INTA of even device numbers is IRQ 10, that of odd ones IRQ 11 (devices/vpci.h), in front of either controller.
         */
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A03"))
            Name (_UID, 0)
            Name (_BBN, 0)
            Name (_CRS, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, 0, 0, 0, 0, 1)
                IO (Decode16, 0x0CF8, 0x0CF8, 1, 8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                        0, 0x0000, 0x0CF7, 0, 0x0CF8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                        0, 0x0D00, 0xFFFF, 0, 0xF300)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                             0, 0xC0000000, 0xFEAFFFFF, 0, 0x3EB00000)
            })

            Name (_PRT, Package () // network cards, disks, balloon, entropy, console: guests/machine_io.c
            {
                Package () { 0x0004FFFF, 0, 0, 10 },
                Package () { 0x0005FFFF, 0, 0, 11 },
                Package () { 0x0006FFFF, 0, 0, 10 },
                Package () { 0x0007FFFF, 0, 0, 11 },
                Package () { 0x0008FFFF, 0, 0, 10 },
                Package () { 0x0009FFFF, 0, 0, 11 },
                Package () { 0x000AFFFF, 0, 0, 10 },
                Package () { 0x000BFFFF, 0, 0, 11 },
                Package () { 0x000CFFFF, 0, 0, 10 },
                Package () { 0x000DFFFF, 0, 0, 11 },
                Package () { 0x000EFFFF, 0, 0, 10 },
                Package () { 0x000FFFFF, 0, 0, 11 },
                Package () { 0x001DFFFF, 0, 0, 11 },
                Package () { 0x001EFFFF, 0, 0, 10 },
                Package () { 0x001FFFFF, 0, 0, 11 }
            })

            Device (PIC) // 8259 pair, with the edge/level registers
            {
                Name (_HID, EisaId ("PNP0000"))
                Name (_CRS, ResourceTemplate ()
                {
                    IO (Decode16, 0x0020, 0x0020, 1, 2)
                    IO (Decode16, 0x00A0, 0x00A0, 1, 2)
                    IO (Decode16, 0x04D0, 0x04D0, 1, 2)
                    IRQNoFlags () { 2 }
                })
            }

            Device (PIT) // 8254
            {
                Name (_HID, EisaId ("PNP0100"))
                Name (_CRS, ResourceTemplate ()
                {
                    IO (Decode16, 0x0040, 0x0040, 1, 4)
                    IRQNoFlags () { 0 }
                })
            }

            Device (RTC) // MC146818 and its CMOS memory
            {
                Name (_HID, EisaId ("PNP0B00"))
                Name (_CRS, ResourceTemplate ()
                {
                    IO (Decode16, 0x0070, 0x0070, 1, 2)
                    IRQNoFlags () { 8 }
                })
            }

            Device (COM1) // 16550A
            {
                Name (_HID, EisaId ("PNP0501"))
                Name (_UID, 1)
                Name (_CRS, ResourceTemplate ()
                {
                    IO (Decode16, 0x03F8, 0x03F8, 1, 8)
                    IRQNoFlags () { 4 }
                })
            }

            Device (SYSR) // what is decoded, but has no device of its own
            {
                Name (_HID, EisaId ("PNP0C02"))
                Name (_UID, 1)
                Name (_CRS, ResourceTemplate ()
                {
                    IO (Decode16, 0x0061, 0x0061, 1, 1)           // timer 2 gate
                    IO (Decode16, 0x0092, 0x0092, 1, 1)           // fast reset
                    IO (Decode16, 0x0600, 0x0600, 1, 12)          // power management block
                    Memory32Fixed (ReadWrite, 0xFEB00000, 0x100000) // PCI configuration space, as the MCFG says
                    Memory32Fixed (ReadWrite, 0xFEC00000, 0x1000) // I/O APIC
                    Memory32Fixed (ReadWrite, 0xFEE00000, 0x1000) // local APICs
                })
            }
        }
    }
}
