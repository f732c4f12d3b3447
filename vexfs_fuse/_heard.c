/* Of which names events are heard: where rules listen to a type, but cannot mean a name in this directory.
 *
 * Python tells the extensions that names may have which somebody listens to wherever they are (`vex_shape`), and when a
 * directory is first asked for, of which types somebody might listen to any name in it. What it has told is void when
 * who listens to what changes (`vex_shaped` is 0 until it tells again), and when a directory is renamed.
 */
#include "_change.h"
#include <stdlib.h>
#include <string.h>

struct extension {
	const char *text; /* with its dot */
	uint32_t kinds;
};

static struct extension *extensions;
static char *texts;
static size_t slots; /* a power of two, at most half of them taken; 0: there are none */
EXPORT uint32_t vex_shaped;
EXPORT uint64_t vex_shapes;
EXPORT uint32_t (*vex_within)(uint64_t ino);

static struct extension *slot(const char *text)
{
	uint64_t hash = 14695981039346656037ULL;

	for (const char *at = text; *at; at++)
		hash = (hash ^ (unsigned char)*at) * 1099511628211ULL;
	for (size_t i = hash;; i++)
		if (!extensions[i & (slots - 1)].text || strcmp(extensions[i & (slots - 1)].text, text) == 0)
			return &extensions[i & (slots - 1)];
}

/* `kinds` of events are heard by names only: `told` is `count` rows of four bytes, the kinds, and an extension. */
EXPORT void vex_shape(uint32_t kinds, const char *told, size_t length, size_t count)
{
	size_t room = 1;

	free(extensions);
	free(texts);
	while (room < 2 * count)
		room *= 2;
	slots = count ? room : 0;
	extensions = calloc(room, sizeof(*extensions));
	texts = malloc(length + 1);
	vex_shaped = 0;
	if (!extensions || !texts) {
		slots = 0;
		return;
	}
	memcpy(texts, told, length);
	for (const char *at = texts; at < texts + length; at += strlen(at) + 1) {
		uint32_t of;

		memcpy(&of, at, sizeof(of));
		at += sizeof(of);
		*slot(at) = (struct extension){at, of};
	}
	vex_shaped = kinds;
	vex_shapes++;
}

void vex_ask_about(uint64_t ino)
{
	struct vex_inode *inode = vex_shaped && vex_within ? vex_find(ino) : NULL;
	uint64_t shape;
	uint32_t within;

	if (inode && inode->kind != S_IFDIR)
		inode = vex_find(inode->parent);
	if (!inode || inode->shape == vex_shapes)
		return;
	ino = inode->ino;
	vex_settle(0);
	shape = vex_shapes;
	within = vex_within(ino);
	inode = vex_find(ino);
	if (inode) {
		inode->within = within;
		inode->shape = shape;
	}
}

int vex_unheard_in(int kind, const struct vex_inode *directory, const char *name)
{
	uint32_t bit = 1u << kind;
	const char *extension;

	if (vex_silent & bit)
		return 1;
	if (!(vex_shaped & bit) || directory->shape != vex_shapes || directory->within & bit)
		return 0;
	extension = slots ? strrchr(name, '.') : NULL;
	return !extension || !slot(extension)->text || !(slot(extension)->kinds & bit);
}
