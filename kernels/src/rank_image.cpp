#include "rank_image.h"

#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <memory>
#include <new>

namespace coder {

namespace {

// o_j = x.q_j + w_j * max over the names n of j of x.n (Eq. 8, collapsed).
void stage_one(const Bank& bank, const float* coder, float* logits) {
  const float* names = coder + bank.classes;
  for (int64_t j = 0; j < bank.classes; ++j) {
    float best = names[bank.name_offsets[j]];
    for (int32_t n = bank.name_offsets[j] + 1; n < bank.name_offsets[j + 1]; ++n)
      best = names[n] > best ? names[n] : best;
    logits[j] = coder[j] + bank.name_weight[j] * best;
  }
}

// The n best classes, best first, ties by lower id. `ids` is a heap with the worst on top meanwhile, so no
// scratch is needed, and with a small n nearly every class costs one comparison.
void select_top(const float* logits, int64_t classes, int32_t* ids, int64_t n) {
  const auto better = [logits](int32_t a, int32_t b) {
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
  };
  for (int32_t j = 0; j < n; ++j) ids[j] = j;
  std::make_heap(ids, ids + n, better);
  for (auto j = static_cast<int32_t>(n); j < classes; ++j) {
    // Ids come in ascending order, so a tie with the worst goes to the one already in.
    if (!(logits[j] > logits[ids[0]])) continue;
    std::pop_heap(ids, ids + n, better);
    ids[n - 1] = j;
    std::push_heap(ids, ids + n, better);
  }
  std::sort_heap(ids, ids + n, better);
}

// The row of the pair a < b, or -1 where it has no texts.
int64_t pair_row(const Pairs& pairs, int64_t classes, int64_t a, int64_t b) {
  if (pairs.starts == nullptr) return a * (2 * classes - a - 1) / 2 + (b - a - 1);
  const int32_t* end = pairs.others + pairs.starts[a + 1];
  const int32_t* at = std::lower_bound(pairs.others + pairs.starts[a], end, static_cast<int32_t>(b));
  return at != end && *at == b ? at - pairs.others : -1;
}

// softmax(scale * logits) of single classes.
class Softmax {
 public:
  Softmax(const Problem& problem, const float* logits, int32_t best, double scale)
      : logits_(logits),
        top_(logits[best]),
        scale_(scale),
        sum_(problem.kernels.exp_sum(logits, problem.bank.classes, static_cast<float>(scale), logits[best])) {
  }
  double operator()(int32_t id) const {
    return std::exp(scale_ * (static_cast<double>(logits_[id]) - static_cast<double>(top_))) / sum_;
  }

 private:
  const float* logits_;
  float top_;
  double scale_, sum_;
};

// Whether stage 2 is asked for. The margin was chosen on softmax(scale * o), so calibrating scores by a
// temperature must not move it.
bool gate_opens(const Problem& problem, const ImageRows& image) {
  const RankOptions& options = problem.options;
  if (!options.rerank || problem.pairs.rows == nullptr || problem.candidates < 2) return false;
  if (options.margin < 0.0) return true;
  const Softmax softmax(problem, image.logits, image.ids[0], options.scale);
  return softmax(image.ids[0]) - softmax(image.ids[1]) < options.margin;
}

struct Duels {
  int64_t row[max_candidates][max_candidates] = {};  // i < j in stage-1 order; -1 = no texts
  float gap[max_candidates][max_candidates] = {};    // of i over j
  float sum[max_candidates] = {};                    // S of Eq. 15
};

// Ten rows of a file that is not in memory would else be ten waits for the disk, one after another.
void prefetch(const Pairs& pairs, int64_t row, int64_t width) {
  if (pairs.file < 0) {
    for (int64_t d = 0; d < width; d += 32) __builtin_prefetch(pairs.rows + row * width + d);
    return;
  }
#ifdef POSIX_FADV_WILLNEED
  posix_fadvise(pairs.file, static_cast<off_t>(pairs.offset + 2 * width * row), static_cast<off_t>(2 * width),
                POSIX_FADV_WILLNEED);
#endif
}

// Where a thread reads rows to; it grows, and never throws.
class RowBuffer {
 public:
  // nullptr where there is no memory.
  uint16_t* of(int64_t width) {
    if (width > size_) {
      values_.reset(new (std::nothrow) uint16_t[static_cast<size_t>(width)]);
      size_ = values_ ? width : 0;
    }
    return values_.get();
  }

 private:
  std::unique_ptr<uint16_t[]> values_;
  int64_t size_ = 0;
};

// A row of pairs in `from`; the fault where the file does not give it.
Fault read_row(const Pairs& pairs, int64_t row, int64_t width, const uint16_t*& from) {
  from = pairs.rows + row * width;
  if (pairs.file < 0) return Fault::none;
  thread_local RowBuffer buffer;
  uint16_t* row_here = buffer.of(width);
  if (row_here == nullptr) return Fault::memory;
  from = row_here;
  auto* to = reinterpret_cast<char*>(row_here);
  int64_t at = pairs.offset + 2 * width * row;
  for (int64_t left = 2 * width; left > 0;) {
    const ssize_t got = pread(pairs.file, to, static_cast<size_t>(left), static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return Fault::file;
    to += got, at += got, left -= got;
  }
  return Fault::none;
}

// Finds the rows of all candidate pairs and asks for them, so the dot products do not wait one after another
// for memory. False where no pair has texts.
bool find_rows(const Problem& problem, const int32_t* ids, Duels& duels) {
  bool any = false;
  for (int i = 0; i < problem.candidates; ++i) {
    for (int j = i + 1; j < problem.candidates; ++j) {
      const int64_t row =
          pair_row(problem.pairs, problem.bank.classes, std::min(ids[i], ids[j]), std::max(ids[i], ids[j]));
      duels.row[i][j] = row;
      if (row < 0) continue;
      prefetch(problem.pairs, row, problem.bank.width);
      any = true;
    }
  }
  return any;
}

// gap_ab = x.g_ab = -gap_ba.
Fault fight(const Problem& problem, const float* feature, const int32_t* ids, Duels& duels) {
  for (int i = 0; i < problem.candidates; ++i) {
    for (int j = i + 1; j < problem.candidates; ++j) {
      if (duels.row[i][j] < 0) continue;
      const uint16_t* row = nullptr;
      const Fault fault = read_row(problem.pairs, duels.row[i][j], problem.bank.width, row);
      if (fault != Fault::none) return fault;
      const float lower = problem.kernels.dot_half(row, feature, problem.bank.width);
      if (!std::isfinite(lower)) return Fault::pair;
      duels.gap[i][j] = ids[i] < ids[j] ? lower : -lower;
      duels.gap[j][i] = -duels.gap[i][j];
    }
  }
  for (int i = 0; i < problem.candidates; ++i) {
    double sum = 0.0;
    for (int j = 0; j < problem.candidates; ++j) sum += static_cast<double>(duels.gap[i][j]);
    duels.sum[i] = static_cast<float>(sum);
  }
  return Fault::none;
}

// Sorts the candidates by S, ties by stage-1 rank, and writes ids, gaps and duels in that order.
void write_order(int k, const Duels& duels, const ImageRows& image) {
  int order[max_candidates];
  int32_t first[max_candidates];
  for (int i = 0; i < k; ++i) {
    first[i] = image.ids[i];
    int at = i;
    for (; at > 0 && duels.sum[order[at - 1]] < duels.sum[i]; --at) order[at] = order[at - 1];
    order[at] = i;
  }
  for (int i = 0; i < k; ++i) {
    image.ids[i] = first[order[i]];
    image.gaps[i] = duels.sum[order[i]];
    for (int j = 0; j < k; ++j) image.duels[i * k + j] = duels.gap[order[i]][order[j]];
  }
}

}  // namespace

Fault rank_image(const Problem& problem, const ImageRows& image) noexcept {
  const Bank& bank = problem.bank;
  const Kernels& kernels = problem.kernels;
  if (!kernels.all_finite(image.feature, bank.width)) return Fault::feature;
  if (!kernels.all_finite(image.coder, bank.classes + bank.names)) return Fault::coder;
  stage_one(bank, image.coder, image.logits);
  // Finite values near the end of the float range may still add up to an infinity.
  if (!kernels.all_finite(image.logits, bank.classes)) return Fault::coder;
  select_top(image.logits, bank.classes, image.ids, problem.top);

  const Softmax score(problem, image.logits, image.ids[0],
                      problem.options.scale / problem.options.temperature);
  Duels duels;
  *image.reranked = gate_opens(problem, image) && find_rows(problem, image.ids, duels);
  if (*image.reranked) {
    const Fault fault = fight(problem, image.feature, image.ids, duels);
    if (fault != Fault::none) return fault;
  }
  write_order(problem.candidates, duels, image);
  for (int64_t i = 0; i < problem.top; ++i) image.scores[i] = static_cast<float>(score(image.ids[i]));
  return Fault::none;
}

}  // namespace coder
