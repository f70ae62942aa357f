#include "check.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

namespace coder {

namespace {

using std::to_string;

void require(bool fine, const std::string& message) {
  if (!fine) throw std::invalid_argument(message);
}

void check_names(const Bank& bank) {
  const int32_t* offsets = bank.name_offsets;
  require(offsets[0] == 0, "name_offsets must start with 0, got " + to_string(offsets[0]));
  for (int64_t j = 0; j < bank.classes; ++j)
    if (offsets[j + 1] <= offsets[j])
      throw std::invalid_argument("name_offsets must ascend, every class has a name row; class " +
                                  to_string(j) + " has " + to_string(offsets[j]) + " to " +
                                  to_string(offsets[j + 1]));
  require(offsets[bank.classes] == bank.names,
          "name_offsets must end with the number of name rows R = " + to_string(bank.names) + ", got " +
              to_string(offsets[bank.classes]));
}

void check_pair_row(const Pairs& pairs, int64_t a, int64_t classes) {
  int64_t least = a + 1;
  for (int64_t row = pairs.starts[a]; row < pairs.starts[a + 1]; ++row) {
    const int64_t other = pairs.others[row];
    if (other < least || other >= classes)
      throw std::invalid_argument("pair_others of class " + to_string(a) + " must ascend from " +
                                  to_string(a + 1) + " to at most " + to_string(classes - 1) + ", got " +
                                  to_string(other) + " in row " + to_string(row));
    least = other + 1;
  }
}

void check_sparse(const Pairs& pairs, int64_t classes) {
  require(pairs.starts[0] == 0, "pair_starts must start with 0, got " + to_string(pairs.starts[0]));
  require(pairs.starts[classes] == pairs.count,
          "pair_starts must end with the number of pair rows P = " + to_string(pairs.count) + ", got " +
              to_string(pairs.starts[classes]));
  // All of pair_starts before any of pair_others: a start out of range would read past its end.
  for (int64_t a = 0; a < classes; ++a)
    if (pairs.starts[a + 1] < pairs.starts[a])
      throw std::invalid_argument("pair_starts must not descend, class " + to_string(a) + " has " +
                                  to_string(pairs.starts[a]) + " to " + to_string(pairs.starts[a + 1]));
  for (int64_t a = 0; a < classes; ++a) check_pair_row(pairs, a, classes);
}

const char* text(Fault fault) {
  if (fault == Fault::feature)
    return "its feature holds a NaN or an infinity; check the image tower's output";
  if (fault == Fault::coder)
    return "its coder row holds a NaN or an infinity; check the image tower's output";
  if (fault == Fault::file)
    return "a pair row it needs cannot be read; the weight file was cut short while in use, or its disk "
           "failed: copy it again and open it anew";
  if (fault == Fault::memory) return "there is no memory to read a pair row into; free some";
  return "a pair row it needs holds a NaN or an infinity; the weight file is damaged, export it again";
}

}  // namespace

void check_bank(const Bank& bank, const Kernels& kernels) {
  require(bank.classes >= 1, "the bank must have at least one class, got " + to_string(bank.classes));
  require(bank.width >= 1, "the bank must be at least 1 wide, got " + to_string(bank.width));
  check_names(bank);
  for (int64_t j = 0; j < bank.classes; ++j)
    if (!(bank.name_weight[j] > 0.0f && bank.name_weight[j] <= 1.0f))
      throw std::invalid_argument("name_weight must be in (0, 1], it is 1 / (m + 1); class " + to_string(j) +
                                  " has " + to_string(bank.name_weight[j]));
  for (int64_t r = 0; r < bank.classes + bank.names; ++r)
    if (!kernels.all_finite(bank.rows + r * bank.width, bank.width))
      throw std::invalid_argument("bank must be finite, row " + to_string(r) + " holds a NaN or an infinity");
}

void check_pairs(const Pairs& pairs, int64_t classes) {
  require((pairs.starts == nullptr) == (pairs.others == nullptr),
          "pair_starts and pair_others must be given both (sparse) or neither (dense), got only one");
  if (pairs.rows == nullptr) {
    require(pairs.starts == nullptr && pairs.count == 0,
            "pair_starts and pair_others need pair_rows, got none");
  } else if (pairs.starts != nullptr) {
    check_sparse(pairs, classes);
  } else {
    const int64_t wanted = classes * (classes - 1) / 2;
    require(pairs.count == wanted, "dense pair_rows must have C (C - 1) / 2 = " + to_string(wanted) +
                                       " rows, got " + to_string(pairs.count) +
                                       "; give pair_starts and pair_others if pairs are missing");
  }
}

// Called with every batch: no message is made up before it is needed.
void check_options(const RankOptions& options, int64_t top, int64_t classes) {
  // The kernels take both as floats, and what fills a vector up counts as nothing only if it is scaled
  // enough.
  const auto sane = [](double value) { return value >= 1e-9 && value <= 1e9; };
  if (!sane(options.scale))
    throw std::invalid_argument("scale must be from 1e-9 to 1e9, got " + to_string(options.scale));
  if (!sane(options.scale / options.temperature))
    throw std::invalid_argument(
        "temperature must be such that scale / temperature is from 1e-9 to 1e9, got " +
        to_string(options.temperature));
  if (std::isnan(options.margin))
    throw std::invalid_argument("margin must be a number (negative = always rerank), got nan");
  const int64_t least = std::min<int64_t>(max_candidates, classes);
  if (top < least || top > classes)
    throw std::invalid_argument("ids must have from k = " + to_string(least) +
                                " to C = " + to_string(classes) + " columns, got " + to_string(top));
}

void fail_image(int64_t image, const std::string& why) {
  throw std::runtime_error("image row " + to_string(image) + " cannot be ranked: " + why);
}

void fail_image(int64_t image, Fault fault) { fail_image(image, text(fault)); }

}  // namespace coder
