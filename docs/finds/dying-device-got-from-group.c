/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A device whose removal waits for its user is opened once more through its group, by that user: the removal then waits
 * for both, and can be made to wait for ever.
 *
 * Root, modules mtty and vfio_iommu_type1 loaded, a device created:
 * 	echo UUID > /sys/devices/virtual/mtty/mtty/mdev_supported_types/mtty-1/create
 * usage: dying-device-got-from-group UUID
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
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

static void removed(const char *uuid)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/mdev/devices/%s/remove", uuid);
	fd = must(open(path, O_WRONLY), path);
	must(write(fd, "1", 1), "remove");
	_exit(0);
}

int main(int argc, char **argv)
{
	struct user user;
	int again, late = 0;
	pid_t remover;

	if (argc != 2) {
		fprintf(stderr, "usage: %s UUID\n", argv[0]);
		return 2;
	}
	user = opened(argv[1]);
	remover = must(fork(), "fork");
	if (!remover) {
		/* Nothing of the user's is to be held open here. */
		closed(&user);
		removed(argv[1]);
	}
	sleep(1);
	again = ioctl(user.group, VFIO_GROUP_GET_DEVICE_FD, argv[1]);
	printf("a device that is going away: %s\n", again < 0 ? strerror(errno) : "opened once more");
	close(user.device);
	if (again >= 0) {
		sleep(1);
		late = !waitpid(remover, NULL, WNOHANG);
		printf("the removal %s the second descriptor\n", late ? "waits for" : "does not wait for");
		close(again);
	}
	if (late || again < 0)
		waitpid(remover, NULL, 0);
	close(user.group);
	close(user.container);
	return again >= 0;
}
