/*
 * The machine's network cards: where drivers offer them, and networks find their uplinks. Boot CPU, as all
 * here. Compiles on the host.
 */
#pragma once

#include "io/net.h"

/*
 * One card, filled in by its driver before nic_add(); it stays. `transmit` is what net.h says of receive():
 * it copies the frame, or keeps nothing of it, and may be called on any CPU, one at a time. What the card
 * receives, the driver gives to net_send() on `port`, from the moment when start() is called.
 */
struct nic {
    char name[NET_PORT_NAME]; /* as the config calls it: "pci:00:03.0" */
    char model[24];           /* "e1000" */
    uint8_t mac[NET_MAC];     /* its own; guests' frames go out with theirs, so it has to receive all */
    unsigned mtu;             /* the largest that it can do */
    unsigned takes;           /* enum net_takes: what the card does by itself */
    net_receive *transmit;
    int (*start)(struct nic *nic); /* a network wants it; 0, or a negative error after a line in the log */
    void *driver;
    bool link;             /* kept by the driver: a cable with someone at its other end */
    unsigned mbit;         /* the same: its speed; 0: not known */
    struct net_port *port; /* NULL: no network uses it; its `owner` is the card */
    bool refused;          /* it cannot be used, as the log says */
    struct nic *next;
};

/* A driver has found one. It is connected if a network waits for it. */
void nic_add(struct nic *nic);

/* Connects the cards that are there to networks that were made since. */
void nic_connect(void);

struct nic *nic_find(const char *name); /* NULL: there is none */
struct nic *nic_get(unsigned index);    /* in the order of nic_add(); NULL: no more */
