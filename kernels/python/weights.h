#pragma once

#include <optional>

#include "arrays.h"
#include "coder/head.h"

// A label set's arrays -> the core's views of them, as both heads take them.
namespace coder::python {

inline Bank bank_of(const Array<float>& bank, const Array<int32_t>& offsets, const Array<float>& weight) {
  const py::ssize_t classes = weight.ndim() == 1 ? weight.size() : 0;
  if (classes < 1) throw py::value_error("name_weight must be [C] with C >= 1, got " + shape_text(weight));
  const float* weights = input(weight, "name_weight", "[C]", {classes});
  const float* rows = input(bank, "bank", "[C + R, D]", {-1, -1});
  const int32_t* ends = input(offsets, "name_offsets", "[C + 1]", {classes + 1});
  return {rows, ends, weights, classes, bank.shape(0) - classes, bank.shape(1)};
}

inline Pairs pairs_of(const Bank& bank, const std::optional<py::array>& rows,
                      const std::optional<Array<int64_t>>& starts,
                      const std::optional<Array<int32_t>>& others) {
  Pairs pairs{};
  if (rows) {
    pairs.rows = half_input(*rows, "pair_rows", "[P, D]", {-1, bank.width});
    pairs.count = rows->shape(0);
  }
  if (starts) pairs.starts = input(*starts, "pair_starts", "[C + 1]", {bank.classes + 1});
  if (others) pairs.others = input(*others, "pair_others", "[P]", {pairs.count});
  return pairs;
}

}  // namespace coder::python
