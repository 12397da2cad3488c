/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A process with CAP_IPC_LOCK maps a file for a device, and another one takes over with IOMMU_IOAS_CHANGE_PROCESS: the pages count
 * as pinned for the first one for ever, and are taken off the second one's when they are unmapped, which then has less than none.
 *
 * As root; usage: change-process-leaves-privileged-pins CDEV      such as: /dev/vfio/devices/vfio0, of a PCI function
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <linux/types.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* For headers that do not have them yet. */
#define BIND _IO(';', 118)
#define ATTACH _IO(';', 119)
#define IOAS_ALLOC _IO(';', 0x81)
#define IOAS_UNMAP _IO(';', 0x86)
#define IOAS_MAP_FILE _IO(';', 0x8f)
#define CHANGE_PROCESS _IO(';', 0x92)
struct bind { __u32 argsz, flags; __s32 iommufd; __u32 out_devid; };
struct attach { __u32 argsz, flags, pt_id; };
struct ioas_alloc { __u32 size, flags, out_ioas_id; };
struct map_file { __u32 size, flags, ioas_id; __s32 fd; __u64 start, length, iova; };
struct ioas_unmap { __u32 size, ioas_id; __u64 iova, length; };
struct change_process { __u32 size, reserved; };

static void must(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(3);
	}
}

static void tell(const char *who, const char *when)
{
	char line[256];
	FILE *status = fopen("/proc/self/status", "r");

	while (status && fgets(line, sizeof(line), status))
		if (!strncmp(line, "VmPin:", 6))
			printf("%s, %s: %s", who, when, line);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	int iommufd = open("/dev/iommu", O_RDWR), cdev = argc == 2 ? open(argv[1], O_RDWR) : -1;
	struct bind bind = { .argsz = sizeof(bind), .iommufd = iommufd };
	struct ioas_alloc ioas = { .size = sizeof(ioas) };
	struct attach attach = { .argsz = sizeof(attach) };
	struct map_file map = { .size = sizeof(map), .flags = 4 /* readable */, .length = 16384 };
	struct ioas_unmap unmap = { .size = sizeof(unmap), .length = ~0ULL };
	struct change_process change = { .size = sizeof(change) };

	must(iommufd, "/dev/iommu");
	must(cdev, "usage: change-process-leaves-privileged-pins CDEV");
	must(map.fd = memfd_create("memory", 0), "memfd_create");
	must(ftruncate(map.fd, 16384), "ftruncate");
	must(ioctl(cdev, BIND, &bind), "VFIO_DEVICE_BIND_IOMMUFD");
	must(ioctl(iommufd, IOAS_ALLOC, &ioas), "IOMMU_IOAS_ALLOC");
	map.ioas_id = unmap.ioas_id = attach.pt_id = ioas.out_ioas_id;
	must(ioctl(cdev, ATTACH, &attach), "VFIO_DEVICE_ATTACH_IOMMUFD_PT");
	must(ioctl(iommufd, IOAS_MAP_FILE, &map), "IOMMU_IOAS_MAP_FILE");
	tell("the one that mapped", "then");
	if (fork() == 0) {
		must(ioctl(iommufd, CHANGE_PROCESS, &change), "IOMMU_IOAS_CHANGE_PROCESS");
		tell("the one that took over", "then");
		must(ioctl(iommufd, IOAS_UNMAP, &unmap), "IOMMU_IOAS_UNMAP");
		tell("the one that took over", "after the unmap");
		exit(0);
	}
	wait(NULL);
	tell("the one that mapped", "after the unmap");
	return 0;
}
