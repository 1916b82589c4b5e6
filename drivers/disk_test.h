/*
 * A test of a disk and of its driver that is part of the product, for who has a machine whose disks behave
 * oddly (command line `disk-test=`, docs/debugging.md).
 */
#pragma once

/*
 * Overwrites the first 16 MiB of the disk with this serial number, reads them back, and says in the log
 * whether it is what was written, and how much a read costs. Refuses, saying why, if there is no such disk,
 * or several, or if it is the boot medium or read-only. Returns at once; the test is work of the boot CPU.
 * Boot CPU, once.
 */
void disk_test(const char *serial);
