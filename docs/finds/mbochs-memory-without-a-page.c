/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads the memory of an mbochs, each time another page and with another allocation that fails. Where the one fails that is for
 * the page itself, the kernel copies from no page.
 *
 * Root, a kernel with fault injection (CONFIG_FAIL_PAGE_ALLOC, CONFIG_FAULT_INJECTION_DEBUG_FS), debugfs, the modules mbochs and
 * vfio_iommu_type1 loaded; creates the device itself.
 * usage: mbochs-memory-without-a-page
 */
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PARENT "/sys/devices/virtual/mbochs/mbochs/mdev_supported_types/mbochs-small/create"
#define FAULTS "/sys/kernel/debug/fail_page_alloc/"
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

static struct vfio_region_info region(int device, int index)
{
	struct vfio_region_info info = { .argsz = sizeof(info), .index = index };

	must(ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &info), "VFIO_DEVICE_GET_REGION_INFO");
	return info;
}

int main(void)
{
	struct vfio_region_info bar;
	struct user user;
	char text[16];
	__u32 value;
	int fail;

	put(FAULTS "ignore-gfp-wait", "N");
	put(FAULTS "ignore-gfp-highmem", "N");
	put(FAULTS "min-order", "0");
	put(PARENT, UUID);
	user = opened();
	bar = region(user.device, VFIO_PCI_BAR0_REGION_INDEX);
	fail = must(open("/proc/thread-self/fail-nth", O_RDWR), "fail-nth");
	for (int nth = 1; nth < 10; nth++) {
		long answer;

		snprintf(text, sizeof(text), "%d", nth);
		must(pwrite(fail, text, strlen(text), 0), "fail-nth");
		answer = pread(user.device, &value, sizeof(value), bar.offset + nth * 4096);
		if (pwrite(fail, "0", 1, 0) < 0)
			must(pwrite(fail, "0", 1, 0), "fail-nth");
		printf("number %d fails: %ld\n", nth, answer);
	}
	return 0;
}
