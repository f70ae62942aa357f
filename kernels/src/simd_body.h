// The loops of simd.h over a vector type. Each simd_*.cpp includes this once, after it has defined in an
// unnamed namespace inside coder:
// - V, a vector of `lanes` floats;
// - tile_images, the images a matmul tile takes beside 4 rows: 4 * tile_images sums live in registers;
// - load and load_half, unaligned loads of `lanes` floats and half floats;
// - keep(a), which makes the compiler hold `a` in a register: GCC would load a row again for every product;
// - splat, add, maximum, and fma(a, b, c) = a * b + c;
// - times_pow2(a, n) = a * 2^m, where n holds the float 1.5 * 2^23 + m;
// - total, the sum of the lanes in a fixed order.
// Nothing here may call an inline function with external linkage: the linker could keep this file's copy,
// built for a wider instruction set, for the whole program. So: no standard library, and everything in the
// unnamed namespace.
#include <cstdint>

#include "simd.h"

namespace coder {
namespace {

// The last, partial vector of a row. Rare, so kept out of the loops.
[[gnu::noinline]] V load_tail(const float* values, int64_t count, float fill) {
  float padded[lanes];
  for (int i = 0; i < lanes; ++i) padded[i] = i < count ? values[i] : fill;
  return load(padded);
}

[[gnu::noinline]] V load_half_tail(const uint16_t* values, int64_t count) {
  uint16_t padded[lanes];
  for (int i = 0; i < lanes; ++i) padded[i] = i < count ? values[i] : uint16_t{0};
  return load_half(padded);
}

// One sum a dot product whatever the tile's size, so a result does not depend on how the work was cut.
template <int row_count, int image_count>
void tile(const float* rows, const float* images, int64_t width, float* out, int64_t stride) {
  V sums[row_count][image_count];
  for (int r = 0; r < row_count; ++r)
    for (int i = 0; i < image_count; ++i) sums[r][i] = splat(0.0f);
  const int64_t whole = width - width % lanes;
  for (int64_t d = 0; d < whole; d += lanes) {
    V x[image_count];
    for (int i = 0; i < image_count; ++i) x[i] = load(images + i * width + d);
    for (int r = 0; r < row_count; ++r) {
      V row = load(rows + r * width + d);
      if (image_count > 1) keep(row);
      for (int i = 0; i < image_count; ++i) sums[r][i] = fma(row, x[i], sums[r][i]);
    }
  }
  if (whole < width) {
    for (int r = 0; r < row_count; ++r) {
      const V row = load_tail(rows + r * width + whole, width - whole, 0.0f);
      for (int i = 0; i < image_count; ++i)
        sums[r][i] = fma(row, load_tail(images + i * width + whole, width - whole, 0.0f), sums[r][i]);
    }
  }
  for (int i = 0; i < image_count; ++i)
    for (int r = 0; r < row_count; ++r) out[i * stride + r] = total(sums[r][i]);
}

template <int row_count>
void tiles(const float* rows, const float* images, int64_t image_count, int64_t width, float* out,
           int64_t stride) {
  int64_t i = 0;
  for (; i + tile_images <= image_count; i += tile_images)
    tile<row_count, tile_images>(rows, images + i * width, width, out + i * stride, stride);
  if (tile_images > 3 && i + 3 == image_count) {
    tile<row_count, 3>(rows, images + i * width, width, out + i * stride, stride);
    return;
  }
  for (; i + 2 <= image_count; i += 2)
    tile<row_count, 2>(rows, images + i * width, width, out + i * stride, stride);
  for (; i < image_count; ++i) tile<row_count, 1>(rows, images + i * width, width, out + i * stride, stride);
}

// One image alone is bound by the loads of the rows: more of them at once, nothing else to keep in registers.
void dots_one(const float* rows, int64_t row_count, const float* image, int64_t width, float* out) {
  int64_t r = 0;
  for (; r + 8 <= row_count; r += 8) tile<8, 1>(rows + r * width, image, width, out + r, 0);
  for (; r < row_count; ++r) tile<1, 1>(rows + r * width, image, width, out + r, 0);
}

// A block of images stays in the first cache while the rows, which the caller hands over a panel at a time,
// come from the second.
void dots(const float* rows, int64_t row_count, const float* images, int64_t image_count, int64_t width,
          float* out, int64_t stride) {
  constexpr int64_t block = 2 * tile_images;
  for (int64_t i = 0; i < image_count; i += block) {
    const int64_t n = image_count - i < block ? image_count - i : block;
    const float* image = images + i * width;
    float* to = out + i * stride;
    if (n == 1) {
      dots_one(rows, row_count, image, width, to);
      continue;
    }
    int64_t r = 0;
    for (; r + 4 <= row_count; r += 4) tiles<4>(rows + r * width, image, n, width, to + r, stride);
    for (; r < row_count; ++r) tiles<1>(rows + r * width, image, n, width, to + r, stride);
  }
}

// Four sums, as one alone would wait for each addition to finish.
float dot_half(const uint16_t* row, const float* x, int64_t width) {
  V sums[4] = {splat(0.0f), splat(0.0f), splat(0.0f), splat(0.0f)};
  int64_t d = 0;
  for (; d + 4 * lanes <= width; d += 4 * lanes)
    for (int i = 0; i < 4; ++i)
      sums[i] = fma(load_half(row + d + i * lanes), load(x + d + i * lanes), sums[i]);
  for (; d + lanes <= width; d += lanes) sums[0] = fma(load_half(row + d), load(x + d), sums[0]);
  if (d < width)
    sums[1] = fma(load_half_tail(row + d, width - d), load_tail(x + d, width - d, 0.0f), sums[1]);
  return total(add(add(sums[0], sums[1]), add(sums[2], sums[3])));
}

// 0 * v is 0 for a finite v and NaN for all others, and NaN stays in a sum.
bool all_finite(const float* values, int64_t count) {
  const V zero = splat(0.0f);
  V sums[4] = {zero, zero, zero, zero};
  int64_t d = 0;
  for (; d + 4 * lanes <= count; d += 4 * lanes)
    for (int i = 0; i < 4; ++i) sums[i] = fma(load(values + d + i * lanes), zero, sums[i]);
  for (; d < count; d += lanes)
    sums[0] =
        fma(count - d < lanes ? load_tail(values + d, count - d, 0.0f) : load(values + d), zero, sums[0]);
  return total(add(add(sums[0], sums[1]), add(sums[2], sums[3]))) == 0.0f;
}

// exp for x <= 0: x = m ln 2 + r, |r| <= ln 2 / 2, and the Cephes polynomial for exp(r). Below -86 the result
// would leave the normal floats; exp(-86) = 5e-38 is nothing beside a sum that holds exp(0).
inline V exp_negative(V x) {
  const V shift = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number, kept in the low bits
  x = maximum(x, splat(-86.0f));
  const V shifted = fma(x, splat(1.44269504f), shift);
  const V m = add(shifted, splat(-12582912.0f));
  V r = fma(m, splat(-0.693359375f), x);
  r = fma(m, splat(2.12194440e-4f), r);
  V p = splat(1.9875691500e-4f);
  p = fma(p, r, splat(1.3981999507e-3f));
  p = fma(p, r, splat(8.3334519073e-3f));
  p = fma(p, r, splat(4.1665795894e-2f));
  p = fma(p, r, splat(1.6666665459e-1f));
  p = fma(p, r, splat(5.0000001201e-1f));
  p = fma(fma(p, r, splat(1.0f)), r, splat(1.0f));
  return times_pow2(p, shifted);
}

// Partial sums of 64 vectors in float, their total in double: the error does not grow with the count.
double exp_sum(const float* values, int64_t count, float scale, float top) {
  const V by = splat(scale);
  const V less = splat(-top);
  double sum = 0.0;
  for (int64_t start = 0; start < count; start += 64 * lanes) {
    const int64_t end = count - start < 64 * lanes ? count : start + 64 * lanes;
    V part = splat(0.0f);
    for (int64_t d = start; d < end; d += lanes) {
      const V value = end - d < lanes ? load_tail(values + d, end - d, -3e38f) : load(values + d);
      part = add(part, exp_negative(fma(add(value, less), by, splat(0.0f))));
    }
    sum += static_cast<double>(total(part));
  }
  return sum;
}

}  // namespace
}  // namespace coder
