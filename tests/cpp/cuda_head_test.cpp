// What a CudaHead promises its callers: device memory, streams and refusals, on the emulation.
#include "cuda_model.h"

namespace {

// Where the rows are changes nothing but where they are.
void pairs_anywhere() {
  const Model model(30, 40, PairKind::dense);
  const std::vector<float> features = unit_images(model, 2);
  const auto bytes = model.halves.size() * 2;
  const Answer wanted = run_on_cpu(model, features, 5, always);
  for (size_t free : {bytes * 2, bytes * 2 - 1}) {
    emulation::device.free = free;
    CHECK(cuda_weights(model)->pairs_on() == (free == bytes * 2 ? PairsOn::device : PairsOn::host));
  }
  for (PairsWish wish : {PairsWish::device, PairsWish::host}) {
    CudaHead head = cuda_head(model, 2, wish);
    CHECK(head.weights().pairs_on() == (wish == PairsWish::device ? PairsOn::device : PairsOn::host));
    compare(run(model, head, features, 5, always), wanted);
  }
  emulation::device.free = size_t{1} << 40;
  CHECK(cuda_weights(Model(30, 40, PairKind::none))->pairs_on() == PairsOn::none);
}

// Nothing allocated, nothing run and nothing waited for until the stream is synchronised; a graph of it ranks
// what the features then hold.
void enqueues_only() {
  const Model model(30, 40, PairKind::dense);
  CudaHead head = cuda_head(model, 4);
  const std::vector<float> first = unit_images(model, 4, 1), second = unit_images(model, 4, 2);
  const OnDevice there(first);
  const auto allocations = emulation::device.allocations, enqueued = emulation::device.enqueued;
  head.enqueue(there.at(), 4, stream, always, 6);
  CHECK(emulation::device.allocations == allocations);
  CHECK(emulation::device.enqueued == enqueued + 3);
  Answer got(model, 4, 6);
  CHECK(throws<std::invalid_argument>("last call ranked 0 images with n = 0, asked for 4 with n = 6",
                                      [&] { head.results(4, got.view()); }));
  cudaStreamSynchronize(stream);
  read(head, got);
  compare(got, run_on_cpu(model, first, 6, always));
  there.set(second);
  emulation::replay(stream);
  read(head, got);
  compare(got, run_on_cpu(model, second, 6, always));
}

// Heads share what they read, and keep it when its maker has let go.
void one_copy_for_all_heads() {
  const Model model(30, 40, PairKind::sparse);
  auto weights = cuda_weights(model);
  const auto before = emulation::device.allocations;
  CudaHead one(weights, 2), other(weights, 2);
  CHECK(emulation::device.allocations == before + 8);  // four buffers each
  weights.reset();
  const std::vector<float> first = unit_images(model, 2, 1), second = unit_images(model, 2, 2);
  const Answer got = run(model, one, first, 5, always);
  compare(run(model, other, second, 5, always), run_on_cpu(model, second, 5, always));
  compare(got, run_on_cpu(model, first, 5, always));
}

void part_of_a_batch() {
  const Model model(30, 40, PairKind::dense);
  CudaHead head = cuda_head(model, 9);
  std::vector<float> features = unit_images(model, 9);
  std::fill(features.begin() + 5 * 40, features.end(), 0.0f);  // the filling
  const OnDevice there(features);
  head.enqueue(there.at(), 9, stream, always, 6);
  cudaStreamSynchronize(stream);
  Answer got(model, 5, 6);
  read(head, got);
  features.resize(5 * 40);
  compare(got, run_on_cpu(model, features, 6, always));
  Answer more(model, 6, 6), other(model, 5, 5);
  CHECK(throws<std::runtime_error>("image row 5 cannot be ranked", [&] { head.results(6, more.view()); }));
  CHECK(throws<std::invalid_argument>("asked for 5 with n = 5", [&] { head.results(5, other.view()); }));
  head.enqueue(there.at(), 2, stream, always, 6);
  cudaStreamSynchronize(stream);
  CHECK(throws<std::invalid_argument>("ranked 2 images", [&] { head.results(5, got.view()); }));
}

void no_images() {
  const Model model(30, 40, PairKind::dense);
  CudaHead head = cuda_head(model, 1);
  const auto enqueued = emulation::device.enqueued;
  head.enqueue(nullptr, 0, stream, always, 5);
  CHECK(emulation::device.enqueued == enqueued);
  head.results(0, {nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, 5});
  head.logits(0, nullptr);
}

void refuses() {
  const Model model(6, 8, PairKind::dense, 2);
  CudaHead head = cuda_head(model, 4);
  const CudaWeights& weights = head.weights();
  CHECK(weights.classes() == 6 && weights.names() == model.names && weights.width() == 8);
  CHECK(head.max_batch() == 4);
  const std::vector<float> features = unit_images(model, 4);
  const OnDevice there(features);
  const auto with = [&](const std::string& part, const float* at, int64_t batch, RankOptions options,
                        int64_t top) {
    return throws<std::invalid_argument>(part, [&] { head.enqueue(at, batch, stream, options, top); });
  };
  CHECK(with("batch must be from 0 to max_batch = 4, got 5", there.at(), 5, always, 5));
  CHECK(with("batch must be from 0 to max_batch = 4, got -1", there.at(), -1, always, 5));
  CHECK(with("features must be an address of device memory", features.data(), 4, always, 5));
  CHECK(with("features must be an address of device memory", nullptr, 4, always, 5));
  CHECK(with("scale must be from 1e-9 to 1e9", there.at(), 4, {0.0, 1.0, -1.0, true}, 5));
  CHECK(with("margin must be a number", there.at(), 4, {1.0, 1.0, NAN, true}, 5));
  CHECK(with("from k = 5 to C = 6 columns, got 7", there.at(), 4, always, 7));
  for (int64_t max_batch : {0, 65537})
    CHECK(throws<std::invalid_argument>("max_batch must be from 1 to 65536",
                                        [&] { cuda_head(model, max_batch); }));
  Model broken = model;
  broken.bank[0] = NAN;
  CHECK(throws<std::invalid_argument>("bank must be finite, row 0", [&] { cuda_head(broken, 1); }));
  broken = Model(6, 8, PairKind::sparse, 2);
  broken.starts[0] = 1;
  CHECK(throws<std::invalid_argument>("pair_starts must start with 0", [&] { cuda_head(broken, 1); }));
}

// Each allocation fails once; what was allocated before is given back, or the leak is reported at the end.
void out_of_memory() {
  const Model model(6, 8, PairKind::sparse, 2);
  for (PairsWish wish : {PairsWish::device, PairsWish::host}) {
    const auto before = emulation::device.allocations;
    cuda_head(model, 1, wish);
    const auto count = emulation::device.allocations - before;
    CHECK(count == 10);
    for (int64_t i = 0; i < count; ++i) {
      emulation::device.fail_at = emulation::device.allocations + i;
      CHECK(throws<std::runtime_error>("out of memory (cudaErrorMemoryAllocation); use a smaller max_batch",
                                       [&] { cuda_head(model, 1, wish); }));
    }
  }
  emulation::device.fail_at = -1;
}

// Another thread's capture neither stops what is done here nor is spoiled by it, whether or not that
// succeeds.
void beside_captures() {
  const Model model(30, 40, PairKind::dense);
  const std::vector<float> features = unit_images(model, 2);
  const OnDevice there(features);
  const Answer wanted = run_on_cpu(model, features, 5, always);
  Answer got(model, 2, 5);
  for (PairsWish wish : {PairsWish::device, PairsWish::host}) {
    emulation::device.captured_elsewhere = true;
    for (int64_t i = 0; i < 8; ++i) {
      emulation::device.fail_at = emulation::device.allocations + i;
      CHECK(throws<std::runtime_error>("out of memory", [&] { cuda_head(model, 2, wish); }));
    }
    emulation::device.fail_at = -1;
    {
      CudaHead head = cuda_head(model, 2, wish);
      head.enqueue(there.at(), 2, stream, always, 5);
      emulation::device.captured_elsewhere = false;  // the stream is the caller's
      cudaStreamSynchronize(stream);
      emulation::device.captured_elsewhere = true;
      read(head, got);
    }
    emulation::device.captured_elsewhere = false;
    compare(got, wanted);
  }
  CHECK(emulation::device.spoiled == 0);
  CHECK(emulation::device.mode == cudaStreamCaptureModeGlobal);  // as before
}

void no_device() {
  const Model model(6, 8, PairKind::none);
  CHECK(coder::cuda_devices() == 1);
  emulation::device.devices = 0;
  CHECK(coder::cuda_devices() == 0);
  CHECK(throws<std::runtime_error>("starting CUDA failed", [&] { cuda_head(model, 1); }));
  emulation::device.devices = 1;
}

}  // namespace

int main() {
  pairs_anywhere();
  enqueues_only();
  one_copy_for_all_heads();
  part_of_a_batch();
  no_images();
  refuses();
  out_of_memory();
  beside_captures();
  no_device();
  return finish();
}
