/* @TITLE@
 *
 * Seen on Linux @KERNEL@ by @TEST@:
 * @COMPLAINT@
 *
 * cc -O2 -pthread -o race THIS-FILE && ./race [ROUNDS]
 *
 * It runs up to ROUNDS rounds (@ROUNDS@ unless told otherwise). In each the actors below start
 * together, as far apart as they were when it failed, and a little more or less. It ends when an outcome is none of
 * the legal ones, the kernel logs a fault, or a call does not return within @DEADLINE@ s.
 * Exit status: 0 reproduced, 1 not, 2 the scene can not be set. @NEEDS@ */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ACTORS @ACTORS@
#define CALLS @CALLS@
#define PROLOGUE @PROLOGUE@
#define PAGES @PAGES@ /* that outlive a round: for devices, and for the kernel's answers */
#define DEADLINE @DEADLINE@
#define JITTER_NS 20000
#define LEAD_NS 20000

enum { NOT_RUN, SKIPPED, RUNNING, DONE };

/* What file descriptors and the like are kept in. */
enum { @SLOTS@SLOTS };

static struct shared {
	volatile unsigned round;
	int arrived;
	long long release;
	long slots[SLOTS + 1];
	struct call {
		volatile int state;
		int error; /* an errno, or a signal as a negative number */
		long value;
		long long start, end;
	} calls[CALLS];
} *shared;

static const char *const labels[CALLS] = {
@LABELS@};

static long *slots;
static char *pages;
static struct call *calls;
static char group_node[600], cdev_node[600];

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void wait_until(long long time)
{
	while (now() < time)
		;
}

static void __attribute__((unused)) *page(int number)
{
	return pages + number * sysconf(_SC_PAGESIZE);
}

static void fail(const char *what, const char *which)
{
	fprintf(stderr, "%s %s: %s\n", what, which, strerror(errno));
	fflush(NULL);
	_exit(2);
}

static long full(int slot)
{
	return __atomic_load_n(&slots[slot], __ATOMIC_ACQUIRE) >= 0;
}

static long take(int slot)
{
	return __atomic_exchange_n(&slots[slot], -1, __ATOMIC_ACQ_REL);
}

static void fill(int slot, long value)
{
	__atomic_store_n(&slots[slot], value, __ATOMIC_RELEASE);
}

#define BEGIN(number) \
	(calls[number].state = RUNNING, calls[number].start = now())
#define END(number, result, failure) \
	(calls[number].value = (result), calls[number].error = (failure), \
	 calls[number].end = now(), calls[number].state = DONE)
#define CALL(number, ...) \
	do { \
		long got; \
		BEGIN(number); \
		got = syscall(__VA_ARGS__); \
		END(number, got, got == -1 ? errno : 0); \
	} while (0)
#define OK(number) (calls[number].state == DONE && !calls[number].error)

static __thread sigjmp_buf landing;
static __thread volatile int touching;

static void land(int number)
{
	if (touching)
		siglongjmp(landing, number);
	signal(number, SIG_DFL);
}

/* A load, or a store, of so many bytes; a fault is its outcome. */
static void __attribute__((unused)) touch(int number, int store, long address, int size, long value)
{
	volatile unsigned char *memory = (volatile unsigned char *)address;
	int fault = sigsetjmp(landing, 1);

	if (!fault) {
		touching = 1;
		BEGIN(number);
		if (size == 8 && store)
			*(volatile uint64_t *)memory = value;
		else if (size == 8)
			value = *(volatile uint64_t *)memory;
		else if (size == 4 && store)
			*(volatile uint32_t *)memory = value;
		else if (size == 4)
			value = *(volatile uint32_t *)memory;
		else if (size == 2 && store)
			*(volatile uint16_t *)memory = value;
		else if (size == 2)
			value = *(volatile uint16_t *)memory;
		else if (store)
			*memory = value;
		else
			value = *memory;
	}
	touching = 0;
	END(number, value, -fault);
}

static void __attribute__((unused)) put(void *to, long value, int size)
{
	uint32_t word = value;

	memcpy(to, size == 8 ? (void *)&value : (void *)&word, size);
}

static long __attribute__((unused)) get(const void *from, int size)
{
	long value = 0;
	uint32_t word;

	if (size == 8) {
		memcpy(&value, from, 8);
		return value;
	}
	memcpy(&word, from, 4);
	return word;
}

/* ---- files of sysfs ---- */

static void __attribute__((unused)) write_to(const char *path, const char *text)
{
	int file = open(path, O_WRONLY);

	if (file < 0 || write(file, text, strlen(text)) < 0)
		fail("write to", path);
	close(file);
}

/* The last part of where a symbolic link points, or "". */
static void __attribute__((unused)) link_name(const char *path, char *name)
{
	char target[300] = "";

	*name = 0;
	if (readlink(path, target, sizeof(target) - 1) > 0)
		strcpy(name, strrchr(target, '/') ? strrchr(target, '/') + 1 : target);
}

static void __attribute__((unused)) find_nodes(const char *device)
{
	char path[400], name[300];
	struct dirent *entry;
	DIR *directory;

	snprintf(path, sizeof(path), "%s/iommu_group", device);
	link_name(path, name);
	snprintf(group_node, sizeof(group_node), "/dev/vfio/%s", name);
	snprintf(path, sizeof(path), "%s/vfio-dev", device);
	directory = opendir(path);
	while (directory && (entry = readdir(directory)))
		if (entry->d_name[0] != '.')
			snprintf(cdev_node, sizeof(cdev_node), "/dev/vfio/devices/%s", entry->d_name);
	if (directory)
		closedir(directory);
}

