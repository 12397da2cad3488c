/* ---- rounds ---- */

static void (*const programs[ACTORS])(long long) = {@PROGRAM_NAMES@};
static void (*const setups[ACTORS])(long long) = {@SETUP_NAMES@};
static const char *const names[ACTORS] = {@ACTOR_NAMES@};
static const int processes[ACTORS] = {@PROCESSES@};
static const int pids[ACTORS] = {@PIDS@}; /* the slot for the process, or -1 */
static const long long offsets[ACTORS] = {@OFFSETS@};
static const int decisive[CALLS] = {@DECISIVE@};
static const int first[ACTORS + 1] = {@FIRST@}; /* call of each actor's program */
static const char *const legal[] = {
@LEGAL@};
static long long moved[ACTORS];
static pid_t running[ACTORS];

static void *act(void *given)
{
	long index = (long)given;
	long long start;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(index % sysconf(_SC_NPROCESSORS_ONLN), &set);
	sched_setaffinity(0, sizeof(set), &set);
	setups[index](now());
	if (__atomic_add_fetch(&shared->arrived, 1, __ATOMIC_ACQ_REL) == ACTORS)
		__atomic_store_n(&shared->release, now() + LEAD_NS, __ATOMIC_RELEASE);
	while (!(start = __atomic_load_n(&shared->release, __ATOMIC_ACQUIRE)))
		;
	start += moved[index];
	wait_until(start);
	programs[index](start);
	return NULL;
}

static const char *name_of(const struct call *call, int status)
{
	static char text[32];

	if (call->state == RUNNING || (call->state == NOT_RUN && status >= 0))
		return WIFSIGNALED(status) ? (snprintf(text, sizeof(text), "SIG%s",
				sigabbrev_np(WTERMSIG(status))), text) : "exited";
	if (call->state != DONE)
		return call->state == SKIPPED ? "skipped" : "not run";
	if (call->error < 0)
		snprintf(text, sizeof(text), "SIG%s", sigabbrev_np(-call->error));
	return call->error < 0 ? text : call->error ? strerrorname_np(call->error) : "ok";
}

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

static void tell(void)
{
	for (int actor = 0; actor < ACTORS; actor++) {
		printf("%s\n", names[actor]);
		for (int i = first[actor]; i < first[actor + 1]; i++)
			printf("    %s: state %d, errno %d, value %ld, %.1f to %.1f us\n", labels[i],
			       calls[i].state, calls[i].error, calls[i].value,
			       (calls[i].start - shared->release) / 1e3,
			       (calls[i].end - shared->release) / 1e3);
	}
}

static void must_be_ok(int from, int to)
{
	for (int i = from; i < to; i++)
		if (!OK(i)) {
			errno = calls[i].error;
			fail("before the race:", labels[i]);
		}
}

static int run_round(void)
{
	pthread_t threads[ACTORS];
	int status[ACTORS] = {0}, ok = 0;
	char outcome[1000] = "";

	restore();
	fresh();
	for (int i = 0; i < SLOTS; i++)
		slots[i] = -1;
	memset(calls, 0, sizeof(shared->calls));
	shared->arrived = 0;
	shared->release = 0;
	for (int i = 0; i < ACTORS; i++)
		moved[i] = offsets[i] + JITTER_NS + (i ? random() % (2 * JITTER_NS + 1) - JITTER_NS : 0);
	prologue(now());
	must_be_ok(0, PROLOGUE);
	for (int i = 0; i < ACTORS; i++) {
		if (!processes[i])
			continue;
		running[i] = fork();
		if (!running[i]) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			act((void *)(long)i);
			_exit(0);
		}
		if (pids[i] >= 0)
			slots[pids[i]] = running[i];
	}
	for (int i = 0; i < ACTORS; i++)
		if (!processes[i] && pthread_create(&threads[i], NULL, act, (void *)(long)i))
			fail("pthread_create", names[i]);
	for (int i = 0; i < ACTORS; i++)
		if (processes[i])
			waitpid(running[i], &status[i], 0);
		else
			pthread_join(threads[i], NULL);
	must_be_ok(PROLOGUE, first[0]);
	for (int actor = 0; actor < ACTORS; actor++) {
		const char *between = actor ? " / " : "";
		int how = processes[actor] ? status[actor] : -1;

		for (int i = first[actor]; i < first[actor + 1]; i++) {
			if (decisive[i]) {
				strcat(strcat(outcome, between), name_of(&calls[i], how));
				between = "+";
			}
			if (calls[i].state == RUNNING || calls[i].state == NOT_RUN)
				how = -1;
		}
	}
	for (unsigned i = 0; i < sizeof(legal) / sizeof(legal[0]); i++)
		ok |= !strcmp(legal[i], outcome);
	if (!ok) {
		printf("round %u: outcome %s is not legal\n", shared->round, outcome);
		tell();
	}
	epilogue(now());
	close_left();
	return !ok;
}

static void run_rounds(unsigned rounds)
{
	int log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK), bad;

	if (log >= 0)
		lseek(log, 0, SEEK_END);
	srandom(@SEED@);
	signal(SIGBUS, land);
	signal(SIGSEGV, land);
	set_scene();
	for (unsigned i = 1; i <= rounds; i++) {
		shared->round = i;
		bad = run_round();
		bad |= logged(log);
		if (bad) {
			printf("reproduced in round %u\n", i);
			fflush(NULL);
			_exit(0);
		}
	}
	give_back();
	printf("not reproduced in %u rounds\n", rounds);
	fflush(NULL);
	_exit(1);
}

/* The rounds are a process of their own: a call that hangs costs that process, not this one. */
int main(int argc, char **argv)
{
	unsigned rounds = argc > 1 ? atoi(argv[1]) : @ROUNDS@, seen = 0;
	long long since = now();
	int status;
	pid_t pid;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		fail("mmap of", "the shared memory");
	pages = mmap(NULL, (PAGES + 1) * sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (pages == MAP_FAILED)
		fail("mmap of", "the pages");
	slots = shared->slots;
	calls = shared->calls;
	pid = fork();
	if (!pid)
		run_rounds(rounds);
	while (waitpid(pid, &status, WNOHANG) != pid) {
		usleep(10000);
		if (seen != shared->round) {
			seen = shared->round;
			since = now();
		}
		if (now() - since < DEADLINE * 1000000000LL)
			continue;
		for (int i = 0; i < CALLS; i++)
			if (calls[i].state == RUNNING)
				printf("round %u: %s did not return within %d s\n", seen, labels[i], DEADLINE);
		printf("reproduced in round %u\n", seen);
		fflush(NULL);
		kill(pid, SIGKILL);
		_exit(0);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}
