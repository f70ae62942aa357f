// AVX2 with FMA and F16C: built with -mavx2 -mfma -mf16c.
#include <immintrin.h>

#include <cstdint>

namespace coder {
namespace {

using V = __m256;
constexpr int lanes = 8;
constexpr int tile_images = 3;  // 12 sums, 3 images and a row fill the 16 registers

inline V load(const float* from) { return _mm256_loadu_ps(from); }
inline void keep(V& a) { asm("" : "+x"(a)); }
inline V load_half(const uint16_t* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
inline V splat(float value) { return _mm256_set1_ps(value); }
inline V add(V a, V b) { return _mm256_add_ps(a, b); }
inline V maximum(V a, V b) { return _mm256_max_ps(a, b); }
inline V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
inline V times_pow2(V a, V n) {
  const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(n), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), exponent));
}
inline float total(V a) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

}  // namespace
}  // namespace coder

#include "resize_avx2.h"
#include "resize_body.h"
#include "simd_body.h"

namespace coder {
const Kernels avx2_kernels = {Isa::avx2,           dots,      dot_half, all_finite, exp_sum,
                              resize_columns_avx2, resize_row};
}
