// All 65,536 half floats, through the dot product that reads the pair rows.
#include <cmath>
#include <cstdint>

#include "simd.h"
#include "testing.h"

namespace {

double half_value(uint32_t bits) {
  const double sign = (bits & 0x8000u) != 0 ? -1.0 : 1.0;
  const int exponent = static_cast<int>(bits >> 10 & 31);
  const double fraction = bits & 1023u;
  if (exponent == 31) return fraction == 0.0 ? sign * INFINITY : NAN;
  if (exponent == 0) return sign * std::ldexp(fraction, -24);
  return sign * std::ldexp(1024.0 + fraction, exponent - 25);
}

void every_pattern(const coder::Kernels& kernels) {
  constexpr int width = 77;  // whole groups of vectors, whole vectors and a tail, for every vector length
  uint16_t row[width] = {};
  float x[width] = {};
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const uint32_t at = bits % width;
    row[at] = static_cast<uint16_t>(bits);
    x[at] = 1.0f;
    const double got = static_cast<double>(kernels.dot_half(row, x, width));
    const double wanted = half_value(bits);
    CHECK(std::isnan(wanted) ? std::isnan(got) : got == wanted);
    row[at] = 0;
    x[at] = 0.0f;
  }
}

void every_width(const coder::Kernels& kernels) {
  uint16_t row[130];
  float x[130];
  for (int d = 0; d < 130; ++d) {
    row[d] = static_cast<uint16_t>(0x3000 + 37 * d);
    x[d] = static_cast<float>(d % 7) - 3.0f;
  }
  double wanted = 0.0;
  for (int width = 0; width <= 130; ++width) {
    CHECK(near(static_cast<double>(kernels.dot_half(row, x, width)), wanted, 1e-5));
    if (width < 130) wanted += half_value(row[width]) * static_cast<double>(x[width]);
  }
}

}  // namespace

int main() {
  for (coder::Isa isa : isas()) {
    every_pattern(coder::kernels_for(isa));
    every_width(coder::kernels_for(isa));
  }
  return finish();
}
