#include "launch.h"

#include "dots.cuh"
#include "rank.cuh"

namespace coder::cuda {

namespace {

// Up to here every image reads the bank for itself, from the second-level cache after the first.
constexpr int64_t few_images = 8;

unsigned pieces(int64_t count, int64_t size) { return static_cast<unsigned>((count + size - 1) / size); }

cudaError_t start(void (*kernel)(Model, Call), dim3 grid, unsigned threads, const Model& model,
                  const Call& call, cudaStream_t stream) {
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(threads);
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, model, call);
}

}  // namespace

cudaError_t launch(const Model& model, const Call& call, cudaStream_t stream) {
  const int64_t rows = model.classes + model.names;
  const auto images = static_cast<unsigned>(call.batch);
  const cudaError_t error =
      call.batch <= few_images
          ? start(dots_few, dim3(pieces(rows, block_rows), images), row_warps * warp, model, call, stream)
          : start(dots_many, dim3(pieces(rows, tile_rows), pieces(call.batch, tile_images)), tile_threads,
                  model, call, stream);
  if (error != cudaSuccess) return error;
  return start(rank, dim3(images), rank_threads, model, call, stream);
}

cudaError_t load_kernels() {
  cudaFuncAttributes attributes;
  for (void (*kernel)(Model, Call) : {dots_few, dots_many, rank}) {
    const cudaError_t error = cudaFuncGetAttributes(&attributes, kernel);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace coder::cuda
