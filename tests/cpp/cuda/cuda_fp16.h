#pragma once

#include <cstdint>
#include <cstring>

// IEEE halves by their definition, for the kernels' sources on a CPU.
struct __half {
  uint16_t bits;
};

inline __half __ushort_as_half(uint16_t bits) { return {bits}; }

inline float __half2float(__half half) {
  const int exponent = half.bits >> 10 & 31, fraction = half.bits & 1023;
  float value = std::ldexp(static_cast<float>(exponent == 0 ? fraction : fraction | 1024),
                           (exponent == 0 ? 1 : exponent) - 25);
  if (exponent == 31) value = fraction == 0 ? INFINITY : NAN;
  return half.bits >> 15 != 0 ? -value : value;
}
