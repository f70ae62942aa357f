#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>

// CUDA's memory and errors for C++.
namespace coder::cuda {

inline std::string mib(int64_t bytes) { return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB"; }

// Throws std::runtime_error with CUDA's words, and with ours where there is something to do.
inline void check(cudaError_t error, const std::string& doing) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // else a later call, perhaps another program part's, would report it once more
  std::string hint;
  if (error == cudaErrorMemoryAllocation)
    hint = "; use a smaller max_batch, pairs='host', or free memory of the device";
  else if (error == cudaErrorNoDevice || error == cudaErrorInsufficientDriver)
    hint = "; it needs an NVIDIA GPU and its driver, which nvidia-smi shows";
  else if (error == cudaErrorNoKernelImageForDevice || error == cudaErrorInvalidDeviceFunction)
    hint = "; coder-engine was not built for this GPU: build it with -DCMAKE_CUDA_ARCHITECTURES set to it";
  throw std::runtime_error(doing + " failed: " + cudaGetErrorString(error) + " (" + cudaGetErrorName(error) +
                           ")" + hint);
}

struct FreeDevice {
  void operator()(void* memory) const { cudaFree(memory); }
};
struct FreeHost {
  void operator()(void* memory) const { cudaFreeHost(memory); }
};
template <typename T>
using DeviceArray = std::unique_ptr<T[], FreeDevice>;
template <typename T>
using PinnedArray = std::unique_ptr<T[], FreeHost>;

template <typename T>
DeviceArray<T> on_device(int64_t count, const char* what) {
  const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
  void* memory = nullptr;
  check(cudaMalloc(&memory, static_cast<size_t>(bytes > 0 ? bytes : 1)),
        "allocating " + mib(bytes) + " of device memory for the " + what);
  return DeviceArray<T>(static_cast<T*>(memory));
}

// A stream of our own, which waits for no other and no other for it. What it was asked is done before it
// goes.
class Stream {
 public:
  Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream"); }
  ~Stream() {
    cudaStreamSynchronize(stream_);
    cudaStreamDestroy(stream_);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  operator cudaStream_t() const { return stream_; }
  void wait(const char* doing) const { check(cudaStreamSynchronize(stream_), doing); }

 private:
  cudaStream_t stream_ = nullptr;
};

// There once the stream comes to it.
template <typename T>
DeviceArray<T> copied(const T* from, int64_t count, const char* what, const Stream& on) {
  DeviceArray<T> to = on_device<T>(count, what);
  const auto bytes = static_cast<size_t>(count) * sizeof(T);
  check(cudaMemcpyAsync(to.get(), from, bytes, cudaMemcpyHostToDevice, on),
        std::string("copying the ") + what + " to the device");
  return to;
}

template <typename T>
PinnedArray<T> pinned(int64_t count, const char* what) {
  const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
  void* memory = nullptr;
  check(cudaHostAlloc(&memory, static_cast<size_t>(bytes > 0 ? bytes : 1), cudaHostAllocMapped),
        "allocating " + mib(bytes) + " of pinned host memory for the " + what);
  return PinnedArray<T>(static_cast<T*>(memory));
}

// Lets the thread do what it does while other threads capture: by default CUDA forbids whatever allocates,
// frees or waits while any thread captures in its global mode, as torch does, and spoils that capture, too.
class BesideCaptures {
 public:
  BesideCaptures() : exchanged_(cudaThreadExchangeStreamCaptureMode(&mode_) == cudaSuccess) {}
  ~BesideCaptures() {
    if (exchanged_) cudaThreadExchangeStreamCaptureMode(&mode_);
  }
  BesideCaptures(const BesideCaptures&) = delete;
  BesideCaptures& operator=(const BesideCaptures&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeThreadLocal;  // then what it was before
  bool exchanged_;
};

// Makes a device the thread's own for as long as it lives.
class OnDevice {
 public:
  explicit OnDevice(int device) {
    check(cudaGetDevice(&before_), "asking for the current device");
    changed_ = before_ != device;
    if (changed_) check(cudaSetDevice(device), "choosing device " + std::to_string(device));
  }
  ~OnDevice() {
    if (changed_) cudaSetDevice(before_);  // else not: a stream of the thread may be under capture
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  const BesideCaptures beside_;
  int before_ = 0;
  bool changed_ = false;
};

// The same for a destructor: whatever the device has come to, its memory is given back, and an error of that
// has nowhere to go.
class ForDestructor {
 public:
  explicit ForDestructor(int device) {
    cudaGetDevice(&before_);
    cudaSetDevice(device);
  }
  ~ForDestructor() { cudaSetDevice(before_); }
  ForDestructor(const ForDestructor&) = delete;
  ForDestructor& operator=(const ForDestructor&) = delete;

 private:
  const BesideCaptures beside_;
  int before_ = 0;
};

}  // namespace coder::cuda
