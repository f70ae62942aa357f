#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "coder/head.h"

// A random label set, the buffers of a call, and Eq. 8-15 in double precision, written from the equations and
// sharing nothing with the kernels.

// Exact for the halves the tests make: multiples of 1/64 between -8 and 8.
inline uint16_t half_of(int sixty_fourths) {
  if (sixty_fourths == 0) return 0;
  int magnitude = std::abs(sixty_fourths);
  int exponent = 15 - 6;
  while (magnitude >= 2048) magnitude /= 2, ++exponent;
  while (magnitude < 1024) magnitude *= 2, --exponent;
  const int bits = (exponent + 10) << 10 | (magnitude - 1024);
  return static_cast<uint16_t>((sixty_fourths < 0 ? 0x8000 : 0) | bits);
}

enum class PairKind { none, dense, sparse };

struct Model {
  int64_t classes, width, names = 0;
  std::vector<float> bank, weight;
  std::vector<int32_t> offsets{0}, others;
  std::vector<uint16_t> halves;
  std::vector<double> rows;  // the same as `halves`
  std::vector<int64_t> starts{0};
  std::vector<std::vector<int64_t>> row_of;  // [C][C], -1 = no texts
  PairKind kind;

  Model(int64_t c, int64_t d, PairKind pairs, unsigned seed = 1) : classes(c), width(d), kind(pairs) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0.0f, 0.3f);
    for (int64_t j = 0; j < c; ++j) {
      names += 1 + static_cast<int64_t>(random() % 3);
      offsets.push_back(static_cast<int32_t>(names));
      weight.push_back(1.0f / static_cast<float>(1 + random() % 9));
    }
    bank.resize(static_cast<size_t>((c + names) * d));
    for (float& value : bank) value = normal(random);
    add_pairs(random);
  }

  void add_pairs(std::mt19937& random) {
    const auto size = static_cast<size_t>(classes);
    row_of.assign(size, std::vector<int64_t>(size, -1));
    int64_t count = 0;
    for (size_t a = 0; a < size; ++a) {
      for (size_t b = a + 1; b < size; ++b) {
        if (kind == PairKind::none || (kind == PairKind::sparse && random() % 2 == 0)) continue;
        row_of[a][b] = count++;
        others.push_back(static_cast<int32_t>(b));
        for (int64_t d = 0; d < width; ++d) {
          const int value = static_cast<int>(random() % 129) - 64;
          halves.push_back(half_of(value));
          rows.push_back(value / 64.0);
        }
      }
      starts.push_back(count);
    }
  }

  coder::Bank bank_view() const {
    return {bank.data(), offsets.data(), weight.data(), classes, names, width};
  }

  coder::Pairs pairs_view() const {
    if (kind == PairKind::none) return {nullptr, nullptr, nullptr, 0};
    const bool sparse = kind == PairKind::sparse;
    // Not nullptr even with no rows: that would say there are no pairs.
    static const uint16_t nothing = 0;
    static const int32_t nobody = 0;
    return {halves.empty() ? &nothing : halves.data(), sparse ? starts.data() : nullptr,
            !sparse ? nullptr : (others.empty() ? &nobody : others.data()), starts.back()};
  }

  coder::Head head(coder::Isa isa, int threads = 1) const {
    return {bank_view(), pairs_view(), threads, isa};
  }

  std::vector<float> images(int64_t batch, unsigned seed = 7) const {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0.0f, 0.2f);
    std::vector<float> features(static_cast<size_t>(batch * width));
    for (float& value : features) value = normal(random);
    return features;
  }
};

// Buffers of one call, filled with garbage that a complete answer must overwrite.
struct Answer {
  int64_t batch, n, k;
  std::vector<float> coder, logits, scores, gaps, duels;
  std::vector<int32_t> ids;
  std::unique_ptr<bool[]> reranked;

  Answer(const Model& model, int64_t images, int64_t top)
      : batch(images),
        n(top),
        k(std::min<int64_t>(5, model.classes)),
        coder(static_cast<size_t>(images * (model.classes + model.names)), 77.0f),
        logits(static_cast<size_t>(images * model.classes), 77.0f),
        scores(static_cast<size_t>(images * n), 77.0f),
        gaps(static_cast<size_t>(images * k), 77.0f),
        duels(static_cast<size_t>(images * k * k), 77.0f),
        ids(static_cast<size_t>(images * n), -7),
        reranked(new bool[static_cast<size_t>(images)]()) {}

  coder::Ranking view() {
    return {logits.data(), ids.data(), scores.data(), gaps.data(), duels.data(), reranked.get(), n};
  }

  bool same(const Answer& other) const {
    return coder == other.coder && logits == other.logits && scores == other.scores && gaps == other.gaps &&
           duels == other.duels && ids == other.ids &&
           std::equal(reranked.get(), reranked.get() + batch, other.reranked.get());
  }
};

struct Expected {
  std::vector<double> logits, softmax, gate, sums;  // [C], [C], [C] without the temperature, [k]
  std::vector<int64_t> ids;                         // [C]
  std::vector<std::vector<double>> duels;           // [k][k] in output order
  bool reranked = false;
};

inline double dot(const double* row, const float* x, int64_t width) {
  double sum = 0.0;
  for (int64_t d = 0; d < width; ++d) sum += row[d] * static_cast<double>(x[d]);
  return sum;
}

inline double gap(const Model& model, const float* x, int64_t a, int64_t b) {
  if (a > b) return -gap(model, x, b, a);
  const int64_t row = a == b ? -1 : model.row_of[static_cast<size_t>(a)][static_cast<size_t>(b)];
  return row < 0 ? 0.0 : dot(model.rows.data() + row * model.width, x, model.width);
}

inline std::vector<double> softmax(const std::vector<double>& logits, double scale, double top) {
  double total = 0.0;
  std::vector<double> found;
  for (double o : logits) total += std::exp(scale * (o - top));
  for (double o : logits) found.push_back(std::exp(scale * (o - top)) / total);
  return found;
}

inline void stage_one(const Model& model, const float* coder, double scale, double temperature,
                      Expected& to) {
  for (int64_t j = 0; j < model.classes; ++j) {
    const auto at = static_cast<size_t>(j);
    double best = -1e300;
    for (int32_t name = model.offsets[at]; name < model.offsets[at + 1]; ++name)
      best = std::max(best, static_cast<double>(coder[model.classes + name]));
    to.logits.push_back(static_cast<double>(coder[j]) + static_cast<double>(model.weight[at]) * best);
    to.ids.push_back(j);
  }
  const double top = *std::max_element(to.logits.begin(), to.logits.end());
  to.gate = softmax(to.logits, scale, top);
  to.softmax = softmax(to.logits, scale / temperature, top);
  std::stable_sort(to.ids.begin(), to.ids.end(), [&](int64_t a, int64_t b) {
    return to.logits[static_cast<size_t>(a)] > to.logits[static_cast<size_t>(b)];
  });
}

inline Expected expect(const Model& model, const float* x, const float* coder,
                       const coder::RankOptions& options) {
  Expected to;
  stage_one(model, coder, options.scale, options.temperature, to);
  const auto k = static_cast<size_t>(std::min<int64_t>(5, model.classes));
  to.duels.assign(k, std::vector<double>(k, 0.0));
  to.sums.assign(k, 0.0);
  const auto probability = [&](size_t i) { return to.gate[static_cast<size_t>(to.ids[i])]; };
  if (!options.rerank || k < 2) return to;
  if (options.margin >= 0.0 && probability(0) - probability(1) >= options.margin) return to;
  std::vector<std::pair<double, int64_t>> order;
  for (size_t i = 0; i < k; ++i) {
    double sum = 0.0;
    for (size_t j = 0; j < k; ++j) {
      sum += gap(model, x, to.ids[i], to.ids[j]);
      if (i < j && model.kind != PairKind::none) {
        const auto low = static_cast<size_t>(std::min(to.ids[i], to.ids[j]));
        to.reranked =
            to.reranked || model.row_of[low][static_cast<size_t>(std::max(to.ids[i], to.ids[j]))] >= 0;
      }
    }
    order.emplace_back(sum, to.ids[i]);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  for (size_t i = 0; i < k; ++i) {
    to.sums[i] = order[i].first;
    to.ids[i] = order[i].second;
  }
  for (size_t i = 0; i < k; ++i)
    for (size_t j = 0; j < k; ++j) to.duels[i][j] = gap(model, x, to.ids[i], to.ids[j]);
  return to;
}
