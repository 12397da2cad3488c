/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The dma-buf of a plane is got twice: there are two descriptors and one reference.  Closing the first one frees the file, the
 * second one points to what was freed.
 *
 * Root, the modules mbochs and vfio_iommu_type1 loaded; creates the device itself.
 * usage: mbochs-dmabuf-got-twice
 */
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PARENT "/sys/devices/virtual/mbochs/mbochs/mdev_supported_types/mbochs-small/create"
#define UUID "6d626f63-0000-4000-8000-000000000003"

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

/* References to the file behind a descriptor. */
static int references(int descriptor)
{
	char path[64], line[128];
	int count = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", descriptor);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "count: %d", &count) == 1)
			break;
	if (file)
		fclose(file);
	return count;
}

int main(void)
{
	struct user user;
	int first, second;
	__u32 id;

	put(PARENT, UUID);
	user = opened();
	show(user.device, 640, 480);
	id = plane(user.device);
	first = must(ioctl(user.device, VFIO_DEVICE_GET_GFX_DMABUF, &id), "VFIO_DEVICE_GET_GFX_DMABUF");
	second = must(ioctl(user.device, VFIO_DEVICE_GET_GFX_DMABUF, &id), "VFIO_DEVICE_GET_GFX_DMABUF");
	printf("two descriptors, references to their file: %d\n", references(first));
	fflush(stdout);
	close(first);
	close(second);
	printf("both are closed; see the kernel log\n");
	return 0;
}
