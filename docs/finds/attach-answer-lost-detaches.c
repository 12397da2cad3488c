/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VFIO_DEVICE_ATTACH_IOMMUFD_PT replaces an address space by another, and can not write its answer: EFAULT.  The device is then
 * attached to neither.
 *
 * usage: attach-answer-lost-detaches CDEV      such as: /dev/vfio/devices/vfio0
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
#define BIND _IO(';', 118)
#define ATTACH _IO(';', 119)
#define DESTROY _IO(';', 0x80)
#define IOAS_ALLOC _IO(';', 0x81)
struct bind { __u32 argsz, flags; __s32 iommufd; __u32 out_devid; };
struct attach { __u32 argsz, flags, pt_id; };
struct destroy { __u32 size, id; };
struct ioas_alloc { __u32 size, flags, out_ioas_id; };

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
	struct ioas_alloc old = { .size = sizeof(old) }, new = { .size = sizeof(new) };
	struct attach attach = { .argsz = sizeof(attach) };
	struct destroy destroy = { .size = sizeof(destroy) };
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(iommufd, "/dev/iommu");
	must(cdev, "usage: attach-answer-lost-detaches CDEV");
	must(ioctl(cdev, BIND, &bind), "VFIO_DEVICE_BIND_IOMMUFD");
	must(ioctl(iommufd, IOAS_ALLOC, &old), "IOMMU_IOAS_ALLOC");
	must(ioctl(iommufd, IOAS_ALLOC, &new), "IOMMU_IOAS_ALLOC");
	attach.pt_id = old.out_ioas_id;
	must(ioctl(cdev, ATTACH, &attach), "VFIO_DEVICE_ATTACH_IOMMUFD_PT");

	attach.pt_id = new.out_ioas_id;
	memcpy(page, &attach, sizeof(attach));
	mprotect(page, 4096, PROT_READ);
	printf("attach to the new one: %s\n", ioctl(cdev, ATTACH, page) ? strerror(errno) : "no error");
	/* What a device is attached to is busy. */
	destroy.id = new.out_ioas_id;
	printf("destroy the new one: %s\n", ioctl(iommufd, DESTROY, &destroy) ? strerror(errno) : "no error");
	destroy.id = old.out_ioas_id;
	printf("destroy the old one: %s\n", ioctl(iommufd, DESTROY, &destroy) ? strerror(errno) : "no error");
	return 0;
}
