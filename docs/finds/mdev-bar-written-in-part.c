/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One byte of a BAR of a sample device is written as it is: the driver takes four from its stack.  A kernel with
 * CONFIG_KASAN tells; on any, the address is another one then.
 *
 * Root, one of the modules mdpy, mbochs and mtty, and vfio_iommu_type1 loaded, a device created, such as:
 * 	echo UUID > /sys/devices/virtual/mdpy/mdpy/mdev_supported_types/mdpy-vga/create
 * usage: mdev-bar-written-in-part UUID
 */
#include <fcntl.h>
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
	__u32 address = 0xe4000000, other = 0x55555555, before, after;
	unsigned long bar, start;
	struct user user;
	__u8 byte;

	if (argc != 2) {
		fprintf(stderr, "usage: %s UUID\n", argv[0]);
		return 2;
	}
	user = opened(argv[1]);
	start = region(user.device, VFIO_PCI_CONFIG_REGION_INDEX).offset;
	bar = start + 0x10;
	must(pwrite(user.device, &address, sizeof(address), bar), "BAR 0");
	must(pread(user.device, &before, sizeof(before), bar), "BAR 0");
	/* Vendor and device id take no write; it leaves something on the stack. */
	must(pwrite(user.device, &other, sizeof(other), start), "vendor id");
	must(pread(user.device, &byte, sizeof(byte), bar), "BAR 0");
	must(pwrite(user.device, &byte, sizeof(byte), bar), "BAR 0");
	must(pread(user.device, &after, sizeof(after), bar), "BAR 0");
	printf("BAR 0 was %#x, and after its first byte was written as it is %#x\n", before, after);
	closed(&user);
	return before != after;
}
