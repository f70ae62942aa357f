#pragma once

#include "coder/head.h"
#include "simd.h"

namespace coder {

// Each throws std::invalid_argument: what, what it was, what is wanted.
void check_bank(const Bank& bank, const Kernels& kernels);
void check_pairs(const Pairs& pairs, int64_t classes);
void check_options(const RankOptions& options, int64_t top, int64_t classes);

}  // namespace coder
