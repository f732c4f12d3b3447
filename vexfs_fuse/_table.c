/* The inode table: what the library must know of the objects of the backing tree to answer for them by itself.
 *
 * Python's table (inodes.py) is the whole truth; it enters here what it makes, and takes over (`vex_adopt`) what is made
 * here for names that the kernel sees for the first time. Lookups that the library gives are counted here until Python
 * asks for them (`vex_taken`), which it does before it drops an inode.
 */
#include "_serve.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RENAMED (VEX_ROOM + 96) /* inodes of Python's whose new names or data it has yet to be told of */
#define DEVICES 16
#define FOREIGN (1ULL << 61) /* numbers from here on are Python's to give */

static struct vex_inode **by_number, **by_key, **by_name;
static size_t buckets, inodes;
static struct vex_inode *oldest, *newest; /* of those that Python has yet to adopt */
static struct vex_inode *renamed[RENAMED];
EXPORT int vex_fresh;
EXPORT int vex_fresh_most = 256; /* with more, Python makes the next ones */
EXPORT int vex_renamed;

static struct {
	uint64_t dev, index;
} devices[DEVICES];
static int known_devices;
static uint64_t generation = 1ULL << 32; /* Python's own ones are below */

static size_t bucket(uint64_t a, uint64_t b)
{
	return ((a ^ b << 40 ^ b >> 24) * 0x9E3779B97F4A7C15ULL >> 32) & (buckets - 1);
}

static size_t bucket_of_name(uint64_t parent, const char *name)
{
	uint64_t hash = 14695981039346656037ULL;

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * 1099511628211ULL;
	return bucket(parent, hash);
}

static void link_name(struct vex_inode *inode)
{
	size_t name = bucket_of_name(inode->parent, inode->name);

	inode->next_name = by_name[name];
	by_name[name] = inode;
}

static void unlink_name(struct vex_inode *inode)
{
	struct vex_inode **at = &by_name[bucket_of_name(inode->parent, inode->name)];

	while (*at != inode)
		at = &(*at)->next_name;
	*at = inode->next_name;
}

static void link_in(struct vex_inode *inode)
{
	size_t number = bucket(inode->ino, 0), key = bucket(inode->backing_ino, inode->dev);

	if (inode->name)
		link_name(inode);
	inode->next_number = by_number[number];
	by_number[number] = inode;
	inode->next_key = by_key[key];
	by_key[key] = inode;
}

/* Twice the buckets; false when there is no memory, and the chains get longer. */
static int grow(void)
{
	size_t before = buckets, now = before ? before * 2 : 1024;
	struct vex_inode **numbers = calloc(now, sizeof(*numbers)), **keys = calloc(now, sizeof(*keys)),
			 **names = calloc(now, sizeof(*names)), **old = by_number;

	if (!numbers || !keys || !names) {
		free(numbers);
		free(keys);
		free(names);
		return before != 0;
	}
	free(by_key);
	free(by_name);
	by_number = numbers;
	by_key = keys;
	by_name = names;
	buckets = now;
	for (size_t i = 0; i < before; i++)
		for (struct vex_inode *inode = old[i], *next; inode; inode = next) {
			next = inode->next_number;
			link_in(inode);
		}
	free(old);
	return 1;
}

struct vex_inode *vex_find(uint64_t ino)
{
	struct vex_inode *inode = buckets ? by_number[bucket(ino, 0)] : NULL;

	while (inode && inode->ino != ino)
		inode = inode->next_number;
	return inode;
}

struct vex_inode *vex_find_object(const struct stat *st)
{
	struct vex_inode *inode = buckets ? by_key[bucket(st->st_ino, st->st_dev)] : NULL;

	while (inode && (inode->backing_ino != st->st_ino || inode->dev != st->st_dev))
		inode = inode->next_key;
	return inode;
}

struct vex_inode *vex_find_name(uint64_t parent, const char *name)
{
	struct vex_inode *inode = buckets ? by_name[bucket_of_name(parent, name)] : NULL;

	while (inode && !vex_called(inode, parent, name))
		inode = inode->next_name;
	return inode && !inode->linked && inode->fd >= 0 ? inode : NULL;
}

static int set_name(struct vex_inode *inode, uint64_t parent, const char *name)
{
	struct vex_inode *other = vex_find_name(parent, name);
	char *copy = strdup(name);

	if (!copy)
		return 0;
	if (other && other != inode)
		other->removed = 1; /* another took its name, behind our back */
	if (inode->name && inode->kind == S_IFDIR)
		vex_shapes++; /* what is below has other paths now */
	if (inode->name)
		unlink_name(inode);
	free(inode->name);
	inode->name = copy;
	inode->parent = parent;
	link_name(inode);
	return 1;
}

/* Python has a new inode, or an inode has a new name, or a new descriptor (-1: none for now). */
EXPORT void vex_enter(uint64_t ino, uint64_t number, uint64_t dev, uint64_t backing_ino, uint32_t kind, int fd,
		      uint64_t parent, const char *name, int linked)
{
	struct vex_inode *inode = vex_find(ino);

	if (!inode) {
		if (inodes >= buckets && !grow())
			return;
		inode = calloc(1, sizeof(*inode));
		if (!inode)
			return;
		*inode = (struct vex_inode){.ino = ino, .generation = number, .dev = dev, .backing_ino = backing_ino, .kind = kind};
		inode->adopted = 1;
		link_in(inode);
		inodes++;
	}
	inode->fd = fd;
	inode->removed = 0;
	inode->linked = linked != 0;
	if (!inode->name || inode->parent != parent || strcmp(inode->name, name) != 0)
		set_name(inode, parent, name);
}

/* Python has given it another name, or taken its last one away; `linked`: it has further ones. */
EXPORT void vex_named(uint64_t ino, uint64_t parent, const char *name, int removed, int linked)
{
	struct vex_inode *inode = vex_find(ino);

	if (!inode)
		return;
	if (!vex_called(inode, parent, name))
		set_name(inode, parent, name);
	inode->removed = removed != 0;
	inode->linked = linked != 0;
}

void vex_tell(struct vex_inode *inode, const struct stat *st)
{
	inode->mode = st->st_mode;
	inode->uid = st->st_uid;
	inode->gid = st->st_gid;
	inode->size = st->st_size;
	inode->mtime = vex_modified(st);
}

int vex_called(const struct vex_inode *inode, uint64_t parent, const char *name)
{
	return !inode->removed && inode->parent == parent && strcmp(inode->name, name) == 0;
}

static void changed(struct vex_inode *inode)
{
	if (inode->adopted && !inode->news) {
		renamed[vex_renamed++] = inode;
		inode->news = vex_renamed;
	}
}

void vex_rename(struct vex_inode *inode, uint64_t parent, const char *name)
{
	if (name && !set_name(inode, parent, name))
		name = NULL;
	inode->removed = !name;
	changed(inode);
}

void vex_written(struct vex_inode *inode)
{
	inode->written = inode->adopted;
	changed(inode);
}

/* The inode's descriptor is another one now; -1 if it has none, and the library leaves it to Python. */
EXPORT void vex_hold(uint64_t ino, int fd)
{
	struct vex_inode *inode = vex_find(ino);

	if (inode)
		inode->fd = fd;
}

/* Python has opened or closed so many files of it. */
EXPORT void vex_theirs(uint64_t ino, int change)
{
	struct vex_inode *inode = vex_find(ino);

	if (inode)
		inode->theirs += change;
}

/* A directory may have got a default ACL. */
EXPORT void vex_ask_again(uint64_t ino)
{
	struct vex_inode *inode = vex_find(ino);

	if (inode)
		inode->plain_until = 0;
}

/* Whether a mapping may change the file's attributes without anybody's knowledge. */
EXPORT void vex_mappable(uint64_t ino, int mappable)
{
	struct vex_inode *inode = vex_find(ino);

	if (inode)
		inode->mappable = mappable;
}

/* The lookups that the library gave since this was last asked; one of them is of a file that it has open, whose close
 * gives it back. */
EXPORT uint64_t vex_taken(uint64_t ino)
{
	struct vex_inode *inode = vex_find(ino);
	uint64_t lookups = inode ? inode->lookups : 0;

	if (!inode)
		return 0;
	inode->lookups = 0;
	if (inode->opens && !inode->lent) {
		inode->lent = 1;
		lookups++;
	}
	return lookups;
}

static void adopted(struct vex_inode *inode)
{
	if (inode->adopted)
		return;
	*(inode->older ? &inode->older->newer : &oldest) = inode->newer;
	*(inode->newer ? &inode->newer->older : &newest) = inode->older;
	inode->older = inode->newer = NULL;
	inode->adopted = 1;
	vex_fresh--;
}

static void told(struct vex_inode *inode)
{
	if (!inode->news)
		return;
	renamed[inode->news - 1] = renamed[--vex_renamed];
	renamed[inode->news - 1]->news = inode->news;
	inode->news = 0;
}

EXPORT void vex_drop(uint64_t ino)
{
	struct vex_inode *inode = vex_find(ino), **at;

	if (!inode)
		return;
	adopted(inode);
	told(inode);
	for (at = &by_number[bucket(inode->ino, 0)]; *at != inode; at = &(*at)->next_number)
		;
	*at = inode->next_number;
	for (at = &by_key[bucket(inode->backing_ino, inode->dev)]; *at != inode; at = &(*at)->next_key)
		;
	*at = inode->next_key;
	if (inode->name)
		unlink_name(inode);
	inodes--;
	free(inode->name);
	free(inode->handle);
	free(inode);
}

/* All of a mount that has ended. */
EXPORT void vex_clear(void)
{
	for (size_t i = 0; i < buckets; i++)
		while (by_number[i])
			vex_drop(by_number[i]->ino);
	known_devices = 0;
}

void vex_discard(struct vex_inode *inode)
{
	close(inode->fd);
	vex_drop(inode->ino);
}

/* Numbers on this filesystem carry `index` in their upper bits. */
EXPORT void vex_device(uint64_t dev, uint64_t index)
{
	if (known_devices < DEVICES) {
		devices[known_devices].dev = dev;
		devices[known_devices++].index = index;
	}
}

static uint64_t number_of(const struct stat *st)
{
	for (int i = 0; i < known_devices; i++)
		if (devices[i].dev == st->st_dev && st->st_ino >> 48 == 0) {
			uint64_t ino = st->st_ino | devices[i].index << 48;

			return ino > FUSE_ROOT_ID && ino < FOREIGN && !vex_find(ino) ? ino : 0;
		}
	return 0;
}

struct vex_inode *vex_make(const struct stat *st, int fd, uint64_t parent, const char *name)
{
	uint64_t ino = vex_fresh < vex_fresh_most ? number_of(st) : 0;
	struct vex_inode *inode;

	if (!ino)
		return NULL;
	vex_enter(ino, ++generation, st->st_dev, st->st_ino, st->st_mode & S_IFMT, fd, parent, name, 0);
	inode = vex_find(ino);
	if (inode) {
		vex_tell(inode, st);
		inode->adopted = 0;
		inode->older = newest;
		*(newest ? &newest->newer : &oldest) = inode;
		newest = inode;
		vex_fresh++;
	}
	return inode;
}

EXPORT int vex_crowded(void)
{
	return vex_fresh > vex_fresh_most / 4 * 3 || vex_renamed > RENAMED / 2;
}

static void record(struct vex_adopted *out, const struct vex_inode *inode)
{
	*out = (struct vex_adopted){.ino = inode->ino,
				    .generation = inode->generation,
				    .dev = inode->dev,
				    .backing_ino = inode->backing_ino,
				    .size = inode->size,
				    .mtime = inode->mtime,
				    .mode = inode->mode,
				    .uid = inode->uid,
				    .gid = inode->gid,
				    .parent = inode->parent,
				    .fd = inode->fd,
				    .removed = inode->removed,
				    .written = inode->written};
	strncpy(out->name, inode->name, sizeof(out->name) - 1);
}

/* Whether any of the inodes that were made here lies in this directory. */
EXPORT int vex_holds_fresh(uint64_t ino)
{
	const struct vex_inode *inode = oldest;

	while (inode && inode->parent != ino)
		inode = inode->newer;
	return inode != NULL;
}

/* At most `room` of the inodes that were made here, oldest first, for Python to take over: the number of them. */
EXPORT int vex_adopt(struct vex_adopted *out, int room)
{
	int count = 0;

	for (; oldest && count < room; adopted(oldest))
		record(&out[count++], oldest);
	return count;
}

/* One of them: by its number, or by the object that it is; false if it is not among them. */
EXPORT int vex_adopt_one(uint64_t ino, uint64_t dev, uint64_t backing_ino, struct vex_adopted *out)
{
	struct stat st = {.st_dev = dev, .st_ino = backing_ino};
	struct vex_inode *inode = ino ? vex_find(ino) : vex_find_object(&st);

	if (!inode || inode->adopted)
		return 0;
	record(out, inode);
	adopted(inode);
	return 1;
}

/* The same of Python's inodes that have got other names here, or lost them, or were written to. */
EXPORT int vex_follow(struct vex_adopted *out, int room)
{
	int count = 0;

	for (; vex_renamed && count < room; count++) {
		struct vex_inode *inode = renamed[--vex_renamed];

		inode->news = 0;
		record(&out[count], inode);
		inode->written = 0;
	}
	return count;
}
