#pragma once

#include <cstdint>
#include <string>

#include "coder/head.h"
#include "simd.h"

namespace coder {

// Each throws std::invalid_argument: what, what it was, what is wanted.
void check_bank(const Bank& bank, const Kernels& kernels);
void check_pairs(const Pairs& pairs, int64_t classes);
void check_options(const RankOptions& options, int64_t top, int64_t classes);

// The first input of an image that is not finite, or cannot be read.
enum class Fault : int32_t { none, feature, coder, pair, file, memory };

// Throws std::runtime_error that names the image row.
[[noreturn]] void fail_image(int64_t image, Fault fault);
[[noreturn]] void fail_image(int64_t image, const std::string& why);

}  // namespace coder
