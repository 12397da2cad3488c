/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A PCI function is reset through sysfs just as its last user closes it: the reset saves what the close has switched off,
 * and restores that.
 *
 * Root, a function that can be reset bound to vfio-pci, a kernel with character devices of VFIO.
 * usage: reset-beside-close 0000:00:05.0 [ROUNDS]
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* As linux/vfio.h and linux/pci_regs.h have them; the first is younger than the headers of many systems. */
struct bind {
	uint32_t argsz, flags;
	int32_t iommufd;
	uint32_t out_devid;
};
#define BIND _IO(VFIO_TYPE, VFIO_BASE + 18)
#define COMMAND 0x04
#define COMMAND_MEMORY 0x2
#define BAR0 0x10

static char directory[64];
static useconds_t delay;

static int must(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(3);
	}
	return result;
}

static int file(const char *name, int flags)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return must(open(path, flags), path);
}

static uint32_t config(off_t offset)
{
	int fd = file("config", O_RDONLY);
	uint32_t value;

	must(pread(fd, &value, sizeof(value), offset), "config");
	close(fd);
	return value;
}

static uint16_t command(void)
{
	return config(COMMAND);
}

static int opened(const char *node, int iommufd)
{
	struct bind bind = {.argsz = sizeof(bind), .iommufd = iommufd};
	int fd = must(open(node, O_RDWR), node);

	must(ioctl(fd, BIND, &bind), "VFIO_DEVICE_BIND_IOMMUFD");
	return fd;
}

static void *reset(void *unused)
{
	int fd = file("reset", O_WRONLY);

	usleep(delay);
	must(write(fd, "1", 1), "reset");
	close(fd);
	return unused;
}

int main(int argc, char **argv)
{
	int rounds = argc > 2 ? atoi(argv[2]) : 200, iommufd, fd;
	struct dirent *entry;
	char node[300] = "";
	DIR *devices;

	if (argc < 2) {
		fprintf(stderr, "usage: %s ADDRESS [ROUNDS]\n", argv[0]);
		return 2;
	}
	snprintf(directory, sizeof(directory), "/sys/bus/pci/devices/%s", argv[1]);
	devices = fdopendir(file("vfio-dev", O_RDONLY | O_DIRECTORY));
	while (devices && (entry = readdir(devices)))
		if (entry->d_name[0] == 'v')
			snprintf(node, sizeof(node), "/dev/vfio/devices/%s", entry->d_name);
	iommufd = must(open("/dev/iommu", O_RDWR), "/dev/iommu");
	for (int round = 0; round < rounds; round++) {
		uint16_t before, while_open, after;
		uint32_t bar;
		pthread_t resetter;

		/* What a first open has switched on stays on between two users. */
		close(opened(node, iommufd));
		before = command();
		bar = config(BAR0);
		fd = opened(node, iommufd);
		while_open = command();
		delay = round * 3571 % 130000;
		if (pthread_create(&resetter, NULL, reset, NULL))
			return 3;
		close(fd);
		pthread_join(resetter, NULL);
		after = command();
		if ((before ^ after) & COMMAND_MEMORY) {
			printf("round %d, reset %u us after the close began: command register %04x, while open %04x, "
			       "afterwards %04x; BAR 0: %08x, afterwards %08x\n",
			       round, delay, before, while_open, after, bar, config(BAR0));
			return 1;
		}
	}
	printf("the command register was the same in %d rounds\n", rounds);
	return 0;
}
