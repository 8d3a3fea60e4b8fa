// SPDX-License-Identifier: MIT
/*
 * helper_kexec KERNEL INITRAMFS: another kernel takes over, with this one's command line.
 * helper_kexec PCI-ADDRESS: registers of a card without a driver. For tests/host/kexec_slow.sh.
 */
#include <fcntl.h>
#include <linux/reboot.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <kiln/hw.h>

static int fail(const char *what)
{
	perror(what);
	return 1;
}

static int take_over(const char *kernel, const char *initramfs)
{
	char line[4096];
	int k = open(kernel, O_RDONLY), i = open(initramfs, O_RDONLY), c = open("/proc/cmdline", O_RDONLY);
	ssize_t bytes = read(c, line, sizeof(line));

	if (k < 0 || i < 0 || bytes <= 0)
		return fail("its files");
	line[bytes - 1] = 0;
	if (syscall(SYS_kexec_file_load, k, i, (unsigned long)bytes, line, 0ul))
		return fail("kexec_file_load");
	syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_KEXEC, NULL);
	return fail("reboot");
}

static int show(const char *card)
{
	volatile uint32_t *regs;
	uint16_t command = 0;
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", card);
	fd = open(path, O_RDWR);
	if (fd < 0 || pread(fd, &command, 2, 4) != 2)
		return fail(path);
	printf("bus-master %d\n", !!(command & 4));
	/* Registers want memory decoding, and nothing else. */
	command |= 2;
	if (pwrite(fd, &command, 2, 4) != 2)
		return fail(path);
	close(fd);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource%d", card, KILN_BAR_REGS);
	fd = open(path, O_RDWR);
	regs = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	if (fd < 0 || regs == MAP_FAILED)
		return fail(path);
	printf("magic %#x ctrl %u status %u heartbeat %u\n", regs[KILN_REG_MAGIC / 4], regs[KILN_REG_CTRL / 4],
	       regs[KILN_REG_STATUS / 4], regs[KILN_REG_HEARTBEAT / 4]);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3)
		return take_over(argv[1], argv[2]);
	if (argc == 2)
		return show(argv[1]);
	fprintf(stderr, "usage: helper_kexec KERNEL INITRAMFS | PCI-ADDRESS\n");
	return 2;
}
