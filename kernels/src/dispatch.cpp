#include <stdexcept>

#include "simd.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace coder {

namespace {

#if defined(__x86_64__)
// Not by __builtin_cpu_supports: clang's knows the name from 18 on only.
bool has_f16c() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
#endif

// nullptr where this build or this CPU has no such instruction set. __builtin_cpu_supports also asks whether
// the operating system saves the wide registers.
const Kernels* find_kernels(Isa isa) {
  switch (isa) {
    case Isa::scalar:
      return &scalar_kernels;
#if defined(__x86_64__)
    case Isa::avx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c() ? &avx2_kernels
                                                                                           : nullptr;
    case Isa::avx512:
      return __builtin_cpu_supports("avx512f") ? &avx512_kernels : nullptr;
#elif defined(__aarch64__)
    case Isa::neon:
      return &neon_kernels;
#endif
    default:
      return nullptr;
  }
}

std::string usable_names() {
  std::string names = "auto";
  for (Isa isa : usable_isas()) names += std::string(", ") + name(isa);
  return names;
}

}  // namespace

const char* name(Isa isa) {
  switch (isa) {
    case Isa::neon:
      return "neon";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
    default:
      return "scalar";
  }
}

std::vector<Isa> usable_isas() {
  std::vector<Isa> found;
  for (Isa isa : {Isa::avx512, Isa::avx2, Isa::neon, Isa::scalar})
    if (find_kernels(isa) != nullptr) found.push_back(isa);
  return found;
}

Isa isa_from_name(const std::string& text) {
  const std::vector<Isa> found = usable_isas();
  if (text == "auto") return found.front();
  for (Isa isa : found)
    if (text == name(isa)) return isa;
  throw std::invalid_argument("isa must be one this CPU has (" + usable_names() + "), got '" + text + "'");
}

const Kernels& kernels_for(Isa isa) {
  const Kernels* kernels = find_kernels(isa);
  if (kernels == nullptr)
    throw std::invalid_argument("isa must be one this CPU has (" + usable_names() + "), got '" + name(isa) +
                                "'");
  return *kernels;
}

}  // namespace coder
