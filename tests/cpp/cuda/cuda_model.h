#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <iterator>
#include <memory>

#include "coder/cuda_head.h"
#include "model.h"
#include "testing.h"

// Runs of the CUDA head on the emulation, and of the CPU head on the same numbers.

using coder::CudaHead;
using coder::CudaWeights;
using coder::PairsOn;
using coder::PairsWish;
using coder::RankOptions;

constexpr RankOptions always{100.0, 1.0, -1.0, true};
inline const auto stream = reinterpret_cast<cudaStream_t>(uintptr_t{8});

inline std::vector<float> unit_images(const Model& model, int64_t batch, unsigned seed = 7) {
  std::vector<float> features = model.images(batch, seed);
  for (auto at = features.begin(); at != features.end(); at += model.width) {
    double squares = 0.0;
    for (int64_t d = 0; d < model.width; ++d)
      squares += static_cast<double>(at[d]) * static_cast<double>(at[d]);
    for (int64_t d = 0; d < model.width; ++d)
      at[d] = static_cast<float>(static_cast<double>(at[d]) / std::sqrt(squares));
  }
  return features;
}

// Memory that CUDA knows.
class OnDevice {
 public:
  explicit OnDevice(const std::vector<float>& values) {
    void* memory = nullptr;
    cudaMalloc(&memory, values.size() * sizeof(float));
    at_ = static_cast<float*>(memory);
    set(values);
  }
  ~OnDevice() { cudaFree(at_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  void set(const std::vector<float>& values) const { std::copy(values.begin(), values.end(), at_); }
  float* at() const { return at_; }

 private:
  float* at_;
};

inline std::shared_ptr<const CudaWeights> cuda_weights(const Model& model,
                                                       PairsWish wish = PairsWish::automatic) {
  return std::make_shared<const CudaWeights>(model.bank_view(), model.pairs_view(), wish);
}

inline CudaHead cuda_head(const Model& model, int64_t max_batch, PairsWish wish = PairsWish::automatic) {
  return {cuda_weights(model, wish), max_batch};
}

inline void read(const CudaHead& head, Answer& to) {
  head.results(to.batch, to.view());
  head.logits(to.batch, to.logits.data());
}

// In another order of the threads every time.
inline Answer run(const Model& model, CudaHead& head, const std::vector<float>& features, int64_t top,
                  const RankOptions& options) {
  Answer answer(model, static_cast<int64_t>(features.size()) / model.width, top);
  const OnDevice there(features);
  head.enqueue(there.at(), answer.batch, stream, options, top);
  static size_t turn = 0;
  emulation::order = emulation::orders[turn++ % std::size(emulation::orders)];
  cudaStreamSynchronize(stream);
  read(head, answer);
  return answer;
}

inline Answer run_on_cpu(const Model& model, const std::vector<float>& features, int64_t top,
                         const RankOptions& options) {
  Answer answer(model, static_cast<int64_t>(features.size()) / model.width, top);
  const coder::Head head = model.head(coder::Isa::scalar);
  head.coder(features.data(), answer.batch, answer.coder.data());
  head.rank(features.data(), answer.coder.data(), answer.batch, options, answer.view());
  return answer;
}

inline void compare(const std::vector<float>& got, const std::vector<float>& wanted, double tolerance) {
  CHECK(got.size() == wanted.size());
  for (size_t i = 0; i < got.size(); ++i)
    CHECK(near(static_cast<double>(got[i]), static_cast<double>(wanted[i]), tolerance));
}

// Ids exactly, as random numbers hold no near ties; the rest to the rounding of sums of D products in another
// order: features, bank and pair rows are of length 1 to 3 here, so 4e-6 is 30 units in the last place.
inline void compare(const Answer& got, const Answer& wanted) {
  CHECK(got.ids == wanted.ids);
  CHECK(std::equal(got.reranked.get(), got.reranked.get() + got.batch, wanted.reranked.get()));
  compare(got.logits, wanted.logits, 4e-6);
  compare(got.duels, wanted.duels, 1e-5);
  compare(got.gaps, wanted.gaps, 2e-5);
  compare(got.scores, wanted.scores, 2e-4);  // softmax at scale 100
}
