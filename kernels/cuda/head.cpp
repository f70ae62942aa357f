#include <cmath>
#include <cstdio>
#include <cstring>
#include <utility>

#include "check.h"
#include "device_weights.h"

namespace coder {

using namespace cuda;

int cuda_devices() noexcept {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();
  return 0;
}

struct CudaHead::Buffers {
  Buffers(const Model& of, int on, int64_t most) : model(of), device(on), max_batch(most) {}

  const Model& model;
  int device;
  int64_t max_batch;

  DeviceArray<float> coder, logits;
  DeviceArray<unsigned char> records;
  PinnedArray<unsigned char> host_records;

  void allocate() {
    const int64_t most = record_bytes(model.classes, model.candidates);
    coder = on_device<float>(max_batch * (model.classes + model.names), "coder of max_batch images");
    logits = on_device<float>(max_batch * model.classes, "logits of max_batch images");
    records = on_device<unsigned char>(max_batch * most, "answers of max_batch images");
    host_records = pinned<unsigned char>(max_batch * most, "answers of max_batch images");
    std::memset(host_records.get(), 0, static_cast<size_t>(max_batch * most));
  }
};

CudaHead::CudaHead(std::shared_ptr<const CudaWeights> weights, int64_t max_batch)
    : weights_(std::move(weights)) {
  if (weights_ == nullptr) throw std::invalid_argument("weights must be there, got none");
  if (max_batch < 1 || max_batch > 65536)
    throw std::invalid_argument("max_batch must be from 1 to 65536, got " + std::to_string(max_batch));
  const CudaWeights::Memory& memory = *weights_->memory_;
  const OnDevice here(memory.device);
  auto buffers = std::make_unique<Buffers>(memory.model, memory.device, max_batch);
  buffers->allocate();
  buffers_ = std::move(buffers);
}

CudaHead::~CudaHead() {
  const ForDestructor there(buffers_->device);
  buffers_.reset();
}

int64_t CudaHead::max_batch() const { return buffers_->max_batch; }

namespace {

void check_batch(int64_t batch, int64_t max_batch) {
  if (batch < 0 || batch > max_batch)
    throw std::invalid_argument("batch must be from 0 to max_batch = " + std::to_string(max_batch) +
                                ", got " + std::to_string(batch));
}

void check_features(const float* features) {
  cudaPointerAttributes found{};
  const cudaError_t error = cudaPointerGetAttributes(&found, features);
  if (error == cudaErrorInvalidValue) cudaGetLastError();
  if (error != cudaErrorInvalidValue) check(error, "looking at the address of the features");
  // Not by its devicePointer, which the host's own memory has where the GPU reads all of that.
  if (error == cudaErrorInvalidValue || found.type == cudaMemoryTypeUnregistered)
    throw std::invalid_argument(
        "features must be an address of device memory, got memory that CUDA does not know");
}

void check_image(int64_t image, const Header& header) {
  if (header.fault == Fault::none) return;
  if (header.fault != Fault::feature || !std::isfinite(header.length)) fail_image(image, header.fault);
  char length[32];  // by printf: iostreams crash where two modules each carry a C++ library of their own
  std::snprintf(length, sizeof length, "%g", static_cast<double>(header.length));
  fail_image(image,
             "its feature has length " + std::string(length) + ", wanted 1; check the image tower's output");
}

}  // namespace

void CudaHead::enqueue(const float* features, int64_t batch, void* stream, const RankOptions& options,
                       int64_t top) {
  const Buffers& memory = *buffers_;
  check_options(options, top, memory.model.classes);
  check_batch(batch, memory.max_batch);
  if (batch == 0) return;
  const OnDevice here(memory.device);
  check_features(features);
  const int64_t bytes = record_bytes(top, memory.model.candidates);
  const Call call{features, memory.coder.get(), memory.logits.get(), memory.records.get(), batch,         top,
                  bytes,    options.scale,      options.temperature, options.margin,       options.rerank};
  const auto on = static_cast<cudaStream_t>(stream);
  check(launch(memory.model, call, on), "launching the head's kernels");
  check(cudaMemcpyAsync(memory.host_records.get(), memory.records.get(), static_cast<size_t>(batch * bytes),
                        cudaMemcpyDeviceToHost, on),
        "enqueueing the answers' copy");
}

void CudaHead::results(int64_t batch, const Ranking& out) const {
  const int64_t n = out.top, k = buffers_->model.candidates;
  check_batch(batch, buffers_->max_batch);
  const auto count = [](int64_t values) { return static_cast<size_t>(values) * 4; };
  for (int64_t i = 0; i < batch; ++i) {
    const unsigned char* at = buffers_->host_records.get() + i * record_bytes(n, k);
    Header header;
    std::memcpy(&header, at, sizeof header);
    if (i == 0 && (header.batch < batch || header.top != n))
      throw std::invalid_argument("the stream's last call ranked " + std::to_string(header.batch) +
                                  " images with n = " + std::to_string(header.top) + ", asked for " +
                                  std::to_string(batch) + " with n = " + std::to_string(n) +
                                  "; enqueue them and synchronise the stream first");
    check_image(i, header);
    at += sizeof header;
    std::memcpy(out.ids + i * n, at, count(n));
    std::memcpy(out.scores + i * n, at += count(n), count(n));
    std::memcpy(out.gaps + i * k, at += count(n), count(k));
    std::memcpy(out.duels + i * k * k, at += count(k), count(k * k));
    out.reranked[i] = header.reranked != 0;
  }
}

void CudaHead::logits(int64_t batch, float* out) const {
  const Buffers& memory = *buffers_;
  check_batch(batch, memory.max_batch);
  if (batch == 0) return;
  const OnDevice here(memory.device);
  const auto bytes = static_cast<size_t>(batch * memory.model.classes) * sizeof(float);
  const Stream fetching;
  check(cudaMemcpyAsync(out, memory.logits.get(), bytes, cudaMemcpyDeviceToHost, fetching),
        "fetching the logits");
  fetching.wait("fetching the logits");
}

}  // namespace coder
