/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A bitmap of dirty pages whose page size is 0: type1 shifts by the number of its first bit that is set, and there is none.
 * A kernel with CONFIG_UBSAN_SHIFT tells, once a boot for each of the two.
 *
 * No device is needed but some VFIO group; here of a sample device.  Root, the modules mdpy and vfio_iommu_type1 loaded.
 * usage: type1-bitmap-without-page-size
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PARENT "/sys/devices/virtual/mdpy/mdpy/mdev_supported_types/mdpy-vga/create"
#define UUID "6d626f63-0000-4000-8000-000000000011"

/* Both requests have their data behind them. */
struct unmap {
	struct vfio_iommu_type1_dma_unmap head;
	struct vfio_bitmap bitmap;
};

struct get {
	struct vfio_iommu_type1_dirty_bitmap head;
	struct vfio_iommu_type1_dirty_bitmap_get range;
};

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

int main(void)
{
	static __u64 words[64];
	struct vfio_bitmap bitmap = { .pgsize = 0, .size = sizeof(words), .data = words };
	struct unmap unmap;
	struct user user;
	struct get get;

	memset(&unmap, 0, sizeof(unmap));
	unmap.head.argsz = sizeof(unmap);
	unmap.head.flags = VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP;
	unmap.head.size = 4096;
	unmap.bitmap = bitmap;
	memset(&get, 0, sizeof(get));
	get.head.argsz = sizeof(get);
	get.head.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP;
	get.range.size = 4096;
	get.range.bitmap = bitmap;
	put(PARENT, UUID);
	user = opened();
	printf("VFIO_IOMMU_UNMAP_DMA: %s\n", ioctl(user.container, VFIO_IOMMU_UNMAP_DMA, &unmap) ? strerror(errno) : "done");
	printf("VFIO_IOMMU_DIRTY_PAGES: %s\n", ioctl(user.container, VFIO_IOMMU_DIRTY_PAGES, &get) ? strerror(errno) : "done");
	closed(&user);
	put("/sys/bus/mdev/devices/" UUID "/remove", "1");
	return 0;
}
