// See process-exports.h. src/base/native-io.ts documents each function.
#include "process-exports.h"

#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cstdint>
#include <ctime>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "service.h"
#include "shared-memory.h"

namespace ostraka {

struct Mapping {
  void* address;
  size_t bytes;
};

napi_value mapSharedMemory(const Arguments& args, Environment& environment) {
  const std::string path = args.text(0);
  const auto bytes = static_cast<size_t>(args.integer(1, 1, int64_t{1} << 32));
  void* address = nullptr;
  const int64_t status = mapShared(path, bytes, &address);
  if (status < 0) return number(args.env, status);
  napi_value result;
  auto mapping = std::make_unique<Mapping>(Mapping{address, bytes});
  const auto release = [](napi_env, void*, void* hint) {
    const std::unique_ptr<Mapping> mapping(static_cast<Mapping*>(hint));
    unmapShared(mapping->address, mapping->bytes);
  };
  if (napi_create_external_arraybuffer(args.env, address, bytes, release, mapping.get(), &result) != napi_ok) {
    unmapShared(address, bytes);
    throw Thrown();
  }
  mapping.release();
  environment.mappings.insert(address);
  return result;
}

napi_value unmapSharedMemory(const Arguments& args, Environment& environment) {
  bool isBuffer = false;
  void* address = nullptr;
  size_t bytes = 0;
  check(napi_is_arraybuffer(args.env, args.value(0), &isBuffer));
  if (isBuffer) check(napi_get_arraybuffer_info(args.env, args.value(0), &address, &bytes));
  if (!isBuffer || environment.mappings.erase(address) == 0) throwType(args.env, "not shared memory of ours");
  // Its finalizer unmaps.
  check(napi_detach_arraybuffer(args.env, args.value(0)));
  return undefined(args.env);
}

// V8 begins to mark, in steps and on its own threads, when so much memory outside of its heap has come since it last did.
napi_value beginCollection(const Arguments& args, Environment&) {
  const int64_t bytes = args.integer(0, 1, kSafe);
  int64_t total;
  check(napi_adjust_external_memory(args.env, bytes, &total));
  check(napi_adjust_external_memory(args.env, -bytes, &total));
  return undefined(args.env);
}

// glibc gives back the end of its heap by itself, and holes within it only when it is told to (malloc_trim(3)).
napi_value trimMemory(const Arguments& args, Environment&) {
  malloc_trim(0);
  return undefined(args.env);
}

// The pages that lie wholly within a buffer (madvise(2), MADV_DONTNEED). They stay mapped: a thread that hung on a disk may look at them yet, and sees zeros.
napi_value discardPages(const Arguments& args, Environment&) {
  const Bytes bytes = args.bytes(0);
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto from = reinterpret_cast<uintptr_t>(bytes.data);
  const uintptr_t first = (from + page - 1) / page * page;
  const uintptr_t end = (from + bytes.count) / page * page;
  if (first < end) madvise(reinterpret_cast<void*>(first), end - first, MADV_DONTNEED);
  return undefined(args.env);
}

// Of /proc, which no disk keeps waiting: the groups that a process has beside the one that it acts with. False where they cannot be seen.
napi_value inGroupOf(const Arguments& args, Environment&) {
  const int64_t pid = args.integer(0, 0, INT32_MAX);
  const int64_t gid = args.integer(1, 0, UINT32_MAX);
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  const std::string label = "Groups:";
  for (std::string line; std::getline(status, line);) {
    if (line.compare(0, label.size(), label) != 0) continue;
    std::istringstream groups(line.substr(label.size()));
    for (int64_t group; groups >> group;)
      if (group == gid) return boolean(args.env, true);
    break;
  }
  return boolean(args.env, false);
}

napi_value goBeforeOthers(const Arguments& args, Environment&) {
  return number(args.env, goBefore(static_cast<int>(args.integer(0, 1, 39))));
}

napi_value stayBehindOthers(const Arguments& args, Environment&) {
  stayBehind();
  return undefined(args.env);
}

napi_value kernelTime(const Arguments& args, Environment&) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  napi_value result;
  check(napi_create_bigint_int64(args.env, int64_t{now.tv_sec} * 1000000000 + now.tv_nsec, &result));
  return result;
}

napi_value isTmpfsDirectory(const Arguments& args, Environment&) { return boolean(args.env, isTmpfs(args.text(0))); }

napi_value becomeIoFlusher(const Arguments& args, Environment&) { return boolean(args.env, setIoFlusher()); }

napi_value sendDatagramTo(const Arguments& args, Environment&) { return number(args.env, sendDatagram(args.text(0), args.text(1))); }

napi_value becomeProgram(const Arguments& args, Environment&) { return number(args.env, become(args.text(0), args.texts(1), args.texts(2))); }

}  // namespace ostraka
