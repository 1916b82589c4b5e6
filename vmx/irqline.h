/* An interrupt line: the one way in which a device model raises an interrupt. */
#pragma once

#include "lib/types.h"

struct irq_line {
    void (*set)(void *controller, unsigned pin, bool level); /* NULL: not connected */
    void *controller;
    unsigned pin;
};

/* Drives the line high or low; repeating a level is allowed and does nothing. */
static inline void irq_line_set(const struct irq_line *line, bool level)
{
    if (line->set)
        line->set(line->controller, line->pin, level);
}

/* A rising edge: for devices whose output is a pulse. */
static inline void irq_line_pulse(const struct irq_line *line)
{
    irq_line_set(line, true);
    irq_line_set(line, false);
}
