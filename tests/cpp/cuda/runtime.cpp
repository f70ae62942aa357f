#include <map>
#include <utility>
#include <vector>

#include "cuda_runtime.h"

namespace {

std::map<const char*, size_t> known;  // device memory: begin -> bytes

std::map<cudaStream_t, std::vector<std::function<void()>>> waiting, done;

// What is forbidden while another thread captures fails, and the capture with it.
cudaError_t unsafe() {
  emulation::Device& device = emulation::device;
  if (!device.captured_elsewhere || device.mode != cudaStreamCaptureModeGlobal) return cudaSuccess;
  ++device.spoiled;
  return cudaErrorStreamCaptureUnsupported;
}

cudaError_t allocate(void** memory, size_t bytes) {
  if (const cudaError_t error = unsafe(); error != cudaSuccess) return error;
  if (emulation::device.allocations++ == emulation::device.fail_at) return cudaErrorMemoryAllocation;
  *memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  std::memset(*memory, 0xff, bytes);  // NaN, if ever read before it is written
  known[static_cast<char*>(*memory)] = bytes;
  return cudaSuccess;
}

cudaError_t release(void* memory) {
  if (const cudaError_t error = unsafe(); error != cudaSuccess) return error;
  if (memory != nullptr && known.erase(static_cast<char*>(memory)) != 1) std::abort();
  std::free(memory);
  return cudaSuccess;
}

}  // namespace

namespace emulation {

void enqueue(cudaStream_t stream, std::function<void()> work) {
  ++device.enqueued;
  waiting[stream].push_back(std::move(work));
}

void replay(cudaStream_t stream) {
  for (const std::function<void()>& work : done[stream]) work();
}

}  // namespace emulation

const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "out of memory" : "some error";
}
const char* cudaGetErrorName(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation" : "cudaErrorOther";
}
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaGetDeviceCount(int* count) {
  *count = emulation::device.devices;
  return *count > 0 ? cudaSuccess : cudaErrorNoDevice;
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return emulation::device.devices > 0 ? cudaSuccess : cudaErrorNoDevice;
}
cudaError_t cudaSetDevice(int) { return cudaSuccess; }
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  std::swap(*mode, emulation::device.mode);
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* all) {
  *free = *all = emulation::device.free;
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** memory, size_t bytes) { return allocate(memory, bytes); }
cudaError_t cudaFree(void* memory) { return release(memory); }
cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned) { return allocate(memory, bytes); }
cudaError_t cudaFreeHost(void* memory) { return release(memory); }
cudaError_t cudaHostGetDevicePointer(void** seen, void* memory, unsigned) {
  *seen = memory;
  return cudaSuccess;
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* found, const void* memory) {
  const auto at = known.upper_bound(static_cast<const char*>(memory));
  const bool in =
      at != known.begin() && static_cast<const char*>(memory) < std::prev(at)->first + std::prev(at)->second;
  found->type = in ? cudaMemoryTypeDevice : cudaMemoryTypeUnregistered;
  found->devicePointer = const_cast<void*>(memory);  // as where the GPU reads all of the host's memory
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream) {
  emulation::enqueue(stream, [=] { std::memset(memory, value, bytes); });
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  emulation::enqueue(stream, [=] {
    if (bytes > 0) std::memcpy(to, from, bytes);
  });
  return cudaSuccess;
}
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind, cudaStream_t stream) {
  emulation::enqueue(stream, [=] {
    for (size_t i = 0; i < height; ++i)
      std::memcpy(static_cast<char*>(to) + i * to_pitch, static_cast<const char*>(from) + i * from_pitch,
                  width);
  });
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  static uintptr_t streams = 0;
  *stream = reinterpret_cast<cudaStream_t>(++streams * 64);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (const cudaError_t error = unsafe(); error != cudaSuccess) return error;
  done[stream] = std::move(waiting[stream]);
  waiting[stream].clear();
  emulation::replay(stream);
  return cudaSuccess;
}
