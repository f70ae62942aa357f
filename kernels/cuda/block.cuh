// What a ranking block's threads find out together.
#pragma once

#include "launch.h"

namespace coder::cuda {

constexpr int duel_count = max_candidates * (max_candidates - 1) / 2;
constexpr int rank_threads = warp * duel_count;  // a warp a duel

// False for a NaN and an infinity.
__device__ inline bool finite(float value) { return fabsf(value) <= 3.402823466e38f; }

// The same in every lane, as a + b is b + a.
template <typename T>
__device__ T warp_sum(T value) {
  for (int away = warp / 2; away > 0; away /= 2) value += __shfl_xor_sync(all_lanes, value, away);
  return value;
}

// The same in every thread. `parts` must not have been used since the last barrier but one.
template <typename T>
__device__ T block_sum(T value, T* parts) {
  value = warp_sum(value);
  if (threadIdx.x % warp == 0) parts[threadIdx.x / warp] = value;
  __syncthreads();
  T sum = parts[0];
  for (int w = 1; w < duel_count; ++w) sum += parts[w];
  return sum;
}

__device__ inline uint64_t block_max(uint64_t value, uint64_t* parts) {
  for (int away = warp / 2; away > 0; away /= 2) {
    const uint64_t other = __shfl_xor_sync(all_lanes, value, away);
    value = other > value ? other : value;
  }
  if (threadIdx.x % warp == 0) parts[threadIdx.x / warp] = value;
  __syncthreads();
  uint64_t best = parts[0];
  for (int w = 1; w < duel_count; ++w) best = parts[w] > best ? parts[w] : best;
  return best;
}

}  // namespace coder::cuda
