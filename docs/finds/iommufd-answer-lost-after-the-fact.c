/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests of an iommufd whose struct can be read and not written: they answer EFAULT, and have done what they were asked for.
 * No device is needed.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <linux/types.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

/* For headers that do not have them yet. */
#define IOAS_ALLOC _IO(';', 0x81)
#define IOAS_MAP _IO(';', 0x85)
#define IOAS_UNMAP _IO(';', 0x86)
#define OPTION _IO(';', 0x87)
struct ioas_alloc { __u32 size, flags, out_ioas_id; };
struct ioas_map { __u32 size, flags, ioas_id, reserved; __u64 user_va, length, iova; };
struct ioas_unmap { __u32 size, ioas_id; __u64 iova, length; };
struct option { __u32 size, option_id; __u16 op, reserved; __u32 object_id; __u64 val64; };

static int iommufd;

/* Make the request with a copy of its struct that can only be read. */
static const char *untold(unsigned long request, const void *argument, size_t size)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memcpy(page, argument, size);
	mprotect(page, 4096, PROT_READ);
	return ioctl(iommufd, request, page) ? strerror(errno) : "no error";
}

int main(void)
{
	struct ioas_alloc ioas = { .size = sizeof(ioas) };
	struct ioas_map map = { .size = sizeof(map), .flags = 4 /* readable, at an iova of the kernel's choice */, .length = 4096 };
	struct ioas_unmap unmap = { .size = sizeof(unmap), .length = ~0ULL };
	struct option huge = { .size = sizeof(huge), .option_id = 1, .op = 0 /* set */, .val64 = 0 };

	iommufd = open("/dev/iommu", O_RDWR);
	if (iommufd < 0 || ioctl(iommufd, IOAS_ALLOC, &ioas)) {
		perror("/dev/iommu");
		return 3;
	}
	map.ioas_id = unmap.ioas_id = huge.object_id = ioas.out_ioas_id;
	map.user_va = (unsigned long)mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	printf("IOMMU_IOAS_MAP: %s", untold(IOAS_MAP, &map, sizeof(map)));
	ioctl(iommufd, IOAS_UNMAP, &unmap);
	printf(", and %llu bytes are mapped\n", (unsigned long long)unmap.length);

	ioctl(iommufd, IOAS_MAP, &map);
	unmap.iova = map.iova;
	unmap.length = 4096;
	printf("IOMMU_IOAS_UNMAP: %s", untold(IOAS_UNMAP, &unmap, sizeof(unmap)));
	printf(", and again: %s\n", ioctl(iommufd, IOAS_UNMAP, &unmap) ? strerror(errno) : "no error");

	printf("IOMMU_OPTION, huge pages to 0: %s", untold(OPTION, &huge, sizeof(huge)));
	huge.op = 1; /* get */
	ioctl(iommufd, OPTION, &huge);
	printf(", and they are %llu\n", (unsigned long long)huge.val64);
	return 0;
}
