/* Listings: a snapshot of a directory, taken when it is first read or rewound (directories.py), and served from here.
 *
 * A snapshot is a row of struct fuse_dirent, each with the position behind it as its offset.
 */
#include "_serve.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LARGE (64 * 1024) /* bytes of a directory file: such a one is read by Python, in a thread */
#define REPLY (1 << 20)
#define HANDLES 1024 /* buckets */

static struct listing {
	struct listing *next;
	uint64_t fh, ino;
	int fd;
	char *entries; /* NULL: nobody has read it yet, or Python alone has */
	size_t length;
	int shown; /* Python has this snapshot too */
} *listings[HANDLES];

static struct listing *find(uint64_t fh)
{
	struct listing *listing = listings[fh % HANDLES];

	while (listing && listing->fh != fh)
		listing = listing->next;
	return listing;
}

/* A directory was opened, whose listings the library may answer. */
EXPORT void vex_opened(uint64_t fh, uint64_t ino, int fd)
{
	struct listing *listing = calloc(1, sizeof(*listing));

	if (!listing)
		return;
	*listing = (struct listing){.next = listings[fh % HANDLES], .fh = fh, .ino = ino, .fd = fd};
	listings[fh % HANDLES] = listing;
}

/* It is closed. */
EXPORT void vex_closed(uint64_t fh)
{
	struct listing **at = &listings[fh % HANDLES], *gone;

	while (*at && (*at)->fh != fh)
		at = &(*at)->next;
	gone = *at;
	if (gone) {
		*at = gone->next;
		free(gone->entries);
		free(gone);
	}
}

/* All entries of a directory: `*out` is malloc'ed, for vex_free. The length, or -errno. In the root `hide` is left out, and
 * with it the trash of the automations. */
EXPORT ssize_t vex_list(int fd, const char *hide, char **out)
{
	struct entry {
		uint64_t ino;
		int64_t off;
		uint16_t length;
		uint8_t type;
		char name[];
	};
	size_t used = 0, room = 1 << 16;
	char *list = malloc(room), raw[32768] __attribute__((aligned(8)));
	ssize_t got = -1;

	if (list && lseek(fd, 0, SEEK_SET) == 0)
		while ((got = syscall(SYS_getdents64, fd, raw, sizeof(raw))) > 0)
			for (ssize_t at = 0; at < got;) {
				const struct entry *from = (const void *)(raw + at);
				size_t length = strlen(from->name), size = FUSE_DIRENT_ALIGN(offsetof(struct fuse_dirent, name) + length);

				at += from->length;
				if (hide && (strcmp(from->name, hide) == 0 || strcmp(from->name, ".vexfs-tmp-trash") == 0))
					continue;
				if (used + size > room) {
					char *grown = realloc(list, room *= 2);
					if (!grown) {
						free(list);
						return -ENOMEM;
					}
					list = grown;
				}
				struct fuse_dirent *to = (void *)(list + used);
				memset(to, 0, size);
				to->ino = from->ino;
				to->off = (int64_t)(used += size);
				to->namelen = (uint32_t)length;
				to->type = from->type;
				memcpy(to->name, from->name, length);
			}
	if (got < 0) {
		int code = list ? errno : ENOMEM;
		free(list);
		return -code;
	}
	*out = list;
	return (ssize_t)used;
}

EXPORT void vex_free(char *list)
{
	free(list);
}

static size_t size_of(const struct fuse_dirent *entry)
{
	return FUSE_DIRENT_ALIGN(offsetof(struct fuse_dirent, name) + entry->namelen);
}

/* As many whole records from `start` on as fit into `size` bytes: how many bytes they have. */
static size_t portion(const struct listing *listing, size_t start, size_t size)
{
	size_t end = start;

	while (end < listing->length) {
		size_t after = end + size_of((const void *)(listing->entries + end));
		if (after - start > size)
			break;
		end = after;
	}
	return end - start;
}

/* One entry with its attributes; without them for `.` and `..`, and for a name that is gone meanwhile. False if only Python
 * can answer for it. */
static int describe(struct fuse_direntplus *to, const struct vex_inode *parent, const struct fuse_dirent *from)
{
	struct vex_inode *inode;
	char name[NAME_MAX + 1];
	struct stat st;

	memset(to, 0, sizeof(*to));
	memcpy(&to->dirent, from, size_of(from));
	if (from->namelen > NAME_MAX)
		return 0;
	memcpy(name, from->name, from->namelen);
	name[from->namelen] = 0;
	if (strcmp(name, ".") == 0) {
		to->dirent.ino = parent->ino;
	} else if (strcmp(name, "..") == 0) {
		to->dirent.ino = parent->parent ? parent->parent : parent->ino;
	} else if (fstatat(parent->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		inode = vex_meet(parent, name, &st);
		if (!inode)
			return 0;
		vex_fill_entry(&to->entry_out, inode, &st);
		to->dirent.ino = inode->ino;
		inode->lookups++;
	}
	return 1;
}

static size_t portion_with_attributes(const struct listing *listing, const struct vex_inode *parent, size_t start,
				      size_t size, char *out)
{
	size_t used = 0, at = start;

	while (at < listing->length) {
		const struct fuse_dirent *from = (const void *)(listing->entries + at);
		size_t plain = size_of(from), needed = plain + offsetof(struct fuse_direntplus, dirent);

		if (used + needed > size || !describe((void *)(out + used), parent, from))
			break;
		used += needed;
		at += plain;
	}
	return used;
}

/* The kernel did not take the reply: the lookups in it do not count. */
static void take_back(const char *reply, size_t length)
{
	for (size_t at = 0; at < length;) {
		const struct fuse_direntplus *entry = (const void *)(reply + at);
		struct vex_inode *inode = entry->entry_out.nodeid ? vex_find(entry->entry_out.nodeid) : NULL;

		if (inode && inode->lookups)
			inode->lookups--;
		at += FUSE_DIRENT_ALIGN(offsetof(struct fuse_direntplus, dirent.name) + entry->dirent.namelen);
	}
}

static void keep(struct listing *listing, char *entries, size_t length)
{
	free(listing->entries);
	listing->entries = entries;
	listing->length = length;
	listing->shown = 0;
}

/* Python has taken a snapshot of its own: to be served from here as well. */
EXPORT void vex_snapshot(uint64_t fh, const char *entries, size_t length)
{
	struct listing *listing = find(fh);
	char *copy = listing ? malloc(length) : NULL;

	if (!copy)
		return;
	memcpy(copy, entries, length);
	keep(listing, copy, length);
	listing->shown = 1;
}

/* The snapshot that is served from here, to be copied at once; NULL if there is none that Python does not have. */
EXPORT const char *vex_entries(uint64_t fh, size_t *length)
{
	struct listing *listing = find(fh);

	if (!listing || listing->shown)
		return NULL;
	*length = listing->length;
	listing->shown = 1;
	return listing->entries;
}

/* A new snapshot; false where it is Python's to take. */
static int scan(struct listing *listing)
{
	char *entries;
	struct stat st;
	ssize_t length;

	if (!(vex_silent & 1 << VEX_LISTED) || fstat(listing->fd, &st) || st.st_size > LARGE)
		return 0;
	length = vex_list(listing->fd, listing->ino == FUSE_ROOT_ID ? ".vexfs" : NULL, &entries);
	if (length < 0)
		return 0;
	keep(listing, entries, (size_t)length);
	vex_skip(VEX_LISTED);
	return 1;
}

int vex_readdir(const struct fuse_in_header *in, const struct fuse_read_in *arg, int with_attributes)
{
	static char reply[REPLY] __attribute__((aligned(8)));
	struct listing *listing = find(arg->fh);
	const struct vex_inode *parent = listing ? vex_find(listing->ino) : NULL;
	size_t size = arg->size < REPLY ? arg->size : REPLY, length;

	if (listing && arg->offset == 0)
		keep(listing, NULL, 0);
	if (!parent || parent->fd < 0)
		return 0;
	if ((arg->offset == 0 && !scan(listing)) || !listing->entries || arg->offset > listing->length)
		return 0;
	if (!with_attributes) {
		length = portion(listing, arg->offset, size);
		vex_reply(in, 0, listing->entries + arg->offset, length);
		return 1;
	}
	length = portion_with_attributes(listing, parent, arg->offset, size, reply);
	if (!length && arg->offset < listing->length)
		return 0;
	if (!vex_reply(in, 0, reply, length))
		take_back(reply, length);
	return 1;
}
