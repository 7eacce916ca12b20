/* SPDX-License-Identifier: MIT */
/* What a guest says, over a 16550 at 3F8h, and how it ends, through port F4h. */
#include "report.h"

static unsigned passed, failed, skipped;

static void put(char c)
{
	if (c == '\n')
		put('\r');
	while (!(inb(0x3fd) & 0x20))
		;
	outb(0x3f8, (u8)c);
}

static void put_number(u64 value, unsigned base, unsigned width, char fill, bool negative)
{
	char digits[24];
	unsigned count = 0;

	do {
		digits[count++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	if (negative)
		digits[count++] = '-';
	while (width > count) {
		put(fill);
		width--;
	}
	while (count)
		put(digits[--count]);
}

static void print_list(const char *format, va_list args)
{
	for (; *format; format++) {
		unsigned width = 0, longs = 0;
		char fill = ' ';

		if (*format != '%') {
			put(*format);
			continue;
		}
		format++;
		if (*format == '0')
			fill = *format++;
		for (; *format >= '0' && *format <= '9'; format++)
			width = width * 10 + (unsigned)(*format - '0');
		for (; *format == 'l' || *format == 'z'; format++)
			longs++;
		switch (*format) {
		case 'c':
			put((char)va_arg(args, int));
			break;
		case 's': {
			const char *text = va_arg(args, const char *);
			while (*text)
				put(*text++);
			break;
		}
		case 'd': {
			i64 value = longs > 1 ? va_arg(args, i64) :
				    longs     ? va_arg(args, long) :
						va_arg(args, int);
			put_number(value < 0 ? -(u64)value : (u64)value, 10, width, fill, value < 0);
			break;
		}
		case 'u':
		case 'x': {
			u64 value = longs > 1 ? va_arg(args, u64) :
				    longs     ? va_arg(args, unsigned long) :
						va_arg(args, unsigned);
			put_number(value, *format == 'u' ? 10 : 16, width, fill, false);
			break;
		}
		case 'p':
			put_number((uintptr_t)va_arg(args, void *), 16, width, fill, false);
			break;
		default:
			put(*format);
		}
	}
}

void guest_print(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	print_list(format, args);
	va_end(args);
}

bool guest_check(bool good, const char *file, int line, const char *name, ...)
{
	va_list args;

	if (good) {
		passed++;
		return true;
	}
	failed++;
	guest_print("FAIL ");
	va_start(args, name);
	print_list(name, args);
	va_end(args);
	guest_print(" (%s:%d)\n", file, line);
	return false;
}

bool guest_check_equal(u64 got, u64 want, const char *file, int line, const char *name, ...)
{
	va_list args;

	if (got == want) {
		passed++;
		return true;
	}
	failed++;
	guest_print("FAIL ");
	va_start(args, name);
	print_list(name, args);
	va_end(args);
	guest_print(": got 0x%llx, want 0x%llx (%s:%d)\n", (unsigned long long)got,
		(unsigned long long)want, file, line);
	return false;
}

void guest_skip(const char *name)
{
	skipped++;
	guest_print("skip %s\n", name);
}

/* The boot loader's command line: Multiboot Specification 0.6.96, 3.3. "" where there is none. */
static const char *command_line(void)
{
	extern u32 guest_boot_magic, guest_boot_info;
	const u32 *info = (const u32 *)(uintptr_t)guest_boot_info;

	if (guest_boot_magic != 0x2badb002 || !(info[0] & 4))
		return "";
	return (const char *)(uintptr_t)info[4];
}

/* What follows `start` in the word of the command line that begins with it; NULL: none does. */
static const char *find_word(const char *start)
{
	const char *text = command_line();
	size_t len = strlen(start);

	while (*text) {
		size_t here = 0;

		while (here < len && text[here] == start[here])
			here++;
		if (here == len)
			return text + len;
		while (*text && *text != ' ')
			text++;
		while (*text == ' ')
			text++;
	}
	return NULL;
}

bool guest_option(const char *word)
{
	const char *end = find_word(word);

	return end && (!*end || *end == ' ');
}

u64 guest_option_number(const char *name, u64 otherwise)
{
	const char *text = find_word(name);
	u64 number = 0;

	if (!text || *text++ != '=' || *text < '0' || *text > '9')
		return otherwise;
	for (; *text >= '0' && *text <= '9'; text++)
		number = number * 10 + (u64)(*text - '0');
	return number;
}

bool guest_tcg_wrong(const char *name)
{
	if (!guest_option("tcg"))
		return false;
	skipped++;
	guest_print("left out under TCG: %s\n", name);
	return true;
}

void guest_exit(unsigned value)
{
	outb(0xf4, (u8)value);
	for (;;)
		__asm__ volatile("cli; hlt");
}

void guest_finish(void)
{
	guest_print("%u checks passed, %u failed, %u skipped\n", passed, failed, skipped);
	guest_exit(passed && !failed ? GUEST_PASS : GUEST_FAIL);
}

void *memset(void *to, int value, size_t len)
{
	void *start = to;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(len) : "a"(value) : "memory");
	return start;
}

void *memcpy(void *to, const void *from, size_t len)
{
	void *start = to;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(len) : : "memory");
	return start;
}

int memcmp(const void *a, const void *b, size_t len)
{
	const u8 *p = a, *q = b;

	for (; len; len--, p++, q++)
		if (*p != *q)
			return *p - *q;
	return 0;
}

size_t strlen(const char *text)
{
	size_t len = 0;

	while (text[len])
		len++;
	return len;
}
