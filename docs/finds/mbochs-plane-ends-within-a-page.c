/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The size of a plane of 800 by 600 pixels is no multiple of a page; linux/vfio.h has it aligned.
 *
 * Root, the modules mbochs and vfio_iommu_type1 loaded; creates the device itself.
 * usage: mbochs-plane-ends-within-a-page
 */
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PARENT "/sys/devices/virtual/mbochs/mbochs/mdev_supported_types/mbochs-small/create"
#define UUID "6d626f63-0000-4000-8000-00000000000a"

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

int main(void)
{
	struct vfio_device_gfx_plane_info info = { .argsz = sizeof(info), .flags = VFIO_GFX_PLANE_TYPE_DMABUF, .drm_plane_type = 1 };
	unsigned int rest;
	struct user user;

	put(PARENT, UUID);
	user = opened();
	show(user.device, 800, 600);
	/* The first question about a mode may be refused: mbochs-first-query-of-a-mode.md. */
	if (ioctl(user.device, VFIO_DEVICE_QUERY_GFX_PLANE, &info))
		must(ioctl(user.device, VFIO_DEVICE_QUERY_GFX_PLANE, &info), "VFIO_DEVICE_QUERY_GFX_PLANE");
	rest = info.size % sysconf(_SC_PAGESIZE);
	printf("stride %u, height %u, size %u, of its last page %u bytes\n", info.stride, info.height, info.size, rest);
	closed(&user);
	put("/sys/bus/mdev/devices/" UUID "/remove", "1");
	return rest != 0;
}
