/* Consoles of VMs that are on COM ports of their own instead of the wire (`console` in [vm.NAME]). */
#pragma once

/*
 * Opens each port that the config names. A VM whose port cannot be had is told apart from then on by
 * managed.unfit; the log says so when it is to be started. On the boot CPU, after the wire has its place,
 * before any VM is started.
 */
void ports_open(void);

/* Waits, as long as they take bytes, until all output is out: before power-off. */
void ports_flush(void);
