/* The system calls that programs may name. Part of engine.c. */
#ifndef VFIO_HW_RACE_CALLS_H
#define VFIO_HW_RACE_CALLS_H

#include <string.h>
#include <sys/syscall.h>

#define CALL(name) {#name, SYS_##name}

static const struct {
    const char *name;
    long number;
} calls[] = {
    CALL(capset),    CALL(close),      CALL(delete_module), CALL(dup),    CALL(dup3),
    CALL(eventfd2),  CALL(exit_group), CALL(fcntl),      CALL(getppid),   CALL(ioctl),
    CALL(kill),      CALL(munmap),     CALL(nanosleep),  CALL(openat),    CALL(pipe2),
    CALL(ppoll),     CALL(pread64),    CALL(prlimit64),  CALL(pwrite64),  CALL(read),
    CALL(recvmsg),   CALL(sendmsg),    CALL(socketpair), CALL(write),     CALL(pidfd_getfd),
    CALL(pidfd_open), CALL(perf_event_open),
#if defined(SYS_mmap) && !defined(__s390__)
    CALL(mmap), /* where it takes six arguments, and not the address of a struct with them */
#endif
};

static long number_of(const char *name)
{
    for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
        if (!strcmp(calls[i].name, name))
            return calls[i].number;
    return -1;
}

static const char *name_of(long number)
{
    for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
        if (calls[i].number == number)
            return calls[i].name;
    return "";
}

#endif
