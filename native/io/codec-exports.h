// The exports of the erasure code and the checksums, and the argument that names a code.
#ifndef OSTRAKA_IO_CODEC_EXPORTS_H
#define OSTRAKA_IO_CODEC_EXPORTS_H

#include "arguments.h"
#include "codec.h"
#include "environment.h"

namespace ostraka {

// The code of the first two arguments, k and m.
const Code& codeAt(const Arguments& args);

napi_value rebuild(const Arguments& args, Environment&);
napi_value encodeBaselineMs(const Arguments& args, Environment&);
napi_value crc32cOf(const Arguments& args, Environment&);
napi_value frameSeedOf(const Arguments& args, Environment&);
napi_value frameCrcs(const Arguments& args, Environment&);

}  // namespace ostraka

#endif
