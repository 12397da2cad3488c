/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VFIO_DEVICE_BIND_IOMMUFD of a physical function is refused, and the token that came with it is the one that its virtual
 * functions are opened with from then on.
 *
 * usage: refused-open-gives-token PF VF      the character devices of a physical function and of a virtual one of it, both
 *                                            bound to vfio-pci: /dev/vfio/devices/vfio0 /dev/vfio/devices/vfio1
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
#define BIND _IO(';', 118)
#define WITH_TOKEN (1 << 0)
struct bind { __u32 argsz, flags; __s32 iommufd; __u32 out_devid; __u64 token_uuid_ptr; };

static const char first[16] = "first token", second[16] = "second token";

/* Open the device, bind it with a token, and close it. */
static void bind_with(const char *what, const char *node, int iommufd, const char *token)
{
	struct bind bind = { .argsz = sizeof(bind), .flags = WITH_TOKEN, .iommufd = iommufd };
	int cdev = open(node, O_RDWR);

	if (cdev < 0) {
		perror(node);
		exit(3);
	}
	bind.token_uuid_ptr = (unsigned long)token;
	printf("%s: %s\n", what, ioctl(cdev, BIND, &bind) ? strerror(errno) : "no error");
	close(cdev);
}

int main(int argc, char **argv)
{
	int iommufd = open("/dev/iommu", O_RDWR), null = open("/dev/null", O_RDWR);

	if (argc != 3 || iommufd < 0 || null < 0) {
		fprintf(stderr, "usage: refused-open-gives-token PF VF\n");
		return 3;
	}
	bind_with("the physical function, with the first token", argv[1], iommufd, first);
	bind_with("the virtual function, with the first token", argv[2], iommufd, first);
	bind_with("the physical function, with the second token and no iommufd", argv[1], null, second);
	bind_with("the virtual function, with the first token", argv[2], iommufd, first);
	bind_with("the virtual function, with the second token", argv[2], iommufd, second);
	return 0;
}
