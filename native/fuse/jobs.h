// Work that may wait, on a thread of its own: the main thread gets a promise. A thread that hangs is left behind.
#pragma once
#define NAPI_VERSION 8
#include <node_api.h>

#include <functional>

#include "mount.h"

namespace ostraka::fuse {

// Promise of { error, fd, message }; it never rejects. nullptr with a pending exception when no thread can be had.
napi_value runInThread(napi_env env, std::function<Outcome()> work);

}  // namespace ostraka::fuse
