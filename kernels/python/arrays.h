#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <initializer_list>
#include <string>

// What pybind11's own argument types leave open: shapes, half floats, writable and aligned memory.
namespace coder::python {

namespace py = pybind11;

// No forcecast, and every argument is .noconvert(): another dtype or a strided array is a TypeError, never a
// copy.
template <typename T>
using Array = py::array_t<T, py::array::c_style>;

inline std::string shape_text(const py::array& array) {
  std::string text = "[";
  for (py::ssize_t i = 0; i < array.ndim(); ++i) text += (i > 0 ? ", " : "") + std::to_string(array.shape(i));
  return text + "]";
}

// Throws ValueError unless the array has the shape, given as the names and the sizes of its axes; a size of
// -1 fits all.
inline void check_shape(const py::array& array, const char* name, const char* axes,
                        std::initializer_list<py::ssize_t> wanted) {
  bool fits = array.ndim() == static_cast<py::ssize_t>(wanted.size());
  std::string sizes;
  py::ssize_t i = 0;
  for (const py::ssize_t size : wanted) {
    fits = fits && (size < 0 || array.shape(i) == size);
    sizes += (i++ > 0 ? ", " : "") + (size < 0 ? std::string("any") : std::to_string(size));
  }
  if (!fits)
    throw py::value_error(std::string(name) + " must be " + axes + " = [" + sizes + "], got " +
                          shape_text(array));
  if (reinterpret_cast<std::uintptr_t>(array.data()) % static_cast<std::uintptr_t>(array.itemsize()) != 0)
    throw py::value_error(std::string(name) +
                          " must be aligned to its item size, got an odd address; copy it");
}

template <typename T>
const T* input(const Array<T>& array, const char* name, const char* axes,
               std::initializer_list<py::ssize_t> wanted) {
  check_shape(array, name, axes, wanted);
  return array.data();
}

template <typename T>
T* output(Array<T>& array, const char* name, const char* axes, std::initializer_list<py::ssize_t> wanted) {
  check_shape(array, name, axes, wanted);
  if (!array.writeable())
    throw py::value_error(std::string(name) + " must be writable, got a read-only array");
  return array.mutable_data();
}

// pybind11 has no half type. Throws TypeError as it would.
inline const uint16_t* half_input(const py::array& array, const char* name, const char* axes,
                                  std::initializer_list<py::ssize_t> wanted) {
  if (!array.dtype().equal(py::dtype("float16")))
    throw py::type_error(std::string(name) + " must be float16, got " +
                         py::str(array.dtype()).cast<std::string>());
  if ((array.flags() & py::array::c_style) == 0)
    throw py::type_error(std::string(name) +
                         " must be in C order without strides; use numpy.ascontiguousarray");
  check_shape(array, name, axes, wanted);
  return static_cast<const uint16_t*>(array.data());
}

}  // namespace coder::python
