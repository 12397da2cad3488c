/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The plane of a new mode is asked for: the first time it is ENOMEM, then it is described.
 *
 * Root, the modules mbochs and vfio_iommu_type1 loaded; creates the device itself.
 * usage: mbochs-first-query-of-a-mode
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PARENT "/sys/devices/virtual/mbochs/mbochs/mdev_supported_types/mbochs-small/create"
#define UUID "6d626f63-0000-4000-8000-000000000009"

static int must(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(3);
	}
	return result;
}

static void put(const char *path, const char *text)
{
	int file = must(open(path, O_WRONLY), path);

	must(write(file, text, strlen(text)), path);
	close(file);
}

struct user {
	int container, group, device;
};

static struct user opened(void)
{
	char path[128], target[128];
	struct user user;
	int length;

	length = must(readlink("/sys/bus/mdev/devices/" UUID "/iommu_group", target, sizeof(target) - 1), "iommu_group");
	target[length] = '\0';
	snprintf(path, sizeof(path), "/dev/vfio%s", strrchr(target, '/'));
	user.container = must(open("/dev/vfio/vfio", O_RDWR), "/dev/vfio/vfio");
	user.group = must(open(path, O_RDWR), path);
	must(ioctl(user.group, VFIO_GROUP_SET_CONTAINER, &user.container), "VFIO_GROUP_SET_CONTAINER");
	must(ioctl(user.container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), "VFIO_SET_IOMMU");
	user.device = must(ioctl(user.group, VFIO_GROUP_GET_DEVICE_FD, UUID), "VFIO_GROUP_GET_DEVICE_FD");
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

/* The registers of the mode are 16 bits wide, from offset 0x500 of BAR 2 on. */
static void put_register(int device, int number, __u16 value)
{
	struct vfio_region_info bar = region(device, VFIO_PCI_BAR2_REGION_INDEX);

	must(pwrite(device, &value, sizeof(value), bar.offset + 0x500 + 2 * number), "register");
}

static void show(int device, int width, int height)
{
	put_register(device, 1, width);
	put_register(device, 2, height);
	put_register(device, 3, 32);
	put_register(device, 4, 1);
}

static int query(int device)
{
	struct vfio_device_gfx_plane_info info;

	memset(&info, 0, sizeof(info));
	info.argsz = sizeof(info);
	info.flags = VFIO_GFX_PLANE_TYPE_DMABUF;
	info.drm_plane_type = 1;
	return ioctl(device, VFIO_DEVICE_QUERY_GFX_PLANE, &info) ? errno : 0;
}

int main(void)
{
	struct user user;
	int first, second;

	put(PARENT, UUID);
	user = opened();
	show(user.device, 640, 480);
	first = query(user.device);
	second = query(user.device);
	printf("the first query: %s; the second: %s\n", strerror(first), strerror(second));
	closed(&user);
	put("/sys/bus/mdev/devices/" UUID "/remove", "1");
	return first != 0;
}
