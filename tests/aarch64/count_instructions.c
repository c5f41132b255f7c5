/* Counts the instructions that a program for another processor executes: a plugin of QEMU 7.2.
 *
 *   gcc -O2 -shared -fPIC tests/aarch64/count_instructions.c -o count_instructions.so
 *   qemu-aarch64 -cpu cortex-a76 -plugin ./count_instructions.so -d plugin PROGRAM ARGUMENTS
 *
 * Debian has it in the package qemu-user; the statically linked qemu-user-static loads no plugins.
 * The functions of QEMU's qemu-plugin.h are declared here, because no package brings that header. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef uint64_t plugin_id;
struct block;
enum { ADD_U64 = 0 };

size_t qemu_plugin_tb_n_insns(const struct block *);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct block *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct block *, int operation, void *, uint64_t);
void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);

int qemu_plugin_version = 1;
static uint64_t count;

static void translated(plugin_id id, struct block *block) {
  /* Not atomic: exact for a program of one thread. */
  qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &count, qemu_plugin_tb_n_insns(block));
}

static void ended(plugin_id id, void *unused) {
  fprintf(stderr, "instructions %llu\n", (unsigned long long)count);
}

int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_atexit_cb(id, ended, NULL);
  return 0;
}
