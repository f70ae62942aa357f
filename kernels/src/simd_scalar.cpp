// For every CPU: four lanes as the compilers' portable vectors, which become whatever the target has at least
// (SSE2 on x86-64), or plain floats.
#include <cstdint>
#include <cstring>

namespace coder {
namespace {

using V = float __attribute__((vector_size(16)));
using Bits = uint32_t __attribute__((vector_size(16)));
constexpr int lanes = 4;
constexpr int tile_images = 2;  // 8 sums, 2 images and a row, of 16 registers: a product needs one as well

// IEEE half to the bits of a single, exact; a NaN stays a NaN. Subnormal halves are made from their integer,
// so the result is right also where the program flushes subnormal floats to zero.
inline float half_to_float(uint16_t half) {
  const uint32_t exponent = (half >> 10) & 0x1fu;
  const uint32_t fraction = half & 0x3ffu;
  const bool special = exponent == 31;
  uint32_t bits = (exponent + (special ? 224u : 112u)) << 23 | fraction << 13;
  const float small = static_cast<float>(fraction) * 0x1p-24f;
  if (exponent == 0) std::memcpy(&bits, &small, sizeof bits);
  bits |= static_cast<uint32_t>(half & 0x8000u) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline V load(const float* from) {
  V v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
inline void keep(V&) {}
inline V load_half(const uint16_t* from) {
  return V{half_to_float(from[0]), half_to_float(from[1]), half_to_float(from[2]), half_to_float(from[3])};
}
inline V splat(float value) { return V{value, value, value, value}; }
inline V add(V a, V b) { return a + b; }
inline V maximum(V a, V b) { return a > b ? a : b; }
inline V fma(V a, V b, V c) { return a * b + c; }
inline V times_pow2(V a, V n) {
  return reinterpret_cast<V>(reinterpret_cast<Bits>(a) + (reinterpret_cast<Bits>(n) << 23));
}
inline float total(V a) { return (a[0] + a[2]) + (a[1] + a[3]); }

}  // namespace
}  // namespace coder

#include "resize_body.h"
#include "simd_body.h"

namespace coder {
const Kernels scalar_kernels = {Isa::scalar, dots, dot_half, all_finite, exp_sum, resize_columns, resize_row};
}
