#pragma once

#include <pybind11/pybind11.h>

namespace coder::python {

void register_resize(pybind11::module_& m);

}  // namespace coder::python
