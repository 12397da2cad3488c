/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where IOMMU_GET_HW_INFO says that there are no PASIDs, a page table is made for them and attached to one of a function that has
 * none.  When the answer of that attach can not be written, the PASID stays attached.
 *
 * usage: pasid-attached-without-pasids CDEV      such as: /dev/vfio/devices/vfio0, of a PCI function
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
#define HWPT_ALLOC _IO(';', 0x89)
#define GET_HW_INFO _IO(';', 0x8a)
struct bind { __u32 argsz, flags; __s32 iommufd; __u32 out_devid; };
struct attach { __u32 argsz, flags, pt_id, pasid; };
struct destroy { __u32 size, id; };
struct ioas_alloc { __u32 size, flags, out_ioas_id; };
struct hwpt_alloc {
	__u32 size, flags, dev_id, pt_id, out_hwpt_id, reserved, data_type, data_len;
	__u64 data_uptr;
	__u32 fault_id, reserved2;
};
struct hw_info {
	__u32 size, flags, dev_id, data_len;
	__u64 data_uptr;
	__u32 out_data_type;
	__u8 out_max_pasid_log2, reserved[3];
	__u64 out_capabilities;
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
	struct attach attach = { .argsz = sizeof(attach), .flags = 1 /* a PASID */, .pasid = 1 };
	struct destroy destroy = { .size = sizeof(destroy) };
	struct hwpt_alloc table = { .size = sizeof(table), .flags = 1 << 3 /* for PASIDs */ };
	struct hw_info info = { .size = sizeof(info) };
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(iommufd, "/dev/iommu");
	must(cdev, "usage: pasid-attached-without-pasids CDEV");
	must(ioctl(cdev, BIND, &bind), "VFIO_DEVICE_BIND_IOMMUFD");
	must(ioctl(iommufd, IOAS_ALLOC, &ioas), "IOMMU_IOAS_ALLOC");
	info.dev_id = table.dev_id = bind.out_devid;
	table.pt_id = ioas.out_ioas_id;
	must(ioctl(iommufd, GET_HW_INFO, &info), "IOMMU_GET_HW_INFO");
	printf("width of a PASID: %u bits\n", info.out_max_pasid_log2);
	printf("a page table for PASIDs: %s\n", ioctl(iommufd, HWPT_ALLOC, &table) ? strerror(errno) : "no error");
	attach.pt_id = destroy.id = table.out_hwpt_id;
	printf("PASID 1 attached to it: %s\n", ioctl(cdev, ATTACH, &attach) ? strerror(errno) : "no error");

	must(ioctl(iommufd, HWPT_ALLOC, &table), "IOMMU_HWPT_ALLOC");
	attach.pt_id = destroy.id = table.out_hwpt_id;
	attach.pasid = 2;
	memcpy(page, &attach, sizeof(attach));
	mprotect(page, 4096, PROT_READ);
	printf("PASID 2 attached, without an answer: %s\n", ioctl(cdev, ATTACH, page) ? strerror(errno) : "no error");
	printf("destroy its page table: %s\n", ioctl(iommufd, DESTROY, &destroy) ? strerror(errno) : "no error");
	return 0;
}
