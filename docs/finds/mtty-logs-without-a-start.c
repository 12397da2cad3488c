/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An mtty begins to log DMA twice without a stop, and reports what it does not log; linux/vfio.h allows neither.
 *
 * usage: mtty-logs-without-a-start CDEV      such as: /dev/vfio/devices/vfio0
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <linux/types.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* For headers that do not have them yet. */
#define FEATURE _IO(';', 117)
#define BIND _IO(';', 118)
#define GET (1 << 16)
#define SET (1 << 17)
#define LOGGING_START 6
#define LOGGING_STOP 7
#define LOGGING_REPORT 8
#define PAGE 4096
struct bind { __u32 argsz, flags; __s32 iommufd; __u32 out_devid; __u64 token_uuid_ptr; };
struct range { __u64 iova, length; };
struct start { __u32 argsz, flags; __u64 page_size; __u32 num_ranges, reserved; __u64 ranges; };
struct report { __u32 argsz, flags; __u64 iova, length, page_size, bitmap; };
struct stop { __u32 argsz, flags; };

static void must(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(3);
	}
}

static int told(const char *what, int result)
{
	printf("%s: %s\n", what, result ? strerror(errno) : "no error");
	return result;
}

int main(int argc, char **argv)
{
	int iommufd = open("/dev/iommu", O_RDWR), cdev = argc == 2 ? open(argv[1], O_RDWR) : -1, shown = 0;
	struct bind bind = { .argsz = sizeof(bind), .iommufd = iommufd };
	struct range range = { .length = PAGE };
	static __u64 bitmap;
	struct start start = { .argsz = sizeof(start), .flags = SET | LOGGING_START, .page_size = PAGE, .num_ranges = 1,
			       .ranges = (unsigned long)&range };
	struct report report = { .argsz = sizeof(report), .flags = GET | LOGGING_REPORT, .length = PAGE, .page_size = PAGE,
				 .bitmap = (unsigned long)&bitmap };
	struct stop stop = { .argsz = sizeof(stop), .flags = SET | LOGGING_STOP };

	must(iommufd, "/dev/iommu");
	must(cdev, "usage: mtty-logs-without-a-start CDEV");
	must(ioctl(cdev, BIND, &bind), "VFIO_DEVICE_BIND_IOMMUFD");
	shown |= !told("a report before the start", ioctl(cdev, FEATURE, &report));
	must(told("a start", ioctl(cdev, FEATURE, &start)), "VFIO_DEVICE_FEATURE_DMA_LOGGING_START");
	shown |= !told("another start", ioctl(cdev, FEATURE, &start));
	must(told("a stop", ioctl(cdev, FEATURE, &stop)), "VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP");
	shown |= !told("a report after the stop", ioctl(cdev, FEATURE, &report));
	return shown;
}
