/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The primary plane of a display without a cursor has a hotspot at 0, 0; linux/vfio.h has 0xFFFFFFFF for none.
 *
 * usage: gfx-plane-hotspot-is-zero CDEV      such as: /dev/vfio/devices/vfio0, of an mdpy or mbochs
 */
#include <fcntl.h>
#include <linux/ioctl.h>
#include <linux/types.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* For headers that do not have it yet. */
#define BIND _IO(';', 118)
struct bind { __u32 argsz, flags; __s32 iommufd; __u32 out_devid; __u64 token_uuid_ptr; };

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
	struct vfio_device_gfx_plane_info plane = { .argsz = sizeof(plane), .flags = VFIO_GFX_PLANE_TYPE_REGION, .drm_plane_type = 1 };

	must(iommufd, "/dev/iommu");
	must(cdev, "usage: gfx-plane-hotspot-is-zero CDEV");
	must(ioctl(cdev, BIND, &bind), "VFIO_DEVICE_BIND_IOMMUFD");
	if (ioctl(cdev, VFIO_DEVICE_QUERY_GFX_PLANE, &plane)) {
		plane.flags = VFIO_GFX_PLANE_TYPE_DMABUF;
		must(ioctl(cdev, VFIO_DEVICE_QUERY_GFX_PLANE, &plane), "VFIO_DEVICE_QUERY_GFX_PLANE");
	}
	printf("x_hot %#x, y_hot %#x\n", plane.x_hot, plane.y_hot);
	return plane.x_hot != 0xffffffff || plane.y_hot != 0xffffffff;
}
