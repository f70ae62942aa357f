#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>

#include "arrays.h"
#include "coder/cuda_head.h"
#include "weights.h"

namespace coder::python {

namespace {

using Released = py::gil_scoped_release;

PairsWish wish_from_name(const std::string& name) {
  if (name == "auto") return PairsWish::automatic;
  if (name == "device") return PairsWish::device;
  if (name == "host") return PairsWish::host;
  throw py::value_error("pairs must be 'auto', 'device' or 'host', got '" + name + "'");
}

std::shared_ptr<CudaWeights> make_weights(const Array<float>& bank, const Array<int32_t>& offsets,
                                          const Array<float>& weight, const std::optional<py::array>& rows,
                                          const std::optional<Array<int64_t>>& starts,
                                          const std::optional<Array<int32_t>>& others,
                                          const std::string& pairs) {
  const Bank bank_view = bank_of(bank, offsets, weight);
  const Pairs pairs_view = pairs_of(bank_view, rows, starts, others);
  const PairsWish wish = wish_from_name(pairs);
  const Released released;
  return std::make_shared<CudaWeights>(bank_view, pairs_view, wish);
}

std::unique_ptr<CudaHead> make_head(const std::shared_ptr<CudaWeights>& weights, int64_t max_batch) {
  const Released released;
  return std::make_unique<CudaHead>(weights, max_batch);
}

void enqueue(CudaHead& head, std::uintptr_t features, int64_t batch, std::uintptr_t stream, double scale,
             double temperature, double margin, bool rerank, int64_t top) {
  const Released released;
  head.enqueue(reinterpret_cast<const float*>(features), batch, reinterpret_cast<void*>(stream),
               {scale, temperature, margin, rerank}, top);
}

void results(const CudaHead& head, int64_t batch, int64_t top, Array<int32_t> ids, Array<float> scores,
             Array<float> gaps, Array<float> duels, Array<bool> reranked) {
  const py::ssize_t k = head.weights().classes() < max_candidates ? head.weights().classes() : max_candidates;
  const Ranking to{nullptr,
                   output(ids, "ids", "[B, n]", {batch, top}),
                   output(scores, "scores", "[B, n]", {batch, top}),
                   output(gaps, "gaps", "[B, k]", {batch, k}),
                   output(duels, "duels", "[B, k, k]", {batch, k, k}),
                   output(reranked, "reranked", "[B]", {batch}),
                   top};
  const Released released;
  head.results(batch, to);
}

void logits(const CudaHead& head, int64_t batch, Array<float> out) {
  float* to = output(out, "out", "[B, C]", {batch, head.weights().classes()});
  const Released released;
  head.logits(batch, to);
}

const char* pairs_on(const CudaWeights& weights) {
  if (weights.pairs_on() == PairsOn::none) return "none";
  return weights.pairs_on() == PairsOn::device ? "device" : "host";
}

}  // namespace

PYBIND11_MODULE(_cuda, m) {
  m.doc() = "Two-stage CODER on a CUDA stream; see _cuda.pyi.";
  m.def("available", &cuda_devices);
  const auto fixed = [](const char* name) { return py::arg(name).noconvert(); };
  // Freeing device memory waits for the device: not with the GIL held.
  const auto unlocked = py::release_gil_before_calling_cpp_dtor();
  py::class_<CudaWeights, std::shared_ptr<CudaWeights>>(m, "Weights", unlocked)
      .def(py::init(&make_weights), fixed("bank"), fixed("name_offsets"), fixed("name_weight"),
           fixed("pair_rows"), fixed("pair_starts"), fixed("pair_others"), py::kw_only(),
           py::arg("pairs") = "auto")
      .def_property_readonly("classes", &CudaWeights::classes)
      .def_property_readonly("names", &CudaWeights::names)
      .def_property_readonly("width", &CudaWeights::width)
      .def_property_readonly("pairs_on", &pairs_on);
  py::class_<CudaHead>(m, "Head", unlocked)
      .def(py::init(&make_head), py::arg("weights").none(false), py::kw_only(), py::arg("max_batch"))
      .def("enqueue", &enqueue, py::arg("features"), py::arg("batch"), py::arg("stream"), py::kw_only(),
           py::arg("scale"), py::arg("temperature"), py::arg("margin"), py::arg("rerank"), py::arg("top"))
      .def("results", &results, py::arg("batch"), py::arg("top"), py::kw_only(), fixed("ids"),
           fixed("scores"), fixed("gaps"), fixed("duels"), fixed("reranked"))
      .def("logits", &logits, py::arg("batch"), fixed("out"))
      .def_property_readonly("max_batch", &CudaHead::max_batch);
}

}  // namespace coder::python
