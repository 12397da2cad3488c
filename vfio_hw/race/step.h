/* The steps of a program: slots, arguments, the call, its record. Part of engine.c. */
#ifndef VFIO_HW_RACE_STEP_H
#define VFIO_HW_RACE_STEP_H

#include "clock.h"
#include "engine.h"
#include "touch.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

static int64_t slot_get(const struct race *race, uint64_t slot)
{
    return __atomic_load_n(&race->slots[slot], __ATOMIC_ACQUIRE);
}

static void slot_set(struct race *race, uint64_t slot, int64_t value)
{
    __atomic_store_n(&race->slots[slot], value, __ATOMIC_RELEASE);
}

static int64_t slot_take(struct race *race, uint64_t slot)
{
    return __atomic_exchange_n(&race->slots[slot], -1, __ATOMIC_ACQ_REL);
}

/* 0 when a slot that the step needs is empty. */
static int gather(struct race *race, const struct race_step *step, long *arguments)
{
    for (unsigned i = 0; i < step->store_count; i++) {
        const struct race_copy *copy = &step->stores[i];
        int64_t value = slot_get(race, copy->slot);

        if (value < 0)
            return 0;
        if (copy->size == 8)
            *(uint64_t *)(uintptr_t)copy->address = (uint64_t)value;
        else
            *(uint32_t *)(uintptr_t)copy->address = (uint32_t)value;
    }
    for (unsigned i = 0; i < 6; i++) {
        const struct race_argument *argument = &step->arguments[i];

        if (argument->kind == RACE_VALUE) {
            arguments[i] = (long)argument->value;
            continue;
        }
        arguments[i] = argument->kind == RACE_TAKE ? slot_take(race, argument->value)
                                                   : slot_get(race, argument->value);
        if (arguments[i] < 0)
            return 0;
    }
    return 1;
}

static void scatter(struct race *race, const struct race_step *step, int64_t value)
{
    for (unsigned i = 0; i < step->load_count; i++) {
        const struct race_copy *copy = &step->loads[i];

        if (copy->size == 8)
            slot_set(race, copy->slot, *(int64_t *)(uintptr_t)copy->address);
        else
            slot_set(race, copy->slot, *(int32_t *)(uintptr_t)copy->address); /* -1: none is there */
    }
    if (step->into >= 0)
        slot_set(race, (uint64_t)step->into, value);
}

static int64_t call(const struct race_step *step, const long *arguments, int32_t *error)
{
    int64_t value;

    if (step->number < 0)
        return touch(step->number, arguments, error);
    value = syscall(step->number, arguments[0], arguments[1], arguments[2], arguments[3],
                    arguments[4], arguments[5]);
    *error = value == -1 ? errno : 0;
    return value;
}

/* Runs the steps in order, the first one's delay counted from start_ns; 0 when all succeeded. */
static int run(struct race *race, struct race_program program, int64_t start_ns)
{
    int failed = 0;

    for (unsigned i = program.first; i < program.first + program.count; i++) {
        const struct race_step *step = &race->steps[i];
        struct race_result *result = &race->results[i];
        long arguments[6];
        int32_t error;

        if (step->delay_ns)
            wait_until(race, start_ns + (int64_t)step->delay_ns);
        result->error = 0; /* in a storm that of the turn before */
        if (!gather(race, step, arguments)) {
            __atomic_store_n(&result->state, RACE_SKIPPED, __ATOMIC_RELEASE);
            failed = 1;
            continue;
        }
        __atomic_store_n(&result->state, RACE_RUNNING, __ATOMIC_RELEASE);
        result->start_ns = now_ns();
        result->value = call(step, arguments, &error);
        result->end_ns = start_ns = now_ns();
        result->error = error;
        if (error)
            failed = 1;
        else
            scatter(race, step, result->value);
        __atomic_store_n(&result->state, RACE_DONE, __ATOMIC_RELEASE);
    }
    return failed;
}

static void close_left_open(struct race *race)
{
    for (unsigned i = 0; i < RACE_SLOTS; i++) {
        int64_t value = slot_take(race, i);

        race->left_open[i] = (race->descriptors[i] || race->mapped[i]) && value >= 0;
        if (!race->left_open[i])
            continue;
        race->closing = i;
        if (race->mapped[i])
            munmap((void *)(uintptr_t)value, race->mapped[i]);
        else
            close((int)value);
    }
    race->closing = -1;
}

#endif
