/* Crashes on purpose, for the tests of the crash report (command line `crash=`, docs/debugging.md). */
#pragma once

/*
 * Provokes the crash named by `kind`: ud, pf, null, write (to code), exec (of data),
 * div, stack, panic. Logs and returns if it is none of these.
 */
void crash_on_request(const char *kind);
