/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One user brings a migratable mtty into RESUMING and closes it.  The next one asks for STOP: the state is still RESUMING, the
 * data file that goes with it is gone, and the driver locks a mutex in it.  The kernel oopses; one that lives says which error
 * the request got.
 *
 * The modules mtty and vfio_iommu_type1 loaded, a device created:
 *	echo UUID > /sys/devices/virtual/mtty/mtty/mdev_supported_types/mtty-1/create
 * usage: mtty-resuming-left-by-another UUID
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* A request to VFIO_DEVICE_FEATURE has its data behind the header. */
struct request {
	struct vfio_device_feature head;
	struct vfio_device_feature_mig_state state;
};

struct user {
	int container, group, device;
};

static int must(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(3);
	}
	return result;
}

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

/* 0, or -1 with errno; the data file of the new state, if it has one. */
static int set_state(int device, enum vfio_device_mig_state state, int *data)
{
	struct request set = {
		.head = {
			.argsz = sizeof(set),
			.flags = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
		},
		.state = { .device_state = state, .data_fd = -1 },
	};
	int result = ioctl(device, VFIO_DEVICE_FEATURE, &set);

	*data = set.state.data_fd;
	return result;
}

int main(int argc, char **argv)
{
	struct user user;
	int data;

	if (argc != 2) {
		fprintf(stderr, "usage: %s UUID\n", argv[0]);
		return 2;
	}
	user = opened(argv[1]);
	must(set_state(user.device, VFIO_DEVICE_STATE_RESUMING, &data), "RESUMING");
	close(data);
	closed(&user);

	user = opened(argv[1]);
	printf("the next user asks for STOP\n");
	fflush(stdout);
	if (set_state(user.device, VFIO_DEVICE_STATE_STOP, &data))
		printf("refused: %s\n", strerror(errno));
	else
		printf("stopped\n");
	closed(&user);
	return 0;
}
