/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A container is asked to map and to unmap memory while its only group leaves it and comes back: its IOMMU is freed while
 * requests use it.
 *
 * Who may open the nodes may do it. Modules vfio_iommu_type1 and mtty loaded, a device created by root:
 * 	echo UUID > /sys/devices/virtual/mtty/mtty/mdev_supported_types/mtty-1/create
 * or a function of PCI bound to vfio-pci.
 * usage: container-ioctl-after-release NUMBER-OF-THE-GROUP [SECONDS]
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static int container, group;
static volatile int over;
static volatile unsigned long maps;

static int must(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(3);
	}
	return result;
}

/* What is no mapping of this container, or comes when there is none, is refused: all of it is legal. */
static void *mapper(void *memory)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (unsigned long)memory,
		.iova = 0x1000,
		.size = 0x1000,
	};
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.iova = 0x1000,
		.size = 0x1000,
	};

	while (!over) {
		maps += !ioctl(container, VFIO_IOMMU_MAP_DMA, &map);
		unmap.size = 0x1000;
		ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	time_t end = time(NULL) + (argc > 2 ? atoi(argv[2]) : 20);
	unsigned long rounds = 0;
	struct timespec limit;
	pthread_t thread;
	char path[64];
	void *memory;

	if (argc < 2) {
		fprintf(stderr, "usage: %s NUMBER-OF-THE-GROUP [SECONDS]\n", argv[0]);
		return 2;
	}
	snprintf(path, sizeof(path), "/dev/vfio/%s", argv[1]);
	container = must(open("/dev/vfio/vfio", O_RDWR), "/dev/vfio/vfio");
	group = must(open(path, O_RDWR), path);
	memory = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		must(-1, "mmap");
	if (pthread_create(&thread, NULL, mapper, memory))
		must(-1, "pthread_create");
	for (; time(NULL) < end; rounds++) {
		must(ioctl(group, VFIO_GROUP_SET_CONTAINER, &container), "VFIO_GROUP_SET_CONTAINER");
		must(ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), "VFIO_SET_IOMMU");
		must(ioctl(group, VFIO_GROUP_UNSET_CONTAINER), "VFIO_GROUP_UNSET_CONTAINER");
	}
	over = 1;
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += 10;
	printf("%lu rounds, %lu mappings%s: look into the kernel's log\n", rounds, maps,
	       pthread_timedjoin_np(thread, NULL, &limit) ? ", and a request that does not return" : "");
	return 0;
}
