// The loops of resizing in plain C++, which compilers vectorise well for rows, less so for columns. As
// simd_body.h: included by simd_*.cpp, so no function here has external linkage.
//
// No sum leaves int32, whatever the order: the weights of an output add up to 1, of which the negative ones
// take away an eighth or so, and a byte times 1.25 * 2^22 leaves room in 2^31. resize_test.cpp looks at the
// weights themselves.
#include <cstdint>

#include "simd.h"

namespace coder {
namespace {

inline uint8_t rounded(int32_t sum) {
  const int32_t value = sum >> weight_bits;
  return static_cast<uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
}

// 64 sums at a time stay in registers or the first cache.
void resize_row(const uint8_t* rows, int64_t pitch, const int32_t* weights, int64_t count, uint8_t* out) {
  constexpr int block = 64;
  int64_t at = 0;
  for (; at + block <= pitch; at += block) {
    int32_t sums[block];
    for (int i = 0; i < block; ++i) sums[i] = half_weight;
    for (int64_t t = 0; t < count; ++t) {
      const uint8_t* row = rows + t * pitch + at;
      const int32_t weight = weights[t];
      for (int i = 0; i < block; ++i) sums[i] += row[i] * weight;
    }
    for (int i = 0; i < block; ++i) out[at + i] = rounded(sums[i]);
  }
  for (; at < pitch; ++at) {
    int32_t sum = half_weight;
    for (int64_t t = 0; t < count; ++t) sum += rows[t * pitch + at] * weights[t];
    out[at] = rounded(sum);
  }
}

[[maybe_unused]] void resize_columns(const uint8_t* image, int64_t pitch, int64_t rows, const TapsView& taps,
                                     int64_t width, uint8_t* out) {
  for (int64_t y = 0; y < rows; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      const uint8_t* pixel = image + y * pitch + 4 * taps.first[x];
      const int32_t* weights = taps.weights + x * taps.stride;
      int32_t sums[4] = {half_weight, half_weight, half_weight, half_weight};  // the fourth fills a vector
      for (int64_t t = 0; t < taps.count[x]; ++t)
        for (int c = 0; c < 4; ++c) sums[c] += pixel[4 * t + c] * weights[t];
      for (int c = 0; c < 3; ++c) *out++ = rounded(sums[c]);
    }
  }
}

}  // namespace
}  // namespace coder
