// N-API face of the FUSE channel: arguments, promises, callbacks, the environment's end. No policy. The typed door is
// src/base/native-fuse.ts, the only caller: arguments are checked there.
#define NAPI_VERSION 8
#include <node_api.h>
#include <uv.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "channel.h"
#include "jobs.h"

using ostraka::fuse::Channel;
using ostraka::fuse::Descriptor;
using ostraka::fuse::Device;
using ostraka::fuse::DeviceSizes;
using ostraka::fuse::MountRequest;
using ostraka::fuse::Region;
using ostraka::fuse::Timing;
using ostraka::fuse::runInThread;

namespace {

constexpr size_t kArgumentsMax = 12;

struct Arguments {
  napi_env env;
  size_t count = kArgumentsMax;
  napi_value values[kArgumentsMax];

  Arguments(napi_env environment, napi_callback_info info) : env(environment) {
    napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
  }
  std::string text(size_t i) const {
    size_t length = 0;
    napi_get_value_string_utf8(env, values[i], nullptr, 0, &length);
    std::string out(length, '\0');
    napi_get_value_string_utf8(env, values[i], out.data(), length + 1, &length);
    return out;
  }
  uint32_t number(size_t i) const {
    uint32_t out = 0;
    napi_get_value_uint32(env, values[i], &out);
    return out;
  }
  bool flag(size_t i) const {
    bool out = false;
    napi_get_value_bool(env, values[i], &out);
    return out;
  }
};

// One open channel and what it holds of JavaScript. Freed when the channel has closed and the JavaScript object is gone.
struct Binding {
  napi_env env = nullptr;
  Channel* channel = nullptr;
  std::shared_ptr<Descriptor> descriptor;
  napi_async_context context = nullptr;
  napi_ref onBatch = nullptr;
  napi_ref onGone = nullptr;
  napi_ref busy = nullptr;
  napi_async_cleanup_hook_handle cleanup = nullptr;
  std::shared_ptr<Binding>* cleanupHolder = nullptr;  // the hook's share; freed with the hook

  void releaseReferences() {
    for (napi_ref* reference : {&onBatch, &onGone, &busy}) {
      if (*reference != nullptr) napi_delete_reference(env, *reference);
      *reference = nullptr;
    }
    if (context != nullptr) napi_async_destroy(env, context);
    context = nullptr;
  }
  void close() {
    if (channel == nullptr) return;
    Channel* closing = channel;
    channel = nullptr;
    closing->close();
  }
};

using BindingHolder = std::shared_ptr<Binding>;

BindingHolder& bindingOf(const Arguments& arguments) {
  void* data = nullptr;
  napi_get_value_external(arguments.env, arguments.values[0], &data);
  return *static_cast<BindingHolder*>(data);
}

// Calls JavaScript as an event of its own: promise jobs and nextTicks run before it returns.
void call(Binding& binding, napi_ref function, uint32_t argument) {
  napi_handle_scope scope;
  if (napi_open_handle_scope(binding.env, &scope) != napi_ok) return;
  napi_value callback, global, value;
  napi_get_reference_value(binding.env, function, &callback);
  napi_get_global(binding.env, &global);
  napi_create_uint32(binding.env, argument, &value);
  if (napi_make_callback(binding.env, binding.context, global, callback, 1, &value, nullptr) == napi_pending_exception) {
    napi_value thrown;
    napi_get_and_clear_last_exception(binding.env, &thrown);
    napi_fatal_exception(binding.env, thrown);
  }
  napi_close_handle_scope(binding.env, scope);
}

Channel::Events eventsOf(const BindingHolder& binding) {
  Channel::Events events;
  events.deliver = [binding](uint32_t count) {
    if (binding->channel == nullptr) return;
    Device& device = binding->channel->device();
    device.control()[1] = 1;
    call(*binding, binding->onBatch, count);
    device.control()[1] = 0;
    device.flush();
  };
  events.gone = [binding](int error) {
    if (binding->channel != nullptr) call(*binding, binding->onGone, static_cast<uint32_t>(error));
  };
  events.closed = [binding] {
    if (binding->cleanup != nullptr) napi_remove_async_cleanup_hook(binding->cleanup);
    binding->cleanup = nullptr;
    delete binding->cleanupHolder;
    binding->cleanupHolder = nullptr;
  };
  return events;
}

void environmentEnds(napi_async_cleanup_hook_handle, void* data) {
  const BindingHolder binding = *static_cast<BindingHolder*>(data);
  binding->releaseReferences();
  binding->close();
  binding->descriptor.reset();
}

napi_value throwError(napi_env env, const char* message) {
  napi_throw_error(env, nullptr, message);
  return nullptr;
}

// open(fd, requestBytesMax, batchRequests, batchBytes, outboxBytes, spinMicroseconds, turnMicroseconds, busy | null, onBatch, onGone)
// -> { handle, memory: ArrayBuffer, outboxStart }
napi_value Open(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  auto binding = std::make_shared<Binding>();
  binding->env = env;
  binding->descriptor = std::make_shared<Descriptor>(static_cast<int>(arguments.number(0)));
  const DeviceSizes sizes = {arguments.number(1), arguments.number(2), arguments.number(3), arguments.number(4)};
  const Timing timing = {arguments.number(5), arguments.number(6)};
  std::unique_ptr<Device> device = Device::create(binding->descriptor, sizes);
  if (!device) return throwError(env, "no memory for the channel, or not a descriptor");
  const std::shared_ptr<Region> region = device->region();
  const uint32_t outboxStart = static_cast<uint32_t>(device->outboxStart());

  const int32_t* busy = nullptr;
  napi_valuetype type;
  napi_typeof(env, arguments.values[7], &type);
  if (type == napi_object) {
    size_t words = 0;
    void* data = nullptr;
    napi_get_typedarray_info(env, arguments.values[7], nullptr, &words, &data, nullptr, nullptr);
    if (words > 0) busy = static_cast<const int32_t*>(data);
    napi_create_reference(env, arguments.values[7], 1, &binding->busy);
  }
  napi_value name;
  napi_create_string_utf8(env, "ostraka.fuse", NAPI_AUTO_LENGTH, &name);
  napi_async_init(env, nullptr, name, &binding->context);
  napi_create_reference(env, arguments.values[8], 1, &binding->onBatch);
  napi_create_reference(env, arguments.values[9], 1, &binding->onGone);

  uv_loop_t* loop = nullptr;
  napi_get_uv_event_loop(env, &loop);
  int error = 0;
  binding->channel = Channel::open(loop, std::move(device), timing, busy, eventsOf(binding), &error);
  if (binding->channel == nullptr) {
    binding->releaseReferences();
    return throwError(env, uv_strerror(error));
  }
  binding->cleanupHolder = new BindingHolder(binding);
  napi_add_async_cleanup_hook(env, environmentEnds, binding->cleanupHolder, &binding->cleanup);
  auto* holder = new BindingHolder(binding);  // the JavaScript object's share

  napi_value object, value;
  napi_create_object(env, &object);
  napi_create_external(env, holder, [](napi_env, void* data, void*) { delete static_cast<BindingHolder*>(data); }, nullptr, &value);
  napi_set_named_property(env, object, "handle", value);
  auto* keep = new std::shared_ptr<Region>(region);
  napi_create_external_arraybuffer(
      env, region->data(), region->bytes(), [](napi_env, void*, void* hint) { delete static_cast<std::shared_ptr<Region>*>(hint); }, keep,
      &value);
  napi_set_named_property(env, object, "memory", value);
  napi_create_uint32(env, outboxStart, &value);
  napi_set_named_property(env, object, "outboxStart", value);
  return object;
}

// flush(handle): writes the outbox now.
napi_value Flush(napi_env env, napi_callback_info info) {
  const BindingHolder binding = bindingOf(Arguments(env, info));
  if (binding->channel != nullptr) binding->channel->device().flush();
  return nullptr;
}

// reply(handle, uniqueLow, uniqueHigh, pieces: Uint8Array[])
napi_value Reply(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  const BindingHolder binding = bindingOf(arguments);
  if (binding->channel == nullptr) return nullptr;
  uint32_t count = 0;
  napi_get_array_length(env, arguments.values[3], &count);
  std::vector<iovec> pieces(count);
  for (uint32_t i = 0; i < count; i++) {
    napi_value piece;
    if (napi_get_element(env, arguments.values[3], i, &piece) != napi_ok ||
        napi_get_typedarray_info(env, piece, nullptr, &pieces[i].iov_len, &pieces[i].iov_base, nullptr, nullptr) != napi_ok)
      return throwError(env, "a piece is not a Uint8Array");
  }
  const uint64_t unique = arguments.number(1) | static_cast<uint64_t>(arguments.number(2)) << 32;
  binding->channel->device().reply(unique, pieces.data(), count);
  return nullptr;
}

napi_value Pause(napi_env env, napi_callback_info info) {
  const BindingHolder binding = bindingOf(Arguments(env, info));
  if (binding->channel != nullptr) binding->channel->pause();
  return nullptr;
}

napi_value Resume(napi_env env, napi_callback_info info) {
  const BindingHolder binding = bindingOf(Arguments(env, info));
  if (binding->channel != nullptr) binding->channel->resume();
  return nullptr;
}

// close(handle): no more batches; the kernel's side ends when nothing else holds the descriptor.
napi_value Close(napi_env env, napi_callback_info info) {
  const BindingHolder binding = bindingOf(Arguments(env, info));
  binding->releaseReferences();
  binding->close();
  binding->descriptor.reset();
  return nullptr;
}

// counters(handle) -> [requests, batches, replies, interrupted, replyErrors]; empty when closed
napi_value Counters(napi_env env, napi_callback_info info) {
  const BindingHolder binding = bindingOf(Arguments(env, info));
  napi_value out;
  napi_create_array(env, &out);
  if (binding->channel == nullptr) return out;
  const auto& counters = binding->channel->device().counters();
  uint32_t i = 0;
  for (const uint64_t counter : {counters.requests, counters.batches, counters.replies, counters.interrupted, counters.replyErrors}) {
    napi_value value;
    napi_create_double(env, static_cast<double>(counter), &value);
    napi_set_element(env, out, i++, value);
  }
  return out;
}

// notify(handle, message: Uint8Array) -> Promise
napi_value Notify(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  const std::shared_ptr<Descriptor> descriptor = bindingOf(arguments)->descriptor;
  size_t length = 0;
  void* data = nullptr;
  napi_get_typedarray_info(env, arguments.values[1], nullptr, &length, &data, nullptr, nullptr);
  return runInThread(env, [descriptor, message = std::string(static_cast<char*>(data), length)] {
    if (!descriptor) {
      ostraka::fuse::Outcome closed;
      closed.error = ENODEV;
      closed.message = "the channel is closed";
      return closed;
    }
    return ostraka::fuse::notify(descriptor->get(), message);
  });
}

// mount(mountpoint, source, subtype, maxReadBytes, allowOther, readOnly, noExec, noAtime, byHelper) -> Promise
napi_value Mount(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  MountRequest request;
  request.mountpoint = arguments.text(0);
  request.source = arguments.text(1);
  request.subtype = arguments.text(2);
  request.maxReadBytes = arguments.number(3);
  request.allowOther = arguments.flag(4);
  request.readOnly = arguments.flag(5);
  request.noExec = arguments.flag(6);
  request.noAtime = arguments.flag(7);
  request.byHelper = arguments.flag(8);
  return runInThread(env, [request] { return ostraka::fuse::mount(request); });
}

// unmount(mountpoint, lazy, byHelper) -> Promise
napi_value Unmount(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  return runInThread(env, [path = arguments.text(0), lazy = arguments.flag(1), byHelper = arguments.flag(2)] {
    return ostraka::fuse::unmount(path, lazy, byHelper);
  });
}

// probe(path) -> Promise
napi_value Probe(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  return runInThread(env, [path = arguments.text(0)] { return ostraka::fuse::probe(path); });
}

napi_value Init(napi_env env, napi_value exports) {
  const struct {
    const char* name;
    napi_callback function;
  } all[] = {{"open", Open},     {"flush", Flush},       {"reply", Reply},   {"pause", Pause}, {"resume", Resume},   {"close", Close},
             {"counters", Counters}, {"notify", Notify}, {"mount", Mount}, {"unmount", Unmount}, {"probe", Probe}};
  for (const auto& entry : all) {
    napi_value function;
    napi_create_function(env, entry.name, NAPI_AUTO_LENGTH, entry.function, nullptr, &function);
    napi_set_named_property(env, exports, entry.name, function);
  }
  return exports;
}

}  // namespace

NAPI_MODULE(ostraka_fuse, Init)
