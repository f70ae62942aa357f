#pragma once

#include "coder/cuda_head.h"
#include "launch.h"
#include "memory.h"

namespace coder {

// What CudaWeights holds, for the heads that read it.
struct CudaWeights::Memory {
  cuda::Model model{};
  int device = 0;
  PairsOn pairs_on = PairsOn::none;

  cuda::DeviceArray<float> bank, weight;
  cuda::DeviceArray<int32_t> offsets, others;
  cuda::DeviceArray<int64_t> starts;
  cuda::DeviceArray<uint16_t> rows;
  cuda::PinnedArray<uint16_t> host_rows;

  // Both only ask the stream to copy.
  void copy_bank(const Bank& from, const cuda::Stream& on);
  void copy_pairs(const Pairs& from, PairsWish wish, const cuda::Stream& on);

 private:
  PairsOn choose(PairsWish wish, int64_t bytes);
};

}  // namespace coder
