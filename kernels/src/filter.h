#pragma once

#include <cstdint>
#include <vector>

#include "coder/resize.h"

namespace coder {

// How one side of an image becomes another length: output i is the sum over t < count[i] of
// weights[i * stride + t] * input[first[i] + t]. Weights are fixed point with `weight_bits` bits behind the
// point; `stride` is a multiple of 4 and the weights past count[i] are 0.
struct Taps {
  std::vector<int64_t> first;
  std::vector<int64_t> count;
  std::vector<int32_t> weights;
  int64_t stride;
};

// Outputs start .. start + length - 1 of a side that goes from `from` to `to` pixels.
Taps taps_of(int64_t from, int64_t to, int64_t start, int64_t length, Filter filter);

}  // namespace coder
