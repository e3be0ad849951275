// The state of one JavaScript environment (the main thread's, or a worker's): handles, jobs in flight, and how results get back.
//
// Results are collected by the engine and delivered in batches: one wake-up of the event loop and one callback scope for all that is there,
// after which microtasks run, so that promises go on as after any other I/O. The event loop is kept alive while jobs are in flight.
// At teardown nothing more is delivered, threads get a moment to end, and those that hang are left behind with what they need.
#ifndef OSTRAKA_IO_ENVIRONMENT_H
#define OSTRAKA_IO_ENVIRONMENT_H

#include <node_api.h>
#include <uv.h>

#include <memory>
#include <set>
#include <unordered_map>
#include <vector>

#include "calls.h"
#include "files.h"
#include "stripe.h"

namespace ostraka {

class Environment {
 public:
  // Registers teardown; throws Thrown.
  static Environment& create(napi_env env);
  // The one of this environment.
  static Environment& of(napi_env env);

  // Starts a job and returns its promise. `lent` are buffers that must stay while it runs. `begin` starts it.
  napi_value submit(const std::shared_ptr<Call>& call, const std::vector<napi_value>& lent, const std::function<void()>& begin,
                    uint64_t disk = 0);
  napi_value submit(const std::shared_ptr<StripeJob>& job, const std::vector<napi_value>& lent);

  // The job of this token if it is still under way, or null.
  std::shared_ptr<StripeJob> stripe(uint64_t token) const;

  // Handles. Unknown ones throw a TypeError.
  uint64_t addDisk();
  const std::shared_ptr<Disk>& disk(uint64_t handle, bool opened = true) const;
  const std::shared_ptr<File>& file(uint64_t handle) const;
  // Forgets a handle, and those of its files.
  std::shared_ptr<Disk> takeDisk(uint64_t handle);
  std::shared_ptr<File> takeFile(uint64_t handle);

  const std::shared_ptr<Core> core;
  const std::shared_ptr<Queue> codec;

  // Jobs of the whole process that were submitted and not yet delivered.
  static std::atomic<int32_t>& busyWord();

  std::set<void*> mappings;

 private:
  explicit Environment(napi_env env);

  struct Pending {
    napi_deferred deferred;
    std::vector<napi_ref> lent;
    std::shared_ptr<Call> call;
    std::shared_ptr<StripeJob> stripe;
    uint64_t disk;
    bool delivered;
  };
  struct DiskEntry {
    std::shared_ptr<Disk> disk;
    bool opened;
  };
  struct FileEntry {
    std::shared_ptr<File> file;
    uint64_t disk;
  };

  napi_value add(Pending pending, const std::vector<napi_value>& lent, Job& job);
  void deliver();
  void deliverOne(const std::shared_ptr<Job>& job);
  napi_value resultOf(Pending& pending);
  napi_value outcomeOf(Outcome& outcome, uint64_t disk);
  void forget(uint64_t id);
  static void teardown(napi_async_cleanup_hook_handle hook, void* self);

  const napi_env env_;
  uv_async_t async_;
  napi_async_context context_ = nullptr;
  napi_ref resource_ = nullptr;
  napi_async_cleanup_hook_handle hook_ = nullptr;
  std::unordered_map<uint64_t, Pending> pending_;
  std::unordered_map<uint64_t, DiskEntry> disks_;
  std::unordered_map<uint64_t, FileEntry> files_;
  uint64_t nextHandle_ = 1;
  uint64_t nextJob_ = 1;
  int32_t undelivered_ = 0;
};

}  // namespace ostraka

#endif
