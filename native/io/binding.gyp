{
  "targets": [
    {
      "target_name": "ostraka_io",
      "sources": [
        "addon.cc",
        "codec-exports.cc",
        "process-exports.cc",
        "codec.cc",
        "engine.cc",
        "environment.cc",
        "fetch.cc",
        "files.cc",
        "memory.cc",
        "remake.cc",
        "scan.cc",
        "service.cc",
        "shared-memory.cc",
        "stripe.cc"
      ],
      "cflags_cc": ["-std=c++17", "-O3", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden"],
      "cflags_cc!": ["-fno-exceptions", "-std=gnu++17", "-std=gnu++20"],
      "libraries": ["-lisal", "-lpthread", "-ldl"]
    }
  ]
}
