/* The inode table of the native library; see _table.c. */
#ifndef VEX_TABLE_H
#define VEX_TABLE_H

#include "_native.h"
#include <sys/stat.h>

struct vex_inode {
	struct vex_inode *next_number, *next_key, *next_name;
	struct vex_inode *older, *newer; /* among those that Python has yet to adopt */
	uint64_t ino, generation, dev, backing_ino;
	uint64_t parent; /* with `name`: where it was last found */
	uint64_t lookups; /* given by the library, and not yet counted by Python */
	int64_t size, mtime; /* with `mode`, `uid`, `gid`: as the kernel was last told by the library */
	uint32_t mode, uid, gid;
	int64_t plain_until; /* a directory is taken to have no default ACL, monotonic ns */
	char *name;
	int fd; /* O_PATH; -1 while it is held without one */
	uint32_t kind; /* S_IFMT of its mode */
	int32_t backing_id, opens; /* of the files that the library has open: all that are, or none */
	int theirs; /* files that Python has open */
	int mappable, mappers; /* whether a mapping may change it unseen: by a file of Python's, so many of the library's */
	int news; /* its place, from 1, among those of whose present name or data Python has yet to be told; 0: none */
	unsigned linked : 1, /* Python knows it by further names */
		adopted : 1, removed : 1, /* by Python; from its directory */
		written : 1, /* Python has yet to be told of its data */
		lent : 1; /* Python counts a lookup for what the library has open */
	uint32_t within; /* of a directory: kinds of events that somebody might want of any name in it; as of `shape` */
	uint64_t shape;
	uint32_t handle_length;
	char *handle; /* of a directory: as notices of the watch name it */
};

struct vex_adopted {
	uint64_t ino, generation, dev, backing_ino, parent;
	int64_t size, mtime;
	uint32_t mode, uid, gid;
	int32_t fd, removed, written;
	char name[256];
};

/* By the kernel's number, or by the object that a status is of; NULL if it is not known. */
INTERNAL struct vex_inode *vex_find(uint64_t ino);
INTERNAL struct vex_inode *vex_find_object(const struct stat *st);

/* By its name in a directory, if Python knows it by no other and it has a descriptor. */
INTERNAL struct vex_inode *vex_find_name(uint64_t parent, const char *name);

/* Its modification time, ns. */
static inline int64_t vex_modified(const struct stat *st)
{
	return st->st_mtim.tv_sec * 1000000000LL + st->st_mtim.tv_nsec;
}

/* A new inode, which owns the descriptor; NULL where Python has to make it. */
INTERNAL struct vex_inode *vex_make(const struct stat *st, int fd, uint64_t parent, const char *name);

/* The kernel is told of this status. */
INTERNAL void vex_tell(struct vex_inode *inode, const struct stat *st);

/* Whether this is the name by which it is known. */
INTERNAL int vex_called(const struct vex_inode *inode, uint64_t parent, const char *name);

/* It has this name now, or has lost the one it had (NULL). */
INTERNAL void vex_rename(struct vex_inode *inode, uint64_t parent, const char *name);

/* Its attributes are news: what the library has done to it. */
INTERNAL void vex_written(struct vex_inode *inode);

/* The kernel has given its last lookup back, and Python never knew it. */
INTERNAL void vex_discard(struct vex_inode *inode);

/* Whether Python has to adopt inodes, or learn names, before the library can make many more. */
int vex_crowded(void);

#endif
