// The exports for shared memory and for the process as a whole.
#ifndef OSTRAKA_IO_PROCESS_EXPORTS_H
#define OSTRAKA_IO_PROCESS_EXPORTS_H

#include "arguments.h"
#include "environment.h"

namespace ostraka {

napi_value mapSharedMemory(const Arguments& args, Environment& environment);
napi_value unmapSharedMemory(const Arguments& args, Environment& environment);
napi_value beginCollection(const Arguments& args, Environment&);
napi_value trimMemory(const Arguments& args, Environment&);
napi_value discardPages(const Arguments& args, Environment&);
napi_value inGroupOf(const Arguments& args, Environment&);
napi_value goBeforeOthers(const Arguments& args, Environment&);
napi_value stayBehindOthers(const Arguments& args, Environment&);
napi_value kernelTime(const Arguments& args, Environment&);
napi_value isTmpfsDirectory(const Arguments& args, Environment&);
napi_value becomeIoFlusher(const Arguments& args, Environment&);
napi_value sendDatagramTo(const Arguments& args, Environment&);
napi_value becomeProgram(const Arguments& args, Environment&);

}  // namespace ostraka

#endif
