#include "coder/head.h"

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <string>

#include "check.h"
#include "pool.h"
#include "rank_image.h"
#include "simd.h"

namespace coder {

namespace {

constexpr int max_threads = 1024;
constexpr int64_t panel_floats = 32 * 1024;  // of the bank: 128 KiB, at home in a second-level cache

// Some 30 us of one thread's work: less is done before a sleeping worker wakes up.
constexpr int64_t least_products = 500 * 1000;
constexpr int64_t least_ranked = 20 * 1000;

int checked_threads(int threads) {
  if (threads < 1 || threads > max_threads)
    throw std::invalid_argument("threads must be from 1 to " + std::to_string(max_threads) + ", got " +
                                std::to_string(threads));
  return threads;
}

// Whole tiles of 8 rows, at least one.
int64_t panel_rows(int64_t width) { return std::max<int64_t>(panel_floats / width / 8, 1) * 8; }

ImageRows rows_of(const Problem& problem, const float* features, const float* coder, const Ranking& out,
                  int64_t i) {
  const Bank& bank = problem.bank;
  const int64_t k = problem.candidates;
  return {features + i * bank.width,     coder + i * (bank.classes + bank.names),
          out.logits + i * bank.classes, out.ids + i * out.top,
          out.scores + i * out.top,      out.gaps + i * k,
          out.duels + i * k * k,         out.reranked + i};
}

}  // namespace

Head::Head(const Bank& bank, const Pairs& pairs, int threads, Isa isa)
    : bank_(bank), pairs_(pairs), kernels_(&kernels_for(isa)) {
  checked_threads(threads);
  check_bank(bank, *kernels_);
  check_pairs(pairs, bank.classes);
  pool_ = make_pool(threads);
}

Head::~Head() = default;

Isa Head::isa() const { return kernels_->isa; }

int Head::threads() const { return pool_->threads(); }

void Head::coder(const float* features, int64_t batch, float* out) const {
  product(bank_.rows, bank_.classes + bank_.names, features, batch, out);
}

void Head::product(const float* rows, int64_t count, const float* features, int64_t batch, float* out) const {
  const int64_t width = bank_.width;
  for (int64_t i = 0; i < batch; ++i)
    if (!kernels_->all_finite(features + i * width, width)) fail_image(i, Fault::feature);
  if (batch == 0) return;
  const auto body = [&](int64_t begin, int64_t end) noexcept {
    kernels_->dots(rows + begin * width, end - begin, features, batch, width, out + begin, count);
  };
  pool_->run(count, panel_rows(width), batch * count * width >= least_products, body);
}

void Head::rank(const float* features, const float* coder, int64_t batch, const RankOptions& options,
                const Ranking& out) const {
  check_options(options, out.top, bank_.classes);
  const auto k = static_cast<int>(std::min<int64_t>(max_candidates, bank_.classes));
  const Problem problem{bank_, pairs_, *kernels_, options, out.top, k};
  std::atomic<int64_t> bad{batch};
  const auto body = [&](int64_t begin, int64_t end) noexcept {
    for (int64_t i = begin; i < end; ++i) {
      if (rank_image(problem, rows_of(problem, features, coder, out, i)) == Fault::none) continue;
      int64_t first = bad.load();
      while (i < first && !bad.compare_exchange_weak(first, i)) {
      }
    }
  };
  const int64_t work = batch * (bank_.classes + bank_.names);
  pool_->run(batch, std::max<int64_t>(1, batch / (4 * threads())), work >= least_ranked, body);
  // Again for the first bad image: its fault is then the same whoever met it.
  if (bad < batch) {
    const Fault fault = rank_image(problem, rows_of(problem, features, coder, out, bad));
    fail_image(bad, fault == Fault::none ? Fault::file : fault);  // only a file heals, or memory
  }
}

}  // namespace coder
