#include <pybind11/pybind11.h>

#include <string>
#include <utility>

#include "arrays.h"
#include "coder/resize.h"
#include "register.h"

namespace coder::python {

namespace {

void resize(const Array<uint8_t>& image, Array<uint8_t> out, std::pair<int64_t, int64_t> size, int64_t top,
            int64_t left, const std::string& filter, const std::string& isa) {
  const int channels = image.ndim() == 3 && image.shape(2) == 3 ? 3 : 4;
  const uint8_t* from = input(image, "image", "[H, W, 3] or [H, W, 4]", {-1, -1, channels});
  uint8_t* to = output(out, "out", "[h, w, 3]", {-1, -1, 3});
  const int64_t height = image.shape(0), width = image.shape(1);
  const ResizeCrop crop{
      size.first, size.second, top, left, out.shape(0), out.shape(1), filter_from_name(filter)};
  const Isa with = isa_from_name(isa);
  const py::gil_scoped_release released;
  resize_crop(from, height, width, channels, to, crop, with);
}

}  // namespace

void register_resize(py::module_& m) {
  m.def("resize_crop", &resize, py::arg("image").noconvert(), py::arg("out").noconvert(), py::kw_only(),
        py::arg("size"), py::arg("top"), py::arg("left"), py::arg("filter") = "bicubic",
        py::arg("isa") = "auto");
}

}  // namespace coder::python
