/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * In PRE_COPY poll() calls the data of an mtty readable when there are none, where linux/vfio.h lets user space wait.
 *
 * usage: mtty-precopy-poll-does-not-wait CDEV      such as: /dev/vfio/devices/vfio0
 */
#include <fcntl.h>
#include <linux/ioctl.h>
#include <linux/types.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* For headers that do not have them yet. */
#define FEATURE _IO(';', 117)
#define BIND _IO(';', 118)
#define PRECOPY_INFO _IO(';', 121)
#define SET (1 << 17)
#define MIG_DEVICE_STATE 2
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
	int iommufd = open("/dev/iommu", O_RDWR), cdev = argc == 2 ? open(argv[1], O_RDWR) : -1, ready;
	struct bind bind = { .argsz = sizeof(bind), .iommufd = iommufd };
	struct info info = { .argsz = sizeof(info) };
	struct pollfd data = { .events = POLLIN };
	static char buffer[1 << 16];
	ssize_t got;

	must(iommufd, "/dev/iommu");
	must(cdev, "usage: mtty-precopy-poll-does-not-wait CDEV");
	must(ioctl(cdev, BIND, &bind), "VFIO_DEVICE_BIND_IOMMUFD");
	data.fd = set(cdev, PRE_COPY);
	do {
		got = read(data.fd, buffer, sizeof(buffer));
		must(ioctl(data.fd, PRECOPY_INFO, &info), "VFIO_MIG_GET_PRECOPY_INFO");
	} while (got > 0);
	ready = poll(&data, 1, 1000);
	must(ready, "poll");
	printf("left: %llu and %llu; poll: %s\n", info.initial_bytes, info.dirty_bytes, ready ? "readable" : "nothing in a second");
	return ready;
}
