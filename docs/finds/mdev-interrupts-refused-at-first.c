/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mtty and mdpy refuse to say what interrupts they have, and mtty to arm one, until they were asked for their number.
 *
 * Root, the modules mtty (or mdpy) and vfio_iommu_type1 loaded, a device created and not used yet:
 * 	echo UUID > /sys/devices/virtual/mtty/mtty/mdev_supported_types/mtty-1/create
 * usage: mdev-interrupts-refused-at-first UUID
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

static int told(int device)
{
	struct vfio_irq_info info = { .argsz = sizeof(info), .index = VFIO_PCI_INTX_IRQ_INDEX };

	return ioctl(device, VFIO_DEVICE_GET_IRQ_INFO, &info) ? errno : 0;
}

static int armed(int device, int eventfd)
{
	char data[sizeof(struct vfio_irq_set) + sizeof(int)];
	struct vfio_irq_set *set = (struct vfio_irq_set *)data;

	memset(data, 0, sizeof(data));
	set->argsz = sizeof(data);
	set->flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
	set->index = VFIO_PCI_INTX_IRQ_INDEX;
	set->count = 1;
	memcpy(set->data, &eventfd, sizeof(eventfd));
	return ioctl(device, VFIO_DEVICE_SET_IRQS, set) ? errno : 0;
}

int main(int argc, char **argv)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };
	int fd, first[2], then[2];
	struct user user;

	if (argc != 2) {
		fprintf(stderr, "usage: %s UUID\n", argv[0]);
		return 2;
	}
	user = opened(argv[1]);
	fd = must(eventfd(0, EFD_CLOEXEC), "eventfd");
	first[0] = told(user.device);
	first[1] = armed(user.device, fd);
	must(ioctl(user.device, VFIO_DEVICE_GET_INFO, &info), "VFIO_DEVICE_GET_INFO");
	then[0] = told(user.device);
	then[1] = armed(user.device, fd);
	printf("at first GET_IRQ_INFO: %s, SET_IRQS: %s\n", strerror(first[0]), strerror(first[1]));
	printf("after GET_INFO GET_IRQ_INFO: %s, SET_IRQS: %s\n", strerror(then[0]), strerror(then[1]));
	closed(&user);
	close(fd);
	return first[0] != then[0] || first[1] != then[1];
}
