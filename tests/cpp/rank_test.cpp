// Head::rank against Eq. 8-15 in double precision, and its rules for ties, missing pairs and bad numbers.
#include <unistd.h>

#include <cstdio>

#include "model.h"
#include "testing.h"

namespace {

using coder::Isa;
using coder::RankOptions;

constexpr RankOptions always{100.0, 1.0, -1.0, true};

// Without a name, so that nothing is left.
class TemporaryFile {
 public:
  TemporaryFile() : file_(std::tmpfile()) { CHECK(file_ != nullptr); }
  ~TemporaryFile() { std::fclose(file_); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  void write(const void* from, size_t bytes) const {
    CHECK(std::fwrite(from, 1, bytes, file_) == bytes && std::fflush(file_) == 0);
  }
  void cut(off_t bytes) const { CHECK(ftruncate(descriptor(), bytes) == 0); }
  int descriptor() const { return fileno(file_); }

 private:
  std::FILE* file_;
};

Answer run(const Model& model, const coder::Head& head, const std::vector<float>& features, int64_t top,
           const RankOptions& options) {
  Answer answer(model, static_cast<int64_t>(features.size()) / model.width, top);
  head.coder(features.data(), answer.batch, answer.coder.data());
  head.rank(features.data(), answer.coder.data(), answer.batch, options, answer.view());
  return answer;
}

// Row i of the answer; ids exactly, as random numbers hold no near ties at this precision.
void compare(const Model& model, const Answer& got, const std::vector<float>& features, int64_t image,
             const RankOptions& options) {
  const auto i = static_cast<size_t>(image);
  const auto classes = static_cast<size_t>(model.classes);
  const auto n = static_cast<size_t>(got.n);
  const auto k = static_cast<size_t>(got.k);
  const Expected wanted = expect(model, features.data() + image * model.width,
                                 got.coder.data() + image * (model.classes + model.names), options);
  for (size_t j = 0; j < classes; ++j)
    CHECK(near(static_cast<double>(got.logits[i * classes + j]), wanted.logits[j], 1e-6));
  for (size_t j = 0; j < n; ++j) {
    CHECK(got.ids[i * n + j] == wanted.ids[j]);
    CHECK(near(static_cast<double>(got.scores[i * n + j]), wanted.softmax[static_cast<size_t>(wanted.ids[j])],
               5e-5));
  }
  CHECK(got.reranked[i] == wanted.reranked);
  for (size_t a = 0; a < k; ++a) {
    CHECK(near(static_cast<double>(got.gaps[i * k + a]), wanted.sums[a], 1e-5));
    for (size_t b = 0; b < k; ++b)
      CHECK(near(static_cast<double>(got.duels[(i * k + a) * k + b]), wanted.duels[a][b], 1e-5));
  }
}

void every_shape(Isa isa) {
  for (int64_t classes : {1, 2, 3, 4, 5, 6, 7, 40, 150}) {
    for (PairKind kind : {PairKind::none, PairKind::dense, PairKind::sparse}) {
      const Model model(classes, 37, kind, static_cast<unsigned>(classes));
      const std::vector<float> features = model.images(6);
      const coder::Head head = model.head(isa);
      for (int64_t top :
           {std::min<int64_t>(5, classes), (std::min<int64_t>(5, classes) + classes) / 2, classes}) {
        for (const RankOptions& options :
             {always, RankOptions{100.0, 1.0, -1.0, false}, RankOptions{3.0, 1.0, 0.2, true},
              RankOptions{1.0, 0.3, INFINITY, true}, RankOptions{1.0, 1.0, 0.0, true},
              RankOptions{3.0, 4.0, 0.2, true}}) {
          const Answer got = run(model, head, features, top, options);
          for (int64_t i = 0; i < 6; ++i) compare(model, got, features, i, options);
        }
      }
    }
  }
}

// The gate must open for some images and stay shut for others, else the comparison above says little; and
// the same ones at every temperature.
void gate_splits() {
  const Model model(6, 37, PairKind::dense, 6);
  const auto opened = [&](double temperature) {
    const Answer got =
        run(model, model.head(Isa::scalar), model.images(64), 5, {3.0, temperature, 0.2, true});
    return std::vector<bool>(got.reranked.get(), got.reranked.get() + 64);
  };
  const std::vector<bool> open = opened(1.0);
  const auto count = std::count(open.begin(), open.end(), true);
  CHECK(count > 4 && count < 60);
  CHECK(opened(0.1) == open);
  CHECK(opened(10.0) == open);
}

// All classes alike: every stage ties, so ids ascend.
void ties(Isa isa) {
  for (int64_t classes : {1, 2, 5, 6, 90}) {
    Model model(classes, 16, PairKind::dense);
    std::fill(model.bank.begin(), model.bank.end(), 0.25f);
    std::fill(model.weight.begin(), model.weight.end(), 0.5f);
    std::fill(model.halves.begin(), model.halves.end(), uint16_t{0});
    const Answer got = run(model, model.head(isa), model.images(2), classes, always);
    for (size_t i = 0; i < got.ids.size(); ++i) CHECK(got.ids[i] == static_cast<int32_t>(i) % classes);
    CHECK(got.reranked[1] == (classes > 1));
  }
}

// Two values in turn: every tie inside and across the heap's border goes to the lower id.
void some_ties(Isa isa) {
  const Model model(41, 16, PairKind::none);
  std::vector<float> coder(static_cast<size_t>(model.classes + model.names), 0.0f);
  for (size_t j = 0; j < 41; ++j) coder[j] = j % 3 == 1 ? 1.0f : 0.5f;
  const std::vector<float> feature(16, 1.0f);
  for (int64_t top : {5, 14, 20, 41}) {
    Answer got(model, 1, top);
    got.coder = coder;
    model.head(isa).rank(feature.data(), coder.data(), 1, always, got.view());
    compare(model, got, feature, 0, always);
  }
}

// Stage 1 ties broken by the duels, and duels that tie broken by stage 1: a beats b beats c beats a.
void circle(Isa isa) {
  Model model(3, 1, PairKind::dense);
  model.bank.assign(model.bank.size(), 0.0f);
  for (size_t j = 0; j < 3; ++j) model.bank[j] = static_cast<float>(j);
  model.halves = {half_of(64), half_of(-64), half_of(64)};  // 0 over 1, 2 over 0, 1 over 2
  model.rows = {1.0, -1.0, 1.0};
  const std::vector<float> feature{1.0f};
  Answer got = run(model, model.head(isa), feature, 3, always);
  CHECK((got.ids == std::vector<int32_t>{2, 1, 0}));
  CHECK((got.gaps == std::vector<float>{0.0f, 0.0f, 0.0f}));
  CHECK((got.duels == std::vector<float>{0.0f, -1.0f, 1.0f, 1.0f, 0.0f, -1.0f, -1.0f, 1.0f, 0.0f}));
  model.halves[0] = half_of(128);  // 0 over 1 by 2: S = 1, -1, 0
  got = run(model, model.head(isa), feature, 3, always);
  CHECK((got.ids == std::vector<int32_t>{0, 2, 1}));
  CHECK((got.gaps == std::vector<float>{1.0f, 0.0f, -1.0f}));
}

// Texts for other classes than the candidates leave an image as stage 1 ranked it, and say so; one pair is
// enough.
void no_texts_for_the_candidates(Isa isa) {
  Model model(8, 16, PairKind::sparse);
  std::vector<float> feature(16, 0.5f);
  for (int32_t other : {7, 3}) {  // class 0 against one outside and one inside the first five
    model.starts = {0, 1, 1, 1, 1, 1, 1, 1, 1};
    model.others = {other};
    model.halves.assign(16, half_of(-64));
    Answer got(model, 1, 8);
    for (size_t j = 0; j < got.coder.size(); ++j) got.coder[j] = -static_cast<float>(j);
    std::fill(got.coder.begin() + 8, got.coder.end(), 0.0f);
    model.head(isa).rank(feature.data(), got.coder.data(), 1, always, got.view());
    CHECK(got.reranked[0] == (other == 3));
    CHECK((got.ids == (other == 3 ? std::vector<int32_t>{3, 1, 2, 4, 0, 5, 6, 7}
                                  : std::vector<int32_t>{0, 1, 2, 3, 4, 5, 6, 7})));
    CHECK(got.gaps[0] == (other == 3 ? 8.0f : 0.0f));
  }
}

// Rows 3 and 7 of 9 are bad; the first is named, whichever thread meets which.
void bad_inputs(Isa isa) {
  const Model model(20, 33, PairKind::dense);
  const coder::Head head = model.head(isa, 2);
  const auto rows = static_cast<size_t>(model.classes + model.names);
  for (float bad : {NAN, INFINITY, -INFINITY}) {
    for (size_t at : {size_t{0}, size_t{32}}) {
      std::vector<float> features = model.images(9);
      Answer answer(model, 9, 5);
      const auto coder = [&] { head.coder(features.data(), 9, answer.coder.data()); };
      const auto rank = [&] { head.rank(features.data(), answer.coder.data(), 9, always, answer.view()); };
      coder();
      features[3 * 33 + at] = features[7 * 33 + at] = bad;
      CHECK(throws<std::runtime_error>("image row 3 cannot be ranked: its feature", coder));
      CHECK(throws<std::runtime_error>("image row 3 cannot be ranked: its feature", rank));
    }
    for (size_t at = 0; at < rows; ++at) {
      const std::vector<float> features = model.images(9);
      Answer answer(model, 9, 5);
      head.coder(features.data(), 9, answer.coder.data());
      answer.coder[3 * rows + at] = answer.coder[7 * rows + at] = bad;
      CHECK(throws<std::runtime_error>("image row 3 cannot be ranked: its coder row", [&] {
        head.rank(features.data(), answer.coder.data(), 9, always, answer.view());
      }));
    }
  }
}

void bad_weights(Isa isa) {
  Model model(5, 33, PairKind::dense);
  model.halves[33 * 3] = 0x7c00;
  CHECK(throws<std::runtime_error>("image row 0 cannot be ranked: a pair row",
                                   [&] { run(model, model.head(isa), model.images(3), 5, always); }));
  model.bank.assign(model.bank.size(), 3e38f);
  CHECK(throws<std::runtime_error>(
      "coder row", [&] { run(model, model.head(isa), std::vector<float>(33, 0.03f), 5, always); }));
}

// Rows come from the file and not from the map; a file that ends too early is an error and no crash.
void rows_of_a_file(Isa isa) {
  for (PairKind kind : {PairKind::dense, PairKind::sparse}) {
    const Model model(20, 33, kind);
    const std::vector<float> features = model.images(9);
    const Answer wanted = run(model, model.head(isa), features, 5, always);
    const std::vector<uint16_t> zeros(model.halves.size(), 0);
    TemporaryFile file;
    file.write("head of the file", 16);
    file.write(model.halves.data(), model.halves.size() * 2);
    coder::Pairs pairs = model.pairs_view();
    pairs.rows = zeros.data();
    pairs.file = file.descriptor();
    pairs.offset = 16;
    const coder::Head head(model.bank_view(), pairs, 2, isa);
    const Answer got = run(model, head, features, 5, always);
    CHECK(got.ids == wanted.ids && got.duels == wanted.duels && got.gaps == wanted.gaps);
    file.cut(16);
    CHECK(throws<std::runtime_error>("image row 0 cannot be ranked: a pair row it needs cannot be read",
                                     [&] { run(model, head, features, 5, always); }));
  }
}

}  // namespace

int main() {
  gate_splits();
  for (Isa isa : isas()) {
    every_shape(isa);
    ties(isa);
    some_ties(isa);
    circle(isa);
    no_texts_for_the_candidates(isa);
    bad_inputs(isa);
    bad_weights(isa);
    rows_of_a_file(isa);
  }
  return finish();
}
