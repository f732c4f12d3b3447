/* What the requests that the library answers have in common; see _serve.c. */
#ifndef VEX_SERVE_H
#define VEX_SERVE_H

#include "_table.h"

/* Events that the library's answers would be, as indices of `vex_unheard` and bits of `vex_silent`: set where nobody
 * hears them. */
enum {
	VEX_LOOKUP,
	VEX_GETATTR,
	VEX_LISTED,
	VEX_XATTR,
	VEX_CREATED,
	VEX_OPENED,
	VEX_CLOSED,
	VEX_READ,
	VEX_WRITTEN,
	VEX_FLUSH,
	VEX_DELETED,
	VEX_RENAMED,
	VEX_REPLACED,
	VEX_DIR_CREATED,
	VEX_DIR_DELETED,
	VEX_DIR_RENAMED,
	VEX_TRUNCATED,
	VEX_MODE,
	VEX_OWNER,
	VEX_TIMES,
	VEX_SYMLINKED,
	VEX_READLINK,
	VEX_FSYNC,
	VEX_KINDS
};
#define VEX_ABSENT (1 << VEX_KINDS) /* nor the failure of an operation */
#define FREED_INLINE (16 << 20) /* bytes of disk space that a close may free at once */
extern uint32_t vex_silent;
extern uint64_t vex_unheard[VEX_KINDS];
extern int vex_owed; /* whether anything was counted, put off or made here that Python has yet to hear of */
#define vex_skip(kind) (vex_unheard[kind]++, vex_owed = 1)

/* Seconds for which the kernel may believe names, attributes, those of regular files, and that a name is absent. */
struct vex_timeouts {
	double entry, attr, file, absent;
};
extern struct vex_timeouts vex_timeouts;

extern uint64_t vex_interruptible; /* numbers and handles from here on are of /.vexfs */
extern int vex_deferred_count;
#define VEX_ROOM 4000 /* with more inodes whose new names Python has yet to be told of, it does the next ones */
extern int vex_renamed;
extern uint64_t vex_shapes; /* counts what may change which events are heard where */
extern int vex_session_fd;

/* Have Python say what is heard in a directory, or in that of a file, where it has not: before the pointers to inodes
 * and files are got, since Python does first what was put off. */
INTERNAL void vex_ask_about(uint64_t ino);

/* Whether nobody hears events of this kind of `name` in a directory. */
INTERNAL int vex_unheard_in(int kind, const struct vex_inode *directory, const char *name);

/* Have Python release a handle (count 0), or forget so many lookups. */
INTERNAL void vex_defer(uint64_t id, uint64_t count);

/* Answer a request: 1, or 0 if it is Python's. */
INTERNAL int vex_answer(const struct fuse_in_header *in);
INTERNAL int vex_readdir(const struct fuse_in_header *in, const struct fuse_read_in *arg, int with_attributes);
INTERNAL int vex_read(const struct fuse_in_header *in, const struct fuse_read_in *arg);
INTERNAL int vex_write(const struct fuse_in_header *in, const struct fuse_write_in *arg);

/* Have a request carried out, here or by one of Python's functions: 1, or 0 if pyfuse3 is to see to it. */
INTERNAL int vex_carry_out(const struct fuse_in_header *in);

/* What was made here and is for Python to enter into its table: a name, or a file with its open descriptor. */
INTERNAL int vex_enter_made(const struct fuse_in_header *in, const char *name);
INTERNAL int vex_open_made(const struct fuse_in_header *in, const char *name, int flags, int fd);

/* Send a reply; false if the kernel does not want it any more. */
INTERNAL int vex_reply(const struct fuse_in_header *in, int error, const void *body, size_t length);

INTERNAL void vex_split(double timeout, uint64_t *seconds, uint32_t *nanoseconds);
INTERNAL void vex_fill(struct fuse_attr *attr, uint64_t ino, const struct stat *st);
INTERNAL void vex_fill_attributes(struct fuse_attr_out *out, struct vex_inode *inode, const struct stat *st);
INTERNAL void vex_fill_entry(struct fuse_entry_out *entry, struct vex_inode *inode, const struct stat *st);

/* The inode of `name` in a directory, whose status is `st`, made where it is new; NULL where that is Python's to say:
 * the file has another name, or is held without a descriptor. Its lookups are the caller's to count. */
INTERNAL struct vex_inode *vex_meet(const struct vex_inode *parent, const char *name, struct stat *st);

/* Whether it is the entry to the control tree, which hides one of the backing tree. */
INTERNAL int vex_is_control(uint64_t parent, const char *name);

#endif
