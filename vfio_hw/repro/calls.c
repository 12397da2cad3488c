/* ---- slots, calls, and touches of memory ---- */

static void __attribute__((unused)) *page(int number)
{
	return pages + number * sysconf(_SC_PAGESIZE);
}

static long full(int slot)
{
	return __atomic_load_n(&slots[slot], __ATOMIC_ACQUIRE) >= 0;
}

static long take(int slot)
{
	return __atomic_exchange_n(&slots[slot], -1, __ATOMIC_ACQ_REL);
}

static void fill(int slot, long value)
{
	__atomic_store_n(&slots[slot], value, __ATOMIC_RELEASE);
}

#define BEGIN(number) \
	(calls[number].state = RUNNING, calls[number].start = now())
#define END(number, result, failure) \
	(calls[number].value = (result), calls[number].error = (failure), \
	 calls[number].end = now(), calls[number].state = DONE)
#define CALL(number, ...) \
	do { \
		long got; \
		BEGIN(number); \
		got = syscall(__VA_ARGS__); \
		END(number, got, got == -1 ? errno : 0); \
	} while (0)
#define OK(number) (calls[number].state == DONE && !calls[number].error)

static __thread sigjmp_buf landing;
static __thread volatile int touching;

static void land(int number)
{
	if (touching)
		siglongjmp(landing, number);
	signal(number, SIG_DFL);
}

/* A load, or a store, of so many bytes; a fault is its outcome. */
static void __attribute__((unused)) touch(int number, int store, long address, int size, long value)
{
	volatile unsigned char *memory = (volatile unsigned char *)address;
	int fault = sigsetjmp(landing, 1);

	if (!fault) {
		touching = 1;
		BEGIN(number);
		if (size == 8 && store)
			*(volatile uint64_t *)memory = value;
		else if (size == 8)
			value = *(volatile uint64_t *)memory;
		else if (size == 4 && store)
			*(volatile uint32_t *)memory = value;
		else if (size == 4)
			value = *(volatile uint32_t *)memory;
		else if (size == 2 && store)
			*(volatile uint16_t *)memory = value;
		else if (size == 2)
			value = *(volatile uint16_t *)memory;
		else if (store)
			*memory = value;
		else
			value = *memory;
	}
	touching = 0;
	END(number, value, -fault);
}

static void __attribute__((unused)) put(void *to, long value, int size)
{
	uint32_t word = value;

	memcpy(to, size == 8 ? (void *)&value : (void *)&word, size);
}

static long __attribute__((unused)) get(const void *from, int size)
{
	long value = 0;
	int32_t word; /* -1: none is there */

	if (size == 8) {
		memcpy(&value, from, 8);
		return value;
	}
	memcpy(&word, from, 4);
	return word;
}

