/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The memory of an mbochs, written through its descriptor and seen through a mapping: it is two pages off.  With
 * "last", the last page is written, whose place is behind the end of the list of pages: a kernel with CONFIG_KASAN tells.
 *
 * Root, the modules mbochs and vfio_iommu_type1 loaded; creates the device itself.
 * usage: mbochs-memory-two-pages-off [last]
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
#define UUID "6d626f63-0000-4000-8000-000000000005"

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

int main(int argc, char **argv)
{
	int last = argc == 2 && !strcmp(argv[1], "last"), wrong = 0;
	struct vfio_region_info bar;
	__u32 value = 0x12345678, *memory;
	struct user user;

	put(PARENT, UUID);
	user = opened();
	bar = region(user.device, VFIO_PCI_BAR0_REGION_INDEX);
	memory = mmap(NULL, bar.size, PROT_READ | PROT_WRITE, MAP_SHARED, user.device, bar.offset);
	if (memory == MAP_FAILED) {
		perror("mmap");
		return 3;
	}
	must(pwrite(user.device, &value, sizeof(value), bar.offset + (last ? bar.size - 4096 : 0)), "pwrite");
	for (unsigned long place = 0; !last && place < 4 * 4096; place += 4096)
		if (memory[place / 4] == value) {
			printf("written at 0, seen at %#lx\n", place);
			wrong |= place != 0;
		}
	if (last)
		printf("the last page is written; see the kernel log\n");
	munmap(memory, bar.size);
	closed(&user);
	put("/sys/bus/mdev/devices/" UUID "/remove", "1");
	return wrong;
}
