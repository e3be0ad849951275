#include "channel.h"

#include <utility>

namespace ostraka::fuse {

namespace {

constexpr int kRelaxesBetweenReads = 8;
// A request follows closely when it comes this soon after the last answer: several times what a sleep and a wake take, so that a program which
// asks one thing after the other is recognised though we slept in between, and isolated requests cost nothing.
constexpr uint64_t kCloseMicroseconds = 1000;

void relax() {
  for (int i = 0; i < kRelaxesBetweenReads; i++) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }
}

}  // namespace

Channel::Channel(std::unique_ptr<Device> device, const Timing& timing, const int32_t* busy, Events events)
    : device_(std::move(device)), timing_(timing), busy_(busy), events_(std::move(events)) {}

Channel* Channel::open(uv_loop_t* loop, std::unique_ptr<Device> device, const Timing& timing, const int32_t* busy, Events events,
                       int* error) {
  const int fd = device->descriptor()->get();
  auto* channel = new Channel(std::move(device), timing, busy, std::move(events));
  *error = uv_poll_init(loop, &channel->poll_, fd);
  if (*error != 0) {
    delete channel;
    return nullptr;
  }
  uv_idle_init(loop, &channel->idle_);
  uv_check_init(loop, &channel->check_);
  channel->poll_.data = channel->idle_.data = channel->check_.data = channel;
  channel->handlesOpen_ = 3;
  channel->resume();
  return channel;
}

void Channel::pause() {
  if (stopped()) return;
  paused_ = true;
  uv_poll_stop(&poll_);
  setHot(false);
}

void Channel::resume() {
  if (gone_ || closing_) return;
  paused_ = false;
  uv_poll_start(&poll_, UV_READABLE, [](uv_poll_t* handle, int, int) { static_cast<Channel*>(handle->data)->turn(); });
}

void Channel::close() {
  if (closing_) return;
  closing_ = true;
  const auto closed = [](uv_handle_t* handle) { static_cast<Channel*>(handle->data)->handleClosed(); };
  uv_close(reinterpret_cast<uv_handle_t*>(&poll_), closed);
  uv_close(reinterpret_cast<uv_handle_t*>(&idle_), closed);
  uv_close(reinterpret_cast<uv_handle_t*>(&check_), closed);
}

void Channel::handleClosed() {
  if (--handlesOpen_ > 0) return;
  events_.closed();
  delete this;
}

void Channel::setHot(bool hot) {
  if (hot == hot_) return;
  hot_ = hot;
  if (hot) {
    uv_idle_start(&idle_, [](uv_idle_t*) {});
    uv_check_start(&check_, [](uv_check_t* handle) {
      auto* channel = static_cast<Channel*>(handle->data);
      if (channel->hot_) channel->turn();
    });
  } else {
    uv_idle_stop(&idle_);
    uv_check_stop(&check_);
  }
}

void Channel::turn() {
  if (stopped()) return;
  const uint64_t turnStart = monotonicMicroseconds();
  bool spinning = hot_;
  bool closely = hot_ || turnStart - lastAnswer_ < kCloseMicroseconds;
  uint64_t idleSince = turnStart;
  setHot(false);
  for (;;) {
    uint32_t count = 0;
    const BatchEnd end = device_->readBatch(&count);
    if (count > 0) {
      events_.deliver(count);
      if (stopped()) return;
    }
    if (end == BatchEnd::kGone) {
      gone_ = true;
      uv_poll_stop(&poll_);
      events_.gone(static_cast<int>(device_->control()[2]));
      return;
    }
    // Others (I/O that completed, timers) come first where there are any; the poll is level-triggered and comes back.
    const uint64_t now = monotonicMicroseconds();
    if (count > 0) {
      lastAnswer_ = idleSince = now;
      if (busy()) return;
      if (now - turnStart >= timing_.turnMicroseconds) break;
      if (end == BatchEnd::kFull) continue;
      spinning = closely && timing_.spinMicroseconds > 0;
      closely = true;
      if (!spinning) return;
    } else {
      if (!spinning || busy() || now - idleSince >= timing_.spinMicroseconds) return;
      if (now - turnStart >= timing_.turnMicroseconds) break;
      relax();
    }
  }
  if (timing_.spinMicroseconds > 0) setHot(true);
}

}  // namespace ostraka::fuse
