// Both stages of CODER from an image's feature and its coder row, one block an image.
#pragma once

#include <cuda_fp16.h>

#include "block.cuh"

namespace coder::cuda {

struct Shared {
  float squares[duel_count];
  double powers[duel_count], gate_powers[duel_count];
  uint64_t best[2][duel_count];
  int32_t first[max_candidates];              // candidates in stage-1 order
  float gap[max_candidates][max_candidates];  // of i over j, in that order
  float sum[max_candidates];                  // S of Eq. 15
  int order[max_candidates];                  // stage-1 ranks, best first
};

struct Record {
  Header* header;
  int32_t* ids;
  float *scores, *gaps, *duels;
};

__device__ inline Record record_of(const Model& model, const Call& call, int64_t image) {
  const int64_t k = model.candidates;
  auto* header = reinterpret_cast<Header*>(call.records + image * call.record_bytes);
  auto* ids = reinterpret_cast<int32_t*>(header + 1);
  auto* scores = reinterpret_cast<float*>(ids + call.top);
  return {header, ids, scores, scores + call.top, scores + call.top + k};
}

__device__ inline float length_of(const float* feature, int64_t width, Shared& shared) {
  float sum = 0.0f;
  for (int64_t d = threadIdx.x; d < width; d += rank_threads) sum = fmaf(feature[d], feature[d], sum);
  return sqrtf(block_sum(sum, shared.squares));
}

// o_j = x.q_j + w_j * max over the names n of j of x.n (Eq. 8, collapsed), x being the feature over its
// length. False in every thread where a number is not finite. A thread's own logits need no barrier.
__device__ inline bool stage_one(const Model& model, const float* coder, float length, float* logits) {
  const float* names = coder + model.classes;
  bool bad = false;
  for (int64_t j = threadIdx.x; j < model.classes; j += rank_threads) {
    const int32_t begin = model.name_offsets[j], end = model.name_offsets[j + 1];
    float best = names[begin];
    for (int32_t n = begin; n < end; ++n) {
      best = names[n] > best ? names[n] : best;
      bad = bad || !finite(names[n]);
    }
    logits[j] = coder[j] / length + model.name_weight[j] * (best / length);
    bad = bad || !finite(coder[j]) || !finite(logits[j]);
  }
  return __syncthreads_or(bad) == 0;
}

// Orders as logits do, and among equals the lower id higher; never 0 for a finite logit. No logit is -0,
// which would stand below 0: the matmul's sums start from 0.
__device__ inline uint64_t key_of(float logit, int64_t id) {
  const uint32_t bits = __float_as_uint(logit);
  const uint32_t ordered = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return static_cast<uint64_t>(ordered) << 32 | ~static_cast<uint32_t>(id);
}

// The n best classes, best first: each round takes the greatest key below the last one's. Made for a small n.
__device__ inline void select_top(const Model& model, const Call& call, const float* logits, int32_t* ids,
                                  Shared& shared) {
  uint64_t last = ~uint64_t{0};
  for (int64_t at = 0; at < call.top; ++at) {
    uint64_t best = 0;
    for (int64_t j = threadIdx.x; j < model.classes; j += rank_threads) {
      const uint64_t key = key_of(logits[j], j);
      best = key < last && key > best ? key : best;
    }
    last = block_max(best, shared.best[at % 2]);
    if (threadIdx.x == 0) {
      ids[at] = static_cast<int32_t>(~static_cast<uint32_t>(last));
      if (at < model.candidates) shared.first[at] = ids[at];
    }
  }
  __syncthreads();
}

__device__ inline double power(double scale, float logit, float best) {
  return static_cast<double>(
      expf(static_cast<float>(scale * (static_cast<double>(logit) - static_cast<double>(best)))));
}

__device__ inline double exp_sum(const Model& model, double scale, const float* logits, float best,
                                 double* parts) {
  double sum = 0.0;
  for (int64_t j = threadIdx.x; j < model.classes; j += rank_threads) sum += power(scale, logits[j], best);
  return block_sum(sum, parts);
}

// Whether stage 2 is asked for, the same in every thread. The margin goes without the temperature.
__device__ inline bool gate_opens(const Model& model, const Call& call, const float* logits, Shared& shared) {
  if (!call.rerank || model.pair_rows == nullptr || model.candidates < 2) return false;
  const double margin = call.margin;
  if (margin < 0.0) return true;
  const float best = logits[shared.first[0]];
  const double sum = exp_sum(model, call.scale, logits, best, shared.gate_powers);
  return (1.0 - power(call.scale, logits[shared.first[1]], best)) / sum < margin;
}

// The row of the pair a < b, or -1 where it has no texts.
__device__ inline int64_t pair_row(const Model& model, int64_t a, int64_t b) {
  if (model.pair_starts == nullptr) return a * (2 * model.classes - a - 1) / 2 + (b - a - 1);
  int64_t low = model.pair_starts[a], high = model.pair_starts[a + 1];
  const int64_t end = high;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (model.pair_others[middle] < b)
      low = middle + 1;
    else
      high = middle;
  }
  return low < end && model.pair_others[low] == b ? low : -1;
}

// 8 halves at once where every row starts at a whole 16 bytes; past the row's end, 0.
__device__ inline void load_halves(const uint16_t* row, int64_t start, int64_t width, uint16_t (&to)[8]) {
  if (width % 8 == 0) {
    const uint4 packed = *reinterpret_cast<const uint4*>(row + start);
    const uint32_t words[4] = {packed.x, packed.y, packed.z, packed.w};
    for (int i = 0; i < 8; ++i) to[i] = static_cast<uint16_t>(words[i / 2] >> i % 2 * 16);
  } else {
    for (int i = 0; i < 8; ++i) to[i] = start + i < width ? row[start + i] : uint16_t{0};
  }
}

// row . x, a warp together, 8 halves a lane at a time: over the bus, requests want to be wide.
__device__ inline float dot_half(const uint16_t* row, const float* x, int64_t width, int lane) {
  float sum = 0.0f;
  for (int64_t start = lane * 8; start < width; start += warp * 8) {
    uint16_t halves[8];
    load_halves(row, start, width, halves);
    for (int i = 0; i < 8; ++i)
      sum = fmaf(__half2float(__ushort_as_half(halves[i])), start + i < width ? x[start + i] : 0.0f, sum);
  }
  return warp_sum(sum);
}

struct Duel {
  int i, j;     // stage-1 ranks, i < j
  int64_t row;  // -1 = none
};

// This thread's warp's: the pairs (0, 1), (0, 2) .. (0, 4), (1, 2) .. of the candidates.
__device__ inline Duel duel_of(const Model& model, bool open, const Shared& shared) {
  int i = 0, j = static_cast<int>(threadIdx.x) / warp + 1;
  while (j >= max_candidates) j += ++i + 1 - max_candidates;
  if (!open || j >= model.candidates) return {i, j, -1};
  const int32_t a = shared.first[i], b = shared.first[j];
  return {i, j, a < b ? pair_row(model, a, b) : pair_row(model, b, a)};
}

// gap_ab = x.g_ab = -gap_ba. False in every thread where a pair row is not finite.
__device__ inline bool fight(const Model& model, const float* feature, float length, const Duel& duel,
                             Shared& shared) {
  bool bad = false;
  if (duel.row >= 0) {
    const int lane = static_cast<int>(threadIdx.x) % warp;
    const float lower =
        dot_half(model.pair_rows + duel.row * model.width, feature, model.width, lane) / length;
    bad = !finite(lower);
    if (lane == 0) {
      shared.gap[duel.i][duel.j] = shared.first[duel.i] < shared.first[duel.j] ? lower : -lower;
      shared.gap[duel.j][duel.i] = -shared.gap[duel.i][duel.j];
    }
  }
  return __syncthreads_or(bad) == 0;
}

// The candidates by S descending, ties by stage-1 rank; a thread a candidate.
__device__ inline void order_candidates(int candidates, Shared& shared) {
  const int c = static_cast<int>(threadIdx.x);
  if (c < candidates) {
    double sum = 0.0;
    for (int j = 0; j < candidates; ++j) sum += static_cast<double>(shared.gap[c][j]);
    shared.sum[c] = static_cast<float>(sum);
  }
  __syncthreads();
  if (c < candidates) {
    int place = 0;
    for (int other = 0; other < candidates; ++other)
      if (shared.sum[other] > shared.sum[c] || (shared.sum[other] == shared.sum[c] && other < c)) ++place;
    shared.order[place] = c;
  }
  __syncthreads();
}

__device__ inline void write(const Model& model, const Call& call, const Record& record, const float* logits,
                             Shared& shared) {
  const int k = model.candidates, thread = static_cast<int>(threadIdx.x);
  if (thread < k) {
    record.ids[thread] = shared.first[shared.order[thread]];
    record.gaps[thread] = shared.sum[shared.order[thread]];
  }
  if (thread < k * k) record.duels[thread] = shared.gap[shared.order[thread / k]][shared.order[thread % k]];
  const float best = logits[shared.first[0]];
  const double scale = call.scale / call.temperature;
  const double sum = exp_sum(model, scale, logits, best, shared.powers);
  for (int64_t at = thread; at < call.top; at += rank_threads) {
    const int32_t id = at < k ? shared.first[shared.order[at]] : record.ids[at];
    record.scores[at] = static_cast<float>(power(scale, logits[id], best) / sum);
  }
}

// The fault is the same in every thread.
__device__ inline Fault rank_image(const Model& model, const Call& call, int64_t image, const Record& record,
                                   Shared& shared) {
  const int k = model.candidates, thread = static_cast<int>(threadIdx.x);
  const float* feature = call.features + image * model.width;
  float* logits = call.logits + image * model.classes;
  if (thread < max_candidates * max_candidates)
    shared.gap[thread / max_candidates][thread % max_candidates] = 0.0f;
  const float length = length_of(feature, model.width, shared);
  if (thread == 0) record.header->length = length;
  if (!(fabsf(length - 1.0f) <= off_unit)) return Fault::feature;  // NaN is not
  if (!stage_one(model, call.coder + image * (model.classes + model.names), length, logits))
    return Fault::coder;
  select_top(model, call, logits, record.ids, shared);
  const bool open = gate_opens(model, call, logits, shared);
  const Duel duel = duel_of(model, open, shared);
  const bool reranked = __syncthreads_or(duel.row >= 0) != 0;
  if (thread == 0) record.header->reranked = reranked ? 1 : 0;
  if (!fight(model, feature, length, duel, shared)) return Fault::pair;
  order_candidates(k, shared);
  write(model, call, record, logits, shared);
  return Fault::none;
}

// Block B, rank_threads threads; after the kernel that wrote call.coder.
__global__ void __launch_bounds__(rank_threads) rank(Model model, Call call) {
  __shared__ Shared shared;
  const int64_t image = blockIdx.x;
  const Record record = record_of(model, call, image);
  const Fault fault = rank_image(model, call, image, record, shared);
  if (threadIdx.x != 0) return;
  record.header->batch = static_cast<int32_t>(call.batch);
  record.header->top = static_cast<int32_t>(call.top);
  record.header->fault = fault;
}

}  // namespace coder::cuda
