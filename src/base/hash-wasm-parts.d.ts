/** Parts of hash-wasm that are loaded alone: all of it takes 6 MiB and 30 ms of each thread. */
declare module 'hash-wasm/dist/xxhash128.umd.min.js' {
  import type { createXXHash128 } from 'hash-wasm';
  const part: { readonly createXXHash128: typeof createXXHash128 };
  export default part;
}
declare module 'hash-wasm/dist/crc32.umd.min.js' {
  import type { createCRC32 } from 'hash-wasm';
  const part: { readonly createCRC32: typeof createCRC32 };
  export default part;
}
