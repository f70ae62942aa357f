// coder = features x bank^T in fp32. One order of summation for both kernels: a slab's products in one chain,
// then the slabs in turn, so an image gets the same bits alone and in a batch.
#pragma once

#include "launch.h"

namespace coder::cuda {

// For a few images: bound by the loads of the bank. A lane takes a slab, a warp some rows.
constexpr int row_warps = 4;
constexpr int warp_rows = 2;
constexpr int block_rows = row_warps * warp_rows;

__device__ inline float chain(const float* row, const float* x, float sum) {
  for (int i = 0; i < slab / 4; ++i) {
    const float4 a = reinterpret_cast<const float4*>(row)[i];
    const float4 b = reinterpret_cast<const float4*>(x)[i];
    sum = fmaf(a.x, b.x, sum);
    sum = fmaf(a.y, b.y, sum);
    sum = fmaf(a.z, b.z, sum);
    sum = fmaf(a.w, b.w, sum);
  }
  return sum;
}

// The feature's part that a block's warps work on. A slab has 20 floats, so that the lanes' 16-byte loads
// meet no bank of the memory twice.
struct Slabs {
  alignas(16) float x[warp][slab + 4];
};

// Block (rows / block_rows, B), row_warps * warp threads.
__global__ void __launch_bounds__(row_warps* warp) dots_few(Model model, Call call) {
  __shared__ Slabs shared;
  const float* feature = call.features + blockIdx.y * model.width;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % warp;
  const int64_t rows = model.classes + model.names, slabs = model.pitch / slab;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * block_rows + thread / warp * warp_rows;
  float sums[warp_rows] = {};
  for (int64_t start = 0; start < slabs; start += warp) {
    __syncthreads();
    for (int i = thread; i < warp * slab; i += row_warps * warp) {
      const int64_t column = start * slab + i;
      shared.x[i / slab][i % slab] = column < model.width ? feature[column] : 0.0f;
    }
    __syncthreads();
    const int count = static_cast<int>(slabs - start < warp ? slabs - start : warp);
    float parts[warp_rows] = {};
    for (int r = 0; r < warp_rows; ++r)
      if (lane < count && first + r < rows)
        parts[r] =
            chain(model.bank + (first + r) * model.pitch + (start + lane) * slab, shared.x[lane], 0.0f);
    for (int s = 0; s < count; ++s)
      for (int r = 0; r < warp_rows; ++r) sums[r] += __shfl_sync(all_lanes, parts[r], s);
  }
  for (int r = 0; r < warp_rows; ++r)
    if (lane == r && first + r < rows) call.coder[blockIdx.y * rows + first + r] = sums[r];
}

// For many images: a block takes tile_rows x tile_images, a thread 4 x 4 of them.
constexpr int tile_rows = 64;
constexpr int tile_images = 32;
constexpr int tile_threads = tile_rows / 4 * (tile_images / 4);

struct Tile {
  alignas(16) float rows[slab][tile_rows + 4];
  alignas(16) float images[slab][tile_images + 4];
};

// A thread's share of the next slab, loaded while the block works on the one before.
struct Ahead {
  float4 rows[tile_rows * slab / 4 / tile_threads];
  float images[tile_images * slab / tile_threads];

  __device__ void load(const Model& model, const Call& call, int64_t row, int64_t image, int64_t column,
                       int thread) {
    for (int i = 0; i < tile_rows * slab / 4 / tile_threads; ++i) {
      const int at = thread + i * tile_threads;
      const int64_t r = row + at / (slab / 4);
      const float* from = model.bank + r * model.pitch + column + at % (slab / 4) * 4;
      rows[i] = r < model.classes + model.names ? *reinterpret_cast<const float4*>(from) : float4{0, 0, 0, 0};
    }
    for (int i = 0; i < tile_images * slab / tile_threads; ++i) {
      const int at = thread + i * tile_threads;
      const int64_t b = image + at / slab, d = column + at % slab;
      images[i] = b < call.batch && d < model.width ? call.features[b * model.width + d] : 0.0f;
    }
  }

  __device__ void store(Tile& tile, int thread) const {
    for (int i = 0; i < tile_rows * slab / 4 / tile_threads; ++i) {
      const int at = thread + i * tile_threads, r = at / (slab / 4), d = at % (slab / 4) * 4;
      tile.rows[d][r] = rows[i].x;
      tile.rows[d + 1][r] = rows[i].y;
      tile.rows[d + 2][r] = rows[i].z;
      tile.rows[d + 3][r] = rows[i].w;
    }
    for (int i = 0; i < tile_images * slab / tile_threads; ++i) {
      const int at = thread + i * tile_threads;
      tile.images[at % slab][at / slab] = images[i];
    }
  }
};

// sums += the tile's products, this thread's 4 rows by 4 images.
__device__ inline void add_slab(const Tile& tile, int row, int image, float (&sums)[4][4]) {
  float parts[4][4] = {};
  for (int d = 0; d < slab; ++d) {
    const float4 a = *reinterpret_cast<const float4*>(&tile.rows[d][row]);
    const float4 b = *reinterpret_cast<const float4*>(&tile.images[d][image]);
    const float of_rows[4] = {a.x, a.y, a.z, a.w}, of_images[4] = {b.x, b.y, b.z, b.w};
    for (int r = 0; r < 4; ++r)
      for (int i = 0; i < 4; ++i) parts[r][i] = fmaf(of_rows[r], of_images[i], parts[r][i]);
  }
  for (int r = 0; r < 4; ++r)
    for (int i = 0; i < 4; ++i) sums[r][i] += parts[r][i];
}

// Block (rows / tile_rows, B / tile_images), tile_threads threads.
__global__ void __launch_bounds__(tile_threads) dots_many(Model model, Call call) {
  __shared__ Tile tile;
  const int thread = static_cast<int>(threadIdx.x);
  const int row = thread % (tile_rows / 4) * 4, image = thread / (tile_rows / 4) * 4;
  const int64_t first_row = static_cast<int64_t>(blockIdx.x) * tile_rows;
  const int64_t first_image = static_cast<int64_t>(blockIdx.y) * tile_images;
  float sums[4][4] = {};
  Ahead ahead;
  ahead.load(model, call, first_row, first_image, 0, thread);
  for (int64_t column = 0; column < model.pitch; column += slab) {
    __syncthreads();
    ahead.store(tile, thread);
    __syncthreads();
    if (column + slab < model.pitch) ahead.load(model, call, first_row, first_image, column + slab, thread);
    add_slab(tile, row, image, sums);
  }
  const int64_t rows = model.classes + model.names;
  for (int i = 0; i < 4; ++i)
    for (int r = 0; r < 4; ++r)
      if (first_image + image + i < call.batch && first_row + row + r < rows)
        call.coder[(first_image + image + i) * rows + first_row + row + r] = sums[r][i];
}

}  // namespace coder::cuda
