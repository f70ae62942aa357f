#include <algorithm>
#include <cmath>
#include <cstring>
#include <sstream>

#include "check.h"
#include "coder/cuda_head.h"
#include "launch.h"
#include "memory.h"
#include "simd.h"

namespace coder {

using namespace cuda;

int cuda_devices() noexcept {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();
  return 0;
}

struct CudaHead::Memory {
  Model model{};
  int device = 0;
  int64_t max_batch = 0;
  PairsOn pairs_on = PairsOn::none;
  cudaStream_t fetching = nullptr;  // of our own: the default stream would wait for all others

  DeviceArray<float> bank, weight, coder, logits;
  DeviceArray<int32_t> offsets, others;
  DeviceArray<int64_t> starts;
  DeviceArray<uint16_t> rows;
  PinnedArray<uint16_t> host_rows;
  DeviceArray<unsigned char> records;
  PinnedArray<unsigned char> host_records;

  ~Memory() {
    if (fetching != nullptr) cudaStreamDestroy(fetching);
  }

  void copy_bank(const Bank& from) {
    const int64_t count = from.classes + from.names;
    const auto bytes = static_cast<size_t>(from.width) * sizeof(float);
    const size_t pitch = static_cast<size_t>(model.pitch) * sizeof(float);
    bank = on_device<float>(count * model.pitch, "bank");
    check(cudaMemset(bank.get(), 0, pitch * static_cast<size_t>(count)), "clearing the bank");
    check(cudaMemcpy2D(bank.get(), pitch, from.rows, bytes, bytes, static_cast<size_t>(count),
                       cudaMemcpyHostToDevice),
          "copying the bank to the device");
    offsets = copied(from.name_offsets, from.classes + 1, "name offsets");
    weight = copied(from.name_weight, from.classes, "name weights");
    model.bank = bank.get();
    model.name_offsets = offsets.get();
    model.name_weight = weight.get();
  }

  void copy_pairs(const Pairs& from, PairsWish wish) {
    if (from.rows == nullptr) return;
    if (from.starts != nullptr) {
      starts = copied(from.starts, model.classes + 1, "pair starts");
      others = copied(from.others, from.count, "pair index");
      model.pair_starts = starts.get();
      model.pair_others = others.get();
    }
    const int64_t count = from.count * model.width;
    if (choose(wish, count * 2) == PairsOn::device) {
      rows = copied(from.rows, count, "pair rows");
      model.pair_rows = rows.get();
      return;
    }
    // A copy: pinning the caller's memory fails for maps of files on many systems, and would pin them whole.
    host_rows = pinned<uint16_t>(count, "pair rows");
    std::memcpy(host_rows.get(), from.rows, static_cast<size_t>(count) * 2);
    void* seen = nullptr;
    check(cudaHostGetDevicePointer(&seen, host_rows.get(), 0), "mapping the pair rows for the device");
    model.pair_rows = static_cast<const uint16_t*>(seen);
  }

  PairsOn choose(PairsWish wish, int64_t bytes) {
    if (wish == PairsWish::automatic) {
      size_t free = 0, all = 0;
      check(cudaMemGetInfo(&free, &all), "asking for the device's free memory");
      wish = static_cast<size_t>(bytes) <= free / 2 ? PairsWish::device : PairsWish::host;
    }
    pairs_on = wish == PairsWish::device ? PairsOn::device : PairsOn::host;
    return pairs_on;
  }

  void make_buffers() {
    const int64_t most = record_bytes(model.classes, model.candidates);
    coder = on_device<float>(max_batch * (model.classes + model.names), "coder of max_batch images");
    logits = on_device<float>(max_batch * model.classes, "logits of max_batch images");
    records = on_device<unsigned char>(max_batch * most, "answers of max_batch images");
    host_records = pinned<unsigned char>(max_batch * most, "answers of max_batch images");
    std::memset(host_records.get(), 0, static_cast<size_t>(max_batch * most));
    check(cudaStreamCreateWithFlags(&fetching, cudaStreamNonBlocking), "making a stream");
  }
};

CudaHead::CudaHead(const Bank& bank, const Pairs& pairs, int64_t max_batch, PairsWish wish)
    : memory_(std::make_unique<Memory>()) {
  check_bank(bank, kernels_for(usable_isas().front()));
  check_pairs(pairs, bank.classes);
  if (max_batch < 1 || max_batch > 65536)
    throw std::invalid_argument("max_batch must be from 1 to 65536, got " + std::to_string(max_batch));
  check(cudaGetDevice(&memory_->device), "starting CUDA");
  check(load_kernels(), "loading the kernels");
  memory_->max_batch = max_batch;
  Model& model = memory_->model;
  model.classes = bank.classes;
  model.names = bank.names;
  model.width = bank.width;
  model.pitch = (bank.width + slab - 1) / slab * slab;
  model.candidates = static_cast<int>(std::min<int64_t>(max_candidates, bank.classes));
  memory_->copy_bank(bank);
  memory_->make_buffers();  // before the pairs, which may take the host's memory instead
  memory_->copy_pairs(pairs, wish);
}

CudaHead::~CudaHead() {
  // Whatever the device has come to, its memory is given back; an error here has nowhere to go.
  int before = 0;
  cudaGetDevice(&before);
  cudaSetDevice(memory_->device);
  memory_.reset();
  cudaSetDevice(before);
}

int64_t CudaHead::classes() const { return memory_->model.classes; }
int64_t CudaHead::names() const { return memory_->model.names; }
int64_t CudaHead::width() const { return memory_->model.width; }
int64_t CudaHead::max_batch() const { return memory_->max_batch; }
PairsOn CudaHead::pairs_on() const { return memory_->pairs_on; }

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
  if (error == cudaErrorInvalidValue || found.devicePointer == nullptr)
    throw std::invalid_argument(
        "features must be an address of device memory, got memory that CUDA does not know");
}

void check_image(int64_t image, const Header& header) {
  if (header.fault == Fault::none) return;
  if (header.fault != Fault::feature || !std::isfinite(header.length)) fail_image(image, header.fault);
  std::ostringstream why;
  why << "its feature has length " << header.length << ", wanted 1; check the image tower's output";
  fail_image(image, why.str());
}

}  // namespace

void CudaHead::enqueue(const float* features, int64_t batch, void* stream, const RankOptions& options,
                       int64_t top) {
  const Memory& memory = *memory_;
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
  const int64_t n = out.top, k = memory_->model.candidates;
  check_batch(batch, memory_->max_batch);
  const auto count = [](int64_t values) { return static_cast<size_t>(values) * 4; };
  for (int64_t i = 0; i < batch; ++i) {
    const unsigned char* at = memory_->host_records.get() + i * record_bytes(n, k);
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
  const Memory& memory = *memory_;
  check_batch(batch, memory.max_batch);
  if (batch == 0) return;
  const OnDevice here(memory.device);
  const auto bytes = static_cast<size_t>(batch * memory.model.classes) * sizeof(float);
  check(cudaMemcpyAsync(out, memory.logits.get(), bytes, cudaMemcpyDeviceToHost, memory.fetching),
        "fetching the logits");
  check(cudaStreamSynchronize(memory.fetching), "fetching the logits");
}

}  // namespace coder
