// Taking JavaScript values apart, and making plain ones. Whatever is not as it must be throws into JavaScript and unwinds with `Thrown`.
#ifndef OSTRAKA_IO_ARGUMENTS_H
#define OSTRAKA_IO_ARGUMENTS_H

#include <node_api.h>

#include <cstdint>
#include <string>
#include <vector>

namespace ostraka {

// Number.MAX_SAFE_INTEGER.
constexpr int64_t kSafe = (int64_t{1} << 53) - 1;

// An exception is pending in JavaScript.
struct Thrown {};

[[noreturn]] inline void throwType(napi_env env, const std::string& message) {
  napi_throw_type_error(env, "ERR_INVALID_ARG_VALUE", message.c_str());
  throw Thrown();
}

// For calls that fail only in an environment that is ending, or with an exception pending.
inline void check(napi_status status) {
  if (status != napi_ok) throw Thrown();
}

struct Bytes {
  uint8_t* data = nullptr;
  size_t count = 0;
};

class Arguments {
 public:
  static constexpr size_t kMax = 8;

  Arguments(napi_env env, napi_callback_info info) : env(env) {
    size_t count = kMax;
    check(napi_get_cb_info(env, info, &count, values_, nullptr, nullptr));
    count_ = count < kMax ? count : kMax;
  }

  const napi_env env;

  napi_value value(size_t at) const {
    if (at >= count_) throwType(env, "argument " + std::to_string(at) + " is missing");
    return values_[at];
  }

  // A whole number from `low` to `high`, both within ±2^53.
  int64_t integer(size_t at, int64_t low, int64_t high) const {
    double number;
    if (napi_get_value_double(env, value(at), &number) != napi_ok) throwType(env, "argument " + std::to_string(at) + " is not a number");
    return whole(number, low, high, "argument " + std::to_string(at));
  }

  int64_t whole(double number, int64_t low, int64_t high, const std::string& what) const {
    // Written so that NaN fails too.
    if (!(number >= static_cast<double>(low) && number <= static_cast<double>(high))) throwType(env, what + " is out of range");
    const auto result = static_cast<int64_t>(number);
    if (static_cast<double>(result) != number) throwType(env, what + " is not a whole number");
    return result;
  }

  bool boolean(size_t at) const {
    bool result;
    if (napi_get_value_bool(env, value(at), &result) != napi_ok) throwType(env, "argument " + std::to_string(at) + " is not a boolean");
    return result;
  }

  // A string without NUL, shorter than PATH_MAX.
  std::string text(size_t at) const { return textOf(value(at), 4095, "argument " + std::to_string(at)); }

  // An array of strings without NUL, such as a program's arguments or environment.
  std::vector<std::string> texts(size_t at) const {
    std::vector<std::string> result;
    for (napi_value element : elements(at, 65536)) result.push_back(textOf(element, 128 * 1024, "an element of argument " + std::to_string(at)));
    return result;
  }

  Bytes bytes(size_t at) const { return bytesOf(value(at), "argument " + std::to_string(at)); }

  Bytes bytesOf(napi_value array, const std::string& what) const {
    Bytes result;
    result.data = static_cast<uint8_t*>(typed(array, napi_uint8_array, &result.count, what));
    // Empty ones may have no address.
    static uint8_t nowhere;
    if (result.data == nullptr) result.data = &nowhere;
    return result;
  }

  const double* doubles(size_t at, size_t* count) const {
    return static_cast<double*>(typed(value(at), napi_float64_array, count, "argument " + std::to_string(at)));
  }

  // The elements of an array; at most `most`.
  std::vector<napi_value> elements(size_t at, size_t most) const {
    bool isArray = false;
    uint32_t length = 0;
    napi_value array = value(at);
    check(napi_is_array(env, array, &isArray));
    if (!isArray) throwType(env, "argument " + std::to_string(at) + " is not an array");
    check(napi_get_array_length(env, array, &length));
    if (length > most) throwType(env, "argument " + std::to_string(at) + " has too many elements");
    std::vector<napi_value> result(length);
    for (uint32_t i = 0; i < length; i++) check(napi_get_element(env, array, i, &result[i]));
    return result;
  }

  // As `bytesOf`, or no data for undefined and null.
  Bytes optionalBytes(napi_value value, const std::string& what) const {
    napi_valuetype type;
    check(napi_typeof(env, value, &type));
    return type == napi_undefined || type == napi_null ? Bytes{} : bytesOf(value, what);
  }

 private:
  std::string textOf(napi_value value, size_t most, const std::string& what) const {
    size_t length;
    if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok || length > most)
      throwType(env, what + " is not a string or too long");
    std::string result(length + 1, '\0');
    check(napi_get_value_string_utf8(env, value, &result[0], length + 1, &length));
    result.resize(length);
    if (result.find('\0') != std::string::npos) throwType(env, what + " holds a NUL");
    return result;
  }

  void* typed(napi_value array, napi_typedarray_type wanted, size_t* count, const std::string& what) const {
    bool isTyped = false;
    check(napi_is_typedarray(env, array, &isTyped));
    napi_typedarray_type type = wanted;
    void* data = nullptr;
    if (isTyped) check(napi_get_typedarray_info(env, array, &type, count, &data, nullptr, nullptr));
    if (!isTyped || type != wanted) throwType(env, what + " is not a typed array of the right kind");
    return data;
  }

  napi_value values_[kMax];
  size_t count_;
};

// Making results.

inline napi_value number(napi_env env, int64_t value) {
  napi_value result;
  check(napi_create_int64(env, value, &result));
  return result;
}

inline napi_value boolean(napi_env env, bool value) {
  napi_value result;
  check(napi_get_boolean(env, value, &result));
  return result;
}

inline napi_value undefined(napi_env env) {
  napi_value result;
  check(napi_get_undefined(env, &result));
  return result;
}

}  // namespace ostraka

#endif
