/* The race engine: straight-line programs of system calls, run by threads released at one instant.
 *
 * Between the release of the barrier and the end of the last program nothing here allocates or locks,
 * and nothing is called but the programs' system calls, the clock, and sched_yield() when actors
 * share a CPU. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "engine.h"
#include "step.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Time between the last arrival at the barrier and offset zero, for all to have seen the release. */
#define LEAD_NS 10000

/* Before that all must be seen to run, each looked at no longer ago than FRESH_NS, for TOGETHER_NS: a
 * CPU of a guest may be away, for milliseconds and more often than not where its host is busy. That
 * is waited for, but not longer than PATIENCE_NS. */
#define FRESH_NS 4000
#define TOGETHER_NS 20000
#define PATIENCE_NS 20000000

/* Where the descriptor of the channel to the parent is moved to. */
#define CHANNEL 3

struct worker {
    struct race *race;
    unsigned index;
    sem_t go;
};

static struct worker workers[RACE_ACTORS];
static unsigned worker_count;
static int all_finished; /* an eventfd */
static unsigned arrived, finished;
static int64_t release_ns;

/* When each actor was last seen at the barrier; each on a cache line of its own. */
static struct {
    _Alignas(64) int64_t ns;
} seen[RACE_ACTORS];

static void wait_for_all_to_run(const struct race *race)
{
    int64_t now = now_ns(), since = now, end = now + PATIENCE_NS;

    for (; now < end && now - since < TOGETHER_NS; now = now_ns()) {
        for (unsigned i = 0; i < race->actor_count; i++)
            if (now - __atomic_load_n(&seen[i].ns, __ATOMIC_RELAXED) > FRESH_NS)
                since = now;
        relax(race);
    }
}

/* The last to arrive names the instant that all then wait for. */
static int64_t pass_barrier(struct race *race, unsigned index)
{
    int64_t release;

    if (__atomic_add_fetch(&arrived, 1, __ATOMIC_ACQ_REL) == race->actor_count) {
        __atomic_store_n(&seen[index].ns, INT64_MAX, __ATOMIC_RELAXED);
        if (!race->crowded)
            wait_for_all_to_run(race);
        race->released_ns = now_ns() + LEAD_NS;
        __atomic_store_n(&release_ns, race->released_ns, __ATOMIC_RELEASE);
    }
    while (!(release = __atomic_load_n(&release_ns, __ATOMIC_ACQUIRE))) {
        __atomic_store_n(&seen[index].ns, now_ns(), __ATOMIC_RELAXED);
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

static void *work(void *given)
{
    struct worker *worker = given;
    struct race *race = worker->race;
    struct race_actor *actor = &race->actors[worker->index];
    char name[16];

    snprintf(name, sizeof(name), "actor %u", worker->index);
    prctl(PR_SET_NAME, name);
    actor->thread = syscall(SYS_gettid);
    actor->cpu_error = stay_on(actor->cpu);
    for (;;) {
        int64_t start_ns;

        while (sem_wait(&worker->go))
            ;
        start_ns = pass_barrier(race, worker->index) + (int64_t)actor->offset_ns;
        wait_until(race, start_ns);
        run(race, actor->program, start_ns);
        if (__atomic_add_fetch(&finished, 1, __ATOMIC_ACQ_REL) == race->actor_count)
            eventfd_write(all_finished, 1);
    }
    return NULL;
}

static int hire(struct race *race)
{
    while (worker_count < race->actor_count) {
        struct worker *worker = &workers[worker_count];
        pthread_t thread;
        int error;

        worker->race = race;
        worker->index = worker_count;
        sem_init(&worker->go, 0, 0);
        error = pthread_create(&thread, NULL, work, worker);
        if (error)
            return error;
        worker_count++;
    }
    return 0;
}

static void close_left_open(struct race *race)
{
    for (unsigned i = 0; i < RACE_SLOTS; i++) {
        int64_t descriptor = slot_take(i);

        race->left_open[i] = race->descriptors[i] && descriptor >= 0;
        if (race->left_open[i]) {
            race->closing = i;
            close((int)descriptor);
        }
    }
    race->closing = -1;
}

/* Waits for the last actor, or for the parent to give up or die. Then what the slots hold is closed
 * from here: an actor may be in a removal that waits for just that, and a process that is killed
 * closes nothing before its last thread is gone. */
static int wait_for_actors(struct race *race)
{
    struct pollfd events[] = {{.fd = all_finished, .events = POLLIN},
                              {.fd = CHANNEL, .events = POLLIN}};
    eventfd_t count;

    while (poll(events, 2, -1) < 0)
        ;
    if (events[0].revents)
        return eventfd_read(all_finished, &count) ? errno : 0;
    close_left_open(race);
    return ECANCELED;
}

static int run_actors(struct race *race)
{
    int error;

    arrived = finished = 0;
    release_ns = 0;
    for (unsigned i = 0; i < race->actor_count; i++)
        sem_post(&workers[i].go);
    prctl(PR_SET_PDEATHSIG, 0);
    error = wait_for_actors(race);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    return error;
}

static int run_round(struct race *race)
{
    int error = hire(race);

    if (error)
        return error;
    memset(race->results, 0, sizeof(race->results));
    race->released_ns = 0;
    if (!run(race, race->prologue, now_ns()) && race->actor_count)
        error = run_actors(race);
    if (error)
        return error;
    run(race, race->epilogue, now_ns());
    close_left_open(race);
    return 0;
}

/* Alone in the process: dies with its parent, ignores what a terminal sends to all its processes,
 * and holds no descriptor of its parent's but the channel; 0 to 2 stay occupied, for what a library may print. */
static int settle(int channel, int parent)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null < 0)
        return errno;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL))
        return errno;
    if (getppid() != parent)
        return ESRCH;
    prctl(PR_SET_NAME, "race engine");
    for (int number = 1; number < NSIG; number++)
        signal(number, number == SIGINT || number == SIGPIPE ? SIG_IGN : SIG_DFL);
    /* Both may be one of the numbers below: out of the way first. */
    channel = fcntl(channel, F_DUPFD_CLOEXEC, 4);
    null = fcntl(null, F_DUPFD_CLOEXEC, 4);
    for (int target = 0; target < 3; target++)
        if (dup2(null, target) < 0)
            return errno;
    if (dup2(channel, CHANNEL) < 0 || syscall(SYS_close_range, 4U, ~0U, 0U))
        return errno;
    all_finished = eventfd(0, EFD_CLOEXEC);
    return all_finished < 0 ? errno : 0;
}

int race_serve(struct race *race, int channel, int parent)
{
    int error = settle(channel, parent);
    char byte;

    memset(slots, 0xff, sizeof(slots));
    while (!error && read(CHANNEL, &byte, 1) == 1) {
        error = run_round(race);
        if (!error && write(CHANNEL, &byte, 1) != 1)
            error = errno;
    }
    return error;
}

long race_call_number(const char *name)
{
    static const struct {
        const char *name;
        long number;
    } calls[] = {
#define CALL(name) {#name, SYS_##name}
        CALL(close), CALL(delete_module), CALL(dup), CALL(eventfd2), CALL(ioctl), CALL(kill),
        CALL(memfd_create), CALL(mmap), CALL(munmap), CALL(nanosleep), CALL(openat),
        CALL(pidfd_getfd), CALL(pidfd_open), CALL(pipe2), CALL(pread64), CALL(pwrite64),
        CALL(read), CALL(write),
#undef CALL
    };

    for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
        if (!strcmp(calls[i].name, name))
            return calls[i].number;
    return -1;
}
