/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * First process of a guest: makes a writable root out of the host's read-only one, runs one command, reports how it
 * ended on the event port.  Static and free of scripts, because every program started over 9p costs time under TCG.
 *
 * The initramfs holds, beside this program, files named /guest/KEY that tell what to do (vm/initramfs.py writes them):
 *   argv, environ  strings, each ended by a NUL
 *   cwd            directory in which the command starts
 *   modules        "DIRECTORY\n": the host's lib/modules/RELEASE, empty when there is none
 *   preload        a directory, if there is one, of the modules without which the host's root is not reached
 *
 * Below /packed it may have copies of files of the host, which the guest then has in its memory: to ask for each of them
 * over 9p takes a program that imports hundreds longer than all else.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define EVENT_PORT "/dev/ttyS1"
#define OUTPUT_PORT "/dev/ttyS2"
#define PRELOAD "/guest/preload"

static int events = -1;

static void report(const char *format, ...)
{
	char line[512];
	va_list list;
	int length;

	va_start(list, format);
	length = vsnprintf(line, sizeof(line), format, list);
	va_end(list);
	if (length > (int)sizeof(line) - 1)
		length = sizeof(line) - 1;
	if (write(events, line, length) == length)
		tcdrain(events);
}

static void finish(void)
{
	sync();
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}

/* The guest can not go on; the host takes this for NO_BOOT and shows the sentence. */
static void give_up(const char *what, const char *on)
{
	int number = errno;

	printf("guest init: %s on %s: %s\n", what, on, strerror(number));
	fflush(stdout);
	if (events >= 0)
		report("{\"event\": \"guest_failed\", \"text\": \"%s on %s: %s\"}\n", what, on, strerror(number));
	finish();
}

static void mounted(const char *source, const char *target, const char *type, unsigned long flags, const char *data)
{
	if (mkdir(target, 0755) && errno != EEXIST && errno != EROFS)
		give_up("mkdir", target);
	if (mount(source, target, type, flags, data)) {
		char what[64];

		snprintf(what, sizeof(what), "mounting a file system of type %s", type ? type : "moved");
		give_up(what, target);
	}
}

/* Mounts what a kernel may have been built without; a test that needs it says so itself. */
static void mounted_if_there(const char *type, const char *target)
{
	mkdir(target, 0755);
	mount(type, target, type, 0, NULL);
}

static char *contents(const char *path, size_t *size)
{
	struct stat status;
	char *data;
	int fd = open(path, O_RDONLY);

	if (fd < 0 || fstat(fd, &status))
		give_up("open", path);
	data = calloc(1, status.st_size + 1);
	if (!data || read(fd, data, status.st_size) != status.st_size)
		give_up("read", path);
	close(fd);
	*size = status.st_size;
	return data;
}

static char **strings(const char *path)
{
	size_t size, number = 0;
	char *data = contents(path, &size);
	/* No more strings than bytes. */
	char **list = calloc(size + 1, sizeof(*list));

	if (!list)
		give_up("calloc", path);
	for (char *at = data; at < data + size; at += strlen(at) + 1)
		list[number++] = at;
	return list;
}

static int port(const char *path)
{
	struct termios settings;
	int fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		give_up("open", path);
	if (tcgetattr(fd, &settings))
		give_up("tcgetattr", path);
	cfmakeraw(&settings);
	cfsetspeed(&settings, B115200);
	settings.c_cflag |= CLOCAL;
	if (tcsetattr(fd, TCSANOW, &settings))
		give_up("tcsetattr", path);
	return fd;
}

static void preload(void)
{
	struct dirent **names;
	int number = scandir(PRELOAD, &names, NULL, alphasort);
	char path[512];

	for (int at = 0; at < number; at++) {
		int fd;

		if (names[at]->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), PRELOAD "/%s", names[at]->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST))
			give_up("finit_module", path);
		close(fd);
	}
}

static void new_root(void)
{
	mounted("hostroot", "/lower", "9p", MS_RDONLY,
		"trans=virtio,version=9p2000.L,msize=512000,cache=loose");
	mounted("tmpfs", "/rw", "tmpfs", 0, "mode=755");
	mkdir("/rw/upper", 0755);
	mkdir("/rw/work", 0755);
	mounted("overlay", "/rw/root", "overlay", 0, "lowerdir=/packed:/lower,upperdir=/rw/upper,workdir=/rw/work");
	mounted("/dev", "/rw/root/dev", NULL, MS_MOVE, NULL);
	mounted("/proc", "/rw/root/proc", NULL, MS_MOVE, NULL);
	mounted("/sys", "/rw/root/sys", NULL, MS_MOVE, NULL);
	if (chdir("/rw/root") || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		give_up("chroot", "/rw/root");
	/* The host's /run holds the state of the host's daemons, which would be lies here. */
	mounted("tmpfs", "/run", "tmpfs", 0, "mode=755");
	mounted("tmpfs", "/dev/shm", "tmpfs", 0, "mode=1777");
	mounted_if_there("devpts", "/dev/pts");
	mounted_if_there("debugfs", "/sys/kernel/debug");
	mounted_if_there("tracefs", "/sys/kernel/tracing");
	mounted_if_there("cgroup2", "/sys/fs/cgroup");
}

static void link_modules(char *directory)
{
	char path[256];
	struct utsname name;

	directory[strcspn(directory, "\n")] = 0;
	if (!*directory || uname(&name))
		return;
	mkdir("/lib/modules", 0755);
	snprintf(path, sizeof(path), "/lib/modules/%s", name.release);
	if (symlink(directory, path) && errno != EEXIST)
		give_up("symlink", path);
}

static void run(char **argv, char **environment, const char *cwd, int output)
{
	if (setsid() < 0 || dup2(open("/dev/null", O_RDONLY), 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0)
		_exit(126);
	if (chdir(cwd)) {
		dprintf(2, "%s: %s\n", cwd, strerror(errno));
		_exit(126);
	}
	environ = environment;
	execvp(argv[0], argv);
	dprintf(2, "%s: %s\n", argv[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

int main(void)
{
	char **argv, **environment, *cwd, *modules;
	int status, output;
	size_t size;
	pid_t child, gone;

	mounted("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	mounted("proc", "/proc", "proc", 0, NULL);
	mounted("sysfs", "/sys", "sysfs", 0, NULL);
	events = port(EVENT_PORT);
	output = port(OUTPUT_PORT);
	argv = strings("/guest/argv");
	environment = strings("/guest/environ");
	cwd = contents("/guest/cwd", &size);
	modules = contents("/guest/modules", &size);
	preload();
	new_root();
	link_modules(modules);
	report("{\"event\": \"booted\"}\n");

	child = fork();
	if (child < 0)
		give_up("fork", argv[0]);
	if (child == 0)
		run(argv, environment, cwd, output);
	do
		gone = wait(&status);
	while (gone != child);
	tcdrain(output);
	/* A shell's convention, so that a caller sees the same number as without a guest. */
	report("{\"event\": \"exit\", \"status\": %d}\n",
	       WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
	finish();
}
