/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * In PRE_COPY the data of an mtty end with 0 bytes, as if no more could come, where linux/vfio.h has ENOMSG.
 *
 * usage: mtty-precopy-ends-for-good CDEV      such as: /dev/vfio/devices/vfio0
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <linux/types.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* For headers that do not have them yet. */
#define FEATURE _IO(';', 117)
#define BIND _IO(';', 118)
#define PRECOPY_INFO _IO(';', 121)
#define SET (1 << 17)
#define MIG_DEVICE_STATE 2
#define STOP_COPY 3
#define PRE_COPY 6
struct bind { __u32 argsz, flags; __s32 iommufd; __u32 out_devid; __u64 token_uuid_ptr; };
struct state { __u32 argsz, flags, device_state; __s32 data_fd; };
struct info { __u32 argsz, flags; __u64 initial_bytes, dirty_bytes; };

static void must(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(3);
	}
}

static int set(int cdev, __u32 device_state)
{
	struct state state = { .argsz = sizeof(state), .flags = SET | MIG_DEVICE_STATE, .device_state = device_state, .data_fd = -1 };

	must(ioctl(cdev, FEATURE, &state), "VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE");
	return state.data_fd;
}

int main(int argc, char **argv)
{
	int iommufd = open("/dev/iommu", O_RDWR), cdev = argc == 2 ? open(argv[1], O_RDWR) : -1, data;
	struct bind bind = { .argsz = sizeof(bind), .iommufd = iommufd };
	struct info info = { .argsz = sizeof(info) };
	static char buffer[1 << 16];
	ssize_t got;

	must(iommufd, "/dev/iommu");
	must(cdev, "usage: mtty-precopy-ends-for-good CDEV");
	must(ioctl(cdev, BIND, &bind), "VFIO_DEVICE_BIND_IOMMUFD");
	data = set(cdev, PRE_COPY);
	do {
		got = read(data, buffer, sizeof(buffer));
		must(ioctl(data, PRECOPY_INFO, &info), "VFIO_MIG_GET_PRECOPY_INFO");
		printf("read: %zd, %s; left: %llu and %llu\n", got, got < 0 ? strerror(errno) : "no error", info.initial_bytes,
		       info.dirty_bytes);
	} while (got > 0);
	set(cdev, STOP_COPY);
	printf("read in STOP_COPY: %zd\n", read(data, buffer, sizeof(buffer)));
	return 0;
}
