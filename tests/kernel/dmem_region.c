// SPDX-License-Identifier: GPL-2.0
/* A region of device memory without a device, for tests of what uses the dmem controller: it has a name, a size and a
 * file /proc/dmem_region. A number of bytes written there is charged to the writer's cgroup; 0 gives all of it back. */
#include <linux/cgroup_dmem.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/uaccess.h>

static char *name = "drm/0000:05:00.0/vram";
module_param(name, charp, 0444);
static unsigned long long size = 206141652992ULL;
module_param(size, ullong, 0444);

static struct dmem_cgroup_region *region;
static struct dmem_cgroup_pool_state *pool;
static u64 charged;

static void give_back(void)
{
	if (pool)
		dmem_cgroup_uncharge(pool, charged);
	pool = NULL;
	charged = 0;
}

static ssize_t charge(struct file *file, const char __user *text, size_t count, loff_t *at)
{
	u64 bytes;
	int error = kstrtou64_from_user(text, count, 0, &bytes);

	if (error)
		return error;
	if (!bytes) {
		give_back();
		return count;
	}
	if (pool)
		return -EBUSY;
	error = dmem_cgroup_try_charge(region, bytes, &pool, NULL);
	if (error)
		return error;
	charged = bytes;
	return count;
}

static const struct proc_ops operations = { .proc_write = charge };

static int __init begin(void)
{
	region = dmem_cgroup_register_region(size, "%s", name);
	if (IS_ERR(region))
		return PTR_ERR(region);
	if (!proc_create("dmem_region", 0200, NULL, &operations)) {
		dmem_cgroup_unregister_region(region);
		return -ENOMEM;
	}
	return 0;
}

static void __exit end(void)
{
	remove_proc_entry("dmem_region", NULL);
	give_back();
	dmem_cgroup_unregister_region(region);
}

module_init(begin);
module_exit(end);
MODULE_DESCRIPTION("A region of device memory without a device");
MODULE_LICENSE("GPL");
