/* Memory that the kernel has to wait for: pages of a userfaultfd, each filled some time after it was first
 * touched. A call whose argument lies there sleeps in copy_from_user(), with the locks that it holds.
 * Part of engine.c. */
#ifndef VFIO_HW_RACE_SLOW_H
#define VFIO_HW_RACE_SLOW_H

#include "clock.h"
#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int slow_pages = -1; /* a userfaultfd */

static void *fill_pages(void *given)
{
    struct race *race = given;
    struct uffd_msg message;

    prctl(PR_SET_NAME, "slow pages");
    prctl(PR_SET_TIMERSLACK, 1);
    while (read(slow_pages, &message, sizeof(message)) == sizeof(message)) {
        uint64_t offset = (message.arg.pagefault.address - race->slow_address) / race->page_size * race->page_size;
        struct uffdio_copy copy = {.dst = race->slow_address + offset,
                                   .src = (uintptr_t)race->slow + offset,
                                   .len = race->page_size};

        if (message.event != UFFD_EVENT_PAGEFAULT)
            continue;
        sleep_until(now_ns() + (int64_t)race->slow_ns);
        ioctl(slow_pages, UFFDIO_COPY, &copy);
    }
    return NULL;
}

/* Returns an errno: EPERM without the right to let the kernel wait, ENOSYS without CONFIG_USERFAULTFD. */
static int begin_slow_pages(struct race *race)
{
    struct uffdio_api api = {.api = UFFD_API};
    struct uffdio_register whole = {
        .range = {.start = race->slow_address, .len = race->page_size * RACE_SLOW_PAGES},
        .mode = UFFDIO_REGISTER_MODE_MISSING};
    pthread_t thread;

    if (slow_pages >= 0)
        return 0;
    slow_pages = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    if (slow_pages < 0 || ioctl(slow_pages, UFFDIO_API, &api)
        || ioctl(slow_pages, UFFDIO_REGISTER, &whole))
        return errno;
    return pthread_create(&thread, NULL, fill_pages, race);
}

/* The pages are gone, and asked for anew in the next round. */
static void empty_slow_pages(const struct race *race)
{
    madvise((void *)(uintptr_t)race->slow_address, race->page_size * RACE_SLOW_PAGES, MADV_DONTNEED);
}

#endif
