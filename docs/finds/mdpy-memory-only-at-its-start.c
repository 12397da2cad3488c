/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The memory of an mdpy, written through its descriptor at an offset and seen through a mapping: it is the first word that
 * changes, whatever the offset.
 *
 * Root, the modules mdpy and vfio_iommu_type1 loaded; creates the device itself.
 * usage: mdpy-memory-only-at-its-start
 */
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PARENT "/sys/devices/virtual/mdpy/mdpy/mdev_supported_types/mdpy-vga/create"
#define UUID "6d626f63-0000-4000-8000-000000000006"

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

int main(void)
{
	__u32 values[] = { 0x11111111, 0x22222222, 0x33333333 }, *memory;
	struct vfio_region_info bar;
	struct user user;
	int wrong;

	put(PARENT, UUID);
	user = opened();
	bar = region(user.device, VFIO_PCI_BAR0_REGION_INDEX);
	memory = mmap(NULL, bar.size, PROT_READ | PROT_WRITE, MAP_SHARED, user.device, bar.offset);
	if (memory == MAP_FAILED) {
		perror("mmap");
		return 3;
	}
	must(pwrite(user.device, values, sizeof(values), bar.offset + 4096), "pwrite");
	printf("three words written at 0x1000; there %#x %#x %#x, at 0 %#x\n", memory[1024], memory[1025], memory[1026],
	       memory[0]);
	wrong = memory[1024] != values[0] || memory[0] == values[2];
	munmap(memory, bar.size);
	closed(&user);
	put("/sys/bus/mdev/devices/" UUID "/remove", "1");
	return wrong;
}
