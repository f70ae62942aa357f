#include "coder/resize.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "filter.h"
#include "simd.h"

namespace coder {

namespace {

using std::to_string;

void check_window(const char* side, const char* start_name, int64_t resized, int64_t start, int64_t length) {
  if (resized < 1)
    throw std::invalid_argument("the resized " + std::string(side) + " must be at least 1, got " +
                                to_string(resized));
  if (length < 1)
    throw std::invalid_argument("out must be at least 1 in " + std::string(side) + ", got " +
                                to_string(length));
  if (start < 0 || length > resized || start > resized - length)
    throw std::invalid_argument("the crop must lie inside the resized " + std::string(side) + " of " +
                                to_string(resized) + ", got " + start_name + " " + to_string(start) +
                                " and " + to_string(length) + " pixels");
}

// Pillow keeps sides as floats and rounds longer ones.
constexpr int64_t longest_side = int64_t{1} << 24;

void check(int64_t height, int64_t width, int channels, const ResizeCrop& crop) {
  if (height < 1 || width < 1 || (channels != 3 && channels != 4))
    throw std::invalid_argument("image must have at least 1 x 1 pixels of 3 or 4 bytes, got [" +
                                to_string(height) + ", " + to_string(width) + ", " + to_string(channels) +
                                "]");
  if (std::max({height, width, crop.resized_height, crop.resized_width}) > longest_side)
    throw std::invalid_argument("image and size must be at most 2^24 pixels a side, got " +
                                to_string(height) + " x " + to_string(width) + " to " +
                                to_string(crop.resized_height) + " x " + to_string(crop.resized_width));
  check_window("height", "top", crop.resized_height, crop.top, crop.height);
  check_window("width", "left", crop.resized_width, crop.left, crop.width);
}

// Pixels of three bytes to four, the last of which means nothing.
void widen(const uint8_t* from, int64_t count, uint8_t* to) {
  for (int64_t x = 0; x + 1 < count; ++x) std::memcpy(to + 4 * x, from + 3 * x, 4);
  std::memcpy(to + 4 * (count - 1), from + 3 * (count - 1), 3);
}

// Rows of the image at the window's width, three bytes a pixel.
class Rows {
 public:
  Rows(const uint8_t* image, int64_t image_width, int channels, const ResizeCrop& crop,
       const Kernels& kernels)
      : image_(image),
        image_width_(image_width),
        channels_(channels),
        left_(crop.left),
        width_(crop.width),
        kernels_(kernels) {
    filtered_ = image_width != crop.resized_width;
    if (!filtered_) return;
    taps_ = taps_of(image_width, crop.resized_width, crop.left, crop.width, crop.filter);
    if (channels == 3) wide_.resize(static_cast<size_t>(at_once * 4 * image_width));
  }

  int64_t bytes() const { return 3 * width_; }

  void write(int64_t first, int64_t count, uint8_t* out) {
    const int64_t pitch = channels_ * image_width_;
    const uint8_t* from = image_ + first * pitch;
    if (!filtered_) {
      for (int64_t y = 0; y < count; ++y)
        for (int64_t x = 0; x < width_; ++x)
          std::memcpy(out + y * bytes() + 3 * x, from + y * pitch + channels_ * (left_ + x), 3);
    } else if (channels_ == 4) {
      filter(from, count, out);
    } else {
      for (int64_t y = 0; y < count; y += at_once) {
        const int64_t some = std::min(at_once, count - y);
        for (int64_t i = 0; i < some; ++i)
          widen(from + (y + i) * pitch, image_width_, wide_.data() + i * 4 * image_width_);
        filter(wide_.data(), some, out + y * bytes());
      }
    }
  }

 private:
  static constexpr int64_t at_once = 4;  // rows that are widened, to be read again from the cache

  // Rows of four bytes a pixel.
  void filter(const uint8_t* from, int64_t count, uint8_t* out) const {
    kernels_.resize_columns(from, 4 * image_width_, count,
                            {taps_.first.data(), taps_.count.data(), taps_.weights.data(), taps_.stride},
                            width_, out);
  }

  const uint8_t* image_;
  int64_t image_width_;
  int channels_;
  int64_t left_;
  int64_t width_;
  const Kernels& kernels_;
  bool filtered_;
  Taps taps_{};
  std::vector<uint8_t> wide_;
};

// The second pass. The rows it needs are made a batch at a time, just before: they are read from the cache.
void resize_rows(Rows& rows, int64_t image_height, const ResizeCrop& crop, const Kernels& kernels,
                 uint8_t* out) {
  const Taps taps = taps_of(image_height, crop.resized_height, crop.top, crop.height, crop.filter);
  const int64_t most = *std::max_element(taps.count.begin(), taps.count.end());
  const int64_t bottom = taps.first.back() + taps.count.back(), bytes = rows.bytes();
  const int64_t capacity = std::min(image_height, 2 * most + 16);
  std::vector<uint8_t> held(static_cast<size_t>(capacity * bytes));
  int64_t begin = taps.first.front(), end = begin;  // of the rows in `held`
  for (int64_t y = 0; y < crop.height; ++y) {
    const auto i = static_cast<size_t>(y);
    const int64_t first = taps.first[i];
    if (first + taps.count[i] > end) {
      const int64_t kept = end - first;
      std::memmove(held.data(), held.data() + (first - begin) * bytes, static_cast<size_t>(kept * bytes));
      const int64_t more = std::min(bottom - end, capacity - kept);
      rows.write(end, more, held.data() + kept * bytes);
      begin = first;
      end += more;
    }
    kernels.resize_row(held.data() + (first - begin) * bytes, bytes, taps.weights.data() + y * taps.stride,
                       taps.count[i], out + y * bytes);
  }
}

}  // namespace

Filter filter_from_name(const std::string& text) {
  if (text == "bilinear") return Filter::bilinear;
  if (text == "bicubic") return Filter::bicubic;
  throw std::invalid_argument("filter must be 'bicubic' or 'bilinear', got '" + text + "'");
}

void resize_crop(const uint8_t* image, int64_t image_height, int64_t image_width, int channels, uint8_t* out,
                 const ResizeCrop& crop, Isa isa) {
  check(image_height, image_width, channels, crop);
  const Kernels& kernels = kernels_for(isa);
  Rows rows(image, image_width, channels, crop, kernels);
  if (image_height == crop.resized_height)
    rows.write(crop.top, crop.height, out);
  else
    resize_rows(rows, image_height, crop, kernels, out);
}

}  // namespace coder
