/* SPDX-License-Identifier: GPL-2.0-only */
/* Contexts give up their memory, and get it back. */
#ifndef KILN_EVICT_H
#define KILN_EVICT_H

struct dma_fence;
struct kiln_bo;
struct kiln_vm;

int kiln_evict_init(struct kiln_vm *vm);
void kiln_evict_fini(struct kiln_vm *vm);

int kiln_evict_hold(struct kiln_vm *vm);
int kiln_evict_let(struct kiln_vm *vm);

struct dma_fence *kiln_evict_create_fence(struct kiln_vm *vm);
bool kiln_evict_is_suspended(struct kiln_vm *vm);
void kiln_evict_restored(struct kiln_vm *vm, struct dma_fence *fence);
void kiln_evict_want_back(struct kiln_vm *vm);
void kiln_evict_moved(struct kiln_bo *bo);

#endif
