/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VFIO_DEVICE_FEATURE_DMA_BUF takes its range from behind its argsz.  Root; a PCI function bound to vfio-pci.
 *
 * usage: array-behind-argsz GROUP ADDRESS      such as: 6 0000:01:01.0
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Older headers do not have it. */
#ifndef VFIO_DEVICE_FEATURE_DMA_BUF
#define VFIO_DEVICE_FEATURE_DMA_BUF 11
#endif

struct dma_buf {
	__u32 argsz, flags;
	__u32 region_index, open_flags, buffer_flags, nr_ranges;
	/* Behind argsz. */
	__u64 offset, length;
};

static void tell(const char *request, int result)
{
	if (result >= 0)
		printf("%s: done, with what is behind argsz\n", request);
	else if (errno == EINVAL)
		printf("%s: refused\n", request);
	else
		printf("%s: it looked behind argsz, and said: %s\n", request, strerror(errno));
}

int main(int argc, char **argv)
{
	struct dma_buf export = {
		.argsz = 24, .flags = VFIO_DEVICE_FEATURE_DMA_BUF | VFIO_DEVICE_FEATURE_GET,
		.open_flags = O_RDWR | O_CLOEXEC, .nr_ranges = 1, .length = 4096,
	};
	int container, group, device;
	char path[64];

	if (argc != 3) {
		fprintf(stderr, "usage: %s GROUP ADDRESS\n", argv[0]);
		return 2;
	}
	snprintf(path, sizeof(path), "/dev/vfio/%s", argv[1]);
	container = open("/dev/vfio/vfio", O_RDWR);
	group = open(path, O_RDWR);
	if (container < 0 || group < 0 || ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) ||
	    ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU)) {
		perror(path);
		return 3;
	}
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, argv[2]);
	if (device < 0) {
		perror("VFIO_GROUP_GET_DEVICE_FD");
		return 3;
	}
	tell("VFIO_DEVICE_FEATURE_DMA_BUF", ioctl(device, VFIO_DEVICE_FEATURE, &export));
	return 0;
}
