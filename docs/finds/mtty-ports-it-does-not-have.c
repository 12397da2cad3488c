/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Regions that mtty does not have are read: what answers is the memory behind its two ports.  With a second argument one
 * of them is written, which is a byte of a mutex: that kernel is lost.
 *
 * Root, the modules mtty and vfio_iommu_type1 loaded, a device created:
 * 	echo UUID > /sys/devices/virtual/mtty/mtty/mdev_supported_types/mtty-1/create
 * usage: mtty-ports-it-does-not-have UUID [write]
 */
#include <fcntl.h>
#include <linux/serial_reg.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>


static int must(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(3);
	}
	return result;
}

struct user {
	int container, group, device;
};

static struct user opened(const char *uuid)
{
	char path[128], target[128];
	struct user user;
	int length;

	snprintf(path, sizeof(path), "/sys/bus/mdev/devices/%s/iommu_group", uuid);
	length = must(readlink(path, target, sizeof(target) - 1), path);
	target[length] = '\0';
	snprintf(path, sizeof(path), "/dev/vfio%s", strrchr(target, '/'));
	user.container = must(open("/dev/vfio/vfio", O_RDWR), "/dev/vfio/vfio");
	user.group = must(open(path, O_RDWR), path);
	must(ioctl(user.group, VFIO_GROUP_SET_CONTAINER, &user.container), "VFIO_GROUP_SET_CONTAINER");
	must(ioctl(user.container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), "VFIO_SET_IOMMU");
	user.device = must(ioctl(user.group, VFIO_GROUP_GET_DEVICE_FD, uuid), "VFIO_GROUP_GET_DEVICE_FD");
	return user;
}

static void closed(const struct user *user)
{
	close(user->device);
	close(user->group);
	close(user->container);
}

static struct vfio_region_info region(int device, int index)
{
	struct vfio_region_info info = { .argsz = sizeof(info), .index = index };

	must(ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &info), "VFIO_DEVICE_GET_REGION_INFO");
	return info;
}

int main(int argc, char **argv)
{
	static const int registers[] = { UART_LCR, UART_MCR, UART_SCR };
	struct vfio_region_info info;
	int through = 0;
	struct user user;
	__u8 byte;

	if (argc < 2) {
		fprintf(stderr, "usage: %s UUID [write]\n", argv[0]);
		return 2;
	}
	user = opened(argv[1]);
	for (int index = VFIO_PCI_BAR1_REGION_INDEX; index <= VFIO_PCI_BAR5_REGION_INDEX; index++) {
		info = region(user.device, index);
		for (unsigned int i = 0; i < sizeof(registers) / sizeof(*registers); i++) {
			if (info.size || pread(user.device, &byte, 1, info.offset + registers[i]) != 1)
				continue;
			printf("region %d has no bytes, and its byte %d is %#x\n", index, registers[i], byte);
			through = 1;
		}
	}
	if (argc > 2) {
		byte = 'A';
		info = region(user.device, VFIO_PCI_BAR2_REGION_INDEX);
		must(pwrite(user.device, &byte, 1, info.offset + UART_SCR), "write");
		puts("written; now the line status of the first port");
		fflush(stdout);
		info = region(user.device, VFIO_PCI_BAR0_REGION_INDEX);
		must(pread(user.device, &byte, 1, info.offset + UART_LSR), "line status");
	}
	closed(&user);
	return through;
}
