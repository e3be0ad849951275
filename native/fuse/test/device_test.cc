// The device without Node and without a kernel: a SOCK_SEQPACKET socket keeps message boundaries as /dev/fuse does. Built with the address and
// undefined-behaviour sanitizers by test/frontend/native-fuse.test.ts; prints what failed and exits 1.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "../device.h"
#include "../mount.h"

using namespace ostraka::fuse;

static int failures = 0;
#define CHECK(condition)                                             \
  do {                                                               \
    if (!(condition)) {                                              \
      printf("line %d: not so: %s\n", __LINE__, #condition);         \
      failures++;                                                    \
    }                                                                \
  } while (0)

struct Header {
  uint32_t length;
  int32_t error;
  uint64_t unique;
};

static std::string request(size_t bytes, char fill) {
  std::string out(bytes, fill);
  const uint32_t length = static_cast<uint32_t>(bytes);
  memcpy(out.data(), &length, sizeof length);
  return out;
}

struct Pair {
  int kernel;
  std::unique_ptr<Device> device;
  Pair(uint32_t batchRequests, uint32_t batchBytes) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0) abort();
    const int size = 1 << 20;
    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    kernel = pair[0];
    device = Device::create(std::make_shared<Descriptor>(pair[1]), {65536, batchRequests, batchBytes, 8192});
  }
  ~Pair() {
    if (kernel >= 0) close(kernel);
  }
  void send(const std::string& message) { CHECK(write(kernel, message.data(), message.size()) == static_cast<ssize_t>(message.size())); }
};

static void batches() {
  Pair pair(4, 20000);
  Device& device = *pair.device;
  uint32_t count = 9;
  CHECK(device.readBatch(&count) == BatchEnd::kDrained && count == 0);
  for (const size_t bytes : {40, 4096, 4097, 60, 40}) pair.send(request(bytes, static_cast<char>('a' + bytes % 26)));
  CHECK(device.readBatch(&count) == BatchEnd::kFull && count == 4);
  size_t lastEnd = 0;
  const size_t wanted[] = {40, 4096, 4097, 60};
  for (uint32_t i = 0; i < count; i++) {
    const uint32_t start = device.control()[Device::kBatchWord + 2 * i], length = device.control()[Device::kBatchWord + 2 * i + 1];
    CHECK(length == wanted[i]);
    CHECK(start >= lastEnd && (start + Device::kWriteHeaders) % Device::kPage == 0);
    CHECK(start + length <= device.region()->bytes());
    CHECK(device.region()->data()[start + length - 1] == static_cast<char>('a' + wanted[i] % 26));
    lastEnd = start + length;
  }
  CHECK(device.readBatch(&count) == BatchEnd::kDrained && count == 1);
  pair.send(request(20000, 'x'));
  pair.send(request(65536, 'y'));
  CHECK(device.readBatch(&count) == BatchEnd::kFull && count == 1);
  CHECK(device.readBatch(&count) == BatchEnd::kFull && count == 1);
  close(pair.kernel);
  pair.kernel = -1;
  CHECK(device.readBatch(&count) == BatchEnd::kGone && count == 0);
  CHECK(device.counters().requests == 7 && device.counters().batches == 4);
}

static std::string received(int fd) {
  std::vector<char> buffer(1 << 20);
  const ssize_t got = recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
  return got < 0 ? "nothing" : std::string(buffer.data(), static_cast<size_t>(got));
}

static void replies() {
  Pair pair(4, 20000);
  Device& device = *pair.device;
  char* outbox = device.region()->data() + device.outboxStart();
  size_t at = 0;
  for (uint32_t length : {16u, 21u, 144u}) {
    const Header header = {length, 0, length};
    memcpy(outbox + at, &header, sizeof header);
    at += (length + 7) / 8 * 8;
  }
  device.control()[0] = static_cast<uint32_t>(at);
  device.flush();
  for (size_t length : {16, 21, 144}) CHECK(received(pair.kernel).size() == length);
  CHECK(device.control()[0] == 0);
  device.flush();
  CHECK(received(pair.kernel) == "nothing");
  // Nonsense in the outbox is not followed anywhere.
  for (const uint32_t length : {0u, 15u, 9000u, 0xffffffffu}) {
    const Header header = {length, 0, 1};
    memcpy(outbox, &header, sizeof header);
    device.control()[0] = 0xffffffff;
    device.flush();
    CHECK(received(pair.kernel) == "nothing");
  }
  std::string piece = "piece ";
  std::vector<iovec> pieces(5000, iovec{piece.data(), piece.size()});
  for (const size_t count : {0, 1, 3, 1023, 1024, 5000}) {
    device.reply(0x123456789abcdef0, pieces.data(), count);
    const std::string reply = received(pair.kernel);
    Header header;
    CHECK(reply.size() == sizeof header + count * piece.size());
    memcpy(&header, reply.data(), sizeof header);
    CHECK(header.length == reply.size() && header.error == 0 && header.unique == 0x123456789abcdef0);
  }
}

static void mounts() {
  CHECK(probe("/nowhere/at/all").error == ENOENT);
  CHECK(probe("/").error == 0);
  CHECK(unmount("/nowhere/at/all", false, false).error == ENOENT);
  MountRequest request;
  request.mountpoint = "/nowhere/at/all";
  request.source = request.subtype = "test";
  CHECK(mount(request).error == ENOENT);
  CHECK(notify(-1, "x").error == EBADF);
}

int main() {
  batches();
  replies();
  mounts();
  printf(failures == 0 ? "ok\n" : "%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
