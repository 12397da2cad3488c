/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two mappings share a word of the bitmap of dirty pages: pages 0, 1 and page 4.  Asked for again and again, type1 tells of
 * more and more pages that are not mapped.  A PCI function behind an IOMMU, bound to vfio-pci, is needed: it can not tell what
 * it wrote, so that all that is mapped is dirty at all times.
 *
 * usage: dirty-bitmap-keeps-its-shift GROUP ADDRESS      such as: 2 0000:00:04.0
 */
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define PAGE 4096UL
#define IOVA 0x100000UL
#define MAPPED 0x13UL

/* GET_BITMAP has its data behind the flags. */
struct request {
	struct vfio_iommu_type1_dirty_bitmap head;
	struct vfio_iommu_type1_dirty_bitmap_get range;
};

static int map(int container, unsigned long iova, void *memory, unsigned long size)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (unsigned long)memory,
		.iova = iova,
		.size = size,
	};

	return ioctl(container, VFIO_IOMMU_MAP_DMA, &map);
}

static int ask(int container, __u64 *word)
{
	struct request get;

	memset(&get, 0, sizeof(get));
	get.head.argsz = sizeof(get);
	get.head.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP;
	get.range.iova = IOVA;
	get.range.size = 64 * PAGE;
	get.range.bitmap.pgsize = PAGE;
	get.range.bitmap.size = sizeof(*word);
	get.range.bitmap.data = word;
	*word = 0;
	return ioctl(container, VFIO_IOMMU_DIRTY_PAGES, &get);
}

int main(int argc, char **argv)
{
	struct vfio_iommu_type1_dirty_bitmap start = {
		.argsz = sizeof(start), .flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_START,
	};
	int container, group, wrong = 0;
	char path[64];
	void *memory;
	__u64 word;

	if (argc != 3) {
		fprintf(stderr, "usage: %s GROUP ADDRESS\n", argv[0]);
		return 2;
	}
	snprintf(path, sizeof(path), "/dev/vfio/%s", argv[1]);
	container = open("/dev/vfio/vfio", O_RDWR);
	group = open(path, O_RDWR);
	if (container < 0 || group < 0 || ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) ||
	    ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) || ioctl(group, VFIO_GROUP_GET_DEVICE_FD, argv[2]) < 0) {
		perror(path);
		return 3;
	}
	memory = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED || map(container, IOVA, memory, 2 * PAGE) ||
	    map(container, IOVA + 4 * PAGE, memory, PAGE) || ioctl(container, VFIO_IOMMU_DIRTY_PAGES, &start)) {
		perror("mapping, tracking");
		return 3;
	}
	for (int query = 1; query <= 6; query++) {
		if (ask(container, &word)) {
			perror("VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP");
			return 3;
		}
		printf("query %d: dirty %#llx, of which not mapped %#llx\n", query, (unsigned long long)word,
		       (unsigned long long)(word & ~MAPPED));
		wrong |= word != MAPPED;
	}
	return wrong;
}
