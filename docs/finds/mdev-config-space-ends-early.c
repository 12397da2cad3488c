/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Config space of a sample device has 255 bytes, says its region.  Four are read at 252: the last one is behind its
 * end.
 *
 * Root, one of the modules mdpy, mbochs and mtty, and vfio_iommu_type1 loaded, a device created, such as:
 * 	echo UUID > /sys/devices/virtual/mdpy/mdpy/mdev_supported_types/mdpy-vga/create
 * usage: mdev-config-space-ends-early UUID
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
	struct vfio_region_info space;
	struct user user;
	int got, wrong;
	__u32 value;

	if (argc != 2) {
		fprintf(stderr, "usage: %s UUID\n", argv[0]);
		return 2;
	}
	user = opened(argv[1]);
	space = region(user.device, VFIO_PCI_CONFIG_REGION_INDEX);
	got = pread(user.device, &value, sizeof(value), space.offset + 252);
	wrong = got > 0 && 252 + got > (int)space.size;
	printf("config space has %d bytes; of it, %d were read at 252\n", (int)space.size, got);
	closed(&user);
	return wrong;
}
