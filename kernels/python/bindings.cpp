#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "arrays.h"
#include "coder/head.h"
#include "register.h"
#include "weights.h"

namespace coder::python {

namespace {

using Released = py::gil_scoped_release;

// The core's Head and the arrays it looks into.
class PyHead {
 public:
  PyHead(Array<float> bank, Array<int32_t> offsets, Array<float> weight, std::optional<py::array> rows,
         std::optional<Array<int64_t>> starts, std::optional<Array<int32_t>> others,
         std::optional<std::pair<int, int64_t>> file, int threads, const std::string& isa)
      : arrays_{bank, offsets, weight} {
    const Bank bank_view = bank_of(bank, offsets, weight);
    Pairs pairs = pairs_of(bank_view, rows, starts, others);
    if (file) std::tie(pairs.file, pairs.offset) = *file;
    if (rows) arrays_.push_back(*rows);
    if (starts) arrays_.push_back(*starts);
    if (others) arrays_.push_back(*others);
    const Released released;
    head_ = std::make_unique<Head>(bank_view, pairs, threads, isa_from_name(isa));
  }

  ~PyHead() {
    const Released released;  // joins threads
    head_.reset();
  }

  void coder(const Array<float>& features, Array<float> out) const {
    const py::ssize_t batch = features.ndim() == 2 ? features.shape(0) : 0;
    const float* from = input(features, "features", "[B, D]", {-1, head_->width()});
    float* to = output(out, "out", "[B, C + R]", {batch, head_->classes() + head_->names()});
    const Released released;
    head_->coder(from, batch, to);
  }

  void product(const Array<float>& rows, const Array<float>& features, Array<float> out) const {
    const py::ssize_t count = rows.ndim() == 2 ? rows.shape(0) : 0,
                      batch = features.ndim() == 2 ? features.shape(0) : 0;
    const float* by = input(rows, "rows", "[N, D]", {-1, head_->width()});
    const float* from = input(features, "features", "[B, D]", {-1, head_->width()});
    float* to = output(out, "out", "[B, N]", {batch, count});
    const Released released;
    head_->product(by, count, from, batch, to);
  }

  void rank(const Array<float>& features, const Array<float>& coder, double scale, double temperature,
            double margin, bool rerank, Array<float> logits, Array<int32_t> ids, Array<float> scores,
            Array<float> gaps, Array<float> duels, Array<bool> reranked) const {
    const py::ssize_t c = head_->classes(), k = c < max_candidates ? c : max_candidates;
    const py::ssize_t b = features.ndim() == 2 ? features.shape(0) : 0,
                      n = ids.ndim() == 2 ? ids.shape(1) : 0;
    const float* x = input(features, "features", "[B, D]", {-1, head_->width()});
    const float* s = input(coder, "coder", "[B, C + R]", {b, c + head_->names()});
    const Ranking to{output(logits, "logits", "[B, C]", {b, c}),
                     output(ids, "ids", "[B, n]", {b, -1}),
                     output(scores, "scores", "[B, n]", {b, n}),
                     output(gaps, "gaps", "[B, k]", {b, k}),
                     output(duels, "duels", "[B, k, k]", {b, k, k}),
                     output(reranked, "reranked", "[B]", {b}),
                     n};
    const Released released;
    head_->rank(x, s, b, {scale, temperature, margin, rerank}, to);
  }

  std::string isa() const { return name(head_->isa()); }
  int threads() const { return head_->threads(); }

 private:
  std::vector<py::array> arrays_;
  std::unique_ptr<Head> head_;
};

std::vector<std::string> isas() {
  std::vector<std::string> names;
  for (Isa isa : usable_isas()) names.emplace_back(name(isa));
  return names;
}

}  // namespace

PYBIND11_MODULE(_kernels, m) {
  m.doc() = "Two-stage CODER over frozen weights, and resizing; see _kernels.pyi.";
  m.def("isa", [] { return isas().front(); });
  m.def("isas", &isas);
  register_resize(m);
  const auto fixed = [](const char* name) { return py::arg(name).noconvert(); };
  py::class_<PyHead>(m, "Head")
      .def(py::init<Array<float>, Array<int32_t>, Array<float>, std::optional<py::array>,
                    std::optional<Array<int64_t>>, std::optional<Array<int32_t>>,
                    std::optional<std::pair<int, int64_t>>, int, const std::string&>(),
           fixed("bank"), fixed("name_offsets"), fixed("name_weight"), fixed("pair_rows"),
           fixed("pair_starts"), fixed("pair_others"), py::kw_only(), py::arg("pair_file") = py::none(),
           py::arg("threads") = 1, py::arg("isa") = "auto")
      .def("coder", &PyHead::coder, fixed("features"), fixed("out"))
      .def("product", &PyHead::product, fixed("rows"), fixed("features"), fixed("out"))
      .def("rank", &PyHead::rank, fixed("features"), fixed("coder"), py::kw_only(), py::arg("scale"),
           py::arg("temperature"), py::arg("margin"), py::arg("rerank"), fixed("logits"), fixed("ids"),
           fixed("scores"), fixed("gaps"), fixed("duels"), fixed("reranked"))
      .def_property_readonly("isa", &PyHead::isa)
      .def_property_readonly("threads", &PyHead::threads);
}

}  // namespace coder::python
