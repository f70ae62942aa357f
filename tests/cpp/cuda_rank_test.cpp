// The numbers of the CUDA head, its own sources on emulated threads, against the CPU head.
#include "cuda_model.h"

namespace {

void every_shape() {
  for (int64_t classes : {1, 2, 4, 5, 6, 7, 350}) {
    for (PairKind kind : {PairKind::none, PairKind::dense, PairKind::sparse}) {
      const Model model(classes, classes % 2 == 0 ? 40 : 37, kind, static_cast<unsigned>(classes));
      const std::vector<float> features = unit_images(model, 2);
      CudaHead head = cuda_head(model, 2);
      const auto with = [&](int64_t top, const RankOptions& options) {
        const int64_t n = std::min(top, classes);
        compare(run(model, head, features, n, options), run_on_cpu(model, features, n, options));
      };
      for (int64_t top : {6, 17}) with(top, always);
      if (kind != PairKind::dense) continue;
      with(5, {100.0, 1.0, -1.0, false});
      with(5, {3.0, 4.0, 0.2, true});
      with(5, {1.0, 0.3, INFINITY, true});
      with(5, {1.0, 1.0, 0.0, true});
    }
  }
}

// Batches of some rows, of whole tiles, and with a rest; widths around a slab and around a warp's slabs.
void every_batch() {
  const auto with = [](int64_t width, std::initializer_list<int64_t> batches) {
    const Model model(21, width, PairKind::dense, static_cast<unsigned>(width));
    CudaHead head = cuda_head(model, 70);
    for (int64_t batch : batches) {
      const std::vector<float> features = unit_images(model, batch);
      compare(run(model, head, features, 5, always), run_on_cpu(model, features, 5, always));
    }
  };
  for (int64_t width : {1, 15, 16, 520, 1100}) with(width, {1, 9});
  with(17, {1, 3, 8, 9, 33, 70});
  with(64, {32, 64});
}

// Bit for bit the same alone and in a batch, and in whatever order the threads run.
void independent() {
  const Model model(150, 100, PairKind::sparse);
  CudaHead head = cuda_head(model, 40);
  const std::vector<float> features = unit_images(model, 40);
  const Answer all = run(model, head, features, 7, always);
  for (int order = 1; order < 5; ++order) CHECK(run(model, head, features, 7, always).same(all));
  for (size_t i : {size_t{0}, size_t{1}, size_t{31}, size_t{39}}) {
    const auto begin = features.begin() + static_cast<std::ptrdiff_t>(i * 100);
    const Answer one = run(model, head, {begin, begin + 100}, 7, always);
    CHECK(std::equal(one.ids.begin(), one.ids.end(), all.ids.begin() + static_cast<std::ptrdiff_t>(i * 7)));
    CHECK(std::equal(one.scores.begin(), one.scores.end(),
                     all.scores.begin() + static_cast<std::ptrdiff_t>(i * 7)));
    CHECK(std::equal(one.logits.begin(), one.logits.end(),
                     all.logits.begin() + static_cast<std::ptrdiff_t>(i * 150)));
    CHECK(std::equal(one.duels.begin(), one.duels.end(),
                     all.duels.begin() + static_cast<std::ptrdiff_t>(i * 25)));
  }
}

// The gate must open for some images and stay shut for others, else the comparisons above say little.
void gate_splits() {
  const Model model(6, 37, PairKind::dense, 6);
  CudaHead head = cuda_head(model, 64);
  const Answer got = run(model, head, unit_images(model, 24), 5, {3.0, 1.0, 0.1, true});
  const auto open = std::count(got.reranked.get(), got.reranked.get() + 24, true);
  CHECK(open > 4 && open < 20);
}

std::vector<float> first_axis(const Model& model) {
  std::vector<float> feature(static_cast<size_t>(model.width), 0.0f);
  feature[0] = 1.0f;
  return feature;
}

// Exact numbers: x.q_j is bank[j][0].
void set_logits(Model& model, const std::vector<float>& logits) {
  std::fill(model.bank.begin(), model.bank.end(), 0.0f);
  for (size_t j = 0; j < logits.size(); ++j) model.bank[j * static_cast<size_t>(model.width)] = logits[j];
}

// All alike, two values in turn, and both zeros: ties go to the lower id, inside the candidates and past
// them.
void ties() {
  for (int64_t classes : {1, 2, 5, 6, 90, 700}) {
    Model model(classes, 16, PairKind::dense);
    std::vector<float> logits(static_cast<size_t>(classes));
    std::fill(model.halves.begin(), model.halves.end(), uint16_t{0});
    for (int kind : {0, 1, 2}) {
      for (size_t j = 0; j < logits.size(); ++j)
        logits[j] = kind == 0 ? -0.25f : kind == 1 ? (j % 3 == 1 ? 1.0f : 0.5f) : (j % 2 == 0 ? -0.0f : 0.0f);
      set_logits(model, logits);
      CudaHead head = cuda_head(model, 1);
      const int64_t top = std::min<int64_t>(classes, 40);
      const std::vector<float> feature = first_axis(model);
      const Answer got = run(model, head, feature, top, always);
      CHECK(got.ids == run_on_cpu(model, feature, top, always).ids);
      for (size_t i = 0; kind != 1 && i < got.ids.size(); ++i) CHECK(got.ids[i] == static_cast<int32_t>(i));
      CHECK(got.reranked[0] == (classes > 1));
    }
  }
}

// Duels that tie broken by stage 1: 0 beats 1 beats 2 beats 0.
void circle() {
  Model model(3, 16, PairKind::dense);
  set_logits(model, {0.0f, 1.0f, 2.0f});
  std::fill(model.halves.begin(), model.halves.end(), uint16_t{0});
  model.halves[0] = half_of(64);
  model.halves[16] = half_of(-64);
  model.halves[32] = half_of(64);
  CudaHead head = cuda_head(model, 1);
  Answer got = run(model, head, first_axis(model), 3, always);
  CHECK((got.ids == std::vector<int32_t>{2, 1, 0}));
  CHECK((got.gaps == std::vector<float>{0.0f, 0.0f, 0.0f}));
  CHECK((got.duels == std::vector<float>{0.0f, -1.0f, 1.0f, 1.0f, 0.0f, -1.0f, -1.0f, 1.0f, 0.0f}));
}

// One pair alone has texts: of the candidates or not.
void no_texts_for_the_candidates() {
  for (int32_t other : {7, 3}) {
    Model model(8, 16, PairKind::sparse);
    set_logits(model, {0, -1, -2, -3, -4, -5, -6, -7});
    model.starts = {0, 1, 1, 1, 1, 1, 1, 1, 1};
    model.others = {other};
    model.halves.assign(16, half_of(-64));
    CudaHead head = cuda_head(model, 1);
    const Answer got = run(model, head, first_axis(model), 8, always);
    CHECK(got.reranked[0] == (other == 3));
    CHECK((got.ids == (other == 3 ? std::vector<int32_t>{3, 1, 2, 4, 0, 5, 6, 7}
                                  : std::vector<int32_t>{0, 1, 2, 3, 4, 5, 6, 7})));
  }
}

std::string fault_of(const Model& model, const std::vector<float>& features) {
  CudaHead head = cuda_head(model, 40);
  try {
    run(model, head, features, 5, always);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "none";
}

void bad_feature(const Model& model, int64_t batch, float bad) {
  const std::vector<float> good = unit_images(model, batch);
  std::vector<float> features = good;
  features[3 * 33 + 32] = features[7 * 33] = bad;
  CudaHead head = cuda_head(model, 40);
  const Answer wanted = run(model, head, good, 5, always);
  CHECK(throws<std::runtime_error>("image row 3 cannot be ranked: its feature holds a NaN",
                                   [&] { run(model, head, features, 5, always); }));
  Answer three(model, 3, 5);
  read(head, three);
  CHECK(std::equal(three.scores.begin(), three.scores.end(), wanted.scores.begin()));
}

// Rows 3 and 7 are bad; the first is named, and the others' answers are untouched by them.
void bad_features() {
  const Model model(20, 33, PairKind::dense);
  for (float bad : {NAN, INFINITY, -INFINITY, 3e38f}) bad_feature(model, 8, bad);
  bad_feature(model, 33, NAN);
  for (float length : {0.0f, 0.98f, 1.02f, 40.0f}) {
    std::vector<float> features = unit_images(model, 2);
    for (size_t d = 0; d < 33; ++d) features[33 + d] *= length;
    CHECK(fault_of(model, features).rfind("image row 1 cannot be ranked: its feature has length", 0) == 0);
  }
}

// Nearly unit features, as runtimes of less precision give them, rank as the unit ones do.
void nearly_unit() {
  const Model model(30, 64, PairKind::dense);
  std::vector<float> features = unit_images(model, 4);
  const Answer wanted = run_on_cpu(model, features, 9, always);
  for (size_t i = 0; i < features.size(); ++i) features[i] *= i / 64 % 2 == 0 ? 0.993f : 1.007f;
  CudaHead head = cuda_head(model, 4);
  compare(run(model, head, features, 9, always), wanted);
}

void bad_weights() {
  Model model(5, 33, PairKind::dense);
  model.halves[33 * 3] = 0x7c00;
  CHECK(fault_of(model, unit_images(model, 3)).rfind("image row 0 cannot be ranked: a pair row", 0) == 0);
  Model sums(5, 33, PairKind::dense);  // finite numbers that add up to an infinity
  std::fill(sums.weight.begin(), sums.weight.end(), 1.0f);
  set_logits(sums, std::vector<float>(static_cast<size_t>(5 + sums.names), 3e38f));
  CHECK(fault_of(sums, first_axis(sums)).rfind("image row 0 cannot be ranked: its coder row", 0) == 0);
  set_logits(model, std::vector<float>(static_cast<size_t>(5 + model.names), 0.0f));
  const auto twice = std::adjacent_find(model.offsets.begin(), model.offsets.end(),
                                        [](int32_t begin, int32_t end) { return end - begin > 1; });
  CHECK(twice != model.offsets.end());  // a class whose other name is the greater
  std::fill_n(model.bank.begin() + (5 + *twice + 1) * 33, 33, -3e38f);
  const std::vector<float> all_axes(33, 1.0f / std::sqrt(33.0f));
  CHECK(fault_of(model, all_axes).rfind("image row 0 cannot be ranked: its coder row", 0) == 0);
  for (size_t row : {size_t{4}, size_t{5}, size_t(model.classes + model.names - 1)}) {
    Model big(5, 33, PairKind::dense);
    std::fill_n(big.bank.begin() + static_cast<std::ptrdiff_t>(row * 33), 33, 3e38f);
    CHECK(fault_of(big, all_axes).rfind("image row 0 cannot be ranked: its coder row", 0) == 0);
  }
}

}  // namespace

int main() {
  every_shape();
  every_batch();
  independent();
  gate_splits();
  ties();
  circle();
  no_texts_for_the_candidates();
  bad_features();
  nearly_unit();
  bad_weights();
  return finish();
}
