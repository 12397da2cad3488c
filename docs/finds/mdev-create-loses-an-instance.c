/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Creates a mediated device again and again, each time with another allocation that fails, and removes it when there is one.
 * Where the one fails that is for the device itself, one instance less is available from then on.
 *
 * Root, a kernel with fault injection (CONFIG_FAILSLAB, CONFIG_FAULT_INJECTION_DEBUG_FS), debugfs, the module mdpy loaded.
 * usage: mdev-create-loses-an-instance
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TYPE "/sys/class/mdev_bus/mdpy/mdev_supported_types/mdpy-vga/"
#define UUID "6d647079-0000-4000-8000-000000000001"
#define MOST 400

static int must(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(3);
	}
	return result;
}

static int put(const char *path, const char *text)
{
	int file = must(open(path, O_WRONLY), path), answer;

	answer = write(file, text, strlen(text)) < 0 ? errno : 0;
	close(file);
	return answer;
}

static int available(void)
{
	char text[16] = "";
	int file = must(open(TYPE "available_instances", O_RDONLY), "available_instances");

	must(read(file, text, sizeof(text) - 1), "available_instances");
	close(file);
	return atoi(text);
}

/* Creates with the Nth failing; what is left of the count, which is 0 when it was reached. */
static int created(int nth, int *answer)
{
	int create = must(open(TYPE "create", O_WRONLY), "create");
	int fail = must(open("/proc/thread-self/fail-nth", O_RDWR), "fail-nth");
	char text[16] = "";

	snprintf(text, sizeof(text), "%d", nth);
	must(write(fail, text, strlen(text)), "fail-nth");
	*answer = write(create, UUID, strlen(UUID)) < 0 ? errno : 0;
	memset(text, 0, sizeof(text));
	/* These two are counted themselves; what fails in them has not failed in the creation. */
	if (pread(fail, text, sizeof(text) - 1, 0) < 0)
		strcpy(text, "1");
	if (write(fail, "0", 1) < 0)
		must(write(fail, "0", 1), "fail-nth");
	close(fail);
	close(create);
	return atoi(text);
}

int main(void)
{
	int before = available(), now, left, answer, lost = 0;

	if (put("/sys/kernel/debug/failslab/ignore-gfp-wait", "N"))
		must(-1, "failslab: allocations that may sleep");
	for (int nth = 1; nth < MOST; nth++) {
		left = created(nth, &answer);
		if (!answer)
			put("/sys/bus/mdev/devices/" UUID "/remove", "1");
		now = available();
		if (now != before) {
			printf("allocation %d failed, create said %s: %d instances were available, %d are\n", nth,
			       strerror(answer), before, now);
			before = now;
			lost++;
		}
		if (left)
			break;
	}
	put("/sys/kernel/debug/failslab/ignore-gfp-wait", "Y");
	printf("%d lost\n", lost);
	return lost != 0;
}
