/* Requests that need not leave the enclave one by one: sends that wait for the next request, and reads of what the host has
 * shown ahead (channel.h). Only connections that were accepted take part; their descriptors are the host's names. */
#ifndef LIBOS_LATER_H
#define LIBOS_LATER_H

#include <stdbool.h>
#include <stdint.h>

#include "channel.h"

/* Whether the transport has it; before anything else. */
void libos_later_start(bool on);

/* A descriptor is a connection from now on; what it is called where the host is told of its events: 0 for others. */
void libos_later_connection(uint64_t fd);
uint32_t libos_later_name(uint64_t fd);

/* Room for bytes that may be sent later; NULL: not now. libos_later_send then puts them off, all of them. */
uint8_t *libos_later_room(uint64_t fd, uint64_t length);
void libos_later_send(uint64_t fd, uint64_t length);

/* What is known to have come for a descriptor, up to `length` bytes, which then have been read; NULL: nothing. */
const uint8_t *libos_ahead(uint64_t fd, uint64_t length, uint64_t *got);

/* Around reads of a descriptor that the host does; the second if the first says so. */
bool libos_ahead_reads(uint64_t fd);
void libos_ahead_has_read(uint64_t fd);

/* Around a wait for events: whether the host is to look ahead; and, where it was, what it saw. */
bool libos_ahead_wanted(void);
void libos_ahead_seen(void);

/* A connection is watched by an epoll, otherwise or not any more: true when that was put off. What is wrong with it the core
 * has found before. */
bool libos_later_watch(uint64_t epoll, uint64_t operation, uint64_t fd, uint64_t events, uint64_t number);

/* A descriptor is closed: true when that was put off as well. */
bool libos_later_close(uint64_t fd);

#endif
