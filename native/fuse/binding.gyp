{
  "targets": [
    {
      "target_name": "ostraka_fuse",
      "sources": ["addon.cc", "channel.cc", "device.cc", "jobs.cc", "mount.cc"],
      "cflags_cc": ["-std=c++17", "-O3", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden"],
      "cflags_cc!": ["-fno-exceptions", "-std=gnu++17", "-std=gnu++20"],
      "libraries": ["-lpthread"]
    }
  ]
}
