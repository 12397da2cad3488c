/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mtty drops its reference to the eventfd of an interrupt each time that user space triggers the interrupt itself, and
 * goes on using the eventfd.
 *
 * Root, modules mtty and vfio_iommu_type1 loaded, a device created:
 * 	echo UUID > /sys/devices/virtual/mtty/mtty/mdev_supported_types/mtty-1/create
 * usage: mtty-drops-its-eventfd UUID
 */
#include <errno.h>
#include <fcntl.h>
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

static void set_irqs(int device, __u32 flags, int count, int eventfd)
{
	char data[sizeof(struct vfio_irq_set) + sizeof(int)];
	struct vfio_irq_set *set = (struct vfio_irq_set *)data;

	memset(data, 0, sizeof(data));
	set->argsz = sizeof(*set) + (flags & VFIO_IRQ_SET_DATA_EVENTFD ? sizeof(int) : 0);
	set->flags = flags | VFIO_IRQ_SET_ACTION_TRIGGER;
	set->index = VFIO_PCI_INTX_IRQ_INDEX;
	set->count = count;
	memcpy(set->data, &eventfd, sizeof(eventfd));
	must(ioctl(device, VFIO_DEVICE_SET_IRQS, set), "VFIO_DEVICE_SET_IRQS");
}

int main(int argc, char **argv)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };
	struct user user;
	int fd, got;
	__u64 value;

	if (argc != 2) {
		fprintf(stderr, "usage: %s UUID\n", argv[0]);
		return 2;
	}
	user = opened(argv[1]);
	/* mtty takes no SET_IRQS before it was asked what it has. */
	must(ioctl(user.device, VFIO_DEVICE_GET_INFO, &info), "VFIO_DEVICE_GET_INFO");
	fd = must(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd");
	set_irqs(user.device, VFIO_IRQ_SET_DATA_EVENTFD, 1, fd);
	/* Trigger it, as a loopback: each time puts a reference, of which mtty has one and the descriptor another. */
	set_irqs(user.device, VFIO_IRQ_SET_DATA_NONE, 1, 0);
	got = read(fd, &value, sizeof(value)) == sizeof(value);
	printf("the interrupt %s\n", got ? "came" : "did not come, and a reference to its eventfd was dropped");
	fflush(stdout);
	set_irqs(user.device, VFIO_IRQ_SET_DATA_NONE, 1, 0);
	/* The reference that is dropped now was dropped before. */
	close(fd);
	closed(&user);
	return !got;
}
