#pragma once

#include <cstdint>

#include "coder/isa.h"

namespace coder {

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
