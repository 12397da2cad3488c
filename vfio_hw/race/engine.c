/* The race engine: straight-line programs of system calls, run by threads and processes that are
 * released at one instant.
 *
 * Between the release of the barrier and the end of the last program nothing here allocates or locks,
 * and nothing is called but the programs' system calls, the clock, and sleeps when actors share a CPU. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "actor.h"
#include "calls.h"
#include "engine.h"
#include "process.h"
#include "slow.h"
#include "step.h"
#include "touch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

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
static unsigned running; /* threads in this round */

static void *work(void *given)
{
    struct worker *worker = given;

    introduce(worker->index);
    touching = 0; /* its thread-local memory is there from now on */
    for (;;) {
        while (sem_wait(&worker->go))
            ;
        act(worker->race, worker->index);
        if (!__atomic_sub_fetch(&running, 1, __ATOMIC_ACQ_REL))
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

/* Waits for the last actor, or for the parent to give up or die. Then what the slots hold is closed
 * from here, and processes are killed: an actor may be in a removal that waits for just that, and a
 * process that is killed closes nothing before its last thread is gone. */
static int wait_for_actors(struct race *race, unsigned threads, unsigned children)
{
    struct pollfd events[RACE_ACTORS + 2] = {{.fd = threads ? all_finished : -1, .events = POLLIN},
                                             {.fd = CHANNEL, .events = POLLIN}};
    eventfd_t count;

    while (threads || children) {
        for (unsigned i = 0; i < RACE_ACTORS; i++)
            events[i + 2] = (struct pollfd){.fd = processes[i].pidfd, .events = POLLIN};
        if (poll(events, RACE_ACTORS + 2, -1) < 0)
            continue;
        for (unsigned i = 0; i < RACE_ACTORS; i++) {
            if (processes[i].pidfd >= 0 && events[i + 2].revents) {
                reap(race, i);
                children--;
            }
        }
        if (events[0].revents) {
            if (eventfd_read(all_finished, &count))
                return errno;
            threads = 0;
            events[0].fd = -1;
        }
        if (events[1].revents && (threads || children)) {
            kill_processes();
            close_left_open(race);
            return ECANCELED;
        }
    }
    return 0;
}

/* Processes first: begun by a thread that is alone still, but for those asleep. */
static int begin_actors(struct race *race, unsigned *threads, unsigned *children)
{
    for (unsigned i = 0; i < race->actor_count; i++) {
        if (race->actors[i].process) {
            int error = begin_process(race, i);

            if (error)
                return error;
            ++*children;
        } else {
            ++*threads;
        }
    }
    running = *threads;
    for (unsigned i = 0; i < race->actor_count; i++)
        if (!race->actors[i].process)
            sem_post(&workers[i].go);
    return 0;
}

static int run_actors(struct race *race)
{
    unsigned threads = 0, children = 0;
    int error;

    prctl(PR_SET_PDEATHSIG, 0);
    error = begin_actors(race, &threads, &children);
    if (!error)
        error = wait_for_actors(race, threads, children);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    return error;
}

static void clear(struct race *race)
{
    memset(race->results, 0, sizeof(race->results));
    race->released_ns = race->release_ns = 0;
    race->arrived = race->busy = 0;
    for (unsigned i = 0; i < race->actor_count; i++) {
        struct race_actor *actor = &race->actors[i];

        actor->arrived = actor->finished = 0;
        actor->iterations = 0;
        actor->status = 0;
        actor->ended_ns = 0;
        race->busy += !actor->storm;
        if (actor->storm)
            memset(race->tallies, 0, sizeof(race->tallies));
    }
    race->awaited = race->busy > 0;
}

static int run_round(struct race *race)
{
    int error = hire(race);

    if (!error && race->slow_ns)
        error = begin_slow_pages(race);
    if (error)
        return error;
    clear(race);
    if (!run(race, race->prologue, now_ns()) && race->actor_count)
        error = run_actors(race);
    if (error)
        return error;
    run(race, race->epilogue, now_ns());
    close_left_open(race);
    if (race->slow_ns)
        empty_slow_pages(race);
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
    catch_faults();
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

    memset(race->slots, 0xff, sizeof(race->slots));
    for (unsigned i = 0; i < RACE_ACTORS; i++)
        processes[i].pidfd = -1;
    while (!error && read(CHANNEL, &byte, 1) == 1) {
        error = run_round(race);
        if (!error && write(CHANNEL, &byte, 1) != 1)
            error = errno;
    }
    return error;
}

long race_call_number(const char *name)
{
    return number_of(name);
}

const char *race_call_name(long number)
{
    return name_of(number);
}
