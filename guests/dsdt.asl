/* The guest's DSDT: exactly the devices that Plinth gives a VM. ACPI 6.4, chapter 19. */
DefinitionBlock ("", "DSDT", 2, "PLINTH", "PLINTHVM", 1)
{
    Name (_S5, Package () { 5, 5, 0, 0 })
}
