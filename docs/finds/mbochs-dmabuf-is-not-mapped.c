/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The dma-buf of a plane can be mapped, says the driver to dma-buf; but its descriptor is for reading only.  A shared mapping of
 * such a file has no VM_SHARED when the driver is asked, and the driver wants it.
 *
 * Root, the modules mbochs and vfio_iommu_type1 loaded; creates the device itself.
 * usage: mbochs-dmabuf-is-not-mapped
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PARENT "/sys/devices/virtual/mbochs/mbochs/mdev_supported_types/mbochs-small/create"
#define UUID "6d626f63-0000-4000-8000-000000000010"

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

/* The id of the plane; the first question about a new mode gets ENOMEM, which is a fault of its own. */
static __u32 plane(int device)
{
	struct vfio_device_gfx_plane_info info;
	int tries = 2, result;

	do {
		memset(&info, 0, sizeof(info));
		info.argsz = sizeof(info);
		info.flags = VFIO_GFX_PLANE_TYPE_DMABUF;
		info.drm_plane_type = 1;
		result = ioctl(device, VFIO_DEVICE_QUERY_GFX_PLANE, &info);
	} while (result && --tries);
	must(result, "VFIO_DEVICE_QUERY_GFX_PLANE");
	return info.dmabuf_id;
}

int main(void)
{
	struct user user;
	int buffer, mapped;
	void *memory;
	__u32 id;

	put(PARENT, UUID);
	user = opened();
	show(user.device, 640, 480);
	id = plane(user.device);
	buffer = must(ioctl(user.device, VFIO_DEVICE_GET_GFX_DMABUF, &id), "VFIO_DEVICE_GET_GFX_DMABUF");
	memory = mmap(NULL, 640 * 480 * 4, PROT_READ, MAP_SHARED, buffer, 0);
	printf("mmap to read: %s\n", memory == MAP_FAILED ? strerror(errno) : "mapped");
	mapped = memory != MAP_FAILED;
	memory = mmap(NULL, 640 * 480 * 4, PROT_READ | PROT_WRITE, MAP_SHARED, buffer, 0);
	printf("mmap to read and write: %s\n", memory == MAP_FAILED ? strerror(errno) : "mapped");
	close(buffer);
	closed(&user);
	return !mapped;
}
