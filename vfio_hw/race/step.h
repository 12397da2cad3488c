/* The steps of a program: slots, arguments, the call, its record. Part of engine.c. */
#ifndef VFIO_HW_RACE_STEP_H
#define VFIO_HW_RACE_STEP_H

#include "engine.h"

#include <errno.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

static int64_t slots[RACE_SLOTS];

static int64_t now_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static void relax(const struct race *race)
{
    if (race->crowded)
        sched_yield();
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void wait_until(const struct race *race, int64_t time_ns)
{
    while (now_ns() < time_ns)
        relax(race);
}

static int64_t slot_get(uint64_t slot)
{
    return __atomic_load_n(&slots[slot], __ATOMIC_ACQUIRE);
}

static void slot_set(uint64_t slot, int64_t value)
{
    __atomic_store_n(&slots[slot], value, __ATOMIC_RELEASE);
}

static int64_t slot_take(uint64_t slot)
{
    return __atomic_exchange_n(&slots[slot], -1, __ATOMIC_ACQ_REL);
}

/* 0 when a slot that the step needs is empty. */
static int gather(const struct race_step *step, long *arguments)
{
    for (unsigned i = 0; i < step->store_count; i++) {
        int64_t value = slot_get(step->stores[i].slot);

        if (value < 0)
            return 0;
        *(uint32_t *)(uintptr_t)step->stores[i].address = (uint32_t)value;
    }
    for (unsigned i = 0; i < 6; i++) {
        const struct race_argument *argument = &step->arguments[i];

        if (argument->kind == RACE_VALUE) {
            arguments[i] = (long)argument->value;
            continue;
        }
        arguments[i] = argument->kind == RACE_TAKE ? slot_take(argument->value)
                                                   : slot_get(argument->value);
        if (arguments[i] < 0)
            return 0;
    }
    return 1;
}

static void scatter(const struct race_step *step, int64_t value)
{
    for (unsigned i = 0; i < step->load_count; i++)
        slot_set(step->loads[i].slot, *(uint32_t *)(uintptr_t)step->loads[i].address);
    if (step->into >= 0)
        slot_set((uint64_t)step->into, value);
}

/* Runs the steps in order, the first one's delay counted from start_ns; 0 when all succeeded. */
static int run(struct race *race, struct race_program program, int64_t start_ns)
{
    int failed = 0;

    for (unsigned i = program.first; i < program.first + program.count; i++) {
        const struct race_step *step = &race->steps[i];
        struct race_result *result = &race->results[i];
        long arguments[6];

        if (step->delay_ns)
            wait_until(race, start_ns + (int64_t)step->delay_ns);
        if (!gather(step, arguments)) {
            __atomic_store_n(&result->state, RACE_SKIPPED, __ATOMIC_RELEASE);
            failed = 1;
            continue;
        }
        __atomic_store_n(&result->state, RACE_RUNNING, __ATOMIC_RELEASE);
        result->start_ns = now_ns();
        result->value = syscall(step->number, arguments[0], arguments[1], arguments[2],
                                arguments[3], arguments[4], arguments[5]);
        result->error = result->value == -1 ? errno : 0;
        result->end_ns = start_ns = now_ns();
        if (result->error)
            failed = 1;
        else
            scatter(step, result->value);
        __atomic_store_n(&result->state, RACE_DONE, __ATOMIC_RELEASE);
    }
    return failed;
}

#endif
