/* What an actor does in a round: prepares, meets the others at the barrier, runs its program once or in
 * a storm. It is a thread or a process, and does not know which. Part of engine.c. */
#ifndef VFIO_HW_RACE_ACTOR_H
#define VFIO_HW_RACE_ACTOR_H

#include "clock.h"
#include "engine.h"
#include "step.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Time between the last arrival at the barrier and offset zero, for all to have seen the release. */
#define LEAD_NS 10000
#define CROWDED_LEAD_NS 400000 /* who naps sees it later */

/* Before that all must be seen to run, each looked at no longer ago than FRESH_NS, for TOGETHER_NS: a
 * CPU of a guest may be away, for milliseconds and more often than not where its host is busy. That
 * is waited for, but not longer than PATIENCE_NS. */
#define FRESH_NS 4000
#define TOGETHER_NS 20000
#define PATIENCE_NS 30000000

static void wait_for_all_to_run(const struct race *race)
{
    int64_t now = now_ns(), since = now, end = now + PATIENCE_NS;

    for (; now < end && now - since < TOGETHER_NS; now = now_ns()) {
        for (unsigned i = 0; i < race->actor_count; i++)
            if (now - __atomic_load_n(&race->seen_ns[i][0], __ATOMIC_RELAXED) > FRESH_NS)
                since = now;
        relax(race);
    }
}

/* Who arrives, or does so for an actor that died before; the last names the instant of the release. */
static void arrive(struct race *race, unsigned index)
{
    __atomic_store_n(&race->seen_ns[index][0], INT64_MAX, __ATOMIC_RELAXED);
    __atomic_store_n(&race->actors[index].arrived, 1, __ATOMIC_RELEASE);
    if (__atomic_add_fetch(&race->arrived, 1, __ATOMIC_ACQ_REL) < race->actor_count)
        return;
    if (!race->crowded)
        wait_for_all_to_run(race);
    race->released_ns = now_ns() + (race->crowded ? CROWDED_LEAD_NS : LEAD_NS);
    __atomic_store_n(&race->release_ns, race->released_ns, __ATOMIC_RELEASE);
}

static int64_t pass_barrier(struct race *race, unsigned index)
{
    int64_t release;

    arrive(race, index);
    while (!(release = __atomic_load_n(&race->release_ns, __ATOMIC_ACQUIRE))) {
        __atomic_store_n(&race->seen_ns[index][0], now_ns(), __ATOMIC_RELAXED);
        relax(race);
    }
    return release;
}

static int stay_on(int cpu)
{
    size_t size = CPU_ALLOC_SIZE(cpu + 1);
    cpu_set_t *set = CPU_ALLOC(cpu + 1);
    int error = 0;

    if (!set)
        return ENOMEM;
    CPU_ZERO_S(size, set);
    CPU_SET_S(cpu, size, set);
    if (sched_setaffinity(0, size, set))
        error = errno;
    CPU_FREE(set);
    return error;
}

static int schedule(const struct race_actor *actor)
{
    struct sched_param param = {.sched_priority = actor->priority};
    int error = stay_on(actor->cpu);

    if (!error && sched_getscheduler(0) != actor->policy)
        error = sched_setscheduler(0, actor->policy, &param) ? errno : 0;
    return error;
}

static void count(struct race_tally *tally, const struct race_result *result)
{
    if (result->state == RACE_SKIPPED) {
        tally->skipped++;
        return;
    }
    for (unsigned way = 0; way < RACE_WAYS; way++) {
        if (tally->counts[way] && tally->errors[way] != result->error)
            continue;
        tally->errors[way] = result->error;
        tally->counts[way]++;
        return;
    }
    tally->others++;
}

static int goes_on(const struct race *race, const struct race_actor *actor, int64_t start_ns)
{
    if (actor->storm_count && actor->iterations >= actor->storm_count)
        return 0;
    if (actor->storm_ns && now_ns() >= start_ns + (int64_t)actor->storm_ns)
        return 0;
    return !race->awaited || __atomic_load_n(&race->busy, __ATOMIC_ACQUIRE);
}

static void storm(struct race *race, unsigned index, int64_t start_ns)
{
    struct race_actor *actor = &race->actors[index];
    struct race_program program = actor->program;
    int64_t *starts = race->starts_ns[index];

    do {
        run(race, program, actor->iterations ? now_ns() : start_ns);
        for (unsigned i = program.first; i < program.first + program.count; i++)
            count(&race->tallies[i], &race->results[i]);
        starts[actor->iterations++ % RACE_STARTS] = race->results[actor->marked].start_ns;
    } while (goes_on(race, actor, start_ns));
}

/* One round of an actor. */
static void act(struct race *race, unsigned index)
{
    struct race_actor *actor = &race->actors[index];
    int64_t start_ns;

    actor->thread = syscall(SYS_gettid);
    actor->error = schedule(actor);
    run(race, actor->setup, now_ns());
    start_ns = pass_barrier(race, index) + (int64_t)actor->offset_ns;
    wait_until(race, start_ns);
    if (actor->storm) {
        storm(race, index, start_ns);
    } else {
        run(race, actor->program, start_ns);
        actor->iterations = 1;
        __atomic_sub_fetch(&race->busy, 1, __ATOMIC_ACQ_REL);
    }
    __atomic_store_n(&actor->finished, 1, __ATOMIC_RELEASE);
}

static void introduce(unsigned index)
{
    char name[16];

    snprintf(name, sizeof(name), "actor %u", index);
    prctl(PR_SET_NAME, name);
    prctl(PR_SET_TIMERSLACK, 1);
}

#endif
