/* The first process of a guest: loads modules, then runs commands for the host over a virtio port. */
#ifndef NSGX_AGENT_H
#define NSGX_AGENT_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Frames: u32 length of the payload, u32 kind, u32 command, payload. Mirrored in src/agent/protocol.ts. */
enum {
  FRAME_RUN = 1,     /* u32 flags, u16 rows, u16 columns, u16 argc, u16 envc, strings: cwd, arguments, environment */
  FRAME_INPUT = 2,   /* bytes; none: end of input */
  FRAME_SIGNAL = 3,  /* u32 */
  FRAME_RESIZE = 4,  /* u16 rows, u16 columns */
  FRAME_POWER = 5,
  FRAME_READY = 16,  /* u32 version, u32 uptime in ms, text: one line for each module that did not load */
  FRAME_OUTPUT = 17, /* bytes */
  FRAME_ERROR = 18,  /* bytes of standard error */
  FRAME_EXIT = 19,   /* u32 wait status */
  FRAME_FAILED = 20, /* u32 errno */
  FRAME_TAKEN = 21,  /* u32 bytes of input that the command has taken */
};

#define AGENT_VERSION 1u
#define RUN_TERMINAL 1u
#define MAX_FRAME 65536u
#define MAX_INPUT 65536u
#define MAX_COMMANDS 64

struct frame {
  uint32_t length, kind, command;
};

/* setup.c: file systems, loopback, modules; writes what failed into `report`. */
void set_up(char *report, size_t size);
/* Opens the port of that name, waiting for it at most `ms`. */
int open_port(const char *name, int ms);

/* port.c */
void send_frame(int port, uint32_t kind, uint32_t command, const void *bytes, uint32_t length);
/* One whole frame's payload into `bytes`; 0 when the port has gone or what it brings is no frame. */
int receive_frame(int port, struct frame *frame, uint8_t *bytes);

/* commands.c */
void start_command(int port, uint32_t id, const uint8_t *bytes, uint32_t length);
void give_input(int port, uint32_t id, const uint8_t *bytes, uint32_t length);
void signal_command(uint32_t id, const uint8_t *bytes, uint32_t length);
void resize_command(uint32_t id, const uint8_t *bytes, uint32_t length);
struct pollfd;
/* Up to 3 entries for each command; returns their number. serve_commands takes the same entries after poll(). */
unsigned watch_commands(struct pollfd *entries);
void serve_commands(int port, const struct pollfd *entries, unsigned count);
void reap_commands(int port);

#endif
