// A device on an event loop: polls it, delivers batches, spins for the next request where that pays. Knows libuv, not Node.
//
//   idle --readable--> turn: read a batch, deliver it, write its replies, again until nothing waits
//   turn --nothing waits, requests follow closely, nobody else wants the core--> spin, until one comes or none came for so long
//   turn --total bound--> hot: the loop runs its timers and other I/O once without sleeping, then a new turn
//   any --pause()--> paused (no polling) --resume()--> idle;  any --unmounted, aborted--> gone;  any --close()--> closed, deleted
#pragma once
#include <uv.h>

#include <functional>
#include <memory>

#include "device.h"

namespace ostraka::fuse {

struct Timing {
  uint32_t spinMicroseconds;  // after the last request; 0: never
  uint32_t turnMicroseconds;  // one turn, spinning included
};

class Channel {
 public:
  struct Events {
    std::function<void(uint32_t)> deliver;  // so many requests are listed in the device's control words
    std::function<void(int)> gone;          // errno of the end of the connection; at most once
    std::function<void()> closed;           // the last call; the channel is deleted after it
  };

  // `busy`: a word that others set while they want the core; nullptr: nobody. Returns nullptr and a libuv error where polling is not possible.
  static Channel* open(uv_loop_t* loop, std::unique_ptr<Device> device, const Timing& timing, const int32_t* busy, Events events, int* error);

  void pause();
  void resume();
  // Stops at once (also from within `deliver`) and closes the handles; the descriptor goes with its last user.
  void close();
  Device& device() { return *device_; }

 private:
  Channel(std::unique_ptr<Device> device, const Timing& timing, const int32_t* busy, Events events);
  void turn();
  void setHot(bool hot);
  bool stopped() const { return paused_ || gone_ || closing_; }
  bool busy() const { return busy_ != nullptr && __atomic_load_n(busy_, __ATOMIC_RELAXED) != 0; }
  void handleClosed();

  const std::unique_ptr<Device> device_;
  const Timing timing_;
  const int32_t* const busy_;
  Events events_;
  uint64_t lastAnswer_ = 0;
  uv_poll_t poll_;
  uv_idle_t idle_;    // active while hot: the loop does not sleep
  uv_check_t check_;  // active while hot: the next turn, if the poll did not start it
  int handlesOpen_ = 0;
  bool hot_ = false;
  bool paused_ = false;
  bool gone_ = false;
  bool closing_ = false;
};

}  // namespace ostraka::fuse
