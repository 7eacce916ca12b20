/* SPDX-License-Identifier: MIT */
/* What every guest has, 32-bit or 64-bit: claims, printing, the end, ports. report.c. */
#ifndef REPORT_H
#define REPORT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t i32;
typedef int64_t i64;

#define BIT(n) (1ull << (n))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define PAGE 4096ull

#define GUEST_PASS 0x10 /* exit status 33 */
#define GUEST_FAIL 0x11 /* exit status 35 */

void guest_main(void); /* the test's own */
void guest_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Counts; a false one prints "FAIL name". The name may have a printf form. */
bool guest_check(bool good, const char *file, int line, const char *name, ...)
	__attribute__((format(printf, 4, 5)));
#define check(good, ...) guest_check(good, __FILE__, __LINE__, __VA_ARGS__)
/* Prints both values when they differ. */
bool guest_check_equal(u64 got, u64 want, const char *file, int line, const char *name, ...)
	__attribute__((format(printf, 5, 6)));
#define check_equal(got, want, ...) \
	guest_check_equal((u64)(got), (u64)(want), __FILE__, __LINE__, __VA_ARGS__)
/* This CPU or machine lacks what the check needs; said, not counted as good or bad. */
void guest_skip(const char *name);
/* True when the command line has this word. */
bool guest_option(const char *word);
/* N where the command line has a word "name=N", in decimal digits. */
u64 guest_option_number(const char *name, u64 otherwise);
/*
 * For a check where QEMU's TCG is known to be wrong: true when the command line says that it is
 * the one that runs ("tcg"), and then it prints that the check is left out.
 */
bool guest_tcg_wrong(const char *name);
_Noreturn void guest_finish(void);
_Noreturn void guest_exit(unsigned value);

void *memset(void *to, int value, size_t len);
void *memcpy(void *to, const void *from, size_t len);
int memcmp(const void *a, const void *b, size_t len);
size_t strlen(const char *text);

#define PORT_ACCESS(suffix, type) \
	static inline void out##suffix(u16 port, type value) \
	{ \
		__asm__ volatile("out" #suffix " %0, %1" : : "a"(value), "Nd"(port)); \
	} \
	static inline type in##suffix(u16 port) \
	{ \
		type value; \
		__asm__ volatile("in" #suffix " %1, %0" : "=a"(value) : "Nd"(port)); \
		return value; \
	}
PORT_ACCESS(b, u8)
PORT_ACCESS(w, u16)
PORT_ACCESS(l, u32)
#undef PORT_ACCESS

#endif
