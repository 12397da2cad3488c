/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A device is opened through its character device and closed while its removal waits. The close wakes the removal and only then
 * puts its last reference. Here the one who closes is kept from the processor in between, and the driver is unloaded meanwhile:
 * the last put calls the driver's release, whose memory is gone. The machine does not survive it.
 *
 * Root, two processors, the module mtty loaded; creates the device itself.
 * usage: parent-unloaded-before-last-put
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PARENT "/sys/devices/virtual/mtty/mtty/mdev_supported_types/mtty-1/create"
#define UUID "6d747479-0000-4000-8000-000000000001"
#define DEVICE "/sys/bus/mdev/devices/" UUID

static volatile int removed, occupied, unloaded;

static int must(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(3);
	}
	return result;
}

static void put(const char *path, const char *text)
{
	int file = must(open(path, O_WRONLY), path);

	must(write(file, text, strlen(text)), path);
	close(file);
}

/* The calling thread runs on this processor only. */
static void run_on(int processor, int policy, int priority)
{
	struct sched_param parameters = { .sched_priority = priority };
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(processor, &set);
	must(sched_setaffinity(0, sizeof(set), &set), "sched_setaffinity");
	must(sched_setscheduler(0, policy, &parameters), "sched_setscheduler");
}

/* Removes the device; takes the processor from the one who closes at the moment when it is woken. */
static void *remover(void *unused)
{
	(void)unused;
	run_on(0, SCHED_FIFO, 50);
	put(DEVICE "/remove", "1");
	removed = 1;
	return NULL;
}

/* Has the processor whenever the remover has not, and the one who closes has had his share. */
static void *hog(void *unused)
{
	(void)unused;
	run_on(0, SCHED_OTHER, 0);
	occupied = 1;
	while (!unloaded)
		;
	return NULL;
}

static void *unloader(void *unused)
{
	int result;

	(void)unused;
	run_on(1, SCHED_OTHER, 0);
	while (!removed)
		;
	result = syscall(SYS_delete_module, "mtty", O_NONBLOCK);
	printf("mtty unloaded: %s\n", result ? strerror(errno) : "yes");
	fflush(stdout);
	unloaded = 1;
	return NULL;
}

static long now(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec * 1000000L + time.tv_nsec / 1000;
}

/* Returns in a time slice, so much of it used that the processor does not come back soon once it is lost. */
static void use_up_share(void)
{
	long last, used, time = now(CLOCK_MONOTONIC);

	do {
		last = time;
		time = now(CLOCK_MONOTONIC);
	} while (time - last < 20000);
	used = now(CLOCK_THREAD_CPUTIME_ID) + 3000;
	while (now(CLOCK_THREAD_CPUTIME_ID) < used)
		;
}

/* A descriptor of the device's node. */
static int opened(void)
{
	char path[64];
	struct dirent *entry;
	DIR *directory = opendir(DEVICE "/vfio-dev");

	must(directory ? 0 : -1, DEVICE "/vfio-dev");
	do
		entry = readdir(directory);
	while (entry && strncmp(entry->d_name, "vfio", 4));
	must(entry ? 0 : -1, "vfioN");
	snprintf(path, sizeof(path), "/dev/vfio/devices/%.40s", entry->d_name);
	closedir(directory);
	return must(open(path, O_RDWR), path);
}

int main(void)
{
	struct timespec half = { .tv_nsec = 500000000 };
	pthread_t threads[3];
	int device, each;

	alarm(60);
	put(PARENT, UUID);
	device = opened();
	pthread_create(&threads[0], NULL, remover, NULL);
	pthread_create(&threads[1], NULL, unloader, NULL);
	nanosleep(&half, NULL); /* The removal waits now. */
	pthread_create(&threads[2], NULL, hog, NULL);
	while (!occupied)
		;
	must(setpriority(PRIO_PROCESS, 0, 19), "setpriority");
	run_on(0, SCHED_OTHER, 0);
	use_up_share();
	close(device);
	for (each = 0; each < 3; each++)
		pthread_join(threads[each], NULL);
	puts("closed, and nothing happened");
	return 0;
}
