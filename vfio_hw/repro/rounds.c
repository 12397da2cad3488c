/* ---- rounds ---- */

static void (*const programs[ACTORS])(long long) = {@PROGRAM_NAMES@};
static void (*const setups[ACTORS])(long long) = {@SETUP_NAMES@};
static const char *const names[ACTORS] = {@ACTOR_NAMES@};
static const int processes[ACTORS] = {@PROCESSES@};
static const int pids[ACTORS] = {@PIDS@}; /* the slot for the process, or -1 */
static const int policies[ACTORS] = {@POLICIES@};
static int cpus[ACTORS] = {@CPUS@}; /* or -1: any */
static const long long offsets[ACTORS] = {@OFFSETS@};
static const int decisive[CALLS] = {@DECISIVE@};
static const int first[ACTORS + 1] = {@FIRST@}; /* call of each actor's program */
static const char *const legal[] = {
@LEGAL@};
static long long moved[ACTORS];
static pid_t running[ACTORS];

/* Rounds are so near to the offsets, then twice as far away, and so on, and near again after so
   many, and after one more each time. */
#define NEAR_NS @NEAR_NS@
#define WIDTHS @WIDTHS@
#define MOST_WIDTHS @MOST_WIDTHS@

/* Time between the last arrival at the barrier and the start: for all to have seen the release. */
#define LEAD_NS 10000
#define CROWDED_LEAD_NS 400000
/* Before that all must be seen to run, for a CPU of a guest may be away for a while. */
#define FRESH_NS 4000
#define TOGETHER_NS 20000
#define PATIENCE_NS 30000000

/* Each on a CPU of its own, as far as there are enough. */
static void spread_out(void)
{
	int usable[CPU_SETSIZE], count = 0;
	cpu_set_t set;

	sched_getaffinity(0, sizeof(set), &set);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &set))
			usable[count++] = cpu;
	for (int i = 0; i < ACTORS; i++) {
		if (cpus[i] < 0)
			cpus[i] = usable[i % count];
		for (int other = 0; other < i; other++)
			crowded |= cpus[i] == cpus[other];
	}
}

static void schedule(int index)
{
	struct sched_param param = {.sched_priority = policies[index] == SCHED_FIFO};
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpus[index], &set);
	prctl(PR_SET_TIMERSLACK, 1);
	if (sched_setaffinity(0, sizeof(set), &set)
	    || (sched_getscheduler(0) != policies[index]
		&& sched_setscheduler(0, policies[index], &param)))
		fail("the CPU and policy of", names[index]);
}

static void wait_for_all_to_run(void)
{
	long long time = now(), since = time, end = time + PATIENCE_NS;

	for (; time < end && time - since < TOGETHER_NS; time = now()) {
		for (int i = 0; i < ACTORS; i++)
			if (time - __atomic_load_n(&shared->seen[i][0], __ATOMIC_RELAXED) > FRESH_NS)
				since = time;
		relax();
	}
}

static long long pass_barrier(int index)
{
	long long *seen = &shared->seen[index][0], release;

	__atomic_store_n(seen, INT64_MAX, __ATOMIC_RELAXED);
	if (__atomic_add_fetch(&shared->arrived, 1, __ATOMIC_ACQ_REL) == ACTORS) {
		if (!crowded)
			wait_for_all_to_run();
		release = now() + (crowded ? CROWDED_LEAD_NS : LEAD_NS);
		__atomic_store_n(&shared->release, release, __ATOMIC_RELEASE);
	}
	while (!(release = __atomic_load_n(&shared->release, __ATOMIC_ACQUIRE))) {
		__atomic_store_n(seen, now(), __ATOMIC_RELAXED);
		relax();
	}
	return release;
}

static void *act(void *given)
{
	long index = (long)given;
	long long start;

	schedule(index);
	setups[index](now());
	start = pass_barrier(index) + moved[index];
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

static void choose_offsets(void)
{
	static int place, widths = WIDTHS;
	long long least = INT64_MAX;
	long width;

	if (place == widths) {
		place = 0;
		widths += widths < MOST_WIDTHS;
	}
	width = NEAR_NS << place++;
	for (int i = 0; i < ACTORS; i++) {
		moved[i] = offsets[i] + (i ? random() % (2 * width + 1) - width : 0);
		least = moved[i] < least ? moved[i] : least;
	}
	for (int i = 0; i < ACTORS; i++)
		moved[i] -= least;
}

static void run_actors(int status[ACTORS])
{
	pthread_t threads[ACTORS];

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
}

/* Whether its outcome is none of the legal ones. */
static int run_round(void)
{
	int status[ACTORS] = {0}, ok = 0;
	char outcome[1000] = "";

	enter(SETTING_THE_SCENE);
	restore();
	fresh();
	for (int i = 0; i < SLOTS; i++)
		slots[i] = -1;
	memset(calls, 0, sizeof(shared->calls));
	shared->arrived = 0;
	shared->release = 0;
	choose_offsets();
	enter(RACING);
	prologue(now());
	must_be_ok(0, PROLOGUE);
	run_actors(status);
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
	/* An owner that was killed in a call is in it no more. */
	for (int i = first[0]; i < first[ACTORS]; i++)
		if (calls[i].state == RUNNING)
			calls[i].state = SKIPPED;
	epilogue(now());
	close_left();
	return !ok;
}
