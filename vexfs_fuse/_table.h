/* The inode table of the native library; see _table.c. */
#ifndef VEX_TABLE_H
#define VEX_TABLE_H

#include "_native.h"
#include <sys/stat.h>

struct vex_inode {
	struct vex_inode *next_number, *next_key;
	uint64_t ino, generation, dev, backing_ino;
	uint64_t parent; /* with `name`: where it was last found */
	uint64_t lookups; /* given by the library, and not yet counted by Python */
	char *name;
	int fd; /* O_PATH; -1 while it is held without one */
	uint32_t kind; /* S_IFMT of its mode */
	int mappable;
};

struct vex_adopted {
	uint64_t ino, generation, parent;
	int32_t fd;
	char name[256];
};

/* By the kernel's number, or by the object that a status is of; NULL if it is not known. */
INTERNAL struct vex_inode *vex_find(uint64_t ino);
INTERNAL struct vex_inode *vex_find_object(const struct stat *st);

/* A new inode, which owns the descriptor; NULL where Python has to make it. */
INTERNAL struct vex_inode *vex_make(const struct stat *st, int fd, uint64_t parent, const char *name);

#endif
