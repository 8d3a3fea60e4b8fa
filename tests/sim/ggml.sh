#!/bin/bash
# SPDX-License-Identifier: MIT
# The ggml plug-in under Debian's test-backend-ops: a sample of every kind of node, against the CPU backend at the suite's
# own tolerances; `make conformance` takes all. And what it says where there is no card.
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
suite=/usr/libexec/x86_64-linux-gnu/ggml/test-backend-ops
export GGML_BACKEND_PATH=${KILN_BUILD:-build/tree}/lib/libggml-kiln.so KILN_GGML_CARDS=sim

# sample OP [PARAMETERS]: some of its cases are supported, and all that are pass
sample() {
	local said good bad
	said=$("$suite" test -b Kiln0 -o "$1" ${2:+-p "$2"} 2>&1 | sed 's/\x1b\[[0-9;]*m//g')
	good=$(grep -c '): OK$' <<<"$said")
	bad=$(grep -c '): FAIL$' <<<"$said")
	[ "$good" -gt 0 ] && [ "$bad" -eq 0 ] && grep -q '^2/2 backends passed' <<<"$said"
	ok $? "$1${2:+, $2}: $good pass" "some pass, none fails" "$good pass, $bad fail: $(grep -E 'FAIL|kiln:' <<<"$said" | head -n 4)"
}

for op in ADD MUL DIV; do sample $op 'ne=\[10,5,4,3\]'; done
for op in CLAMP SILU GELU_ERF XIELU SWIGLU_OAI ACC REPEAT RMS_NORM L2_NORM SUM_ROWS ARGMAX POOL_2D; do sample $op; done
sample SWIGLU 'type=f16'
sample CPY 'type_src=(f32|q4_K),type_dst=(f16|i32)'
sample CONCAT 'ne_b_d=7,dim=[02]'
sample CONCAT 'type=(i8|q8_0),ne_a=\[(11|128),12,13,14\],ne_b_d=(7|256),dim=[03],v=0'
sample GET_ROWS 'type=f(32|16),n=256'
sample GET_ROWS 'type=iq(1_m|2_xxs|2_s|3_s),n=256,m=5,r=4,be1=7,be2=1,v=0'
sample SOFT_MAX 'ne=\[16,2,32,1\]'
sample ROPE 'type=f16,ne_a=\[128,32,2,1\]'
sample TOP_K 'ne=\[1023,'
sample ARGSORT 'ne=\[(1025,2|2048,2|16383),'
sample MUL_MAT 'type_a=(f32|bf16|q6_K),type_b=f32,m=16,n=[1-9],k=256,bs=\[[123],[12]\]'
sample MUL_MAT_ID 'type_a=q4_K,type_b=f32,n_mats=4,n_used=4,b=0,m=512,n=15'
sample SET_ROWS 'type_src=f32,type_dst=f16.*ne=\[33,'
sample CPY 'type_src=(f32|bf16),type_dst=(q[12]_0|tq1_0|iq4_nl|mxfp4|nvfp4)'
sample CPY 'type_src=f32,type_dst=(q[2-6]_K|iq4_xs)'
sample UPSCALE 'ne_tgt='
sample COUNT_EQUAL
sample SET_ROWS 'type_src=f32,type_dst=q8_0.*ne=\[256,5,1,3\].*r=1'
sample POOL_1D 'pool_type=avg,type_input=f32,ne_input=\[10,3,2,1\]'
sample ADD_ID 'n_experts_used=2,n_token=32'
for op in CROSS_ENTROPY_LOSS OPT_STEP_ADAMW OPT_STEP_SGD; do sample $op; done
sample OUT_PROD 'type_a=f32,type_b=f32,m=256'
for op in ROLL PAD PAD_REFLECT_1D REPEAT_BACK TRI DIAG DIAG_MASK_INF ARANGE CONV_2D_DW CONV_TRANSPOSE_2D; do sample $op; done
sample COL2IM_1D 'K=16,OC=1'
sample SSM_CONV 'ne_a=\[[34],1024,1'
sample CONV_TRANSPOSE_1D 'ne_input=\[13,7'
sample LIGHTNING_INDEXER 'hsk=128,nh=4,kv=256,nb=1,ns=1,nm=1'
sample IM2COL_3D 'ne_input=\[10,10,10,9\]'
sample GATED_DELTA_NET 'n_seq_tokens=4,.*K=[14]'
sample SSM_SCAN 'n_seq_tokens=(1|16),'
sample GATED_LINEAR_ATTN 'n_seq_tokens=32,n_seqs=1'
for op in RWKV_WKV6 RWKV_WKV7; do sample $op 'n_seq_tokens=(1|32),n_seqs=1'; done
sample SOLVE_TRI 'ne_lhs=\[(10|17|30),'
for op in DSV4_HC_PRE DSV4_HC_POST; do sample $op 'n_embd=(31|128),.*n_tokens=17'; done
sample DSV4_HC_COMB 'n_tokens=17'
for op in SWIGLU_CLAMP TIMESTEP_EMBEDDING CUMSUM CROSS_ENTROPY_LOSS_BACK; do sample $op; done
sample CONV_2D 'ne_input=\[1,133,1,2\],ne_kernel=\[3,2,1,1\]'
sample FLASH_ATTN_EXT 'hsk=40,hsv=40,nh=4,nr23=\[1,1\],kv=113,nb=1,.*prec=f32,type_K=(f16|q8_0)'

said=$("$suite" support -o ADD 2>&1)
grep -q 'Kiln trn2, 1 core (sim)' <<<"$said"
ok $? "the card is described"

said=$(KILN_GGML_CARDS=sim:cores=none "$suite" test -o SQR 2>&1)
grep -q 'kiln: KILN_GGML_CARDS: sim:cores=none: ' <<<"$said" && grep -q '1/1 backends passed' <<<"$said"
ok $? "a card that is none: a message, and ggml goes on without it" "" "$(tail -n 5 <<<"$said")"

said=$(env -u KILN_GGML_CARDS "$suite" test -o SQR 2>&1)
grep -q 'kiln: no Kiln card in /dev/accel' <<<"$said" && grep -q '1/1 backends passed' <<<"$said"
ok $? "no card in the machine: a message, and ggml goes on without it" "" "$(tail -n 5 <<<"$said")"
done_testing
