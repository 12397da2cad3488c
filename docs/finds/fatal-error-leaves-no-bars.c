/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A PCI Express function is bound to vfio-pci and nobody has it open.  It reports a fatal error.  The kernel resets the link,
 * says that the recovery was successful, and leaves the function as the reset left it: its BARs are 0.
 *
 * The error comes from the kernel's own injector: CONFIG_PCIEAER_INJECT.  Root.
 * usage: fatal-error-leaves-no-bars ADDRESS      such as: 0000:01:00.0; below a root port, with the capability AER
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* As drivers/pci/pcie/aer_inject.c has it; there is no header for it. */
struct error {
	uint8_t bus, device, function;
	uint32_t uncorrectable, correctable;
	uint32_t header[4];
	uint32_t domain;
};

#define DATA_LINK_PROTOCOL_ERROR 0x10	/* PCI_ERR_UNC_DLP */
#define BARS 0x10
#define NUMBER 6

static int opened(const char *path, int how)
{
	int fd = open(path, how);

	if (fd < 0) {
		perror(path);
		exit(3);
	}
	return fd;
}

static void bars(const char *path, uint32_t *into)
{
	int fd = opened(path, O_RDONLY);

	if (pread(fd, into, NUMBER * 4, BARS) != NUMBER * 4) {
		perror(path);
		exit(3);
	}
	close(fd);
}

static void say(const char *when, const uint32_t *values)
{
	printf("%s", when);
	for (int number = 0; number < NUMBER; number++)
		printf(" %08x", values[number]);
	printf("\n");
}

int main(int argc, char **argv)
{
	uint32_t before[NUMBER], after[NUMBER];
	unsigned int domain, bus, device, function;
	struct error error = { .uncorrectable = DATA_LINK_PROTOCOL_ERROR };
	char path[128];
	int fd;

	if (argc != 2 || sscanf(argv[1], "%x:%x:%x.%x", &domain, &bus, &device, &function) != 4) {
		fprintf(stderr, "usage: %s ADDRESS\n", argv[0]);
		return 2;
	}
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", argv[1]);
	error.bus = bus;
	error.device = device;
	error.function = function;
	error.domain = domain;
	bars(path, before);
	say("BARs before the error:   ", before);
	fd = opened("/dev/aer_inject", O_WRONLY);
	if (write(fd, &error, sizeof(error)) != sizeof(error)) {
		perror("/dev/aer_inject");
		return 3;
	}
	sleep(3);
	bars(path, after);
	say("BARs after the recovery: ", after);
	return memcmp(before, after, sizeof(before)) != 0;
}
