/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The dma-buf of a plane is got, closed, got again and closed again.  Its pages lose a reference each time it is closed, though
 * they got one only when the plane was made: the second time they are free, while the device still has them.
 *
 * Without an argument the device is closed then, which drops the reference that is not there: a kernel with CONFIG_DEBUG_VM
 * says so.  With "look", a pipe is filled, and its pages looked for in the memory of the device; the guest is not to be
 * trusted afterwards.
 *
 * Root, the modules mbochs and vfio_iommu_type1 loaded; creates the device itself.
 * usage: mbochs-dmabuf-got-anew [look]
 */
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PARENT "/sys/devices/virtual/mbochs/mbochs/mdev_supported_types/mbochs-small/create"
#define UUID "6d626f63-0000-4000-8000-000000000004"
#define PAGE 4096UL

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

/* Pages that the kernel takes for a pipe; how many of them the device shows. */
static int looked_for(int device)
{
	struct vfio_region_info bar = region(device, VFIO_PCI_BAR0_REGION_INDEX);
	static char secret[PAGE] = "a secret";
	int ends[2], found = 0;
	char *memory;

	must(pipe(ends), "pipe");
	for (int page = 0; page < 16; page++)
		must(write(ends[1], secret, sizeof(secret)), "pipe");
	memory = mmap(NULL, bar.size, PROT_READ | PROT_WRITE, MAP_SHARED, device, bar.offset);
	if (memory == MAP_FAILED) {
		perror("mmap");
		exit(3);
	}
	for (unsigned long at = 0; at < 4 * PAGE; at += PAGE)
		found += !strcmp(memory + at, secret);
	return found;
}

int main(int argc, char **argv)
{
	int buffer, look = argc == 2 && !strcmp(argv[1], "look");
	struct user user;
	__u32 id;

	put(PARENT, UUID);
	user = opened();
	show(user.device, 64, 64);
	id = plane(user.device);
	for (int times = 0; times < 2; times++) {
		buffer = must(ioctl(user.device, VFIO_DEVICE_GET_GFX_DMABUF, &id), "VFIO_DEVICE_GET_GFX_DMABUF");
		close(buffer);
	}
	if (look) {
		printf("pages of a pipe that the device shows: %d\n", looked_for(user.device));
		fflush(stdout);
	}
	closed(&user);
	printf("the device is closed; see the kernel log\n");
	return 0;
}
