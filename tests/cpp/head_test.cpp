// What a Head promises its callers: no allocation, no influence of threads, of the batch or of each other.
#include <atomic>
#include <cstdlib>
#include <new>
#include <thread>

#include "model.h"
#include "testing.h"

namespace {
std::atomic<int64_t> allocations{0};
}

// Out of line, else GCC sees free() meet what it takes for the standard operator new.
[[gnu::noinline]] void* operator new(std::size_t size) {
  ++allocations;
  if (void* at = std::malloc(size)) return at;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* at) noexcept { std::free(at); }
[[gnu::noinline]] void operator delete(void* at, std::size_t) noexcept { std::free(at); }

namespace {

constexpr coder::RankOptions gated{30.0, 2.0, 0.9, true};

// Big enough for both calls to be shared between threads.
struct Case {
  static constexpr int64_t batch = 48;
  const Model model{500, 128, PairKind::sparse};
  const std::vector<float> features = model.images(batch);

  Answer blank() const { return {model, batch, 9}; }

  void answer(const coder::Head& head, Answer& to) const {
    head.coder(features.data(), batch, to.coder.data());
    head.rank(features.data(), to.coder.data(), batch, gated, to.view());
  }
};

void allocates_nothing(const Case& all) {
  const coder::Head head = all.model.head(coder::usable_isas().front(), 2);
  Answer answer = all.blank();
  const int64_t before = allocations;
  all.answer(head, answer);
  CHECK(allocations == before);
}

void threads_change_nothing(const Case& all, const Answer& wanted) {
  for (int threads : {1, 2, 3, 8}) {
    const coder::Head head = all.model.head(coder::usable_isas().front(), threads);
    CHECK(head.threads() == threads);
    for (int repeat = 0; repeat < 10; ++repeat) {
      Answer answer = all.blank();
      all.answer(head, answer);
      CHECK(answer.same(wanted));
    }
  }
}

void callers_do_not_meet(const Case& all, const Answer& wanted) {
  const coder::Head head = all.model.head(coder::usable_isas().front(), 2);
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i) {
    callers.emplace_back([&] {
      for (int repeat = 0; repeat < 15; ++repeat) {
        Answer answer = all.blank();
        all.answer(head, answer);
        if (!answer.same(wanted)) ++wrong;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(wrong == 0);
}

void place_changes_nothing(const Case& all, const Answer& wanted) {
  const coder::Head head = all.model.head(coder::usable_isas().front());
  for (int64_t i : {0, 1, 31, 47}) {
    Answer one(all.model, 1, 9);
    const float* feature = all.features.data() + i * all.model.width;
    head.coder(feature, 1, one.coder.data());
    head.rank(feature, one.coder.data(), 1, gated, one.view());
    CHECK(std::equal(one.ids.begin(), one.ids.end(), wanted.ids.begin() + i * 9));
    CHECK(std::equal(one.scores.begin(), one.scores.end(), wanted.scores.begin() + i * 9));
    CHECK(std::equal(one.logits.begin(), one.logits.end(), wanted.logits.begin() + i * 500));
    CHECK(std::equal(one.duels.begin(), one.duels.end(), wanted.duels.begin() + i * 25));
  }
}

void no_images(const Case& all) {
  const coder::Head head = all.model.head(coder::usable_isas().front(), 2);
  head.coder(nullptr, 0, nullptr);
  head.rank(nullptr, nullptr, 0, gated, {nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, 5});
}

}  // namespace

int main() {
  const Case all;
  Answer wanted = all.blank();
  all.answer(all.model.head(coder::usable_isas().front()), wanted);
  allocates_nothing(all);
  threads_change_nothing(all, wanted);
  callers_do_not_meet(all, wanted);
  place_changes_nothing(all, wanted);
  no_images(all);
  return finish();
}
