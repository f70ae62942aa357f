#pragma once

#include <cstdint>

#include "coder/isa.h"

namespace coder {

// Resizing works with fixed point: 8 bits of a pixel, 22 of a weight, two for sums outside 0 .. 255, as
// Pillow.
constexpr int weight_bits = 22;
constexpr int32_t half_weight = 1 << (weight_bits - 1);  // what a sum starts with, so that it is rounded

// Output x is made of the count[x] pixels from first[x] on, by weights[x * stride], weights[x * stride + 1],
// ...; stride is a multiple of 4, and 0 weighs what comes after count[x].
struct TapsView {
  const int64_t* first;
  const int64_t* count;
  const int32_t* weights;
  int64_t stride;
};

// The inner loops, one table an instruction set. No loop allocates, and the order of every sum depends on the
// length alone.
struct Kernels {
  Isa isa;

  // out[i * stride + r] = rows[r] . images[i]: rows [row_count, width], images [image_count, width].
  void (*dots)(const float* rows, int64_t row_count, const float* images, int64_t image_count, int64_t width,
               float* out, int64_t stride);

  // row . x, the row being IEEE half floats: [width], [width].
  float (*dot_half)(const uint16_t* row, const float* x, int64_t width);

  // No NaN and no infinity in values [count].
  bool (*all_finite)(const float* values, int64_t count);

  // Sum of exp(scale * (values - top)) over values [count], all finite and <= top; scale > 0. Relative error
  // below 1e-6.
  double (*exp_sum)(const float* values, int64_t count, float scale, float top);

  // The first pass of resizing: image [rows, pitch / 4, 4] -> out [rows, width, 3].
  void (*resize_columns)(const uint8_t* image, int64_t pitch, int64_t rows, const TapsView& taps,
                         int64_t width, uint8_t* out);

  // One row of the second pass: rows [count, pitch], weights [count] -> out [pitch].
  void (*resize_row)(const uint8_t* rows, int64_t pitch, const int32_t* weights, int64_t count, uint8_t* out);
};

extern const Kernels scalar_kernels;
#if defined(__x86_64__)
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;
#elif defined(__aarch64__)
extern const Kernels neon_kernels;
#endif

// The table of a usable instruction set; throws std::invalid_argument for one that is not.
const Kernels& kernels_for(Isa isa);

}  // namespace coder
