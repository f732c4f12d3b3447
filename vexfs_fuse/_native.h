/* What the files of the native library share; see _native.c. */
#ifndef VEX_NATIVE_H
#define VEX_NATIVE_H

#define FUSE_USE_VERSION 314
#define _GNU_SOURCE
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))
#define INTERNAL __attribute__((visibility("hidden")))

/* The request whose handler is about to run, for handlers that pyfuse3 gives no context. Valid until its first await. */
struct vex_request {
	uint64_t ino;
	uint32_t pid, uid, gid;
	int32_t flags; /* setattr: to_set; read: those of the open file; write: 1 if suid and sgid are to be cleared */
	uint32_t umask; /* of what is carried out directly */
};
extern struct vex_request vex_request;

/* The reply to an open, with what it adds to it; set by a handler as its last act, consumed by the reply. */
struct vex_open_out {
	uint64_t fh;
	uint32_t open_flags;
	int32_t backing_id;
};
extern uint32_t vex_open_flags;
extern int32_t vex_backing_id;

/* Operations that pyfuse3 does not have: Python's functions, which answer the request themselves, now or later. */
struct vex_extra {
	void (*readdir)(fuse_req_t, uint64_t fh, uint64_t off, uint64_t size); /* names only; plain listings */
	void (*fallocate)(fuse_req_t, uint64_t fh, int mode, int64_t off, int64_t length);
	void (*lseek)(fuse_req_t, uint64_t fh, int64_t off, int whence);
	void (*copy_file_range)(fuse_req_t, uint64_t fh_in, int64_t off_in, uint64_t fh_out, int64_t off_out, uint64_t size);
	void (*statx)(fuse_req_t, uint64_t ino);
	void (*ioctl)(fuse_req_t, uint64_t fh, unsigned command, const void *in, uint64_t in_size, uint64_t out_size);
	void (*getlk)(fuse_req_t, uint64_t fh, uint64_t owner, int type, int64_t start, int64_t length);
	void (*setlk)(fuse_req_t, uint64_t fh, uint64_t owner, int type, int64_t start, int64_t length, int pid, int wait);
	void (*flock)(fuse_req_t, uint64_t fh, int operation);
	void (*unlock)(fuse_req_t, uint64_t fh, uint64_t owner); /* at a flush; answers nothing */
};
extern struct vex_extra vex_extra;

/* pyfuse3's own operations, which ours pass on to. */
extern INTERNAL struct fuse_lowlevel_ops theirs;

/* What the kernel agreed to at the mount. */
#define VEX_PASSTHROUGH (1ULL << 37)
extern uint64_t vex_agreed;

/* Register an open file for passthrough: its id (> 0), or -errno; and give the id back. */
int vex_backing_open(int fd);
int vex_backing_close(uint32_t id);

/* Fill in vex_request. */
INTERNAL void note(fuse_req_t req, fuse_ino_t ino, int32_t flags);

/* See a request that libfuse does not know as one that it does; before libfuse looks at it. */
INTERNAL void translate(struct fuse_in_header *in);

/* Nanoseconds of the steady clock. */
INTERNAL int64_t vex_now(void);

/* Put the operations that pyfuse3 lacks into the table. */
INTERNAL void add_extra(struct fuse_lowlevel_ops *ours);

#endif
