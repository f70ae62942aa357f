// The columns pass for AVX2 and wider, included by their simd_*.cpp.
//
// Two taps are one instruction where weights have 16 bits; these have 24. So a weight is low + 2^16 * high
// with both halves signed, and the halves are summed apart. A sum of low halves may wrap, but everything is
// right modulo 2^32 and the whole sum fits.
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "simd.h"

namespace coder {
namespace {

// Bytes of four RGBX pixels -> their 16-bit values in pairs: red of 0 and 1, green of 0 and 1, blue; then the
// same of pixels 2 and 3 in the upper half. -1 is a zero byte.
inline __m256i pairs_of(__m128i pixels) {
  const __m256i order = _mm256_setr_epi8(0, -1, 4, -1, 1, -1, 5, -1, 2, -1, 6, -1, 3, -1, 7, -1,  //
                                         8, -1, 12, -1, 9, -1, 13, -1, 10, -1, 14, -1, 11, -1, 15, -1);
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(pixels), order);
}

struct WeightPairs {
  __m256i low, high;
};

// Four weights, each pair's halves before every channel.
inline WeightPairs weights_of(const int32_t* from) {
  const __m128i whole = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  const __m128i low = _mm_srai_epi32(_mm_slli_epi32(whole, 16), 16);
  const __m128i high = _mm_srai_epi32(_mm_sub_epi32(whole, low), 16);
  const __m256i halves = _mm256_broadcastsi128_si256(_mm_packs_epi32(low, high));
  const __m256i second = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
  return {_mm256_permutevar8x32_epi32(halves, second),
          _mm256_permutevar8x32_epi32(halves, _mm256_add_epi32(second, _mm256_set1_epi32(2)))};
}

inline __m128i load_pixels(const uint8_t* from) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}

// The first `count` pixels of four; the others, which may lie behind the image, are not touched.
inline __m128i load_pixels(const uint8_t* from, int64_t count) {
  const __m128i wanted = _mm_cmpgt_epi32(_mm_set1_epi32(static_cast<int>(count)), _mm_setr_epi32(0, 1, 2, 3));
  return _mm_maskload_epi32(reinterpret_cast<const int*>(from), wanted);
}

inline __m128i whole_sum(__m256i low, __m256i high) {
  const __m256i sum = _mm256_add_epi32(low, _mm256_slli_epi32(high, 16));
  const __m128i both = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
  return _mm_srai_epi32(_mm_add_epi32(both, _mm_set1_epi32(half_weight)), weight_bits);
}

// One output pixel of four rows, RGB0 each. The packs saturate, which clips to 0 .. 255.
inline __m128i four_rows(const uint8_t* const (&rows)[4], int64_t count, const int32_t* weights) {
  __m256i low[4], high[4];
  for (int r = 0; r < 4; ++r) low[r] = high[r] = _mm256_setzero_si256();
  const auto add = [&](int64_t t, const auto& load) {
    const WeightPairs by = weights_of(weights + t);
    for (int r = 0; r < 4; ++r) {
      const __m256i pixels = pairs_of(load(rows[r] + 4 * t));
      low[r] = _mm256_add_epi32(low[r], _mm256_madd_epi16(pixels, by.low));
      high[r] = _mm256_add_epi32(high[r], _mm256_madd_epi16(pixels, by.high));
    }
  };
  const int64_t whole = count - count % 4;
  for (int64_t t = 0; t < whole; t += 4) add(t, [](const uint8_t* at) { return load_pixels(at); });
  if (whole < count) add(whole, [=](const uint8_t* at) { return load_pixels(at, count - whole); });
  return _mm_packus_epi16(_mm_packs_epi32(whole_sum(low[0], high[0]), whole_sum(low[1], high[1])),
                          _mm_packs_epi32(whole_sum(low[2], high[2]), whole_sum(low[3], high[3])));
}

// Four rows at once share the work on the weights. Where fewer are left, the last one is taken again.
void resize_columns_avx2(const uint8_t* image, int64_t pitch, int64_t rows, const TapsView& taps,
                         int64_t width, uint8_t* out) {
  for (int64_t y = 0; y < rows; y += 4) {
    const int64_t some = rows - y < 4 ? rows - y : 4;
    const uint8_t* base[4];
    for (int64_t r = 0; r < 4; ++r) base[r] = image + (y + (r < some ? r : some - 1)) * pitch;
    for (int64_t x = 0; x < width; ++x) {
      const int64_t skip = 4 * taps.first[x];
      const uint8_t* const from[4] = {base[0] + skip, base[1] + skip, base[2] + skip, base[3] + skip};
      uint8_t pixels[16];
      _mm_storeu_si128(reinterpret_cast<__m128i*>(pixels),
                       four_rows(from, taps.count[x], taps.weights + x * taps.stride));
      for (int64_t r = 0; r < some; ++r) std::memcpy(out + ((y + r) * width + x) * 3, pixels + 4 * r, 3);
    }
  }
}

}  // namespace
}  // namespace coder
