/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A serial port of mtty interrupts for its modem's lines, and says that no interrupt is pending.
 *
 * Root, the modules mtty and vfio_iommu_type1 loaded, a device created:
 * 	echo UUID > /sys/devices/virtual/mtty/mtty/mdev_supported_types/mtty-1/create
 * usage: mtty-interrupt-denied UUID
 */
#include <fcntl.h>
#include <linux/serial_reg.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>


static int must(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(3);
	}
	return result;
}

struct user {
	int container, group, device;
};

static struct user opened(const char *uuid)
{
	char path[128], target[128];
	struct user user;
	int length;

	snprintf(path, sizeof(path), "/sys/bus/mdev/devices/%s/iommu_group", uuid);
	length = must(readlink(path, target, sizeof(target) - 1), path);
	target[length] = '\0';
	snprintf(path, sizeof(path), "/dev/vfio%s", strrchr(target, '/'));
	user.container = must(open("/dev/vfio/vfio", O_RDWR), "/dev/vfio/vfio");
	user.group = must(open(path, O_RDWR), path);
	must(ioctl(user.group, VFIO_GROUP_SET_CONTAINER, &user.container), "VFIO_GROUP_SET_CONTAINER");
	must(ioctl(user.container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), "VFIO_SET_IOMMU");
	user.device = must(ioctl(user.group, VFIO_GROUP_GET_DEVICE_FD, uuid), "VFIO_GROUP_GET_DEVICE_FD");
	return user;
}

static void closed(const struct user *user)
{
	close(user->device);
	close(user->group);
	close(user->container);
}

static struct vfio_region_info region(int device, int index)
{
	struct vfio_region_info info = { .argsz = sizeof(info), .index = index };

	must(ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &info), "VFIO_DEVICE_GET_REGION_INFO");
	return info;
}

static __u8 get(int device, unsigned long port, int number)
{
	__u8 value;

	must(pread(device, &value, 1, port + number), "read of a register");
	return value;
}

static void put(int device, unsigned long port, int number, __u8 value)
{
	must(pwrite(device, &value, 1, port + number), "write of a register");
}

int main(int argc, char **argv)
{
	struct {
		struct vfio_irq_set set;
		__s32 eventfd;
	} msi = {
		.set = { .argsz = sizeof(msi), .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			 .index = VFIO_PCI_MSI_IRQ_INDEX, .count = 1 },
	};
	struct vfio_device_info info = { .argsz = sizeof(info) };
	unsigned long port;
	struct user user;
	__u64 times = 0;
	__u8 pending;

	if (argc != 2) {
		fprintf(stderr, "usage: %s UUID\n", argv[0]);
		return 2;
	}
	user = opened(argv[1]);
	port = region(user.device, VFIO_PCI_BAR0_REGION_INDEX).offset;
	/* mtty refuses VFIO_DEVICE_SET_IRQS until it was asked this. */
	must(ioctl(user.device, VFIO_DEVICE_GET_INFO, &info), "VFIO_DEVICE_GET_INFO");
	msi.eventfd = must(eventfd(0, EFD_NONBLOCK), "eventfd");
	must(ioctl(user.device, VFIO_DEVICE_SET_IRQS, &msi), "VFIO_DEVICE_SET_IRQS");
	put(user.device, port, UART_IER, UART_IER_MSI);
	put(user.device, port, UART_MCR, UART_MCR_RTS);
	must(read(msi.eventfd, &times, sizeof(times)), "no interrupt came");
	pending = get(user.device, port, UART_IIR);
	printf("interrupts: %llu, interrupt identification: %#x\n", times, pending);
	closed(&user);
	return pending & UART_IIR_NO_INT ? 1 : 0;
}
