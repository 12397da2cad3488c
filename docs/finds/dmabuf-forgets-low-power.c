/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The dma-buf of a BAR can be mapped for DMA while the device may sleep and mappings of the BAR fault, and can not when it was woken and
 * they are back.
 *
 * usage: dmabuf-forgets-low-power CDEV      such as: /dev/vfio/devices/vfio0, of a PCI function with memory as BAR 0
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <linux/types.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* For headers that do not have them yet. */
#define FEATURE _IO(';', 117)
#define BIND _IO(';', 118)
#define IOAS_ALLOC _IO(';', 0x81)
#define IOAS_UNMAP _IO(';', 0x86)
#define IOAS_MAP_FILE _IO(';', 0x8f)
#define FEATURE_GET (1 << 16)
#define FEATURE_SET (1 << 17)
#define ENTRY 3
#define ENTRY_WITH_WAKEUP 4
#define EXIT 5
#define DMA_BUF 11
#define PAGE 4096
#define COMMAND 4
struct bind { __u32 argsz, flags; __s32 iommufd; __u32 out_devid; __u64 token_uuid_ptr; };
struct power { __u32 argsz, flags; __s32 eventfd; __u32 reserved; };
struct export { __u32 argsz, flags, region, open_flags, zero, ranges; __u64 offset, length; };
struct alloc { __u32 size, flags, id; };
struct map { __u32 size, flags, id; __s32 fd; __u64 start, length, iova; };
struct unmap { __u32 size, id; __u64 iova, length; };

static int iommufd, cdev;
static __u32 ioas;

static int must(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(3);
	}
	return result;
}

static void power(__u32 feature, int eventfd)
{
	struct power power = { .argsz = feature == ENTRY_WITH_WAKEUP ? 16 : 8, .flags = FEATURE_SET | feature, .eventfd = eventfd };

	must(ioctl(cdev, FEATURE, &power), "VFIO_DEVICE_FEATURE_LOW_POWER");
}

static int exported(void)
{
	struct export export = { .argsz = sizeof(export), .flags = FEATURE_GET | DMA_BUF, .open_flags = O_RDWR, .ranges = 1, .length = PAGE };

	return must(ioctl(cdev, FEATURE, &export), "VFIO_DEVICE_FEATURE_DMA_BUF");
}

static int mapped(int buffer, const char *when)
{
	struct map map = { .size = sizeof(map), .flags = 7, .id = ioas, .fd = buffer, .length = PAGE, .iova = PAGE };
	struct unmap unmap = { .size = sizeof(unmap), .id = ioas, .iova = PAGE, .length = PAGE };
	int error = ioctl(iommufd, IOAS_MAP_FILE, &map) ? errno : 0;

	printf("%s: %s\n", when, error ? strerror(error) : "mapped");
	if (!error)
		must(ioctl(iommufd, IOAS_UNMAP, &unmap), "IOMMU_IOAS_UNMAP");
	return !error;
}

int main(int argc, char **argv)
{
	struct vfio_region_info space = { .argsz = sizeof(space), .index = VFIO_PCI_CONFIG_REGION_INDEX };
	struct alloc alloc = { .size = sizeof(alloc) };
	struct pollfd wakeup = { .events = POLLIN };
	struct bind bind = { .argsz = sizeof(bind) };
	int before, shown = 0, tries = 0;
	__u16 command;

	iommufd = must(open("/dev/iommu", O_RDWR), "/dev/iommu");
	cdev = must(argc == 2 ? open(argv[1], O_RDWR) : -1, "usage: dmabuf-forgets-low-power CDEV");
	bind.iommufd = iommufd;
	must(ioctl(cdev, BIND, &bind), "VFIO_DEVICE_BIND_IOMMUFD");
	must(ioctl(iommufd, IOAS_ALLOC, &alloc), "IOMMU_IOAS_ALLOC");
	ioas = alloc.id;
	must(ioctl(cdev, VFIO_DEVICE_GET_REGION_INFO, &space), "VFIO_DEVICE_GET_REGION_INFO");
	before = exported();

	power(ENTRY, 0);
	shown |= mapped(before, "it may sleep, a dma-buf of before");
	shown |= mapped(exported(), "it may sleep, a dma-buf that is made now");
	must(pread(cdev, &command, sizeof(command), space.offset + COMMAND), "the command register");
	must(pwrite(cdev, &command, sizeof(command), space.offset + COMMAND), "the command register");
	shown |= mapped(before, "the command register was written, a dma-buf of before");
	power(EXIT, 0);

	wakeup.fd = must(eventfd(0, 0), "eventfd");
	/* Only a device that did sleep tells of a wakeup. */
	do {
		power(EXIT, 0);
		power(ENTRY_WITH_WAKEUP, wakeup.fd);
		usleep(200000);
		must(pread(cdev, &command, sizeof(command), space.offset + COMMAND), "the command register");
	} while (!poll(&wakeup, 1, 0) && ++tries < 20);
	if (tries < 20)
		shown |= !mapped(before, "woken");
	else
		printf("it did not sleep: whether a wakeup shows it can not be told\n");
	power(EXIT, 0);
	mapped(before, "LOW_POWER_EXIT");
	return shown;
}
