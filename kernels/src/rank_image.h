#pragma once

#include "check.h"
#include "coder/head.h"
#include "simd.h"

namespace coder {

// What every image of a call shares.
struct Problem {
  const Bank& bank;
  const Pairs& pairs;
  const Kernels& kernels;
  const RankOptions& options;
  int64_t top;     // n
  int candidates;  // k
};

// One image's rows of the arrays of Head::rank.
struct ImageRows {
  const float* feature;  // [D]
  const float* coder;    // [C + R]
  float* logits;         // [C]
  int32_t* ids;          // [n]
  float* scores;         // [n]
  float* gaps;           // [k]
  float* duels;          // [k, k]
  bool* reranked;        // one
};

// Both stages for one image, as Head::rank describes them; the fault is the first input that is not finite.
Fault rank_image(const Problem& problem, const ImageRows& image) noexcept;

}  // namespace coder
