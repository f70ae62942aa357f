#pragma once

#include <cstdint>
#include <memory>

#include "coder/head.h"

namespace coder {

// NVIDIA GPUs that this process may use; 0 where there is no driver. Never throws.
int cuda_devices() noexcept;

// Where the pair rows are: in the GPU's memory, or in pinned host memory that the kernels read over the bus.
enum class PairsOn { none, device, host };

// "auto" is the GPU's memory where the rows take at most half of what is free: the engine wants the rest.
enum class PairsWish { automatic, device, host };

// A label set on the device that was current when it was made, for any number of CudaHeads at once.
// Everything is copied; the memory behind `bank` and `pairs` may go afterwards.
class CudaWeights {
 public:
  // Throws std::invalid_argument as Head does, and std::runtime_error where CUDA fails.
  CudaWeights(const Bank& bank, const Pairs& pairs, PairsWish wish);
  ~CudaWeights();
  CudaWeights(const CudaWeights&) = delete;
  CudaWeights& operator=(const CudaWeights&) = delete;

  int64_t classes() const;
  int64_t names() const;
  int64_t width() const;
  PairsOn pairs_on() const;

 private:
  friend class CudaHead;
  struct Memory;
  std::unique_ptr<Memory> memory_;
};

// coder::Head on a CUDA stream, for features that are already on the weights' device. A CudaHead has one set
// of buffers: it belongs to one stream at a time, and `results` and `logits` are the caller's only after it
// has synchronised that stream.
//
// Sums are in single precision and in an order that depends on D alone, so an image's result does not depend
// on B or on its place; it differs from Head's by rounding.
//
// All members but the destructor throw std::runtime_error where CUDA fails.
class CudaHead {
 public:
  // Allocates for `max_batch` images, 1 to 65536. Throws std::invalid_argument for another number, or without
  // weights.
  CudaHead(std::shared_ptr<const CudaWeights> weights, int64_t max_batch);
  ~CudaHead();
  CudaHead(const CudaHead&) = delete;
  CudaHead& operator=(const CudaHead&) = delete;

  // Enqueues two kernels and one copy on `stream`, a cudaStream_t; with no image, nothing. Neither allocates
  // nor synchronises: a stream under capture records them, and each launch of the graph ranks anew what
  // `features` then holds. Throws std::invalid_argument for arguments out of range.
  //
  // features [B, D] is device memory and holds lengths near 1: each row is divided by its length. The rest is
  // as Head::coder and Head::rank describe; `top` is n.
  void enqueue(const float* features, int64_t batch, void* stream, const RankOptions& options, int64_t top);

  // The answer for the first `batch` images of the stream's last `enqueue`, into the caller's arrays;
  // out.logits is left alone. Throws std::runtime_error naming the first image that cannot be ranked: its
  // feature is not finite or its length further than 0.01 from 1, its coder or a pair row it needs is not
  // finite. Throws std::invalid_argument where the last call had fewer images or another n.
  void results(int64_t batch, const Ranking& out) const;

  // o of Eq. 8 for the same images, [B, C], fetched from the device now.
  void logits(int64_t batch, float* out) const;

  const CudaWeights& weights() const { return *weights_; }
  int64_t max_batch() const;

 private:
  struct Buffers;
  std::shared_ptr<const CudaWeights> weights_;
  std::unique_ptr<Buffers> buffers_;
};

}  // namespace coder
