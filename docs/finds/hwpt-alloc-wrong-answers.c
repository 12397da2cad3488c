/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IOMMU_HWPT_ALLOC takes a struct whose last member, which must be zero, is not; and says EINVAL of an address space that does not
 * exist, of which linux/iommufd.h has ENOENT.
 *
 * usage: hwpt-alloc-wrong-answers CDEV      such as: /dev/vfio/devices/vfio0, of a PCI function
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
#define IOAS_ALLOC _IO(';', 0x81)
#define HWPT_ALLOC _IO(';', 0x89)
struct bind { __u32 argsz, flags; __s32 iommufd; __u32 out_devid; };
struct ioas_alloc { __u32 size, flags, out_ioas_id; };
struct hwpt_alloc {
	__u32 size, flags, dev_id, pt_id, out_hwpt_id, reserved, data_type, data_len;
	__u64 data_uptr;
	__u32 fault_id, reserved2;
};

static void must(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(3);
	}
}

int main(int argc, char **argv)
{
	int iommufd = open("/dev/iommu", O_RDWR), cdev = argc == 2 ? open(argv[1], O_RDWR) : -1;
	struct bind bind = { .argsz = sizeof(bind), .iommufd = iommufd };
	struct ioas_alloc ioas = { .size = sizeof(ioas) };
	struct hwpt_alloc table = { .size = sizeof(table), .reserved2 = 1 };

	must(iommufd, "/dev/iommu");
	must(cdev, "usage: hwpt-alloc-wrong-answers CDEV");
	must(ioctl(cdev, BIND, &bind), "VFIO_DEVICE_BIND_IOMMUFD");
	must(ioctl(iommufd, IOAS_ALLOC, &ioas), "IOMMU_IOAS_ALLOC");
	table.dev_id = bind.out_devid;
	table.pt_id = ioas.out_ioas_id;
	printf("__reserved2 of 1: %s\n", ioctl(iommufd, HWPT_ALLOC, &table) ? strerror(errno) : "no error");
	table.reserved2 = 0;
	table.pt_id = 999;
	printf("pt_id of nothing: %s\n", ioctl(iommufd, HWPT_ALLOC, &table) ? strerror(errno) : "no error");
	return 0;
}
