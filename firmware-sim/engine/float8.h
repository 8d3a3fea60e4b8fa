/* SPDX-License-Identifier: MIT */
/*
 * The types that the host's vector units do not know, in what elementary.h is
 * written in; ops_avx2.c and ops_avx512.c include it. kiln_load_one() and
 * kiln_store_one() say what they are.
 */

EL U pick_word(M m, U a, U b)
{
	return bits(pick(m, real(a), real(b)));
}

/* A byte in each word. Moved to fp32's place, all but infinities and NaN are 2^-120 of themselves. */
EL F from_e4m3(U code)
{
	U u = (code & KU(0x7f)) << 20;
	F x = real(u) * K(0x1p120f);

	x = pick(less(x, K(256)), x, real(u | KU(0x7f800000)));
	return real(bits(x) | (code & KU(0x80)) << 24);
}

/*
 * To nearest even with so many bits of fraction; what is below the least normal
 * number is rounded where an addition puts it: unit is that of the denormals
 * times 2^23. From end on: infinity.
 */
EL U to_float8(F x, int fraction, U infinity, float least, float unit, float end)
{
	F a = abs_of(x);
	U u = bits(a);
	int drop = 23 - fraction;
	U normal = (u + ((u >> drop) & KU(1)) + KU((1u << (drop - 1)) - 1)) >> drop;
	U small = bits(a + K(unit)) - bits(K(unit));
	U code = pick_word(less(a, K(least)), small,
			   normal - (bits(K(least)) >> drop) + KU(1u << fraction));

	code = pick_word(less(a, K(end)), code, infinity);
	code = pick_word(nan_in(x), infinity | KU(1u << (fraction - 1)),
			 code | (bits(x) >> 31) << 7);
	return code;
}

EL U to_e4m3(F x)
{
	return to_float8(x, 3, KU(0x78), 0x1p-6f, 0x1p14f, 248);
}

EL U to_e5m2(F x)
{
	return to_float8(x, 2, KU(0x7c), 0x1p-14f, 0x1p7f, 61440);
}

/* fp32 with 10 bits of fraction; a NaN is the one there is */
EL F to_tf32(F x)
{
	U u = bits(x);

	u = (u + ((u >> 13) & KU(1)) + KU(0xfff)) & KU(0xffffe000);
	return pick(nan_in(x), real(KU(0x7fc00000)), real(u));
}
