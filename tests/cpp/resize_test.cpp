// Resizing: known pixels, all instruction sets against the plain loops, sums against int32, arguments.
// Against Pillow itself: tests/unit/kernels/test_resize.py.
#include "coder/resize.h"

#include <random>

#include "filter.h"
#include "simd.h"
#include "testing.h"

namespace {

using coder::Filter;
using coder::Isa;
using coder::ResizeCrop;

using Bytes = std::vector<uint8_t>;

// Exactly as large as it must be: a sanitizer sees what is read or written beside it.
Bytes noise(int64_t height, int64_t width, unsigned seed) {
  std::mt19937 random(seed);
  Bytes image(static_cast<size_t>(height * width * 4));
  for (uint8_t& byte : image) byte = static_cast<uint8_t>(random() % 3 == 0 ? random() : random() % 2 * 255);
  return image;
}

Bytes resized(const Bytes& image, int64_t height, int64_t width, const ResizeCrop& crop, Isa isa) {
  Bytes out(static_cast<size_t>(crop.height * crop.width * 3), 77);
  coder::resize_crop(image.data(), height, width, 4, out.data(), crop, isa);
  // Without the fourth bytes, which mean nothing.
  Bytes three;
  for (size_t i = 0; i < image.size(); ++i)
    if (i % 4 < 3) three.push_back(image[i]);
  Bytes same(out.size(), 78);
  coder::resize_crop(three.data(), height, width, 3, same.data(), crop, isa);
  CHECK(same == out);
  return out;
}

ResizeCrop whole(int64_t height, int64_t width, Filter filter) {
  return {height, width, 0, 0, height, width, filter};
}

// Made with Pillow: a step up, a step down and something between, as a row of four pixels. The bicubic
// filter overshoots at the steps, on both sides.
void known(Isa isa) {
  const Bytes row = {0, 255, 10, 9, 0, 255, 200, 9, 255, 0, 40, 9, 255, 0, 90, 9};
  CHECK(resized(row, 1, 4, whole(1, 3, Filter::bicubic), isa) ==
        Bytes({0, 255, 66, 128, 128, 125, 255, 0, 68}));
  CHECK(resized(row, 1, 4, whole(1, 3, Filter::bilinear), isa) ==
        Bytes({0, 255, 67, 128, 128, 120, 255, 0, 75}));
  CHECK(resized(row, 1, 4, whole(1, 8, Filter::bicubic), isa) ==
        Bytes({0,   255, 0,  0,   255, 50, 0,   255, 169, 52,  203, 180,
               203, 52,  73, 255, 0,   40, 255, 0,   77,  255, 0,   94}));
  CHECK(resized(row, 1, 4, {1, 8, 0, 3, 1, 2, Filter::bicubic}, isa) == Bytes({52, 203, 180, 203, 52, 73}));
  CHECK(resized(row, 1, 4, whole(1, 4, Filter::bicubic), isa) ==
        Bytes({0, 255, 10, 0, 255, 200, 255, 0, 40, 255, 0, 90}));
}

void crops_alone(Isa isa) {
  const Bytes image = noise(7, 9, 3);
  const Bytes got = resized(image, 7, 9, {7, 9, 2, 3, 4, 5, Filter::bicubic}, isa);
  for (size_t y = 0; y < 4; ++y)
    for (size_t x = 0; x < 5; ++x)
      for (size_t c = 0; c < 3; ++c) CHECK(got[(y * 5 + x) * 3 + c] == image[((y + 2) * 9 + x + 3) * 4 + c]);
}

// A column gives what a row of the same pixels does, by the other pass.
void columns_as_rows(Isa isa) {
  const Bytes image = noise(1, 29, 5);
  for (int64_t length : {1, 2, 7, 28, 29, 30, 91})
    for (Filter filter : {Filter::bilinear, Filter::bicubic})
      CHECK(resized(image, 1, 29, whole(1, length, filter), isa) ==
            resized(image, 29, 1, whole(length, 1, filter), isa));
}

// Sides around the four taps and four rows a vector takes, and a row longer than a block of sums.
void as_the_plain_loops(Isa isa) {
  const int64_t sides[] = {1, 2, 3, 4, 5, 7, 8, 9, 13, 31, 64, 97};
  unsigned seed = 0;
  for (int64_t height : sides) {
    for (int64_t width : sides) {
      const Bytes image = noise(height, width, ++seed);
      for (int64_t to : {1, 3, 5, 24, 41}) {
        const Filter filter = seed % 2 == 0 ? Filter::bilinear : Filter::bicubic;
        const int64_t left = to / 3, top = to / 4;
        const ResizeCrop crop{to, to + 3, top, left, to - top, to + 3 - left, filter};
        CHECK(resized(image, height, width, crop, isa) == resized(image, height, width, crop, Isa::scalar));
      }
    }
  }
}

// No int32 overflows, in whatever order the taps are added.
void sums() {
  const int64_t sides[] = {1, 2, 3, 4, 5, 6, 7, 9, 16, 33, 100, 1000, 65535};
  for (int64_t from : sides) {
    for (int64_t to : sides) {
      for (Filter filter : {Filter::bilinear, Filter::bicubic}) {
        const coder::Taps taps = coder::taps_of(from, to, 0, to, filter);
        int64_t most = 0, least = 0;
        for (size_t i = 0; i < taps.count.size(); ++i) {
          int64_t above = 0, below = 0;
          for (int64_t t = 0; t < taps.stride; ++t) {
            const int64_t weight =
                taps.weights[i * static_cast<size_t>(taps.stride) + static_cast<size_t>(t)];
            (weight > 0 ? above : below) += weight;
            if (t >= taps.count[i]) CHECK(weight == 0);
          }
          most = above > most ? above : most;
          least = below < least ? below : least;
          if (taps.first[i] < 0 || taps.first[i] + taps.count[i] > from) CHECK(false);
        }
        CHECK(most * 255 + coder::half_weight < int64_t{3} << 29);
        CHECK(least * 255 > -(int64_t{1} << 29));
      }
    }
  }
}

void refusals() {
  const Bytes image(4 * 4 * 4);
  Bytes out(3 * 5 * 5);
  const auto refused = [&](const std::string& part, ResizeCrop crop, int64_t height = 4, int64_t width = 4) {
    return throws<std::invalid_argument>(
        part, [&] { coder::resize_crop(image.data(), height, width, 4, out.data(), crop, Isa::scalar); });
  };
  const ResizeCrop fine{5, 6, 1, 2, 2, 3, Filter::bicubic};
  const auto with = [&](int64_t ResizeCrop::* field, int64_t value) {
    ResizeCrop crop = fine;
    crop.*field = value;
    return crop;
  };
  CHECK(refused("at least 1 x 1 pixels of 3 or 4 bytes, got [0, 4, 4]", fine, 0, 4));
  CHECK(refused("at least 1 x 1 pixels of 3 or 4 bytes, got [4, 0, 4]", fine, 4, 0));
  CHECK(refused("at most 2^24 pixels a side", with(&ResizeCrop::resized_width, (int64_t{1} << 24) + 1)));
  CHECK(refused("resized height must be at least 1, got 0", with(&ResizeCrop::resized_height, 0)));
  CHECK(refused("resized width must be at least 1, got -3", with(&ResizeCrop::resized_width, -3)));
  CHECK(refused("out must be at least 1 in height, got 0", with(&ResizeCrop::height, 0)));
  CHECK(refused("out must be at least 1 in width, got 0", with(&ResizeCrop::width, 0)));
  CHECK(refused("inside the resized height of 5, got top -1 and 2 pixels", with(&ResizeCrop::top, -1)));
  CHECK(refused("inside the resized height of 5, got top 4 and 2 pixels", with(&ResizeCrop::top, 4)));
  CHECK(refused("inside the resized width of 6, got left 4 and 3 pixels", with(&ResizeCrop::left, 4)));
  CHECK(refused("inside the resized width of 6, got left 2 and 7 pixels", with(&ResizeCrop::width, 7)));
  CHECK(throws<std::invalid_argument>("filter must be 'bicubic' or 'bilinear', got 'lanczos'",
                                      [] { coder::filter_from_name("lanczos"); }));
  CHECK(coder::filter_from_name("bicubic") == Filter::bicubic);
  CHECK(coder::filter_from_name("bilinear") == Filter::bilinear);
}

}  // namespace

int main() {
  for (Isa isa : isas()) {
    known(isa);
    crops_alone(isa);
    columns_as_rows(isa);
    as_the_plain_loops(isa);
  }
  sums();
  refusals();
  return finish();
}
