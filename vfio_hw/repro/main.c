
/* ---- who watches the rounds ---- */

/* The log of the kernel since it was last looked at; whether there is a fault in it. */
static int logged(int log)
{
	static const char *const faults[] = {"WARNING: ", "BUG: ", "KASAN", "refcount_t: ",
		"general protection fault", "Oops", "kernel BUG at", "INFO: task "};
	char line[8192];
	ssize_t size;
	int found = 0;

	while (log >= 0 && ((size = read(log, line, sizeof(line) - 1)) > 0 || errno == EPIPE)) {
		if (size <= 0)
			continue;
		line[size] = 0;
		for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
			found |= line[0] < '8' && line[1] == ',' && strstr(line, faults[i]) != NULL;
		if (found)
			printf("kernel: %s", strchr(line, ';') ? strchr(line, ';') + 1 : line);
	}
	return found;
}

static void reproduced(void)
{
	shared->reproduced = 1;
	printf("reproduced in round %u\n", shared->round);
	fflush(NULL);
}

static void run_rounds(unsigned rounds, int log)
{
	srandom(@SEED@);
	signal(SIGBUS, land);
	signal(SIGSEGV, land);
	spread_out();
	set_settings();
	set_scene();
	shared->prepared = 1;
	for (unsigned i = 1; i <= rounds; i++) {
		int bad;

		shared->round = i;
		bad = run_round();
		if (logged(log) || bad) {
			reproduced();
			_exit(0);
		}
	}
	printf("not reproduced in %u rounds\n", rounds);
	fflush(NULL);
	_exit(1);
}

/* The end of a process, or -1 when its phase takes longer than it may. */
static int watched(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, WNOHANG) != pid) {
		long long limit = shared->phase == RACING ? DEADLINE : SCENE_DEADLINE;

		usleep(10000);
		if (now() - shared->since > limit * SECOND_NS)
			return -1;
	}
	return status;
}

/* Which calls do not return, if any. */
static int stuck(void)
{
	int found = 0;

	for (int i = 0; i < CALLS; i++)
		if (calls[i].state == RUNNING) {
			printf("round %u: %s did not return within %d s\n", shared->round, labels[i], DEADLINE);
			found = 1;
		}
	if (shared->closing >= 0) {
		printf("round %u: close of %s did not return within %d s\n", shared->round,
		       slot_names[shared->closing], DEADLINE);
		found = 1;
	}
	return found;
}

/* Ends a process that does not end by itself; whether it did, and let go of what it has open. */
static int ended(pid_t pid)
{
	kill(pid, SIGKILL);
	for (int i = 0; i < 200; i++) {
		if (waitpid(pid, NULL, WNOHANG) == pid)
			return 1;
		usleep(10000);
	}
	printf("process %d is held by the kernel: nothing is given back\n", pid);
	return 0;
}

/* Forks; what the child does that hangs costs the child alone. */
static pid_t begun(int phase)
{
	pid_t pid;

	fflush(NULL);
	enter(phase);
	pid = fork();
	if (pid < 0)
		fail("fork", "");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGINT, phase == GIVING_BACK ? SIG_IGN : SIG_DFL);
	}
	return pid;
}

int main(int argc, char **argv)
{
	unsigned rounds = argc > 1 ? atoi(argv[1]) : @ROUNDS@;
	int log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK), status, result, gone = 1;
	pid_t pid;

	if (log >= 0)
		lseek(log, 0, SEEK_END);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pages = mmap(NULL, (PAGES + 1) * sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || pages == MAP_FAILED)
		fail("mmap of", "the shared memory");
	slots = shared->slots;
	calls = shared->calls;
	shared->closing = -1;
	signal(SIGINT, SIG_IGN); /* what was changed is given back before this process ends */
	pid = begun(SETTING_THE_SCENE);
	if (!pid)
		run_rounds(rounds, log);
	status = watched(pid);
	result = WIFEXITED(status) ? WEXITSTATUS(status) : 2;
	if (status == -1) {
		result = 2;
		if (shared->phase != RACING)
			printf("round %u: the scene was not set within %d s\n", shared->round, SCENE_DEADLINE);
		else if (stuck())
			reproduced();
		else
			printf("round %u: it took %d s, though no call hangs: there is too much else to do\n",
			       shared->round, DEADLINE);
		gone = ended(pid);
	} else if (WIFSIGNALED(status)) {
		printf("round %u: the process got SIG%s\n", shared->round, sigabbrev_np(WTERMSIG(status)));
		if (logged(log))
			reproduced();
	}
	if (gone) {
		pid = begun(GIVING_BACK);
		if (!pid) {
			if (shared->prepared)
				give_back();
			give_settings_back();
			fflush(NULL);
			_exit(0);
		}
		status = watched(pid);
		if (status)
			fprintf(stderr, "the device can not be given back as it was\n");
		if (status == -1)
			ended(pid);
	}
	fflush(NULL);
	return shared->reproduced ? 0 : result;
}
