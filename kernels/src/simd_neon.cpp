// NEON as every aarch64 CPU has it; converting half floats belongs to the base set.
#include <arm_neon.h>

#include <cstdint>

namespace coder {
namespace {

using V = float32x4_t;
constexpr int lanes = 4;
constexpr int tile_images = 4;  // 16 sums, 4 images and a row, of 32 registers

inline V load(const float* from) { return vld1q_f32(from); }
inline void keep(V& a) { asm("" : "+w"(a)); }
inline V load_half(const uint16_t* from) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from))); }
inline V splat(float value) { return vdupq_n_f32(value); }
inline V add(V a, V b) { return vaddq_f32(a, b); }
inline V maximum(V a, V b) { return vmaxq_f32(a, b); }
inline V fma(V a, V b, V c) { return vfmaq_f32(c, a, b); }
inline V times_pow2(V a, V n) {
  const uint32x4_t exponent = vshlq_n_u32(vreinterpretq_u32_f32(n), 23);
  return vreinterpretq_f32_u32(vaddq_u32(vreinterpretq_u32_f32(a), exponent));
}
inline float total(V a) {
  const float32x2_t two = vadd_f32(vget_low_f32(a), vget_high_f32(a));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

}  // namespace
}  // namespace coder

#include "resize_body.h"
#include "simd_body.h"

namespace coder {
const Kernels neon_kernels = {Isa::neon, dots, dot_half, all_finite, exp_sum, resize_columns, resize_row};
}
