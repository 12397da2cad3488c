/* Loads and stores that may fault: the signal is what came of them. Part of engine.c. */
#ifndef VFIO_HW_RACE_TOUCH_H
#define VFIO_HW_RACE_TOUCH_H

#include "engine.h"

#include <setjmp.h>
#include <signal.h>
#include <string.h>

static __thread sigjmp_buf landing;
static __thread volatile sig_atomic_t touching;

static void land(int number)
{
    if (touching)
        siglongjmp(landing, number);
    signal(number, SIG_DFL); /* no touch: the engine itself is at fault, and dies of it */
}

static void catch_faults(void)
{
    struct sigaction action = {.sa_handler = land, .sa_flags = SA_NODEFER};

    sigaction(SIGBUS, &action, NULL);
    sigaction(SIGSEGV, &action, NULL);
}

static int64_t load(uintptr_t address, long size)
{
    switch (size) {
    case 1:
        return *(volatile uint8_t *)address;
    case 2:
        return *(volatile uint16_t *)address;
    case 4:
        return *(volatile uint32_t *)address;
    default:
        return *(volatile int64_t *)address;
    }
}

static void store(uintptr_t address, long size, long value)
{
    switch (size) {
    case 1:
        *(volatile uint8_t *)address = (uint8_t)value;
        break;
    case 2:
        *(volatile uint16_t *)address = (uint16_t)value;
        break;
    case 4:
        *(volatile uint32_t *)address = (uint32_t)value;
        break;
    default:
        *(volatile int64_t *)address = value;
    }
}

/* Returns what was loaded; error is 0, or the negative number of the signal. */
static int64_t touch(int64_t number, const long *arguments, int32_t *error)
{
    uintptr_t address = (uintptr_t)arguments[0] + (uintptr_t)arguments[1];
    int64_t value = 0;
    int signal_number = sigsetjmp(landing, 0);

    *error = -signal_number;
    if (!signal_number) {
        touching = 1;
        if (number == RACE_LOAD)
            value = load(address, arguments[2]);
        else
            store(address, arguments[2], arguments[3]);
    }
    touching = 0;
    return value;
}

#endif
