{
  "target_defaults": {
    "cflags_cc": ["-std=c++17", "-O3", "-Wall", "-Wextra", "-fvisibility=hidden"],
    "cflags_cc!": ["-fno-exceptions", "-std=gnu++17", "-std=gnu++20"]
  },
  "targets": [
    { "target_name": "ostraka_io", "sources": ["io/addon.cc"], "libraries": ["-lisal", "-lpthread"] },
    { "target_name": "ostraka_fuse", "sources": ["fuse/addon.cc"], "libraries": ["-lpthread"] }
  ]
}
