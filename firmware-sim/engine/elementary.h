/* SPDX-License-Identifier: MIT */
/*
 * The activation functions, one source for all paths: ops_ref.c compiles it for
 * single values, ops_avx2.c and ops_avx512.c for vectors of 8 and 16. So each
 * takes the same steps; every one of them rounds once, to nearest even, and
 * nothing is contracted.
 *
 * Whoever includes this has defined F (fp32 values), U (32-bit words), M (a
 * truth for each value), the operators + - * / on F and + - & | ^ << >> on U,
 * and:
 *	K(c) KU(c)		the same constant everywhere
 *	fma3(a, b, c)		a * b + c
 *	root(x)
 *	whole(x)		to the nearest whole number, ties to even
 *	to_word(x) to_value(u)	of a whole number, as int32_t
 *	bits(x) real(u)		the same 32 bits
 *	less(a, b) nan_in(x) and odd(u)	truths; odd: of the lowest bit
 *	pick(m, a, b)		m ? a : b
 *	clamp(x, low, high)	NaN stays
 *	scale(x, n)		x * 2^n, rounded once; n is whole, -250 to 250, and x of
 *				everyday size where n is not 0, or infinite
 */

#define EL static inline __attribute__((always_inline))

/* c[0] + x (c[1] + x (c[2] + ...)) */
EL F horner(F x, const float *c, int n)
{
	F sum = K(c[n - 1]);

	for (int i = n - 2; i >= 0; i--)
		sum = fma3(sum, x, K(c[i]));
	return sum;
}

EL F abs_of(F x)
{
	return real(bits(x) & KU(0x7fffffff));
}

/* |x| with the sign of s; x >= 0 */
EL F with_sign(F x, F s)
{
	return real(bits(x) | (bits(s) & KU(0x80000000)));
}

/* e^x = y * 2^n, y between 0.7 and 1.42, for |x| < 150 */
struct parts {
	F y, n;
};

EL struct parts exp_parts(F x)
{
	F n = whole(x * K(KILN_LOG2E));
	F r = fma3(n, K(-KILN_LN2_LO), fma3(n, K(-KILN_LN2_HI), x));
	F q = K(KILN_EXP_C7);

	q = fma3(q, r, K(KILN_EXP_C6));
	q = fma3(q, r, K(KILN_EXP_C5));
	q = fma3(q, r, K(KILN_EXP_C4));
	q = fma3(q, r, K(KILN_EXP_C3));
	q = fma3(q, r, K(KILN_EXP_C2));
	return (struct parts){ fma3(q, r * r, r) + K(1), n };
}

EL F exp_of(F x)
{
	struct parts p = exp_parts(clamp(x, KILN_EXP_MIN, KILN_EXP_MAX));

	return scale(p.y, p.n);
}

EL F log_of(F x)
{
	static const float c[] = {
		0x1.555554p-2f, -0x1.000226p-2f, 0x1.99a008p-3f, -0x1.547248p-3f,
		0x1.22da10p-3f, -0x1.0d8514p-3f, 0x1.055bccp-3f, -0x1.38b78ap-4f,
	};
	M small = less(x, K(0x1p-126f));
	/* x = 2^k m, m between sqrt(1/2) and sqrt(2) */
	U u = bits(pick(small, x * K(0x1p25f), x)) - KU(0x3f3504f3);
	F k = pick(small, K(-25), K(0)) +
	      to_value((((u >> 23) & KU(0x1ff)) ^ KU(0x100)) - KU(0x100));
	F f = real((u & KU(0x7fffff)) + KU(0x3f3504f3)) - K(1);
	F s = f * f;
	F r = fma3(f * s, horner(f, c, 8), s * K(-0.5f));
	F y = fma3(k, K(KILN_LN2_HI), fma3(k, K(KILN_LN2_LO), r) + f);

	y = pick(less(x, K(INFINITY)), y, x);		/* infinity, NaN */
	return pick(less(K(0), x), y,
		    pick(less(x, K(0)), K(NAN), pick(nan_in(x), x, K(-INFINITY))));
}

/*
 * x * sigmoid(z + low), where low is small beside z. For a z below 0 the whole is
 * computed apart from its power of two, so that it is as exact where e^z is no
 * normal number any more.
 */
EL F times_sigmoid(F x, F z, F low)
{
	M negative = less(z, K(0));
	F a = clamp(real(bits(z) | KU(0x80000000)), -140, 0);
	struct parts p = exp_parts(a);
	F y = fma3(p.y, pick(negative, low, K(0) - low), p.y);
	F q = pick(negative, x * y, x) / (K(1) + scale(y, p.n));

	return pick(negative, scale(q, p.n), q);
}

EL F sigmoid_of(F x)
{
	return times_sigmoid(K(1), clamp(x, -140, 140), K(0));
}

EL F silu_of(F x)
{
	return times_sigmoid(clamp(x, -140, INFINITY), clamp(x, -140, 140), K(0));
}

EL F gelu_apprx_sigmoid_of(F x)
{
	const F c = K(0x1.b3b646p+0f);		/* 1.702 */
	F t = clamp(x, -82, 82);
	F z = t * c;
	F low = fma3(t, K(-0x1.78d4fep-26f), fma3(t, c, K(0) - z));

	return times_sigmoid(clamp(x, -82, INFINITY), z, low);
}

/* x sigmoid(x (c1 + c2 x^2)): each product with what its rounding left */
EL F gelu_apprx_tanh_of(F x)
{
	const F c1 = K(0x1.988454p+0f);		/* 2 sqrt(2 / pi) */
	const F c2 = K(0x1.2444f2p-4f);		/* c1 0.044715 */
	F t = clamp(x, -11.5f, 11.5f);
	F s = t * t, s_low = fma3(t, t, K(0) - s);
	F w = s * c2;
	F w_low = fma3(s, c2, K(0) - w) + fma3(s_low, c2, s * K(0x1.49b16ap-29f));
	F v = w + c1, b = v - w;
	F v_low = ((w - (v - b)) + (c1 - b)) + (w_low + K(-0x1.857936p-25f));
	F z = t * v;
	F z_low = fma3(t, v_low, fma3(t, v, K(0) - z));

	return times_sigmoid(clamp(x, -11.5f, INFINITY), z, z_low);
}

EL F silu_dx_of(F x)
{
	F t = clamp(x, -140, 140);
	M negative = less(t, K(0));
	struct parts p = exp_parts(real(bits(t) | KU(0x80000000)));
	F e = scale(p.y, p.n);
	F r = K(1) / (K(1) + e);

	/* s (1 + x (1 - s)); s is r or e r, 1 - s the other */
	F q = fma3(t, pick(negative, r, e * r), K(1)) * r;

	return pick(negative, scale(q * p.y, p.n), q);
}

EL F tanh_of(F x)
{
	static const float c[] = {
		-0x1.55553ep-2f, 0x1.1109bep-3f, -0x1.b89abap-5f, 0x1.54c3c2p-6f,
		-0x1.828774p-8f,
	};
	F a = clamp(abs_of(x), 0, 20);
	F s = a * a;
	F near = fma3(a * s, horner(s, c, 5), a);
	F far = K(1) - K(2) / (exp_of(a + a) + K(1));

	return with_sign(pick(less(a, K(0.55f)), near, far), x);
}

/* The normal distribution's density e and its upper tail q beyond a: times 2^n. 0 <= a < 15 */
struct tail {
	F e, q, n;
};

EL struct tail tail_of(F a)
{
	static const float c[] = {
		0x1.0ea872p-2f, 0x1.9a5f88p-2f, 0x1.886edap-2f, 0x1.65afc6p-3f,
		-0x1.850442p-5f, -0x1.525062p-4f, 0x1.d67d3ep-7f, 0x1.567bd0p-5f,
		-0x1.4f1496p-7f, -0x1.39a7bcp-6f,
	};
	F s = a * a, low = fma3(a, a, K(0) - s);
	struct parts p = exp_parts(s * K(-0.5f));
	F e = fma3(p.y, low * K(-0.5f), p.y);
	F t = K(1) / fma3(a, K(0.3125f), K(1));

	return (struct tail){ e * K(0x1.988454p-2f), e * (t * horner(t - K(0.59375f), c, 10)), p.n };
}

EL F gelu_of(F x)
{
	static const float c[] = {
		0x1.988454p-2f, -0x1.105878p-4f, 0x1.46da06p-7f, -0x1.375b24p-10f,
		0x1.c8453ep-14f,
	};
	F t = clamp(x, -14.75f, INFINITY);
	F a = clamp(abs_of(x), 0, 14.75f);
	F near = t * fma3(t, horner(a * a, c, 5), K(0.5f));
	struct tail p = tail_of(a);
	F far = pick(less(t, K(0)), scale(t * p.q, p.n), t * (K(1) - scale(p.q, p.n)));

	return pick(less(a, K(0.5f)), near, far);
}

EL F gelu_dx_of(F x)
{
	F t = clamp(x, -14.75f, 14.75f);
	struct tail p = tail_of(abs_of(t));

	return pick(less(t, K(0)), scale(fma3(t, p.e, p.q), p.n),
		    K(1) + scale(fma3(t, p.e, K(0) - p.q), p.n));
}

EL F erf_of(F x)
{
	static const float c[] = {
		-0x1.01b71ep-24f, -0x1.81273ep-2f, 0x1.ce2d02p-4f, -0x1.b7fa6cp-6f,
		0x1.541444p-8f, -0x1.a47328p-11f, 0x1.4adc82p-14f,
	};
	F a = clamp(abs_of(x), 0, 10);
	F near = fma3(a, K(0x1.20dd76p+0f), a * horner(a * a, c, 7));
	struct tail p = tail_of(a * K(0x1.6a09e6p+0f));
	F far = K(1) - K(2) * scale(p.q, p.n);

	return with_sign(pick(less(a, K(1)), near, far), x);
}

EL F erf_dx_of(F x)
{
	F t = clamp(x, -11, 11);
	F s = t * t, low = fma3(t, t, K(0) - s);
	struct parts p = exp_parts(K(0) - s);

	return scale(fma3(p.y, K(0) - low, p.y) * K(0x1.20dd76p+0f), p.n);
}

EL F softplus_of(F x)
{
	F e = exp_of(real(bits(x) | KU(0x80000000)));
	F u = K(1) + e;
	/* log(1 + e), and what is lost in 1 + e */
	F y = log_of(u) + (e - (u - K(1))) / u;

	return pick(less(K(0), x), x, K(0)) + y;
}

/* x tanh(log(1 + e^x)) */
EL F mish_of(F x)
{
	F t = clamp(x, -140, INFINITY);
	M negative = less(x, K(0));
	struct parts p = exp_parts(clamp(real(bits(x) | KU(0x80000000)), -140, 0));
	F e = scale(p.y, p.n);
	F up = pick(negative, p.y * (e + K(2)), fma3(e, K(2), K(1)));
	F down = pick(negative, fma3(e, e + K(2), K(2)), fma3(e, fma3(e, K(2), K(2)), K(1)));
	F q = t * (up / down);

	return pick(negative, scale(q, p.n), q);
}

/* sin(x + quarters * pi / 2) */
EL F sine(F x, unsigned int quarters)
{
	static const float cs[] = {
		-0x1.555556p-3f, 0x1.111174p-7f, -0x1.a05956p-13f, 0x1.7c2d8cp-19f,
	};
	static const float cc[] = { 0x1.55554ap-5f, -0x1.6c0c28p-10f, 0x1.99e80cp-16f };
	F t = clamp(x, -65536, 65536);
	F k = whole(t * K(0x1.45f306p-1f));
	F r = fma3(k, K(0x1.ee59dap-50f),
		   fma3(k, K(0x1.777a5cp-25f), fma3(k, K(-0x1.921fb6p+0f), t)));
	F s = r * r;
	F sin = fma3(r * s, horner(s, cs, 4), r);
	F cos = fma3(s * s, horner(s, cc, 3), fma3(s, K(-0.5f), K(1)));
	U q = to_word(k) + KU(quarters);
	F y = real(bits(pick(odd(q), cos, sin)) ^ ((q & KU(2)) << 30));

	if (!quarters)		/* so that -0 stays */
		y = pick(less(abs_of(x), K(0x1p-13f)), x, y);
	return pick(less(K(65536), abs_of(x)), K(NAN), pick(nan_in(x), x, y));
}

EL F arctan_of(F x)
{
	static const float c[] = {
		-0x1.55553ep-2f, 0x1.9991e4p-3f, -0x1.242084p-3f, 0x1.c08c1ap-4f,
		-0x1.580816p-4f, 0x1.da24e8p-5f, -0x1.fd705cp-6f, 0x1.641246p-7f,
		-0x1.d331dap-10f,
	};
	F a = abs_of(x);
	M far = less(K(1), a);
	F t = pick(far, K(1) / a, a);
	F s = t * t;
	F y = fma3(t * s, horner(s, c, 9), t);

	y = pick(far, K(0x1.921fb6p+0f) - (y + K(0x1.777a5cp-25f)), y);
	return with_sign(y, x);
}

EL F sign_of(F x)
{
	return pick(less(K(0), x), K(1), pick(less(x, K(0)), K(-1), pick(nan_in(x), x, K(0))));
}

EL F act(enum kiln_activation func, F x)
{
	switch (func) {
	case KILN_ACT_EXP:
		return exp_of(x);
	case KILN_ACT_SQUARE:
		return x * x;
	case KILN_ACT_RELU:
		return pick(less(K(0), x), x, pick(nan_in(x), x, K(0)));
	case KILN_ACT_ABS:
		return abs_of(x);
	case KILN_ACT_SIGMOID:
		return sigmoid_of(x);
	case KILN_ACT_TANH:
		return tanh_of(x);
	case KILN_ACT_GELU:
		return gelu_of(x);
	case KILN_ACT_GELU_DX:
		return gelu_dx_of(x);
	case KILN_ACT_GELU_APPRX_TANH:
		return gelu_apprx_tanh_of(x);
	case KILN_ACT_GELU_APPRX_SIGMOID:
		return gelu_apprx_sigmoid_of(x);
	case KILN_ACT_SILU:
		return silu_of(x);
	case KILN_ACT_SILU_DX:
		return silu_dx_of(x);
	case KILN_ACT_SOFTPLUS:
		return softplus_of(x);
	case KILN_ACT_MISH:
		return mish_of(x);
	case KILN_ACT_ERF:
		return erf_of(x);
	case KILN_ACT_ERF_DX:
		return erf_dx_of(x);
	case KILN_ACT_LOG:
		return log_of(x);
	case KILN_ACT_SIN:
		return sine(x, 0);
	case KILN_ACT_COS:
		return sine(x, 1);
	case KILN_ACT_ARCTAN:
		return arctan_of(x);
	case KILN_ACT_SQRT:
		return root(x);
	case KILN_ACT_RSQRT:
		return K(1) / root(x);
	case KILN_ACT_RECIPROCAL:
		return K(1) / x;
	case KILN_ACT_SIGN:
		return sign_of(x);
	default:
		return x;
	}
}
