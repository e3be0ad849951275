// See environment.h.
#include "environment.h"

#include <dlfcn.h>

#include "arguments.h"

namespace ostraka {

// Reads up to this size are copied into a buffer of the heap, which is cheaper than one with an owner.
static constexpr int64_t kCopiedBytesMax = 32 * 1024;
// How long threads may take to end at teardown before they are left behind.
static constexpr int kTeardownMs = 500;

std::atomic<int32_t>& Environment::busyWord() {
  static std::atomic<int32_t> word{0};
  return word;
}

// Threads that were left behind may run on after the last environment has unloaded the module: it stays for good.
static void pinModule() {
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&pinModule), &info) != 0) dlopen(info.dli_fname, RTLD_NOW | RTLD_NODELETE);
}

Environment::Environment(napi_env env)
    : core(std::make_shared<Core>([this] { uv_async_send(&async_); })), codec(std::make_shared<Queue>(core, 2, Haste::kSteady, "ostraka-codec")), env_(env) {}

Environment& Environment::create(napi_env env) {
  pinModule();
  std::unique_ptr<Environment> self(new Environment(env));
  uv_loop_t* loop;
  napi_value name, resource;
  check(napi_get_uv_event_loop(env, &loop));
  check(napi_create_string_utf8(env, "ostraka:io", NAPI_AUTO_LENGTH, &name));
  check(napi_create_object(env, &resource));
  check(napi_create_reference(env, resource, 1, &self->resource_));
  check(napi_async_init(env, resource, name, &self->context_));
  check(napi_set_instance_data(env, self.get(), nullptr, nullptr));
  check(napi_add_async_cleanup_hook(env, teardown, self.get(), &self->hook_));
  self->async_.data = self.get();
  // Cannot fail but for descriptors run out; then the hook above would close a handle that is none.
  if (uv_async_init(loop, &self->async_, [](uv_async_t* async) { static_cast<Environment*>(async->data)->deliver(); }) != 0) {
    napi_remove_async_cleanup_hook(self->hook_);
    throwType(env, "no descriptor left for the event loop");
  }
  uv_unref(reinterpret_cast<uv_handle_t*>(&self->async_));
  return *self.release();
}

Environment& Environment::of(napi_env env) {
  void* self = nullptr;
  check(napi_get_instance_data(env, &self));
  if (self == nullptr) throwType(env, "the module is not set up in this environment");
  return *static_cast<Environment*>(self);
}

void Environment::teardown(napi_async_cleanup_hook_handle, void* argument) {
  auto* self = static_cast<Environment*>(argument);
  self->core->close();
  // After this no thread writes to memory of JavaScript any more.
  self->codec->abandon();
  for (auto& [handle, entry] : self->disks_) {
    entry.disk->abandon();
    entry.disk->unlock();
  }
  busyWord() -= self->undelivered_;
  self->pending_.clear();
  self->files_.clear();
  self->disks_.clear();
  self->core->waitForThreads(kTeardownMs);
  uv_close(reinterpret_cast<uv_handle_t*>(&self->async_), [](uv_handle_t* handle) {
    std::unique_ptr<Environment> self(static_cast<Environment*>(handle->data));
    napi_remove_async_cleanup_hook(self->hook_);
  });
}

// ── Handles ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

uint64_t Environment::addDisk() {
  const uint64_t handle = nextHandle_++;
  disks_.emplace(handle, DiskEntry{std::make_shared<Disk>(core), false});
  return handle;
}

const std::shared_ptr<Disk>& Environment::disk(uint64_t handle, bool opened) const {
  const auto found = disks_.find(handle);
  if (found == disks_.end()) throwType(env_, "no such disk handle");
  if (opened && !found->second.opened) throwType(env_, "the disk's directory is not open");
  return found->second.disk;
}

const std::shared_ptr<File>& Environment::file(uint64_t handle) const {
  const auto found = files_.find(handle);
  if (found == files_.end()) throwType(env_, "no such file handle");
  return found->second.file;
}

std::shared_ptr<Disk> Environment::takeDisk(uint64_t handle) {
  std::shared_ptr<Disk> disk = this->disk(handle, false);
  disks_.erase(handle);
  for (auto it = files_.begin(); it != files_.end();) it = it->second.disk == handle ? files_.erase(it) : std::next(it);
  return disk;
}

std::shared_ptr<File> Environment::takeFile(uint64_t handle) {
  std::shared_ptr<File> file = this->file(handle);
  files_.erase(handle);
  return file;
}

// ── Jobs ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

napi_value Environment::add(Pending pending, const std::vector<napi_value>& lent, Job& job) {
  napi_value promise;
  check(napi_create_promise(env_, &pending.deferred, &promise));
  for (napi_value value : lent) {
    napi_ref reference;
    check(napi_create_reference(env_, value, 1, &reference));
    pending.lent.push_back(reference);
  }
  job.id = nextJob_++;
  pending_.emplace(job.id, std::move(pending));
  busyWord()++;
  if (undelivered_++ == 0) uv_ref(reinterpret_cast<uv_handle_t*>(&async_));
  return promise;
}

napi_value Environment::submit(const std::shared_ptr<Call>& call, const std::vector<napi_value>& lent, const std::function<void()>& begin,
                               uint64_t disk) {
  napi_value promise = add({nullptr, {}, call, nullptr, disk, false}, lent, *call);
  begin();
  return promise;
}

napi_value Environment::submit(const std::shared_ptr<StripeJob>& job, const std::vector<napi_value>& lent) {
  napi_value promise = add({nullptr, {}, nullptr, job, 0, false}, lent, *job);
  job->start();
  return promise;
}

std::shared_ptr<StripeJob> Environment::stripe(uint64_t token) const {
  for (const auto& [id, pending] : pending_)
    if (pending.stripe && pending.stripe->token == token && !pending.delivered) return pending.stripe;
  return nullptr;
}

void Environment::forget(uint64_t id) {
  const auto found = pending_.find(id);
  if (found == pending_.end() || !found->second.delivered) return;
  for (napi_ref reference : found->second.lent) napi_delete_reference(env_, reference);
  pending_.erase(found);
}

void Environment::deliver() {
  const Core::Batch batch = core->take();
  if (batch.completed.empty() && batch.vacated.empty()) return;
  napi_handle_scope handles;
  napi_callback_scope callbacks;
  napi_value resource;
  if (napi_open_handle_scope(env_, &handles) != napi_ok) return;
  if (napi_get_reference_value(env_, resource_, &resource) == napi_ok &&
      napi_open_callback_scope(env_, resource, context_, &callbacks) == napi_ok) {
    for (const auto& job : batch.completed) deliverOne(job);
    for (const uint64_t id : batch.vacated) forget(id);
    if (undelivered_ == 0) uv_unref(reinterpret_cast<uv_handle_t*>(&async_));
    // Runs the microtasks: whoever awaited one of these results goes on here.
    napi_close_callback_scope(env_, callbacks);
  }
  napi_close_handle_scope(env_, handles);
}

void Environment::deliverOne(const std::shared_ptr<Job>& job) {
  const auto found = pending_.find(job->id);
  if (found == pending_.end()) return;
  Pending& pending = found->second;
  pending.delivered = true;
  undelivered_--;
  busyWord()--;
  napi_value result = nullptr;
  try {
    result = resultOf(pending);
  } catch (const Thrown&) {
    napi_value error = nullptr;
    if (napi_get_and_clear_last_exception(env_, &error) == napi_ok && error != nullptr) napi_reject_deferred(env_, pending.deferred, error);
  }
  if (result != nullptr) napi_resolve_deferred(env_, pending.deferred, result);
  // While a thread hangs in it, what was lent to it stays.
  if (!job->occupied()) forget(job->id);
}

napi_value Environment::resultOf(Pending& pending) {
  if (pending.call) return outcomeOf(pending.call->outcome, pending.disk);
  const std::vector<int32_t>& statuses = pending.stripe->statuses;
  napi_value memory, array;
  void* data;
  check(napi_create_arraybuffer(env_, statuses.size() * sizeof(int32_t), &data, &memory));
  std::copy(statuses.begin(), statuses.end(), static_cast<int32_t*>(data));
  check(napi_create_typedarray(env_, napi_int32_array, statuses.size(), memory, 0, &array));
  return array;
}

napi_value Environment::outcomeOf(Outcome& outcome, uint64_t disk) {
  napi_value result;
  if (outcome.number < 0 || outcome.kind == Outcome::Kind::kNumber) {
    check(napi_create_int64(env_, outcome.number, &result));
    return result;
  }
  switch (outcome.kind) {
    case Outcome::Kind::kText: {
      const auto found = disks_.find(disk);
      if (found != disks_.end()) found->second.opened = true;
      check(napi_create_string_utf8(env_, outcome.text.data(), outcome.text.size(), &result));
      break;
    }
    case Outcome::Kind::kNames: {
      check(napi_create_array_with_length(env_, outcome.names.size(), &result));
      uint32_t at = 0;
      for (const std::string& name : outcome.names) {
        napi_handle_scope scope;
        napi_value text;
        check(napi_open_handle_scope(env_, &scope));
        check(napi_create_string_utf8(env_, name.data(), name.size(), &text));
        check(napi_set_element(env_, result, at++, text));
        check(napi_close_handle_scope(env_, scope));
      }
      break;
    }
    case Outcome::Kind::kPair: {
      napi_value first, second;
      check(napi_create_int64(env_, outcome.number, &first));
      check(napi_create_int64(env_, outcome.second, &second));
      check(napi_create_array_with_length(env_, 2, &result));
      check(napi_set_element(env_, result, 0, first));
      check(napi_set_element(env_, result, 1, second));
      break;
    }
    case Outcome::Kind::kBytes: {
      const auto count = static_cast<size_t>(outcome.number);
      if (outcome.number <= kCopiedBytesMax) {
        void* copy;
        check(napi_create_buffer_copy(env_, count, outcome.bytes.get(), &copy, &result));
        break;
      }
      uint8_t* bytes = outcome.bytes.get();
      check(napi_create_external_buffer(env_, count, bytes, [](napi_env, void* data, void*) { std::free(data); }, nullptr, &result));
      outcome.bytes.release();
      break;
    }
    case Outcome::Kind::kFile: {
      // Its disk may have been closed or abandoned meanwhile: then it goes as it came.
      if (disks_.count(disk) == 0) {
        check(napi_create_int64(env_, -EBADF, &result));
        break;
      }
      const uint64_t handle = nextHandle_++;
      files_.emplace(handle, FileEntry{std::move(outcome.file), disk});
      check(napi_create_int64(env_, static_cast<int64_t>(handle), &result));
      break;
    }
    case Outcome::Kind::kNumber:
      break;
  }
  return result;
}

}  // namespace ostraka
