// Times Head for a label set like ImageNet's: C = 1000, R = 2000, D = 512, all pairs.
//   head_bench [threads] [file for the pair rows: 512 MB, made if absent, memory-mapped]
// Without a file the pairs of the first 200 classes are held in memory. Prints the best time, p50 and p99 in
// ms and checks that timed answers are those of the scalar kernels.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <random>
#include <vector>

#include "coder/head.h"

namespace {

constexpr int64_t C = 1000, R = 2000, D = 512, n = 5, k = 5;

std::vector<float> randoms(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 1.0f / std::sqrt(static_cast<float>(D)));
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

const uint16_t* map_pairs(const char* path) {
  constexpr int64_t rows = C * (C - 1) / 2;
  if (!std::ifstream(path)) {
    std::vector<uint16_t> row(D);
    std::mt19937 random(5);
    std::ofstream file(path, std::ios::binary);
    for (int64_t i = 0; i < rows; ++i) {
      for (uint16_t& value : row) value = static_cast<uint16_t>(0x2000u | (random() & 0x8fffu));
      file.write(reinterpret_cast<const char*>(row.data()), static_cast<std::streamsize>(row.size() * 2));
    }
  }
  const int file = open(path, O_RDONLY);
  void* at = mmap(nullptr, rows * D * 2, PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (at == MAP_FAILED) std::perror(path), std::exit(1);
  return static_cast<const uint16_t*>(at);
}

struct Buffers {
  std::vector<float> coder, logits, scores, gaps, duels;
  std::vector<int32_t> ids;
  std::unique_ptr<bool[]> reranked;
  explicit Buffers(int64_t batch)
      : coder(static_cast<size_t>(batch * (C + R))),
        logits(static_cast<size_t>(batch * C)),
        scores(static_cast<size_t>(batch * n)),
        gaps(static_cast<size_t>(batch * k)),
        duels(static_cast<size_t>(batch * k * k)),
        ids(static_cast<size_t>(batch * n)),
        reranked(new bool[static_cast<size_t>(batch)]) {}
  coder::Ranking view() {
    return {logits.data(), ids.data(), scores.data(), gaps.data(), duels.data(), reranked.get(), n};
  }
};

template <typename Call>
void time_it(const char* what, int64_t batch, int threads, int repeats, const Call& call) {
  std::vector<double> times;
  for (int i = 0; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    call(i);
    times.push_back(
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(times.begin(), times.end());
  std::printf("%-6s B=%-3lld threads=%d  best %7.4f  p50 %7.4f  p99 %7.4f ms\n", what,
              static_cast<long long>(batch), threads, times[0], times[times.size() / 2],
              times[times.size() * 99 / 100]);
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 1;
  std::vector<int32_t> offsets{0};
  std::mt19937 random(9);
  for (int64_t j = 0; j < C; ++j) {  // 1 to 3 names a class, R in all
    const int64_t left = R - offsets.back() - (C - 1 - j);
    const int64_t least = R - offsets.back() - 3 * (C - 1 - j);
    const int64_t names = std::min(left, std::max(least, 1 + static_cast<int64_t>(random() % 3)));
    offsets.push_back(offsets.back() + static_cast<int32_t>(names));
  }
  const std::vector<float> bank = randoms((C + R) * D, 1), images = randoms(4096 * D, 2);
  const std::vector<float> weight(C, 0.1f);
  std::vector<uint16_t> some;
  std::vector<int64_t> starts{0};
  std::vector<int32_t> others;
  coder::Pairs pairs{};
  if (argc > 2) {
    pairs = {map_pairs(argv[2]), nullptr, nullptr, C * (C - 1) / 2};
  } else {
    for (int32_t a = 0; a < C; ++a) {
      for (int32_t b = a + 1; b < 200; ++b) others.push_back(b);
      starts.push_back(static_cast<int64_t>(others.size()));
    }
    some.assign(others.size() * D, 0x2400);
    pairs = {some.data(), starts.data(), others.data(), starts.back()};
  }
  const coder::Bank view{bank.data(), offsets.data(), weight.data(), C, R, D};
  const coder::Head head(view, pairs, threads, coder::usable_isas().front());
  const coder::Head plain(view, pairs, 1, coder::Isa::scalar);
  const coder::RankOptions options{100.0, 1.0, -1.0, true};
  std::printf("%s, C=%d R=%d D=%d\n", coder::name(head.isa()), int{C}, int{R}, int{D});
  // Coder rows of as many images as there are, as a processor soon knows the way through one alone.
  std::vector<float> rows(4096 * (C + R));
  head.coder(images.data(), 4096, rows.data());
  for (int64_t batch : {1, 2, 4, 8, 16, 64}) {
    Buffers fast(batch), slow(batch);
    const auto first = [&](int i) { return i * batch % (4096 - batch); };
    const auto at = [&](int i) { return images.data() + first(i) * D; };
    const int repeats = batch > 8 ? 200 : 1000;
    time_it("coder", batch, threads, repeats, [&](int i) { head.coder(at(i), batch, fast.coder.data()); });
    time_it("rank", batch, threads, repeats,
            [&](int i) { head.rank(at(i), rows.data() + first(i) * (C + R), batch, options, fast.view()); });
    head.coder(at(3), batch, fast.coder.data());
    head.rank(at(3), fast.coder.data(), batch, options, fast.view());
    plain.rank(at(3), fast.coder.data(), batch, options, slow.view());
    if (fast.ids != slow.ids) return std::printf("wrong answer\n"), 1;
  }
  return 0;
}
