/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A PCI function that can not ask for pages is attached to an address space.  Attaching it to a page table with a queue of faults
 * of the same address space is refused; what the function reserves can then be mapped.
 *
 * usage: refused-replace-frees-reserved-iovas CDEV      such as: /dev/vfio/devices/vfio0
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <linux/types.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* For headers that do not have them yet. */
#define BIND _IO(';', 118)
#define ATTACH _IO(';', 119)
#define IOAS_ALLOC _IO(';', 0x81)
#define IOVA_RANGES _IO(';', 0x84)
#define HWPT_ALLOC _IO(';', 0x89)
#define FAULT_QUEUE_ALLOC _IO(';', 0x8e)
struct bind { __u32 argsz, flags; __s32 iommufd; __u32 out_devid; };
struct attach { __u32 argsz, flags, pt_id; };
struct ioas_alloc { __u32 size, flags, out_ioas_id; };
struct iova_ranges { __u32 size, ioas_id, num_iovas, reserved; __u64 allowed_iovas, out_iova_alignment; };
struct hwpt_alloc {
	__u32 size, flags, dev_id, pt_id, out_hwpt_id, reserved, data_type, data_len;
	__u64 data_uptr;
	__u32 fault_id, reserved2;
};
struct fault_alloc { __u32 size, flags, out_fault_id, out_fault_fd; };

static int iommufd;

static void must(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(3);
	}
}

static void usable(__u32 ioas, const char *when)
{
	__u64 found[16][2];
	struct iova_ranges ranges = {
		.size = sizeof(ranges), .ioas_id = ioas, .num_iovas = 16, .allowed_iovas = (unsigned long)found,
	};

	must(ioctl(iommufd, IOVA_RANGES, &ranges), "IOMMU_IOAS_IOVA_RANGES");
	printf("usable %s:", when);
	for (__u32 i = 0; i < ranges.num_iovas; i++)
		printf(" %#llx-%#llx", (unsigned long long)found[i][0], (unsigned long long)found[i][1]);
	printf("\n");
}

int main(int argc, char **argv)
{
	int cdev = argc == 2 ? open(argv[1], O_RDWR) : -1;
	struct bind bind = { .argsz = sizeof(bind) };
	struct ioas_alloc ioas = { .size = sizeof(ioas) };
	struct attach attach = { .argsz = sizeof(attach) };
	struct fault_alloc queue = { .size = sizeof(queue) };
	struct hwpt_alloc table = { .size = sizeof(table), .flags = 1 << 2 /* the queue's number is valid */ };

	must(cdev, "usage: refused-replace-frees-reserved-iovas CDEV");
	must(iommufd = bind.iommufd = open("/dev/iommu", O_RDWR), "/dev/iommu");
	must(ioctl(cdev, BIND, &bind), "VFIO_DEVICE_BIND_IOMMUFD");
	must(ioctl(iommufd, IOAS_ALLOC, &ioas), "IOMMU_IOAS_ALLOC");
	must(ioctl(iommufd, FAULT_QUEUE_ALLOC, &queue), "IOMMU_FAULT_QUEUE_ALLOC");
	table.dev_id = bind.out_devid;
	table.pt_id = attach.pt_id = ioas.out_ioas_id;
	table.fault_id = queue.out_fault_id;
	must(ioctl(iommufd, HWPT_ALLOC, &table), "IOMMU_HWPT_ALLOC");
	must(ioctl(cdev, ATTACH, &attach), "VFIO_DEVICE_ATTACH_IOMMUFD_PT");
	usable(ioas.out_ioas_id, "while it is attached");
	attach.pt_id = table.out_hwpt_id;
	printf("attach to the page table: %s\n", ioctl(cdev, ATTACH, &attach) ? strerror(errno) : "no error");
	usable(ioas.out_ioas_id, "after");
	return 0;
}
