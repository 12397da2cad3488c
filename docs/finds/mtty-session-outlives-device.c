/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The data file of a migration is kept, its mtty closed and removed, the file used: the driver looks into the device's memory,
 * which is freed.  Only a kernel with CONFIG_KASAN tells, and only the first time since it booted: one use a boot.
 *
 * Root, the modules mtty and vfio_iommu_type1 loaded; creates the device itself.
 * usage: mtty-session-outlives-device write|precopy_info
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/types.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PARENT "/sys/devices/virtual/mtty/mtty/mdev_supported_types/mtty-1/create"
#define UUID "6d747479-0000-4000-8000-000000000001"

/* Headers older than 6.2. */
#ifndef VFIO_MIG_GET_PRECOPY_INFO
#define VFIO_MIG_GET_PRECOPY_INFO _IO(VFIO_TYPE, VFIO_BASE + 21)
#define VFIO_DEVICE_STATE_PRE_COPY 6
struct vfio_precopy_info {
	__u32 argsz;
	__u32 flags;
	__aligned_u64 initial_bytes;
	__aligned_u64 dirty_bytes;
};
#endif

/* A request to VFIO_DEVICE_FEATURE has its data behind the header. */
struct request {
	struct vfio_device_feature head;
	struct vfio_device_feature_mig_state state;
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

/* The data file of this state; the device is closed again. */
static int session(__u32 state)
{
	struct request set = {
		.head = {
			.argsz = sizeof(set),
			.flags = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
		},
		.state = { .device_state = state, .data_fd = -1 },
	};
	char path[128], target[128];
	int container, group, device, length;

	length = must(readlink("/sys/bus/mdev/devices/" UUID "/iommu_group", target, sizeof(target) - 1), "iommu_group");
	target[length] = '\0';
	snprintf(path, sizeof(path), "/dev/vfio%s", strrchr(target, '/'));
	container = must(open("/dev/vfio/vfio", O_RDWR), "/dev/vfio/vfio");
	group = must(open(path, O_RDWR), path);
	must(ioctl(group, VFIO_GROUP_SET_CONTAINER, &container), "VFIO_GROUP_SET_CONTAINER");
	must(ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), "VFIO_SET_IOMMU");
	device = must(ioctl(group, VFIO_GROUP_GET_DEVICE_FD, UUID), "VFIO_GROUP_GET_DEVICE_FD");
	must(ioctl(device, VFIO_DEVICE_FEATURE, &set), "VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE");
	close(device);
	close(group);
	close(container);
	return set.state.data_fd;
}

int main(int argc, char **argv)
{
	struct vfio_precopy_info info = { .argsz = sizeof(info) };
	int data, writes, result;

	writes = argc == 2 && !strcmp(argv[1], "write");
	if (argc != 2 || (!writes && strcmp(argv[1], "precopy_info"))) {
		fprintf(stderr, "usage: %s write|precopy_info\n", argv[0]);
		return 2;
	}
	put(PARENT, UUID);
	data = session(writes ? VFIO_DEVICE_STATE_RESUMING : VFIO_DEVICE_STATE_PRE_COPY);
	put("/sys/bus/mdev/devices/" UUID "/remove", "1");
	if (writes)
		result = write(data, "anything", 8);
	else
		result = ioctl(data, VFIO_MIG_GET_PRECOPY_INFO, &info);
	printf("%s: %s; see the kernel log\n", argv[1], result < 0 ? strerror(errno) : "done");
	close(data);
	return 0;
}
