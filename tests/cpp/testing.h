#pragma once

#include <cmath>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "coder/isa.h"

inline int failures = 0;

// Prints what does not hold and goes on; main returns finish().
#define CHECK(condition)                                                         \
  do {                                                                           \
    if (!(condition)) {                                                          \
      std::printf("%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
      ++failures;                                                                \
    }                                                                            \
  } while (false)

inline int finish() {
  std::printf(failures == 0 ? "all checks passed\n" : "%d checks failed\n", failures);
  return failures == 0 ? 0 : 1;
}

inline bool near(double got, double wanted, double tolerance) {
  return std::fabs(got - wanted) <= tolerance * (1.0 + std::fabs(wanted));
}

// True where `call` throws an Error whose message contains `part`.
template <typename Error, typename Call>
bool throws(const std::string& part, const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    if (std::string(error.what()).find(part) != std::string::npos) return true;
    std::printf("another message: %s\n", error.what());
    return false;
  }
  std::printf("nothing thrown, expected: %s\n", part.c_str());
  return false;
}

// Those to test; names the ones left out.
inline std::vector<coder::Isa> isas() {
  const std::vector<coder::Isa> found = coder::usable_isas();
  for (coder::Isa isa : {coder::Isa::avx512, coder::Isa::avx2, coder::Isa::neon}) {
    bool has = false;
    for (coder::Isa one : found) has = has || one == isa;
    if (!has) std::printf("skipped: this CPU has no %s\n", coder::name(isa));
  }
  return found;
}
