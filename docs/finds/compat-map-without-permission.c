/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VFIO_IOMMU_MAP_DMA with neither VFIO_DMA_MAP_FLAG_READ nor VFIO_DMA_MAP_FLAG_WRITE, through /dev/iommu as a container.
 * linux/vfio.h requires one of them; type1 answers EINVAL.  A PCI function bound to vfio-pci is needed.
 *
 * usage: compat-map-without-permission GROUP ADDRESS      such as: 2 0000:00:04.0
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

int main(int argc, char **argv)
{
	struct vfio_iommu_type1_dma_map map = { .argsz = sizeof(map), .iova = 0x100000, .size = 4096 };
	char path[64];
	int container, group;

	if (argc != 3) {
		fprintf(stderr, "usage: %s GROUP ADDRESS\n", argv[0]);
		return 2;
	}
	snprintf(path, sizeof(path), "/dev/vfio/%s", argv[1]);
	container = open("/dev/iommu", O_RDWR);
	group = open(path, O_RDWR);
	if (container < 0 || group < 0 || ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) ||
	    ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU)) {
		perror(path);
		return 3;
	}
	/* The group's devices join the address space when the first one is opened. */
	if (ioctl(group, VFIO_GROUP_GET_DEVICE_FD, argv[2]) < 0) {
		perror("VFIO_GROUP_GET_DEVICE_FD");
		return 3;
	}
	map.vaddr = (unsigned long)mmap(NULL, map.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ioctl(container, VFIO_IOMMU_MAP_DMA, &map) == 0)
		printf("mapped with no permission: the header says it must be refused\n");
	else
		printf("refused: %s\n", strerror(errno));
	return 0;
}
