#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "check.h"
#include "coder/head.h"

// What the kernels are given and what they give back.
namespace coder::cuda {

constexpr unsigned all_lanes = 0xffffffffu;
constexpr int warp = 32;

// Columns of one partial sum of the bank matmul; the bank's rows are padded to whole slabs.
constexpr int slab = 16;

// How far a feature's length may be from 1: bf16 keeps 8 bits, which moves it by 0.004 at the most.
constexpr float off_unit = 0.01f;

// All pointers are the device's; pair_rows may point into mapped host memory.
struct Model {
  const float* bank;            // [C + R, pitch], 0 from column D on
  const int32_t* name_offsets;  // [C + 1]
  const float* name_weight;     // [C]
  const uint16_t* pair_rows;    // [P, D] halves; nullptr = no pairs
  const int64_t* pair_starts;   // [C + 1]; nullptr = dense
  const int32_t* pair_others;   // [P]
  int64_t classes, names, width, pitch;
  int candidates;  // k
};

struct Call {
  const float* features;   // [B, D]
  float* coder;            // [B, C + R], of the features as they came
  float* logits;           // [B, C]
  unsigned char* records;  // [B, record_bytes]
  int64_t batch, top, record_bytes;
  double scale, temperature, margin;
  bool rerank;
};

// One image's answer, packed so that a batch comes back in one copy: the header, ids [n], scores [n],
// gaps [k], duels [k, k], all of 4 bytes each.
struct Header {
  int32_t batch, top;  // of the call, so that a reader can tell what it reads
  Fault fault;
  int32_t reranked;
  float length;
};

inline int64_t record_bytes(int64_t top, int64_t candidates) {
  return static_cast<int64_t>(sizeof(Header)) + 4 * (2 * top + candidates + candidates * candidates);
}

// Both stages for call.batch >= 1 images.
cudaError_t launch(const Model& model, const Call& call, cudaStream_t stream);

// Has the kernels loaded now, as a stream under capture must not; an error where none was built for this GPU.
cudaError_t load_kernels();

}  // namespace coder::cuda
