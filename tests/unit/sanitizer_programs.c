// SPDX-License-Identifier: MIT
/*
 * Whole programs with one mistake each, as they are made when kernels are
 * written: in loops, with views, between rings, engines and device memory. Each
 * has to be told of at its instruction with the other one; and put right, the
 * same program has to run without a word.
 */
#include "engine.h"

#include "engine/sanitize.h"
#include "kiln_asm.h"

/* In front of every stream: instruction 0 sets r1 to DATA. */
#define STREAM(name)	".engine " name "\nmovi rd=r1 imm=0x400000\n"
#define TENSOR		STREAM("tensor")
#define VECTOR		STREAM("vector")
#define SCALAR		STREAM("scalar")
#define GPSIMD		STREAM("gpsimd")
#define SYNC		STREAM("sync")

static const struct program {
	const char *what, *text;
	const char *bad, *good;			/* what stands at each $ of the text */
	const char *kind, *place, *other;	/* in one line of the report on the bad one */
} programs[] = {
	/* loops and buffers in turns */
	{ "a load that does not wait until the first of two buffers is free",
	  SYNC "movi rd=r2 imm=8\n"
	  "next: dma_copy dst=sbuf.f32[0+128]@0+r3{256} src=dram.f32@r1{256,1} ring=0 post=1:1 $\n"
	  "xori rd=r3 rs=r3 imm=1024\n" "addi rd=r2 rs=r2 imm=-1\n" "bne rs=r2 rt=r0 target=next\n"
	  VECTOR "movi rd=r2 imm=8\n"
	  "next: tensor_copy dst=sbuf.f32[0+128]@8192{256} src=sbuf.f32[0+128]@0+r3{256} wait=1:1 post=2:1\n"
	  "xori rd=r3 rs=r3 imm=1024\n" "addi rd=r2 rs=r2 imm=-1\n" "bne rs=r2 rt=r0 target=next\n"
	  GPSIMD "nop post=2:2\n",
	  "", "wait=2:1", "race", "sync[2] on ring 0", "vector[2]" },
	{ "two buffers in turns, of which one side begins with the wrong one",
	  SYNC "movi rd=r2 imm=6\n" "movi rd=r3 imm=$\n"
	  "next: dma_copy dst=sbuf.f32[0+128]@0+r3{256} src=dram.f32@r1{256,1} ring=0 wait=2:1 post=1:1\n"
	  "xori rd=r3 rs=r3 imm=1024\n" "addi rd=r2 rs=r2 imm=-1\n" "bne rs=r2 rt=r0 target=next\n"
	  VECTOR "memset dst=sbuf.f32[0+128]@0{512} value=0 post=2:1\n" "movi rd=r2 imm=6\n" "nop post=2:1\n"
	  "next: tensor_copy dst=sbuf.f32[0+128]@8192{256} src=sbuf.f32[0+128]@0+r3{256} wait=1:1 post=2:1\n"
	  "xori rd=r3 rs=r3 imm=1024\n" "addi rd=r2 rs=r2 imm=-1\n" "bne rs=r2 rt=r0 target=next\n",
	  "1024", "0", "race", "sync[3] on ring 0", "vector[4]" },
	{ "a second round that writes what is still being stored",
	  VECTOR "movi rd=r2 imm=2\n"
	  "next: memset dst=sbuf.f32[0+128]@0{64} value=1 post=1:1 $\n"
	  "addi rd=r2 rs=r2 imm=-1\n" "bne rs=r2 rt=r0 target=next\n"
	  SYNC "movi rd=r2 imm=2\n"
	  "next: dma_copy dst=dram.f32@r1{64,1} src=sbuf.f32[0+128]@0{64} ring=3 wait=1:1 post=2:1\n"
	  "addi rd=r1 rs=r1 imm=32768\n" "addi rd=r2 rs=r2 imm=-1\n" "bne rs=r2 rt=r0 target=next\n"
	  GPSIMD "nop post=2:1\n",
	  "", "wait=2:1", "race", "vector[2] writes", "sync[2] on ring 3" },
	{ "a loop whose rows are four bytes too close",
	  VECTOR "movi rd=r2 imm=3\n"
	  "next: memset dst=sbuf.f32[0+128]@0+r3{64} value=1 post=1:1\n"
	  "addi rd=r3 rs=r3 imm=$\n" "addi rd=r2 rs=r2 imm=-1\n" "bne rs=r2 rt=r0 target=next\n"
	  SCALAR "movi rd=r2 imm=3\n"
	  "next: tensor_copy dst=sbuf.f32[0+128]@8192{64} src=sbuf.f32[0+128]@0+r3{64} wait=1:1\n"
	  "addi rd=r3 rs=r3 imm=$\n" "addi rd=r2 rs=r2 imm=-1\n" "bne rs=r2 rt=r0 target=next\n",
	  "252", "256", "race", "vector[2] writes", "scalar[2]" },

	/* counts of semaphores */
	{ "one semaphore for loads of two rings, of which one is waited for",
	  SYNC
	  "dma_copy dst=sbuf.f32[0+128]@0{256} src=dram.f32@r1{256,1} ring=0 post=1:1\n"
	  "dma_copy dst=sbuf.f32[0+128]@1024{256} src=dram.f32@r1{256,1} ring=1 post=1:1\n"
	  VECTOR "tensor_copy dst=sbuf.f32[0+128]@8192{256} src=sbuf.f32[0+128]@0{256} wait=1:$\n",
	  "1", "2", "race", "vector[1] reads", "sync[1] on ring 0" },
	{ "... and both in turn, as if the first came first",
	  SYNC
	  "dma_copy dst=sbuf.f32[0+128]@0{256} src=dram.f32@r1{256,1} ring=0 post=1:1\n"
	  "dma_copy dst=sbuf.f32[0+128]@1024{256} src=dram.f32@r1{256,1} ring=$ post=1:1\n"
	  VECTOR "tensor_copy dst=sbuf.f32[0+128]@8192{256} src=sbuf.f32[0+128]@0{256} wait=1:1\n"
	  "tensor_copy dst=sbuf.f32[0+128]@8192{256} src=sbuf.f32[0+128]@1024{256} wait=1:1\n",
	  "1", "0", "race", "vector[1] reads", "sync[1] on ring 0" },
	{ "... and another engine's post, which may come before",
	  SCALAR "nop post=1:1\n"
	  SYNC "dma_copy dst=sbuf.f32[0+128]@0{256} src=dram.f32@r1{256,1} ring=0 post=1:1\n"
	  "nop\n"
	  VECTOR "nop wait=1:1\n"
	  "tensor_copy dst=sbuf.f32[0+128]@8192{256} src=sbuf.f32[0+128]@0{256} $\n",
	  "", "wait=1:1", "race", "sync[1] on ring 0", "vector[2] reads" },
	{ "one post for two writes, at the first of them",
	  VECTOR "memset dst=sbuf.f32[0+64]@0{64} value=1 post=$\n"
	  "memset dst=sbuf.f32[64+64]@0{64} value=1 post=1:1\n"
	  SCALAR "tensor_copy dst=sbuf.f32[0+128]@512{64} src=sbuf.f32[0+128]@0{64} wait=1:1\n",
	  "1:1", "2:1", "race", "vector[2]", "scalar[1] reads" },
	{ "two units a round where one is meant",
	  VECTOR "movi rd=r2 imm=4\n"
	  "next: memset dst=sbuf.f32[0+128]@0+r3{64} value=1 post=1:$\n"
	  "addi rd=r3 rs=r3 imm=256\n" "addi rd=r2 rs=r2 imm=-1\n" "bne rs=r2 rt=r0 target=next\n"
	  SCALAR "movi rd=r2 imm=4\n"
	  "next: tensor_copy dst=sbuf.f32[0+128]@8192{64} src=sbuf.f32[0+128]@0+r3{64} wait=1:1\n"
	  "addi rd=r3 rs=r3 imm=256\n" "addi rd=r2 rs=r2 imm=-1\n" "bne rs=r2 rt=r0 target=next\n",
	  "2", "1", "race", "vector[2]", "scalar[2]" },
	{ "one unit more than there will be",
	  VECTOR "memset dst=sbuf.f32[0+128]@0{64} value=1 post=1:3\n"
	  SCALAR "nop wait=1:2\n"
	  "tensor_copy dst=sbuf.f32[0+128]@8192{64} src=sbuf.f32[0+128]@0{64} wait=1:$\n",
	  "2", "1", "deadlock", "scalar[2] waits for semaphore 1 to reach 2 (it is 1)", "vector[1]" },
	{ "two engines, and a unit for one of them",
	  SYNC "dma_copy dst=sbuf.f32[0+128]@0{64} src=dram.f32@r1{64,1} ring=0 post=1:$\n"
	  VECTOR "tensor_copy dst=sbuf.f32[0+128]@1024{64} src=sbuf.f32[0+128]@0{64} wait=1:1\n"
	  GPSIMD "tensor_copy dst=sbuf.f32[0+128]@2048{64} src=sbuf.f32[0+128]@0{64} wait=1:1\n",
	  "1", "2", "deadlock", "waits for semaphore 1 to reach 1 (it is 0)", "posted by sync[1]" },
	{ "three that wait for one another",
	  VECTOR "nop wait=1:1 post=2:1\n" SCALAR "nop wait=2:1 post=3:1\n" GPSIMD "$\n",
	  "nop wait=3:1 post=1:1", "nop post=1:1\nnop wait=3:1",
	  "deadlock", "gpsimd[1] waits for semaphore 3", "posted by scalar[1], which waits itself" },

	/* views */
	{ "columns of two steps that meet",
	  VECTOR "memset dst=sbuf.f32[0+128]@0{32:3} value=1\n"
	  GPSIMD "memset dst=sbuf.f32[0+128]@$\n",
	  "8{4:2} value=2", "4{8:3} value=2", "race", "gpsimd[1]", "vector[1] writes" },
	{ "a view of two dimensions over another's rows",
	  VECTOR "memset dst=sbuf.bf16[0+128]@0{4:128,32} value=1\n"
	  GPSIMD "memset dst=sbuf.bf16[0+128]@$\n",
	  "62{3:128,32} value=2", "64{3:128,32} value=2", "race", "gpsimd[1]", "vector[1] writes" },
	{ "partitions that begin too early",
	  VECTOR "memset dst=sbuf.f32[0+64]@0{64} value=1\n"
	  GPSIMD "memset dst=sbuf.f32[$+32]@0{64} value=2\n",
	  "32", "64", "race", "gpsimd[1], which writes sbuf partitions 32-63", "vector[1]" },
	{ "bf16 in the last byte of f32",
	  VECTOR "memset dst=sbuf.f32[0+128]@0{16} value=1\n"
	  GPSIMD "memset dst=sbuf.bf16[0+128]@$\n",
	  "62{16} value=1", "64{16} value=1", "race", "gpsimd[1]", "vector[1] writes" },
	{ "a row that is read from its end while it is being made",
	  VECTOR "memset dst=sbuf.f32[0+128]@512{64} value=1 post=1:1\n"
	  "tensor_copy dst=sbuf.f32[0+128]@1024{64} src=sbuf.f32[0+128]@252{64:-1} $\n"
	  SCALAR "tensor_copy dst=sbuf.f32[0+128]@0{64} src=sbuf.f32[0+128]@512{64} wait=1:1 post=2:1\n",
	  "", "wait=2:1", "race", "scalar[1]", "vector[2]" },
	{ "a broadcast of a row that is not there",
	  VECTOR "memset dst=sbuf.f32[0+1]@0{64} value=1\n"
	  "tensor_copy dst=sbuf.f32[0+1]@1024{2,64} src=sbuf.f32[0+1]@${2:0,64}\n",
	  "4", "0", "uninitialised", "vector[2] reads sbuf partition 0 byte 256", "" },
	{ "a broadcast of a row that is being written",
	  VECTOR "memset dst=sbuf.f32[0+128]@0{64} value=1 post=1:1\n"
	  GPSIMD "nop wait=1:$\n"
	  "tensor_copy dst=sbuf.f32[0+128]@1024{8,64} src=sbuf.f32[0+128]@0{8:0,64}\n"
	  SYNC "nop post=1:1\n",
	  "1", "2", "race", "vector[1]", "gpsimd[2]" },
	{ "a bias that is made on the side",
	  VECTOR "memset dst=sbuf.f32[0+128]@0{64} value=1 post=1:1\n"
	  "memset dst=sbuf.f32[0+128]@512{1} value=1 post=1:1\n"
	  SCALAR "activation dst=sbuf.f32[0+128]@1024{64} src=sbuf.f32[0+128]@0{64} bias=sbuf.f32[0+128]@512{1} "
	  "func=exp scale=1 wait=1:$\n",
	  "1", "2", "race", "vector[2]", "scalar[1] reads" },
	{ "a column of scales, one partition short",
	  VECTOR "memset dst=sbuf.f32[0+128]@0{64} value=1\n"
	  "memset dst=sbuf.f32[0+$]@512{1} value=1 post=1:1\n"
	  SCALAR "activation dst=sbuf.f32[0+128]@1024{64} src=sbuf.f32[0+128]@0{64} func=exp scale=sbuf.f32@512 bias=0 wait=1:1\n",
	  "96", "128", "uninitialised", "scalar[1] reads sbuf partition 96 byte 512", "" },

	/* PSUM and the array */
	{ "a sum in PSUM that is read after its first product",
	  VECTOR "memset dst=sbuf.bf16[0+128]@0{512} value=1 post=1:1\n"
	  "tensor_copy dst=sbuf.f32[0+128]@4096{512} src=psum.f32[0+128]@0{512} wait=$:1\n"
	  TENSOR "load_stationary src=sbuf.bf16[0+128]@0{128} wait=1:1\n"
	  "matmul dst=psum.f32[0+128]@0{512} src=sbuf.bf16[0+128]@0{512} post=2:1\n"
	  "matmul dst=psum.f32[0+128]@0{512} src=sbuf.bf16[0+128]@0{512} accumulate post=3:1\n",
	  "2", "3", "race", "tensor[3]", "vector[2]" },
	{ "a sum in PSUM wider than what began it",
	  VECTOR "memset dst=sbuf.bf16[0+128]@0{512} value=1 post=1:1\n"
	  TENSOR "load_stationary src=sbuf.bf16[0+128]@0{128} wait=1:1\n"
	  "matmul dst=psum.f32[0+128]@2048{256} src=sbuf.bf16[0+128]@0{256}\n"
	  "matmul dst=psum.f32[0+128]@2048{$} src=sbuf.bf16[0+128]@0{$} accumulate\n",
	  "512", "256", "uninitialised", "tensor[3] reads psum partition 0 byte 3072", "" },
	{ "PSUM of which half was multiplied into",
	  VECTOR "memset dst=sbuf.bf16[0+128]@0{512} value=1 post=1:1\n"
	  "tensor_copy dst=sbuf.f32[0+$]@4096{64} src=psum.f32[0+$]@0{64} wait=2:1\n"
	  TENSOR "load_stationary src=sbuf.bf16[0+128]@0{64} wait=1:1\n"
	  "matmul dst=psum.f32[0+64]@0{64} src=sbuf.bf16[0+128]@0{64} post=2:1\n",
	  "96", "64", "uninitialised", "vector[2] reads psum partition 64 byte 0", "" },
	{ "the array turns over what is not made yet",
	  VECTOR "memset dst=sbuf.f32[0+128]@4096{128} value=1 post=1:1\n"
	  "memset dst=sbuf.bf16[0+128]@0{128} value=0 post=3:1\n"
	  SCALAR "tensor_copy dst=sbuf.bf16[0+128]@0{128} src=sbuf.f32[0+128]@4096{128} wait=1:1 wait=3:1 post=2:1\n"
	  "nop post=4:1\n"
	  TENSOR "transpose dst=psum.bf16[0+128]@0{128} src=sbuf.bf16[0+128]@0{128} wait=$:1\n"
	  GPSIMD "nop post=5:1\n",
	  "5", "2", "race", "scalar[1] writes", "tensor[1]" },
	{ "a stationary matrix that changes while it is loaded",
	  VECTOR "memset dst=sbuf.bf16[0+128]@0{128} value=1 post=1:1\n"
	  "memset dst=sbuf.bf16[0+128]@0{128} value=2 $\n"
	  TENSOR "load_stationary src=sbuf.bf16[0+128]@0{128} wait=1:1 post=2:1\n",
	  "", "wait=2:1", "race", "tensor[1]", "vector[2]" },
	{ "two engines that write one bank",
	  VECTOR "memset dst=psum.f32[0+64]@0{64} value=1 post=1:1\n"
	  "memset dst=psum.f32[0+64]@4096{64} value=0\n"
	  SCALAR "tensor_copy dst=psum.f32[0+64]@${64} src=psum.f32[0+64]@0{64} wait=1:1\n",
	  "5120", "6144", "bank collision", "scalar[1]", "vector[2]" },

	/* device memory */
	{ "a load of rows that another ring is storing",
	  VECTOR "memset dst=sbuf.f32[0+128]@0{64} value=1 post=1:1\n"
	  SYNC "dma_copy dst=dram.f32@r1{64,1} src=sbuf.f32[0+128]@0{64} ring=0 wait=1:1 post=2:1\n"
	  "dma_copy dst=sbuf.f32[0+128]@1024{64} src=dram.f32@r1{64,1} ring=1 $\n",
	  "", "wait=2:1", "race", "sync[2] on ring 1 reads dram", "sync[1] on ring 0" },
	{ "a store that is turned over, and a column across it",
	  VECTOR "memset dst=sbuf.f32[0+128]@0{64} value=1 post=1:2\n"
	  SYNC "dma_copy dst=dram.f32@r1{1,128} src=sbuf.f32[0+128]@0{64} ring=0 wait=1:1\n"
	  GPSIMD "dma_copy dst=dram.f32@r1+${1,128} src=sbuf.f32[0+128]@0{2} ring=1 wait=1:1\n",
	  "31744", "32768", "race", "gpsimd[1] on ring 1", "sync[1] on ring 0 writes dram" },
	{ "two that add to one place",
	  VECTOR "memset dst=sbuf.f32[0+128]@0{64} value=1 post=1:2\n"
	  SYNC "dma_copy dst=dram.f32@r1{64,1} src=sbuf.f32[0+128]@0{64} ring=0 accumulate wait=1:1 post=2:1\n"
	  GPSIMD "dma_copy dst=dram.f32@r1{64,1} src=sbuf.f32[0+128]@0{64} ring=2 accumulate wait=1:1 $\n",
	  "", "wait=2:1", "race", "gpsimd[1] on ring 2", "sync[1] on ring 0" },
	{ "two engines that begin transfers on one ring",
	  SYNC "dma_copy dst=sbuf.f32[0+128]@0{256} src=dram.f32@r1{256,1} ring=0\n" "nop post=4:1\n"
	  GPSIMD "dma_copy dst=sbuf.f32[0+128]@0{256} src=dram.f32@r1+262144{256,1} ring=0 $\n",
	  "", "wait=4:1", "race", "gpsimd[1] on ring 0", "sync[1] on ring 0" },
	{ "device memory to device memory, whose end is loaded",
	  SYNC "dma_copy dst=dram.f32@r1+1048576{64,1} src=dram.f32@r1{64,1} shape=sbuf.f32[0+128]@0{64} ring=0 post=1:1\n"
	  GPSIMD "dma_copy dst=sbuf.f32[0+1]@0{16} src=dram.f32@r1+1081280{16,1} ring=1 $\n",
	  "", "wait=1:1", "race", "sync[1] on ring 0", "gpsimd[1] on ring 1" },
	{ "a load that turns over, of which half is waited for",
	  SYNC
	  "dma_transpose dst=sbuf.bf16[0+64]@0{128} src=dram.bf16@r1{64,1} ring=0 post=1:1\n"
	  "dma_transpose dst=sbuf.bf16[0+64]@256{128} src=dram.bf16@r1+16384{64,1} ring=0 post=1:1\n"
	  VECTOR "tensor_copy dst=sbuf.bf16[0+64]@1024{256} src=sbuf.bf16[0+64]@0{256} wait=1:$\n",
	  "1", "2", "race", "sync[2] on ring 0", "vector[1]" },

	/* what data decide */
	{ "rows that are scattered over what is loaded",
	  GPSIMD "iota dst=sbuf.u32[0+128]@0{1} terms=dram@r0{2,1} post=1:1\n"
	  VECTOR "memset dst=sbuf.f32[0+128]@64{16} value=1 post=1:1\n"
	  SYNC "movi rd=r5 imm=256\n"
	  "dma_scatter dst=dram.f32@r1{16,1} src=sbuf.f32[0+128]@64{16} index=sbuf.u32[0+128]@0{1} func1=r5 ring=0 wait=1:2\n"
	  "dma_copy dst=sbuf.f32[0+1]@1024{16} src=dram.f32@r1+${16,1} ring=1\n",
	  "768", "832", "race", "sync[3] on ring 1 reads dram", "sync[2] on ring 0" },
	{ "rows that are gathered from what is stored",
	  GPSIMD "iota dst=sbuf.u32[0+32]@0{1} terms=dram@r0+7{3,1} post=1:1\n"
	  VECTOR "memset dst=sbuf.f32[0+1]@64{16} value=1 post=1:1\n"
	  SYNC "movi rd=r5 imm=256\n"
	  "dma_copy dst=dram.f32@r1+${16,1} src=sbuf.f32[0+1]@64{16} ring=0 wait=1:2\n"
	  "dma_gather dst=sbuf.f32[0+32]@1024{16} src=dram.f32@r1{16,1} index=sbuf.u32[0+32]@0{1} func1=r5 ring=1\n",
	  "640", "512", "race", "sync[3] on ring 1 reads dram", "sync[2] on ring 0" },
	{ "two scatters that share a row",
	  GPSIMD "iota dst=sbuf.u32[0+32]@0{1} terms=dram@r0{2,1} post=1:1\n"
	  "iota dst=sbuf.u32[0+32]@4{1} terms=dram@r0+${2,1} post=1:1\n"
	  VECTOR "memset dst=sbuf.f32[0+32]@64{16} value=1 post=1:1\n"
	  SYNC "dma_scatter dst=dram.f32@r1{16,1} src=sbuf.f32[0+32]@64{16} index=sbuf.u32[0+32]@0{1} func1=r0 ring=0 wait=1:3\n"
	  "dma_scatter dst=dram.f32@r1{16,1} src=sbuf.f32[0+32]@64{16} index=sbuf.u32[0+32]@4{1} func1=r0 ring=1\n",
	  "62", "1", "race", "sync[2] on ring 1 writes dram", "sync[1] on ring 0" },
	{ "a list of rows that is on its way",
	  SYNC "movi rd=r5 imm=256\n"
	  "dma_copy dst=sbuf.u32[0+64]@0{1} src=dram.u32@r1+2097152{1,1} ring=0 post=1:1\n"
	  "dma_gather dst=sbuf.f32[0+64]@1024{16} src=dram.f32@r1{16,1} index=sbuf.u32[0+64]@0{1} func1=r5 ring=1 drop $\n",
	  "", "wait=1:1", "race", "sync[3] on ring 1 reads sbuf", "sync[2] on ring 0" },
	{ "a register from data that are on their way",
	  SYNC "dma_copy dst=sbuf.i32[0+1]@0{1} src=dram.i32@r1{1,1} ring=0 post=1:1\n"
	  VECTOR "load_register src=sbuf.i32[0+1]@0{1} func=r4 wait=$:1\n"
	  GPSIMD "memset dst=sbuf.i32[0+1]@4{1} value=1 post=2:1\n",
	  "2", "1", "race", "vector[1] reads", "sync[1] on ring 0" },
};

static char told[65536];

static void report(void *opaque, const char *text)
{
	size_t n = strlen(told);

	(void)opaque;
	snprintf(told + n, sizeof(told) - n, "%s\n", text);
}

/* A line of what was told that has all three. */
static bool is_told(const struct program *program)
{
	char text[sizeof(told)], *rest = NULL;

	strcpy(text, told);
	for (char *l = strtok_r(text, "\n", &rest); l; l = strtok_r(NULL, "\n", &rest))
		if (strstr(l, program->kind) && strstr(l, program->place) && strstr(l, program->other))
			return true;
	return false;
}

static struct kiln_outcome run_text(struct machine *m, const char *text, const char *instead)
{
	struct kiln_outcome outcome = { .status = KILN_ST_BAD_PROGRAM };
	char source[8192], *at = source, error[256];
	void *program;
	size_t bytes;

	for (; *text; text++) {
		if (*text == '$')
			at = stpcpy(at, instead);
		else
			*at++ = *text;
	}
	*at = 0;
	told[0] = 0;
	kiln_core_scrub(m->core);
	if (kiln_asm_parse(source, &program, &bytes, error, sizeof(error))) {
		printf("# %s\n", error);
		return outcome;
	}
	memcpy(m->hbm + PROGRAM, program, bytes);
	free(program);
	return run_placed(m, bytes);
}

int main(void)
{
	struct machine *m = machine(2);
	void *memory = aligned_alloc(4096, kiln_sanitize_size());

	memset(memory, 0, kiln_sanitize_size());
	kiln_sanitize_attach(m->core, memory);
	kiln_sanitize_report_to(m->core, report, NULL);
	for (unsigned int i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
		const struct program *p = &programs[i];
		struct kiln_outcome outcome;

		run_text(m, p->text, p->bad);
		if (!ok(is_told(p), "%s", p->what))
			printf("# expected %s, %s, %s\n# got %s\n", p->kind, p->place, p->other,
			       *told ? told : "nothing");
		outcome = run_text(m, p->text, p->good);
		if (!ok(outcome.status == KILN_ST_OK && !*told, "... and put right"))
			printf("# expected no report\n# got status %u, %s\n", outcome.status,
			       *told ? told : "no report");
	}
	free(memory);
	machine_free(m);
	return done();
}
