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
#define SETTINGS @SETTINGS@
#define SECOND_NS 1000000000LL
#define DEADLINE @DEADLINE@ /* seconds, of a round; its scene has longer */
#define SCENE_DEADLINE 60

enum { NOT_RUN, SKIPPED, RUNNING, DONE };
enum { SETTING_THE_SCENE, RACING, GIVING_BACK };

/* What file descriptors and the like are kept in. */
enum { @SLOTS@SLOTS };

static struct shared {
	volatile int phase, prepared, reproduced;
	volatile long long since; /* when the phase began */
	volatile unsigned round;
	volatile int closing; /* a slot, after the round, or -1 */
	int arrived;
	long long release;
	long long seen[ACTORS][8]; /* when each was last seen at the barrier: a cache line each */
	char driver_before[300], override_before[300], settings_before[SETTINGS + 1][300];
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
static const char *const slot_names[SLOTS + 1] = {@SLOT_NAMES@};

static long *slots;
static char *pages;
static struct call *calls;
static char group_node[600], cdev_node[600];

/* ---- time ---- */

/* Actors share CPUs: who waits must sleep. A sleep ends late, so the rest of a wait is spent awake. */
static int crowded;
#define NAP_NS 20000
#define AWAKE_NS 60000

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * SECOND_NS + time.tv_nsec;
}

static void sleep_until(long long time)
{
	struct timespec until = {time / SECOND_NS, time % SECOND_NS};

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static void relax(void)
{
	if (crowded)
		sleep_until(now() + NAP_NS);
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#endif
}

static void wait_until(long long time)
{
	if (crowded && now() < time - AWAKE_NS)
		sleep_until(time - AWAKE_NS);
	while (now() < time)
		if (crowded)
			sched_yield();
}

static void enter(int phase)
{
	shared->since = now();
	shared->phase = phase;
}

static void fail(const char *what, const char *which)
{
	fprintf(stderr, "%s %s: %s\n", what, which, strerror(errno));
	fflush(NULL);
	_exit(2);
}

/* ---- files of sysfs ---- */

static void __attribute__((unused)) write_to(const char *path, const char *text)
{
	int file = open(path, O_WRONLY);

	if (file < 0 || write(file, text, strlen(text)) < 0)
		fail("write to", path);
	close(file);
}

/* Up to 299 bytes. */
static void __attribute__((unused)) read_from(const char *path, char *text)
{
	int file = open(path, O_RDONLY);
	ssize_t size = file < 0 ? -1 : read(file, text, 299);

	if (size < 0)
		fail("read from", path);
	text[size] = 0;
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

static const char *const settings[SETTINGS + 1][2] = {@SETTING_VALUES@};

/* Remembers what they were before. */
static void set_settings(void)
{
	for (int i = 0; settings[i][0]; i++) {
		read_from(settings[i][0], shared->settings_before[i]);
		write_to(settings[i][0], settings[i][1]);
	}
}

static void give_settings_back(void)
{
	for (int i = 0; settings[i][0]; i++)
		if (*shared->settings_before[i])
			write_to(settings[i][0], shared->settings_before[i]);
}
