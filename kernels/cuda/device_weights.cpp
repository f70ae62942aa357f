#include "device_weights.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "check.h"
#include "simd.h"

namespace coder {

using namespace cuda;

void CudaWeights::Memory::copy_bank(const Bank& from, const Stream& on) {
  const int64_t count = from.classes + from.names;
  const auto bytes = static_cast<size_t>(from.width) * sizeof(float);
  const size_t pitch = static_cast<size_t>(model.pitch) * sizeof(float);
  bank = on_device<float>(count * model.pitch, "bank");
  check(cudaMemsetAsync(bank.get(), 0, pitch * static_cast<size_t>(count), on), "clearing the bank");
  check(cudaMemcpy2DAsync(bank.get(), pitch, from.rows, bytes, bytes, static_cast<size_t>(count),
                          cudaMemcpyHostToDevice, on),
        "copying the bank to the device");
  offsets = copied(from.name_offsets, from.classes + 1, "name offsets", on);
  weight = copied(from.name_weight, from.classes, "name weights", on);
  model.bank = bank.get();
  model.name_offsets = offsets.get();
  model.name_weight = weight.get();
}

void CudaWeights::Memory::copy_pairs(const Pairs& from, PairsWish wish, const Stream& on) {
  if (from.rows == nullptr) return;
  if (from.starts != nullptr) {
    starts = copied(from.starts, model.classes + 1, "pair starts", on);
    others = copied(from.others, from.count, "pair index", on);
    model.pair_starts = starts.get();
    model.pair_others = others.get();
  }
  const int64_t count = from.count * model.width;
  if (choose(wish, count * 2) == PairsOn::device) {
    rows = copied(from.rows, count, "pair rows", on);
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

PairsOn CudaWeights::Memory::choose(PairsWish wish, int64_t bytes) {
  if (wish == PairsWish::automatic) {
    size_t free = 0, all = 0;
    check(cudaMemGetInfo(&free, &all), "asking for the device's free memory");
    wish = static_cast<size_t>(bytes) <= free / 2 ? PairsWish::device : PairsWish::host;
  }
  pairs_on = wish == PairsWish::device ? PairsOn::device : PairsOn::host;
  return pairs_on;
}

CudaWeights::CudaWeights(const Bank& bank, const Pairs& pairs, PairsWish wish) {
  check_bank(bank, kernels_for(usable_isas().front()));
  check_pairs(pairs, bank.classes);
  const BesideCaptures beside;
  auto memory = std::make_unique<Memory>();  // a local: where something fails, it is still freed beside them
  check(cudaGetDevice(&memory->device), "starting CUDA");
  check(load_kernels(), "loading the kernels");
  Model& model = memory->model;
  model.classes = bank.classes;
  model.names = bank.names;
  model.width = bank.width;
  model.pitch = (bank.width + slab - 1) / slab * slab;
  model.candidates = static_cast<int>(std::min<int64_t>(max_candidates, bank.classes));
  // Waited for at the end, and not for the whole device, which no capture of another thread would survive.
  const Stream uploads;
  memory->copy_bank(bank, uploads);
  memory->copy_pairs(pairs, wish, uploads);
  uploads.wait("copying the label set to the device");
  memory_ = std::move(memory);
}

CudaWeights::~CudaWeights() {
  const ForDestructor there(memory_->device);
  memory_.reset();
}

int64_t CudaWeights::classes() const { return memory_->model.classes; }
int64_t CudaWeights::names() const { return memory_->model.names; }
int64_t CudaWeights::width() const { return memory_->model.width; }
PairsOn CudaWeights::pairs_on() const { return memory_->pairs_on; }

}  // namespace coder
