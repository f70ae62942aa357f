#pragma once

#include <string>
#include <vector>

namespace coder {

// The instruction sets the kernels are written for, narrowest first.
enum class Isa { scalar, neon, avx2, avx512 };

// "scalar", "neon", "avx2" or "avx512".
const char* name(Isa isa);

// What this CPU and its operating system can run, best first; never empty, the last is Isa::scalar.
std::vector<Isa> usable_isas();

// "auto" is the best usable one. Throws std::invalid_argument for a name that is unknown or not usable here.
Isa isa_from_name(const std::string& text);

}  // namespace coder
