// AVX-512, the foundation subset alone: built with -mavx512f.
#include <immintrin.h>

#include <cstdint>

namespace coder {
namespace {

using V = __m512;
constexpr int lanes = 16;
constexpr int tile_images =
    4;  // 16 sums: enough to hide the latency of an FMA, and B is often a multiple of 4

inline V load(const float* from) { return _mm512_loadu_ps(from); }
inline void keep(V& a) { asm("" : "+v"(a)); }
inline V load_half(const uint16_t* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}
inline V splat(float value) { return _mm512_set1_ps(value); }
inline V add(V a, V b) { return _mm512_add_ps(a, b); }
inline V maximum(V a, V b) { return _mm512_max_ps(a, b); }
inline V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
inline V times_pow2(V a, V n) {
  const __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(n), 23);
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), exponent));
}
inline float total(V a) {
  const __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a), 1));
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), high);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

}  // namespace
}  // namespace coder

#include "resize_avx2.h"
#include "resize_body.h"
#include "simd_body.h"

namespace coder {
const Kernels avx512_kernels = {Isa::avx512,         dots,      dot_half, all_finite, exp_sum,
                                resize_columns_avx2, resize_row};
}
