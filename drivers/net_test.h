/* For tests of the drivers of network cards: the boot option `net-test=pci:BB:DD.F`. */
#pragma once

/*
 * Makes a network of its own with the card as its uplink and an MTU of 9000, or the card's, and an echo in
 * it: a frame for 02:00:00:00:00:01 or for all goes back to who sent it, from that address. Boot CPU, when
 * the drivers have found their cards and before others can take it.
 */
void net_test(const char *card);
