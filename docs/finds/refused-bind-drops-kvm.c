/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VFIO character device is open and has its KVM.  A second opener's VFIO_DEVICE_BIND_IOMMUFD is refused,
 * and takes the KVM from the first one: the VM ends although the device is open.  When the second opener brought a KVM of its
 * own, the first one's is never given back: that VM is there until the machine restarts.
 *
 * KVM's module loaded, debugfs mounted, root to look into it.
 * usage: refused-bind-drops-kvm CDEV      such as: /dev/vfio/devices/vfio0
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/types.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* For headers that do not have them yet. */
#ifndef VFIO_DEVICE_BIND_IOMMUFD
#define VFIO_DEVICE_BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)
struct vfio_device_bind_iommufd {
	__u32 argsz;
	__u32 flags;
	__s32 iommufd;
	__u32 out_devid;
};
#endif
#ifndef KVM_DEV_VFIO_FILE
#define KVM_DEV_VFIO_FILE 1
#define KVM_DEV_VFIO_FILE_ADD 1
#endif

struct vm {
	int fd, bridge;
	char shown[64];
};

static int must(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(3);
	}
	return result;
}

/* A VM that a file of VFIO's belongs to. */
static struct vm vm_with(int file)
{
	struct kvm_create_device create = { .type = KVM_DEV_TYPE_VFIO };
	struct kvm_device_attr add = {
		.group = KVM_DEV_VFIO_FILE, .attr = KVM_DEV_VFIO_FILE_ADD, .addr = (unsigned long)&file,
	};
	int kvm = must(open("/dev/kvm", O_RDWR), "/dev/kvm");
	struct vm vm = { .fd = must(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM") };

	close(kvm);
	snprintf(vm.shown, sizeof(vm.shown), "/sys/kernel/debug/kvm/%d-%d", getpid(), vm.fd);
	must(access(vm.shown, F_OK), vm.shown);
	must(ioctl(vm.fd, KVM_CREATE_DEVICE, &create), "KVM_CREATE_DEVICE");
	vm.bridge = create.fd;
	must(ioctl(vm.bridge, KVM_SET_DEVICE_ATTR, &add), "KVM_DEV_VFIO_FILE_ADD");
	return vm;
}

static void close_vm(const struct vm *vm)
{
	close(vm->bridge);
	close(vm->fd);
}

static int bind_to(int cdev, int iommufd)
{
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind), .iommufd = iommufd };

	return ioctl(cdev, VFIO_DEVICE_BIND_IOMMUFD, &bind);
}

static int try(const char *path, int with_kvm)
{
	int iommufd = must(open("/dev/iommu", O_RDWR), "/dev/iommu");
	int first = must(open(path, O_RDWR), path), second = must(open(path, O_RDWR), path);
	struct vm vm = vm_with(first), other;
	int faults = 0;

	if (with_kvm)
		other = vm_with(second);
	must(bind_to(first, iommufd), "VFIO_DEVICE_BIND_IOMMUFD");
	printf("second opener %s a KVM: ", with_kvm ? "with" : "without");
	printf("%s\n", bind_to(second, iommufd) ? strerror(errno) : "bound");
	close_vm(&vm);
	if (with_kvm)
		close_vm(&other);
	if (access(vm.shown, F_OK)) {
		printf("  the VM is gone while the device is open\n");
		faults++;
	}
	close(second);
	close(first);
	close(iommufd);
	sleep(1);
	if (!access(vm.shown, F_OK)) {
		printf("  the VM is there though all is closed\n");
		faults++;
	}
	return faults;
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s CDEV\n", argv[0]);
		return 2;
	}
	return try(argv[1], 0) + try(argv[1], 1) ? 1 : 0;
}
