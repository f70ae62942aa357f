// What a Head refuses, and how it says so.
#include <stdexcept>

#include "model.h"
#include "testing.h"

namespace {

using coder::Isa;

template <typename Damage>
bool refused(const std::string& part, PairKind kind, const Damage& damage, int threads = 1) {
  Model model(6, 8, kind, 2);
  damage(model);
  return throws<std::invalid_argument>(part, [&] { model.head(Isa::scalar, threads); });
}

void banks() {
  const auto kind = PairKind::none;
  CHECK(refused("name_offsets must start with 0, got 1", kind, [](Model& m) { m.offsets[0] = 1; }));
  CHECK(refused("every class has a name row; class 2", kind, [](Model& m) { m.offsets[3] = m.offsets[2]; }));
  CHECK(refused("must end with the number of name rows", kind, [](Model& m) { m.offsets[6] += 1; }));
  CHECK(refused("class 5 has 0", kind, [](Model& m) { m.weight[5] = 0.0f; }));
  CHECK(refused("class 4 has 1.5", kind, [](Model& m) { m.weight[4] = 1.5f; }));
  CHECK(refused("class 3 has nan", kind, [](Model& m) { m.weight[3] = NAN; }));
  CHECK(refused("bank must be finite, row 3", kind, [](Model& m) { m.bank[3 * 8 + 7] = NAN; }));
  CHECK(refused("bank must be finite, row 7", kind, [](Model& m) { m.bank[7 * 8] = INFINITY; }));
  CHECK(refused("at least one class, got 0", kind, [](Model& m) { m.classes = 0; }));
  CHECK(refused("at least 1 wide, got 0", kind, [](Model& m) { m.width = 0; }));
}

void pairs() {
  const auto kind = PairKind::sparse;
  CHECK(refused("pair_starts must start with 0, got 1", kind, [](Model& m) { m.starts[0] = 1; }));
  CHECK(refused("pair_starts must not descend, class 1", kind,
                [](Model& m) { m.starts[2] = m.starts[1] - 1; }));
  CHECK(refused("pair_starts must not descend, class 3", kind, [](Model& m) { m.starts[3] = 1 << 30; }));
  CHECK(refused("must ascend from 1 to at most 5, got 0", kind, [](Model& m) { m.others[0] = 0; }));
  CHECK(refused("must ascend from 1 to at most 5, got 6", kind, [](Model& m) { m.others[0] = 6; }));
  CHECK(refused("class 0 must ascend", kind, [](Model& m) {
    m.starts = {0, 2, 2, 2, 2, 2, 2};  // two rows, both of class 0
    m.others = {3, 3};
  }));
  CHECK(refused("rows, got 14", PairKind::dense, [](Model& m) { m.starts.back() = 14; }));
  const Model model(6, 8, kind, 2);
  const auto with = [&](coder::Pairs view) {
    return throws<std::invalid_argument>("pair_",
                                         [&] { coder::Head(model.bank_view(), view, 1, Isa::scalar); });
  };
  coder::Pairs view = model.pairs_view();
  view.count += 1;
  CHECK(with(view));
  view = model.pairs_view();
  view.others = nullptr;
  CHECK(with(view));
  view = model.pairs_view();
  view.rows = nullptr;
  CHECK(with(view));
}

void settings() {
  const auto nothing = [](Model&) {};
  CHECK(refused("threads must be from 1 to 1024, got 0", PairKind::none, nothing, 0));
  CHECK(refused("threads must be from 1 to 1024, got 1025", PairKind::none, nothing, 1025));
  CHECK(throws<std::invalid_argument>("got 'sse9'", [] { coder::isa_from_name("sse9"); }));
  CHECK(coder::isa_from_name("auto") == coder::usable_isas().front());
  for (Isa isa : isas()) CHECK(coder::isa_from_name(coder::name(isa)) == isa);
#if defined(__x86_64__)
  CHECK(throws<std::invalid_argument>("got 'neon'", [] { coder::isa_from_name("neon"); }));
  const Model model(6, 8, PairKind::none);
  CHECK(throws<std::invalid_argument>("got 'neon'", [&] { model.head(Isa::neon); }));
#endif
}

void options() {
  const Model model(6, 8, PairKind::none);
  const auto with = [&](const std::string& part, coder::RankOptions options, int64_t top) {
    Answer answer(model, 1, 6);
    answer.n = top;
    return throws<std::invalid_argument>(part, [&] {
      model.head(Isa::scalar).rank(answer.coder.data(), answer.coder.data(), 1, options, answer.view());
    });
  };
  CHECK(with("scale must be from 1e-9 to 1e9, got 0", {0.0, 1.0, -1.0, true}, 5));
  CHECK(with("scale must be from 1e-9 to 1e9, got nan", {NAN, 1.0, -1.0, true}, 5));
  CHECK(with("scale must be from 1e-9 to 1e9, got inf", {INFINITY, 1.0, -1.0, true}, 5));
  CHECK(with("scale must be from 1e-9 to 1e9", {1e300, 1e300, 0.5, true}, 5));
  for (double bad : {0.0, -1.0, static_cast<double>(NAN), static_cast<double>(INFINITY), 1e-300, 1e20})
    CHECK(with("temperature must be such that scale / temperature is from 1e-9 to 1e9",
               {100.0, bad, -1.0, true}, 5));
  CHECK(with("margin must be a number", {1.0, 1.0, NAN, true}, 5));
  CHECK(with("from k = 5 to C = 6 columns, got 4", {1.0, 1.0, -1.0, true}, 4));
  CHECK(with("from k = 5 to C = 6 columns, got 7", {1.0, 1.0, -1.0, true}, 7));
}

}  // namespace

int main() {
  banks();
  pairs();
  settings();
  options();
  return finish();
}
