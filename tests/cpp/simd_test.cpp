// The two small loops of a table: is everything finite, and the softmax's denominator.
#include "simd.h"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "testing.h"

namespace {

void finite(const coder::Kernels& kernels) {
  const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
  for (size_t count = 0; count <= 140; ++count) {
    std::vector<float> values(count, -std::numeric_limits<float>::max());
    const auto size = static_cast<int64_t>(count);
    CHECK(kernels.all_finite(values.data(), size));
    for (size_t at = 0; at < count; ++at) {
      values[at] = bad[at % 4];
      CHECK(!kernels.all_finite(values.data(), size));
      values[at] = std::numeric_limits<float>::denorm_min();
    }
  }
}

void exponentials(const coder::Kernels& kernels) {
  std::mt19937 random(3);
  for (size_t count : {1u, 2u, 3u, 7u, 16u, 33u, 1000u, 20000u}) {
    for (float scale : {0.01f, 1.0f, 100.0f, 1e6f}) {
      std::vector<float> values(count);
      for (float& value : values) value = static_cast<float>(random() % 4096) / 4096.0f;
      float top = values[0];
      for (float value : values) top = value > top ? value : top;
      double wanted = 0.0;
      for (float value : values)
        wanted +=
            std::exp(static_cast<double>(scale) * (static_cast<double>(value) - static_cast<double>(top)));
      const double got = kernels.exp_sum(values.data(), static_cast<int64_t>(count), scale, top);
      CHECK(std::fabs(got - wanted) <= 1e-6 * wanted);
    }
  }
  const float far[] = {3e38f, -3e38f};
  CHECK(kernels.exp_sum(far, 2, 100.0f, 3e38f) == 1.0);
}

// One value at a time beside the top, over the whole range that counts.
void exponential_alone(const coder::Kernels& kernels) {
  for (int i = 0; i <= 20000; ++i) {
    const float values[] = {0.0f, static_cast<float>(i) * -0.001f};
    const double wanted = std::exp(static_cast<double>(values[1]));
    CHECK(std::fabs(kernels.exp_sum(values, 2, 1.0f, 0.0f) - 1.0 - wanted) <= 1.3e-7);
  }
}

}  // namespace

int main() {
  for (coder::Isa isa : isas()) {
    finite(coder::kernels_for(isa));
    exponentials(coder::kernels_for(isa));
    exponential_alone(coder::kernels_for(isa));
  }
  return finish();
}
