#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>

#include "fibers.h"

// As much of CUDA as the head uses, on a CPU: a block's threads are fibers, device memory is the heap's, a
// stream is a list of what was enqueued, which runs when it is synchronised. The sources compiled with this
// in place of CUDA's own header are the ones that nvcc compiles. Copies that wait are left out: from the
// host's ordinary memory they return when the bytes lie in a buffer of the driver's, and streams of ours
// would not wait for the rest.

#define __device__
#define __global__ static
#define __shared__ static
#define __launch_bounds__(threads)

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(16) [[gnu::may_alias]] float4 {
  float x, y, z, w;
};
struct alignas(16) [[gnu::may_alias]] uint4 {
  unsigned x, y, z, w;
};

inline dim3 blockIdx;
#define threadIdx (emulation::thread_index())

inline uint32_t __float_as_uint(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline void __syncthreads() { emulation::block_barrier(); }
inline int __syncthreads_or(int vote) { return emulation::block_or(vote != 0) ? 1 : 0; }

template <typename T>
T __shfl_sync(unsigned, T value, int lane) {
  return emulation::exchange(value, static_cast<unsigned>(lane));
}
template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return emulation::exchange(value, emulation::lane() ^ static_cast<unsigned>(mask));
}

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInsufficientDriver = 35,
  cudaErrorInvalidDeviceFunction = 98,
  cudaErrorNoDevice = 100,
  cudaErrorNoKernelImageForDevice = 209,
  cudaErrorStreamCaptureUnsupported = 900
};
enum cudaMemoryType { cudaMemoryTypeUnregistered, cudaMemoryTypeHost, cudaMemoryTypeDevice };
enum cudaStreamCaptureMode { cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };
constexpr unsigned cudaHostAllocMapped = 2, cudaStreamNonBlocking = 1;

struct cudaPointerAttributes {
  cudaMemoryType type;
  void* devicePointer;
};
struct cudaFuncAttributes {};

using cudaStream_t = struct CUstream_st*;

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

const char* cudaGetErrorString(cudaError_t error);
const char* cudaGetErrorName(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode);
cudaError_t cudaMemGetInfo(size_t* free, size_t* all);
cudaError_t cudaMalloc(void** memory, size_t bytes);
cudaError_t cudaFree(void* memory);
cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void* memory);
cudaError_t cudaHostGetDevicePointer(void** seen, void* memory, unsigned flags);
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* found, const void* memory);
cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);

template <typename Kernel>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes*, Kernel*) {
  return cudaSuccess;
}

namespace emulation {

// What the test looks at and sets.
struct Device {
  int devices = 1;
  size_t free = size_t{1} << 40;
  int64_t allocations = 0;  // so far
  int64_t fail_at = -1;     // the allocation of this number fails
  int64_t enqueued = 0;     // kernels and copies so far
  // Another thread captures in the global mode, and how often it was spoiled.
  bool captured_elsewhere = false;
  int64_t spoiled = 0;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;  // of the one thread there is
};
inline Device device;

void enqueue(cudaStream_t stream, std::function<void()> work);

// Runs what the stream holds once more: as a graph of it, launched again.
void replay(cudaStream_t stream);

}  // namespace emulation

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               const Arguments&... arguments) {
  const dim3 grid = config->gridDim;
  const unsigned threads = config->blockDim.x;
  emulation::enqueue(config->stream, [=] {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = dim3(x, y);
        emulation::run_block(threads, [&] { kernel(arguments...); });
      }
    }
  });
  return cudaSuccess;
}
