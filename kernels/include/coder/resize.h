#pragma once

#include <cstdint>
#include <string>

#include "coder/isa.h"

namespace coder {

enum class Filter { bilinear, bicubic };

// "bilinear" or "bicubic". Throws std::invalid_argument for another name.
Filter filter_from_name(const std::string& text);

// A window of the resized image: what is asked for, in its pixels.
struct ResizeCrop {
  int64_t resized_height;  // of the whole image, >= 1
  int64_t resized_width;
  int64_t top;  // of the window, which lies inside the resized image
  int64_t left;
  int64_t height;  // of the window, >= 1
  int64_t width;
  Filter filter;
};

// image [H, W, 3 or 4] -> out [height, width, 3]: the bits of Pillow's Image.resize followed by Image.crop.
// The width goes first, as in Pillow, which from 13 on begins with the height where it shrinks by more than
// twice as many pixels. A fourth byte of a pixel is read and means nothing: Pillow keeps RGB that way. Only
// what the window shows is computed, and a side that keeps its length is not filtered. All instruction sets
// give the same bits.
//
// Allocates the weights of the window's rows and columns, and the rows that one output row is made of twice:
// for an image that shrinks by s that is about 8 s rows of the window's width; of three bytes a pixel, also
// four rows of the image.
//
// Throws std::invalid_argument where `crop` is not as described, or a side of either image is 0 or more than
// 2^24 pixels.
void resize_crop(const uint8_t* image, int64_t image_height, int64_t image_width, int channels, uint8_t* out,
                 const ResizeCrop& crop, Isa isa);

}  // namespace coder
