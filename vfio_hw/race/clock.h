/* Time, and waiting for it. Part of engine.c. */
#ifndef VFIO_HW_RACE_CLOCK_H
#define VFIO_HW_RACE_CLOCK_H

#include "engine.h"

#include <sched.h>
#include <time.h>

#define SECOND_NS INT64_C(1000000000)

/* How long who waits for another sleeps at a time, where actors share CPUs. */
#define NAP_NS 20000

/* A sleep ends late by up to so much: the rest of a wait is spent awake, letting others run. */
#define AWAKE_NS 60000

static int64_t now_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * SECOND_NS + time.tv_nsec;
}

static void sleep_until(int64_t time_ns)
{
    struct timespec time = {.tv_sec = time_ns / SECOND_NS, .tv_nsec = time_ns % SECOND_NS};

    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

static void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void relax(const struct race *race)
{
    if (race->crowded)
        sleep_until(now_ns() + NAP_NS);
    pause_cpu();
}

static void wait_until(const struct race *race, int64_t time_ns)
{
    if (race->crowded && now_ns() < time_ns - AWAKE_NS)
        sleep_until(time_ns - AWAKE_NS);
    while (now_ns() < time_ns) {
        if (race->crowded)
            sched_yield();
        pause_cpu();
    }
}

#endif
