// See engine.h.
#include "engine.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <new>
#include <utility>

namespace ostraka {

static std::atomic<int> hungCount{0};

int64_t monotonicMs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1000000;
}

static void* threadMain(void* argument) {
  std::unique_ptr<std::function<void()>> body(static_cast<std::function<void()>*>(argument));
  (*body)();
  return nullptr;
}

// Of nice(2); 0: nobody went before.
static std::atomic<int> stepsBefore{0};

// On Linux all of this is about threads, whatever POSIX says of processes.
static int moveBy(int steps) {
  errno = 0;
  const int nice = getpriority(PRIO_PROCESS, 0);
  if (nice == -1 && errno != 0) return -errno;
  return setpriority(PRIO_PROCESS, 0, nice + steps) == 0 ? 0 : -errno;
}

int goBefore(int steps) {
  const int status = moveBy(-steps);
  if (status == 0) stepsBefore += steps;
  return status;
}

void stayBehind() {
  if (const int steps = stepsBefore.load(); steps > 0) moveBy(steps);
}

bool startThread(std::function<void()> body, Haste haste) {
  auto argument = std::make_unique<std::function<void()>>([body = std::move(body), haste] {
    if (haste == Haste::kSteady) stayBehind();
    body();
  });
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return false;
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, 512 * 1024);
  // Signals are for the threads of the host program.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const bool started = pthread_create(&thread, &attributes, threadMain, argument.get()) == 0;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  if (started) argument.release();
  return started;
}

// ── Job, Task, Scratch ──────────────────────────────────────────────────────────────────────────────────────────────────

void Job::complete() { core_->completed(shared_from_this()); }

bool Task::finish(int error) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (done_) return false;
    done_ = true;
  }
  finished(error);
  return true;
}

bool Task::ended() {
  std::lock_guard<std::mutex> lock(mutex_);
  return done_;
}

Scratch::~Scratch() {
  if (bytes_ != nullptr) munmap(bytes_, kBytes);
}

uint8_t* Scratch::get() {
  if (bytes_ == nullptr) {
    void* mapped = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped != MAP_FAILED) bytes_ = static_cast<uint8_t*>(mapped);
  }
  return bytes_;
}

// ── Core ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

template <typename Add>
void Core::deliver(Add add) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (closed_) return;
    add(batch_);
    if (std::exchange(woken_, true)) return;
  }
  std::lock_guard<std::mutex> lock(waking_);
  if (wake_) wake_();
}

void Core::completed(std::shared_ptr<Job> job) {
  deliver([&](Batch& batch) { batch.completed.push_back(std::move(job)); });
}

void Core::vacated(uint64_t id) {
  deliver([&](Batch& batch) { batch.vacated.push_back(id); });
}

Core::Batch Core::take() {
  std::lock_guard<std::mutex> lock(mutex_);
  woken_ = false;
  return std::exchange(batch_, Batch{});
}

void Core::close() {
  Batch undelivered;  // let go of without the lock: jobs hold on to the core, and it to them
  std::scoped_lock lock(mutex_, waking_);
  wake_ = nullptr;
  closed_ = true;
  std::swap(undelivered, batch_);
}

void Core::threadStarted() {
  std::lock_guard<std::mutex> lock(mutex_);
  threads_++;
}

void Core::threadEnded() {
  std::lock_guard<std::mutex> lock(mutex_);
  threads_--;
  ended_.notify_all();
}

bool Core::waitForThreads(int timeoutMs) {
  std::unique_lock<std::mutex> lock(mutex_);
  return ended_.wait_for(lock, std::chrono::milliseconds(timeoutMs), [this] { return threads_ == 0; });
}

// ── Queue ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

int Queue::hungThreads() { return hungCount.load(); }

bool Queue::startThreadLocked() {
  const size_t slot = running_.size();
  running_.emplace_back();
  core_->threadStarted();
  threads_++;
  // The thread keeps queue and core alive.
  if (startThread(
          [self = shared_from_this(), core = core_, slot] {
            pthread_setname_np(pthread_self(), self->name_);
            self->loop(slot);
            core->threadEnded();
          },
          haste_))
    return true;
  threads_--;
  running_.pop_back();
  core_->threadEnded();
  return false;
}

void Queue::push(std::shared_ptr<Task> task, bool urgent) {
  int error = 0;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (abandoned_) error = ETIMEDOUT;
    else if (closed_) error = EBADF;
    else if (tasks_.size() >= kTasksMax && !urgent) error = EAGAIN;
    else if (tasks_.size() >= idle_ && threads_ < threadsMax_ && !startThreadLocked() && threads_ == 0) error = ENOMEM;
    else tasks_.push_back(std::move(task));
  }
  // Without the lock: the thread that wakes would run into it, and sleep again.
  if (task) task->finish(error);
  else changed_.notify_one();
}

void Queue::runOne(std::unique_lock<std::mutex>& lock, Running& running, Scratch& scratch) {
  std::shared_ptr<Task> task = std::move(tasks_.front());
  tasks_.pop_front();
  lock.unlock();
  const bool ended = task->ended();
  if (ended) task.reset();
  lock.lock();
  if (ended) return;
  Job& job = *task->job;
  job.inside_.fetch_add(1, std::memory_order_acq_rel);
  running.task = task;
  running.sinceMs = monotonicMs();
  lock.unlock();

  int error;
  try {
    error = task->run(scratch);
  } catch (const std::bad_alloc&) {
    error = ENOMEM;
  }
  const bool vacant = job.inside_.fetch_sub(1, std::memory_order_acq_rel) == 1;
  const uint64_t id = job.id;
  if (!task->finish(error) && vacant) core_->vacated(id);

  // The task's descriptors may be dropped here, with no lock held.
  lock.lock();
  std::shared_ptr<Task> held = std::move(running.task);
  running.task.reset();
  if (abandoned_) hungCount--;
  lock.unlock();
  held.reset();
  task.reset();
  lock.lock();
}

void Queue::drainDescriptors(std::unique_lock<std::mutex>& lock) {
  while (!descriptors_.empty()) {
    std::vector<int> batch;
    batch.swap(descriptors_);
    lock.unlock();
    for (int fd : batch) ::close(fd);
    lock.lock();
  }
}

void Queue::loop(size_t slot) {
  Scratch scratch;
  std::unique_lock<std::mutex> lock(mutex_);
  while (!abandoned_) {
    if (!descriptors_.empty()) drainDescriptors(lock);
    else if (!tasks_.empty()) runOne(lock, running_[slot], scratch);
    else if (closed_) break;
    else {
      idle_++;
      changed_.wait(lock);
      idle_--;
    }
  }
  // The lock has been held since the last look: a later closeDescriptor finds no thread and starts one.
  threads_--;
}

void Queue::startCloserLocked() {
  core_->threadStarted();
  const bool started = startThread([self = shared_from_this(), core = core_] {
    {
      std::unique_lock<std::mutex> lock(self->mutex_);
      self->drainDescriptors(lock);
    }
    core->threadEnded();
  });
  if (!started) core_->threadEnded();
}

void Queue::closeDescriptor(int fd) {
  if (fd < 0) return;
  std::lock_guard<std::mutex> lock(mutex_);
  descriptors_.push_back(fd);
  if (threads_ > 0 && !abandoned_) changed_.notify_one();
  else if (descriptors_.size() == 1) startCloserLocked();  // otherwise one is on its way already
}

int64_t Queue::oldestAgeMs() {
  std::lock_guard<std::mutex> lock(mutex_);
  const int64_t now = monotonicMs();
  int64_t oldest = 0;
  for (const Running& running : running_)
    // At least 1 for what runs: 0 means idle.
    if (running.task) oldest = std::max(oldest, std::max<int64_t>(now - running.sinceMs, 1));
  return oldest;
}

void Queue::close() {
  std::lock_guard<std::mutex> lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

void Queue::abandon() {
  std::vector<std::shared_ptr<Task>> failed;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (abandoned_) return;
    abandoned_ = true;
    failed.assign(tasks_.begin(), tasks_.end());
    tasks_.clear();
    for (const Running& running : running_) {
      if (!running.task) continue;
      hungCount++;
      failed.push_back(running.task);
    }
    if (!descriptors_.empty()) startCloserLocked();  // the thread that should have closed them may be the one that hangs
    changed_.notify_all();
  }
  for (const auto& task : failed) task->finish(ETIMEDOUT);
}

}  // namespace ostraka
