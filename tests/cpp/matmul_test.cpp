// Head::coder against a sum in double precision, and against itself with other batches and threads.
#include <cstring>

#include "model.h"
#include "testing.h"

namespace {

using coder::Isa;

std::vector<float> coder_of(const coder::Head& head, const std::vector<float>& features, int64_t batch) {
  const auto size = static_cast<size_t>(batch * (head.classes() + head.names()));
  std::vector<float> out(size + 8, 77.0f);
  head.coder(features.data(), batch, out.data());
  for (size_t i = size; i < out.size(); ++i) CHECK(out[i] == 77.0f);
  out.resize(size);
  return out;
}

void exact_enough(Isa isa, int64_t classes, int64_t width, int64_t batch) {
  const Model model(classes, width, PairKind::none, static_cast<unsigned>(width));
  const std::vector<float> features = model.images(batch);
  const std::vector<float> got = coder_of(model.head(isa), features, batch);
  const int64_t rows = model.classes + model.names;
  for (int64_t i = 0; i < batch; ++i) {
    for (int64_t r = 0; r < rows; ++r) {
      double wanted = 0.0;
      for (int64_t d = 0; d < width; ++d)
        wanted += static_cast<double>(model.bank[static_cast<size_t>(r * width + d)]) *
                  static_cast<double>(features[static_cast<size_t>(i * width + d)]);
      CHECK(near(static_cast<double>(got[static_cast<size_t>(i * rows + r)]), wanted, 4e-6));
    }
  }
}

// Bit for bit the same whatever B, the place in the batch and the threads.
void independent(Isa isa, int64_t classes, int64_t width) {
  constexpr int64_t batch = 19;
  const Model model(classes, width, PairKind::none);
  const std::vector<float> features = model.images(batch);
  const std::vector<float> all = coder_of(model.head(isa), features, batch);
  const coder::Head shared = model.head(isa, 3);
  for (int repeat = 0; repeat < 5; ++repeat) CHECK(coder_of(shared, features, batch) == all);
  const auto row = static_cast<size_t>(width);
  const auto rows = static_cast<size_t>(model.classes + model.names);
  for (size_t i = 0; i < batch; ++i) {
    const std::vector<float> one(features.begin() + static_cast<std::ptrdiff_t>(i * row),
                                 features.begin() + static_cast<std::ptrdiff_t>((i + 1) * row));
    const std::vector<float> alone = coder_of(shared, one, 1);
    CHECK(std::memcmp(alone.data(), all.data() + i * rows, rows * sizeof(float)) == 0);
  }
}

}  // namespace

int main() {
  for (Isa isa : isas()) {
    for (int64_t width : {1, 2, 3, 5, 8, 15, 16, 17, 31, 64, 100}) {
      for (int64_t batch = 1; batch <= 13; ++batch) exact_enough(isa, 11, width, batch);
      exact_enough(isa, 1, width, 2);
    }
    exact_enough(isa, 60, 512, 9);
    independent(isa, 300, 512);
    independent(isa, 50, 333);
    independent(isa, 7, 40000);
  }
  return finish();
}
