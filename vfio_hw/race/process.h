/* Actors that are processes: begun for one round, killed by others or by us, or ending by themselves.
 * Part of engine.c. */
#ifndef VFIO_HW_RACE_PROCESS_H
#define VFIO_HW_RACE_PROCESS_H

#include "actor.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

static struct {
    pid_t pid;
    int pidfd; /* -1: there is none, or it was reaped */
} processes[RACE_ACTORS];

static int begin_process(struct race *race, unsigned index)
{
    pid_t engine = getpid(), pid = fork();

    if (pid < 0)
        return errno;
    if (!pid) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != engine)
            _exit(0);
        introduce(index);
        act(race, index);
        _exit(0);
    }
    processes[index].pid = pid;
    processes[index].pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (race->actors[index].slot >= 0)
        slot_set(race, (uint64_t)race->actors[index].slot, pid);
    return processes[index].pidfd < 0 ? errno : 0;
}

/* What the process did not come to do, for the others not to wait for it. */
static void speak_for(struct race *race, unsigned index)
{
    struct race_actor *actor = &race->actors[index];

    if (!__atomic_load_n(&actor->arrived, __ATOMIC_ACQUIRE))
        arrive(race, index);
    if (!actor->storm && !__atomic_load_n(&actor->finished, __ATOMIC_ACQUIRE))
        __atomic_sub_fetch(&race->busy, 1, __ATOMIC_ACQ_REL);
}

static void reap(struct race *race, unsigned index)
{
    int status = 0;

    race->actors[index].ended_ns = now_ns();
    waitpid(processes[index].pid, &status, 0);
    race->actors[index].status = status;
    close(processes[index].pidfd);
    processes[index].pidfd = -1;
    speak_for(race, index);
}

static void kill_processes(void)
{
    for (unsigned i = 0; i < RACE_ACTORS; i++)
        if (processes[i].pidfd >= 0)
            kill(processes[i].pid, SIGKILL);
}

#endif
