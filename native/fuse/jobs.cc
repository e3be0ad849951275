#include "jobs.h"

#include <errno.h>

#include <memory>
#include <system_error>
#include <thread>

namespace ostraka::fuse {

namespace {

// Shared by the thread and the promise: whichever lives longer frees it (the environment may end while the thread waits).
struct Job {
  std::function<Outcome()> work;
  Outcome outcome;
  napi_deferred deferred = nullptr;
  napi_threadsafe_function done = nullptr;
};

using JobHolder = std::shared_ptr<Job>;

napi_value describe(napi_env env, const Outcome& outcome) {
  napi_value object, value;
  napi_create_object(env, &object);
  napi_create_int32(env, outcome.error, &value);
  napi_set_named_property(env, object, "error", value);
  napi_create_int32(env, outcome.fd, &value);
  napi_set_named_property(env, object, "fd", value);
  napi_create_string_utf8(env, outcome.message.c_str(), outcome.message.size(), &value);
  napi_set_named_property(env, object, "message", value);
  return object;
}

void settle(napi_env env, napi_value, void* context, void*) {
  if (env == nullptr) return;  // the environment ends: nobody waits any more
  const JobHolder& job = *static_cast<JobHolder*>(context);
  napi_resolve_deferred(env, job->deferred, describe(env, job->outcome));
}

void forget(napi_env, void* context, void*) { delete static_cast<JobHolder*>(context); }

}  // namespace

napi_value runInThread(napi_env env, std::function<Outcome()> work) {
  auto job = std::make_shared<Job>();
  job->work = std::move(work);
  napi_value promise, name;
  auto* context = new JobHolder(job);
  napi_create_string_utf8(env, "ostraka.fuse.job", NAPI_AUTO_LENGTH, &name);
  if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, context, forget, context, settle, &job->done) != napi_ok) {
    delete context;
    napi_throw_error(env, nullptr, "no thread-safe function");
    return nullptr;
  }
  napi_create_promise(env, &job->deferred, &promise);
  const auto finish = [job] {
    // napi_closing: the environment has ended and taken this thread's share of the function with it.
    if (napi_call_threadsafe_function(job->done, nullptr, napi_tsfn_nonblocking) == napi_closing) return;
    napi_release_threadsafe_function(job->done, napi_tsfn_release);
  };
  try {
    std::thread([job, finish] {
      job->outcome = job->work();
      job->work = nullptr;  // lets go of what it holds (the device) before the promise settles
      finish();
    }).detach();
  } catch (const std::system_error& error) {
    job->outcome.error = EAGAIN;
    job->outcome.message = error.what();
    finish();
  }
  return promise;
}

}  // namespace ostraka::fuse
