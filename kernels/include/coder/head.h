#pragma once

#include <cstdint>
#include <memory>

#include "coder/isa.h"

// Shape letters: B images, C classes, R name rows, P pairs, D width, n entries asked for, k = min(5, C)
// candidates. Every array is dense and row-major.
namespace coder {

class Pool;
struct Kernels;

constexpr int max_candidates = 5;

// The collapsed texts. Row j < C is q_j; rows C .. C + R - 1 are the name texts, class by class.
struct Bank {
  const float* rows;  // [C + R, D], finite
  const int32_t*
      name_offsets;          // [C + 1], 0 first, R last; class j's names are C + off[j] .. C + off[j + 1] - 1
  const float* name_weight;  // [C], w_j = 1 / (m_j + 1), in (0, 1]
  int64_t classes;           // C >= 1
  int64_t names;             // R >= C, every class has at least one name
  int64_t width;             // D >= 1
};

// One difference vector g_ab = mean(a against b) - mean(b against a) a pair a < b, as IEEE half floats.
struct Pairs {
  const uint16_t* rows;   // [P, D]; nullptr = no pairs. May be a read-only memory map
  const int64_t* starts;  // [C + 1], the rows of the pairs (a, .) are starts[a] .. starts[a + 1] - 1; nullptr
                          // = dense: P = C (C - 1) / 2 and (a, b) is row a (2C - a - 1) / 2 + (b - a - 1)
  const int32_t* others;  // [P], the b of each row, ascending inside each a; nullptr exactly when starts is
  int64_t count;          // P
  int file = -1;          // a descriptor to read rows by instead of through the map: row i at offset + 2 D i.
  int64_t offset = 0;     // A map of a file keeps much around each row resident, and kills where it was cut
};

struct RankOptions {
  double scale;        // logit scale of the softmax, 1e-9 to 1e9
  double temperature;  // what scores are calibrated by, scale / temperature 1e-9 to 1e9; not the margin's
  double margin;  // rerank only where softmax(scale * o) top-1 minus top-2 is below it; negative = always
  bool rerank;    // false = stage 1 only
};

// The caller's buffers, all written. They must not overlap each other or the inputs.
struct Ranking {
  float* logits;  // [B, C], o_j of Eq. 8
  int32_t* ids;   // [B, n], best first
  float* scores;  // [B, n], softmax(scale * o / temperature) of ids
  float* gaps;    // [B, k], S_c of Eq. 15 of the first k of ids; 0 where not reranked
  float* duels;  // [B, k, k], gap of candidate i over candidate j of ids; 0 on the diagonal and where missing
  bool* reranked;  // [B]
  int64_t top;     // n, k <= n <= C
};

// Two-stage CODER over frozen weights. The memory behind `bank` and `pairs` stays the caller's and must
// outlive the Head, as must the file. After construction nothing is allocated but a row for each thread, and
// any number of threads may call one Head at once: one of them gets the thread pool, the others run alone. An
// image's result depends on its own row only, not on B, its place, `threads` or other callers; between
// instruction sets it may differ by rounding.
class Head {
 public:
  // threads >= 1 counts the caller: threads - 1 are started here and joined in the destructor. Throws
  // std::invalid_argument where bank, pairs, threads or isa are not as described above.
  Head(const Bank& bank, const Pairs& pairs, int threads, Isa isa);
  ~Head();
  Head(const Head&) = delete;
  Head& operator=(const Head&) = delete;

  // out[i, r] = features[i] . bank[r] in single precision: features [B, D] -> out [B, C + R]. Throws
  // std::runtime_error naming the first row of features with a NaN or an infinity, before anything is
  // written.
  void coder(const float* features, int64_t batch, float* out) const;

  // The same product with any other rows [count, D], which need not be finite: out [B, count].
  void product(const float* rows, int64_t count, const float* features, int64_t batch, float* out) const;

  // features [B, D] and their coder [B, C + R] -> ranking.
  //   Stage 1 (Eq. 8)     o_j = coder[j] + w_j * max over the names n of j of coder[n]; o descending, ties by
  //                       lower class id. The first k are the candidates.
  //   Stage 2 (Eq. 9-15)  gap_ab = x . g_ab = -gap_ba, 0 for a missing pair; S_c = sum of its gaps over the
  //                       other candidates; S descending, ties by stage-1 rank. Later entries stay as they
  //                       are.
  // reranked is true where stage 2 ran: it was asked for, the gate was open and a candidate pair has texts.
  // Throws std::invalid_argument for options out of range, and std::runtime_error naming the first image with
  // a NaN or an infinity in its feature, its coder row or a pair row it needs, or such a row that cannot be
  // read; what the buffers hold is then unspecified.
  void rank(const float* features, const float* coder, int64_t batch, const RankOptions& options,
            const Ranking& out) const;

  int64_t classes() const { return bank_.classes; }
  int64_t names() const { return bank_.names; }
  int64_t width() const { return bank_.width; }
  Isa isa() const;
  int threads() const;

 private:
  Bank bank_;
  Pairs pairs_;
  const Kernels* kernels_;
  std::shared_ptr<Pool> pool_;
};

}  // namespace coder
