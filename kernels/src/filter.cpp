// The weights of Pillow's resampling, in its order of operations: its bits depend on each of them.
#include "filter.h"

#include <algorithm>
#include <cmath>

#include "simd.h"

namespace coder {

namespace {

double bilinear(double x) {
  x = std::fabs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

// Keys' cubic convolution with a = -1/2.
double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::fabs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
  return 0.0;
}

int32_t fixed_point(double weight) {
  const double scaled = weight * (1 << weight_bits);
  return static_cast<int32_t>(weight < 0.0 ? -0.5 + scaled : 0.5 + scaled);
}

}  // namespace

Taps taps_of(int64_t from, int64_t to, int64_t start, int64_t length, Filter filter) {
  const auto value = filter == Filter::bilinear ? bilinear : bicubic;
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double stretch = std::max(scale, 1.0);  // shrinking widens the filter
  const double support = (filter == Filter::bilinear ? 1.0 : 2.0) * stretch;
  const int64_t most = std::min(from, static_cast<int64_t>(std::ceil(support)) * 2 + 1);

  Taps taps;
  taps.stride = (most + 3) / 4 * 4;
  taps.weights.assign(static_cast<size_t>(length * taps.stride), 0);
  std::vector<double> exact(static_cast<size_t>(most));
  for (int64_t i = 0; i < length; ++i) {
    const double center = (static_cast<double>(start + i) + 0.5) * scale;
    const int64_t first = std::max<int64_t>(0, static_cast<int64_t>(center - support + 0.5));
    const int64_t last = std::min(from, static_cast<int64_t>(center + support + 0.5));
    const auto count = static_cast<size_t>(last - first);
    double sum = 0.0;
    for (size_t t = 0; t < count; ++t) {
      exact[t] =
          value((static_cast<double>(static_cast<int64_t>(t) + first) - center + 0.5) * (1.0 / stretch));
      sum += exact[t];
    }
    int32_t* weights = taps.weights.data() + i * taps.stride;
    for (size_t t = 0; t < count; ++t) weights[t] = fixed_point(sum != 0.0 ? exact[t] / sum : exact[t]);
    taps.first.push_back(first);
    taps.count.push_back(static_cast<int64_t>(count));
  }
  return taps;
}

}  // namespace coder
